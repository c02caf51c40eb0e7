//! Which fingerprints are to be stored? Those of secrets that bcrypt proved, and
//! of secrets that were proved under a key that is not current any more: so that
//! the former key can be given up, once every secret in use was used again.
//!
//! Nobody waits for it. What finds no room, or is not stored, comes again with
//! the secret's next use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
};

/// So many wait to be stored, in one transaction.
const MAX_WAITING: usize = 256;
/// What comes meanwhile is stored together.
const PAUSE: Duration = Duration::from_millis(50);
/// How soon a database that did not take them is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Stores fingerprints.
#[derive(Clone, Debug)]
pub(super) struct Renewals {
    store: Store,
    engine: Engine,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    // All under this one.
    key: Option<KeyId>,
    secrets: HashMap<SecretId, (CredentialId, NewFingerprint)>,
    // Whether a task is at work.
    is_worked_on: bool,
}

/// The task's place, which is given back even where it panics.
struct Place(Option<Arc<Mutex<Waiting>>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.take() {
            lock(&waiting).is_worked_on = false;
        }
    }
}

impl Renewals {
    pub(super) fn new(store: Store, engine: Engine) -> Self {
        Self { store, engine, waiting: Arc::default() }
    }

    /// Has a fingerprint of a secret that was proved stored under `key`.
    pub(super) fn offer(&self, key: &MasterKey, proved: &Plaintext, credential: CredentialId, secret: &SecretRecord) {
        // Whoever holds it works for all: this is for another time.
        let Ok(mut waiting) = self.waiting.try_lock() else {
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
            tokio::spawn(self.clone().work());
        }
    }

    async fn work(self) {
        let mut place = Place(Some(self.waiting.clone()));
        loop {
            let (key, secrets) = {
                let mut waiting = lock(&self.waiting);
                let Some(key) = waiting.key.clone().filter(|_| !waiting.secrets.is_empty()) else {
                    // Within the same lock: who comes next starts another task.
                    waiting.is_worked_on = false;
                    place.0 = None;
                    return;
                };
                (key, std::mem::take(&mut waiting.secrets))
            };
            let (credentials, new): (Vec<_>, HashMap<_, _>) =
                secrets.into_iter().map(|(secret, (credential, new))| (credential, (secret, new))).unzip();
            match self.store.store_fingerprints(key, new).await {
                Ok(()) => {
                    for credential in credentials {
                        self.engine.forget(credential);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "fingerprints were not stored");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
