//! Is this presented secret one of the stored ones? By fingerprint where there
//! is one under a key at hand, which is conclusive; else by digest, or once by
//! bcrypt, after which the proof is remembered and the fingerprint stored under
//! the current key.
//!
//! A proof names a secret's id. Whether that secret is still alive is judged on
//! each call.

use std::sync::Arc;

use aws_lc_rs::hmac;
use quick_cache::sync::Cache;

use super::{
    Bcrypt, Busy,
    renewals::Renewals,
    turns::{Target, Turns},
};
use crate::{
    domain::{
        credential::{Form, Plaintext},
        digest::{BcryptHash, SecretHash, Sha256Digest},
        id::{CredentialId, SecretId},
        legacy::Legacy,
        record::{Record, SecretRecord},
        time::Timestamp,
    },
    keys::KeysAtHand,
    store::detached,
};

/// Proves secrets.
#[derive(Clone, Debug)]
pub(super) struct Prover {
    keys: Arc<KeysAtHand>,
    bcrypt: Bcrypt,
    renewals: Renewals,
    turns: Turns,
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

/// What fingerprints say.
#[derive(Debug)]
pub(super) enum Compared<'a> {
    /// It is this one.
    Proved(SecretId),
    /// It is none.
    Disproved,
    /// It is none, but perhaps one of these, of which there is no fingerprint
    /// under a key at hand: bcrypt tells.
    Open(Vec<(&'a SecretRecord, &'a BcryptHash)>),
}

impl Prover {
    /// Proves under `keys`, and remembers up to `capacity` proofs of bcrypt.
    pub(super) fn new(keys: Arc<KeysAtHand>, bcrypt: Bcrypt, renewals: Renewals, capacity: usize) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &crate::random::bytes::<32>());
        let remembered = Arc::new(Remembered { key, proofs: Cache::new(capacity) });
        Self { keys, bcrypt, renewals, turns: Turns::default(), remembered }
    }

    /// What stands for a credential in this process's memory.
    pub(super) fn digest(&self, credential: &Plaintext) -> [u8; 32] {
        let digest = hmac::sign(&self.remembered.key, credential.expose().as_bytes());
        digest.as_ref().try_into().expect("HMAC-SHA-256 makes 32 bytes")
    }

    /// Which of the record's secrets was presented, if any. Ended ones are nobody's
    /// way in: bcrypt does not run for them.
    pub(super) async fn prove(
        &self,
        presented: &Form,
        record: &Record,
        now: Timestamp,
    ) -> Result<Option<SecretId>, Busy> {
        match self.compare(presented, record) {
            Compared::Proved(secret) => Ok(Some(secret)),
            Compared::Disproved => Ok(None),
            Compared::Open(secrets) => {
                for (secret, hash) in secrets.into_iter().filter(|(secret, _)| !secret.has_ended(now)) {
                    if Box::pin(self.prove_by_bcrypt(presented, record.id, secret, hash)).await? {
                        return Ok(Some(secret.id));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Which of the record's secrets was presented, as far as that can be told
    /// without bcrypt.
    pub(super) fn compare<'a>(&self, presented: &Form, record: &'a Record) -> Compared<'a> {
        let keys = self.keys.now();
        let mut open = Vec::new();
        for secret in &record.secrets {
            let stored = secret.fingerprint.as_ref();
            match stored.and_then(|(key, stored)| Some((keys.ring().get(key)?, stored))) {
                None => match &secret.hash {
                    SecretHash::Bcrypt(hash) if presented.unverified_secret().is_some() => open.push((secret, hash)),
                    SecretHash::LegacyBcrypt(hash) if presented.legacy().is_some_and(Legacy::may_be_hashed) => {
                        open.push((secret, hash));
                    }
                    SecretHash::Sha256(digest) if Sha256Digest::of(presented.plaintext().expose()).matches(digest) => {
                        self.renew(presented, record.id, secret);
                        return Compared::Proved(secret.id);
                    }
                    SecretHash::Bcrypt(_) | SecretHash::LegacyBcrypt(_) | SecretHash::Sha256(_) => {}
                },
                Some((key, stored)) if key.fingerprint(presented.plaintext()).matches(stored) => {
                    self.renew(presented, record.id, secret);
                    return Compared::Proved(secret.id);
                }
                Some(_) => {}
            }
        }
        if open.is_empty() { Compared::Disproved } else { Compared::Open(open) }
    }

    /// One run of bcrypt for each presented credential and stored secret,
    /// however many wait for it. It runs in a task of its own, so that one who
    /// stops waiting takes nothing from the others.
    async fn prove_by_bcrypt(
        &self,
        presented: &Form,
        credential: CredentialId,
        secret: &SecretRecord,
        hash: &BcryptHash,
    ) -> Result<bool, Busy> {
        let digest = self.digest(presented.plaintext());
        if let Some(proved) = self.remembered.proofs.get(&(digest, secret.id)) {
            if proved {
                self.renew(presented, credential, secret);
            }
            return Ok(proved);
        }
        let (prover, presented, secret, hash) = (self.clone(), presented.clone(), secret.clone(), hash.clone());
        detached(async move {
            let run = async {
                let _turn = prover.turns.take(target(&presented, &secret)).await.ok_or_else(Busy::now)?;
                let proved = match &presented {
                    Form::Opaque(presented) => prover.bcrypt.verify(presented.unverified_secret.clone(), hash).await?,
                    // What is signed is not hashed by bcrypt.
                    Form::Signed(_) => false,
                    Form::Legacy(located) => prover.bcrypt.verify_legacy(located.legacy.clone(), hash).await?,
                };
                if proved {
                    prover.renew(&presented, credential, &secret);
                }
                Ok(proved)
            };
            prover.remembered.proofs.get_or_insert_async(&(digest, secret.id), run).await
        })
        .await
    }

    /// Has the fingerprint of a secret that was proved stored under the current
    /// key, where it is not: it spares the next replica, the next start, and those
    /// who come once the other key is gone, the bcrypt.
    fn renew(&self, presented: &Form, credential: CredentialId, secret: &SecretRecord) {
        let keys = self.keys.now();
        let Ok(current) = keys.current() else {
            return;
        };
        if secret.fingerprint.as_ref().is_none_or(|(key, _)| key != current.id()) {
            self.renewals.offer(current, presented.plaintext(), credential, secret);
        }
    }
}

/// At what guesses take turns: at an imported token they are guesses at all that
/// share its hint.
fn target(presented: &Form, secret: &SecretRecord) -> Target {
    match presented {
        Form::Opaque(_) | Form::Signed(_) => Target::Secret(secret.id),
        Form::Legacy(located) => Target::Hint(located.legacy.hint().into()),
    }
}
