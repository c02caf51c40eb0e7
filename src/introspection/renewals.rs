//! Which fingerprints are to be stored? Those of secrets that bcrypt proved, and
//! of secrets that were proved under a key that is not current any more: so that
//! the former key can be given up, once every secret in use was used again.
//!
//! Nobody waits for it. What finds no room, or is not stored, comes again with
//! the secret's next use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use super::engine::Engine;
use crate::{
    domain::{
        credential::Plaintext,
        id::{CredentialId, SecretId},
        keys::{KeyId, MasterKey},
        record::SecretRecord,
    },
    store::{NewFingerprint, Store},
    telemetry::told_of,
};

/// So many wait to be stored, in one transaction.
const MAX_WAITING: usize = 256;
/// What comes meanwhile is stored together.
const PAUSE: Duration = Duration::from_millis(50);
/// How soon a database that did not take them is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Stores fingerprints.
#[derive(Clone, Debug)]
pub(super) struct Renewals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    engine: Engine,
    waiting: Mutex<Waiting>,
}

type Secrets = HashMap<SecretId, (CredentialId, NewFingerprint)>;

#[derive(Debug, Default)]
struct Waiting {
    // All under this one.
    key: Option<KeyId>,
    secrets: Secrets,
    // Whether a task is at work.
    is_worked_on: bool,
}

/// The task's place, which is given back even where it panics.
struct Place(Weak<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(renewals) = self.0.upgrade() {
            renewals.waiting().is_worked_on = false;
        }
    }
}

impl Renewals {
    pub(super) fn new(store: Store, engine: Engine) -> Self {
        Self(Arc::new(Inner { store, engine, waiting: Mutex::default() }))
    }

    /// Has a fingerprint of a secret that was proved stored under `key`.
    pub(super) fn offer(&self, key: &MasterKey, proved: &Plaintext, credential: CredentialId, secret: &SecretRecord) {
        // Whoever holds it works for all: this is for another time.
        let Ok(mut waiting) = self.0.waiting.try_lock() else {
            return;
        };
        if waiting.key.as_ref() != Some(key.id()) {
            waiting.key = Some(key.id().clone());
            waiting.secrets.clear();
        }
        if waiting.secrets.len() >= MAX_WAITING || waiting.secrets.contains_key(&secret.id) {
            return;
        }
        let instead_of = secret.fingerprint.as_ref().map(|(key, _)| key.clone());
        let new = NewFingerprint { instead_of, fingerprint: key.fingerprint(proved) };
        waiting.secrets.insert(secret.id, (credential, new));
        if !waiting.is_worked_on {
            waiting.is_worked_on = true;
            tokio::spawn(work(Arc::downgrade(&self.0)));
        }
    }
}

/// Stores what waits, until nothing does. Between two batches it keeps nothing
/// alive: the service may have ended.
async fn work(renewals: Weak<Inner>) {
    let mut place = Place(renewals);
    while let Some(renewals) = place.0.upgrade() {
        let Some((key, secrets)) = renewals.waiting().take() else {
            place.0 = Weak::new();
            return;
        };
        let pause = renewals.store(key, secrets).await;
        drop(renewals);
        tokio::time::sleep(pause).await;
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores one batch; tells when to begin the next.
    async fn store(&self, key: KeyId, secrets: Secrets) -> Duration {
        let credentials: Vec<_> = secrets.values().map(|(credential, _)| *credential).collect();
        let new = secrets.into_iter().map(|(secret, (_, new))| (secret, new)).collect();
        match self.store.store_fingerprints(key, new).await {
            Ok(()) => {
                for credential in credentials {
                    self.engine.forget(credential);
                }
                PAUSE
            }
            Err(error) => {
                tracing::warn!(error = told_of(&error), "fingerprints were not stored");
                AFTER_FAILURE
            }
        }
    }
}

impl Waiting {
    /// All that wait. Where nothing does, the task is to end: who comes next
    /// starts another.
    fn take(&mut self) -> Option<(KeyId, Secrets)> {
        let batch = self.key.clone().filter(|_| !self.secrets.is_empty());
        self.is_worked_on = batch.is_some();
        batch.map(|key| (key, std::mem::take(&mut self.secrets)))
    }
}
