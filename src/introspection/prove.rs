//! Is this presented secret one of the stored ones? By fingerprint where there
//! is one under a key at hand, which is conclusive; else once by bcrypt, after
//! which the proof is remembered and the fingerprint stored.
//!
//! A proof names a secret's id. Whether that secret is still alive is judged on
//! each call.

use std::sync::Arc;

use aws_lc_rs::hmac;
use quick_cache::sync::Cache;

use super::{Bcrypt, Busy};
use crate::{
    domain::{
        credential::Presented,
        digest::Fingerprint,
        id::SecretId,
        keys::Keys,
        record::{Record, SecretRecord},
    },
    store::{Store, detached},
};

/// Proves secrets.
#[derive(Clone, Debug)]
pub struct Prover {
    store: Store,
    keys: Arc<Keys>,
    bcrypt: Bcrypt,
    remembered: Arc<Remembered>,
}

/// What bcrypt said of (presented credential, stored secret): immutable, so it
/// may be remembered. Credentials stand here only as digests under a key that
/// this process alone has.
#[derive(Debug)]
struct Remembered {
    key: hmac::Key,
    proofs: Cache<([u8; 32], SecretId), bool>,
}

impl Prover {
    /// Proves under `keys`, and remembers up to `capacity` proofs of bcrypt.
    pub fn new(store: Store, keys: Arc<Keys>, bcrypt: Bcrypt, capacity: usize) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &crate::random::bytes::<32>());
        Self { store, keys, bcrypt, remembered: Arc::new(Remembered { key, proofs: Cache::new(capacity) }) }
    }

    /// Which of the record's secrets was presented, if any.
    pub async fn prove(&self, presented: &Presented, record: &Record) -> Result<Option<SecretId>, Busy> {
        let mut without_fingerprint = Vec::new();
        for secret in &record.secrets {
            match self.compare(presented, secret) {
                Some(true) => return Ok(Some(secret.id)),
                Some(false) => {}
                None => without_fingerprint.push(secret),
            }
        }
        for secret in without_fingerprint {
            if self.prove_by_bcrypt(presented, secret).await? {
                return Ok(Some(secret.id));
            }
        }
        Ok(None)
    }

    /// What the fingerprint says; none where there is none under a key at hand.
    fn compare(&self, presented: &Presented, secret: &SecretRecord) -> Option<bool> {
        let (key, stored) = secret.fingerprint.as_ref()?;
        let key = self.keys.ring().get(key)?;
        Some(key.fingerprint(&presented.plaintext).matches(stored))
    }

    /// One run of bcrypt for each presented credential and stored secret,
    /// however many wait for it. It runs in a task of its own, so that one who
    /// stops waiting takes nothing from the others.
    async fn prove_by_bcrypt(&self, presented: &Presented, secret: &SecretRecord) -> Result<bool, Busy> {
        let (prover, presented, secret) = (self.clone(), presented.clone(), secret.clone());
        detached(async move {
            let remembered = &prover.remembered;
            let digest = hmac::sign(&remembered.key, presented.plaintext.expose().as_bytes());
            let digest = digest.as_ref().try_into().expect("HMAC-SHA-256 makes 32 bytes");
            let run = async {
                let proved = prover.bcrypt.verify(presented.unverified_secret.clone(), secret.bcrypt.clone()).await?;
                if proved {
                    // Nobody waits for it: the proof stands without.
                    let (prover, presented) = (prover.clone(), presented.clone());
                    tokio::spawn(async move { prover.store_fingerprint(&presented, secret.id).await });
                }
                Ok(proved)
            };
            remembered.proofs.get_or_insert_async(&(digest, secret.id), run).await
        })
        .await
    }

    /// Spares the next replica, and the next start of this one, the bcrypt. If
    /// it fails, the proof stands all the same.
    async fn store_fingerprint(&self, presented: &Presented, secret: SecretId) {
        let key = self.keys.current();
        let fingerprint: Fingerprint = key.fingerprint(&presented.plaintext);
        if let Err(error) = self.store.store_fingerprint(secret, key.id().clone(), fingerprint).await {
            tracing::warn!(%secret, error = &error as &dyn std::error::Error, "the fingerprint was not stored");
        }
    }
}
