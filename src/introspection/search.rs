//! Which records may be its own? What another system issued does not say: it is
//! searched for in the database, many callers' in one statement, in a bounded
//! number of statements at a time, beside those that load by id. A flood of what
//! nobody knows costs its share of that, and delays nobody who is known.
//!
//! A search begins after its callers came: it finds what was committed before.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    pool::{Full, Pool, Work},
    rounds::Pace,
};
use crate::{
    domain::{
        digest::{Fingerprint, Sha256Digest},
        id::CredentialId,
        legacy::{Legacy, MAX_CANDIDATES},
    },
    keys::KeysAtHand,
    store::{self, Found, FoundBy, Sought, Store},
};

type Answer = Result<Candidates, Arc<store::Error>>;

/// The records that may be one presented credential's own.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Their stored fingerprint or digest says so.
    pub(super) told: Vec<CredentialId>,
    /// They have its hint, as others have: bcrypt tells. They had not ended.
    pub(super) hinted: Vec<CredentialId>,
}

/// Searches for what says nothing of its record.
#[derive(Clone, Debug)]
pub(super) struct Search {
    keys: Arc<KeysAtHand>,
    pool: Pool<Searcher>,
}

#[derive(Debug)]
struct Searcher {
    store: Store,
    timeout: Duration,
}

#[derive(Debug)]
struct Job {
    // One for each key at hand.
    fingerprints: Vec<Fingerprint>,
    digest: Sha256Digest,
    // None: bcrypt may not be run on it.
    hint: Option<String>,
    answer: oneshot::Sender<Answer>,
}

impl Search {
    /// Searches in `store`, at that pace.
    pub(super) fn new(store: Store, keys: Arc<KeysAtHand>, Pace { interval, timeout }: Pace) -> Self {
        Self { keys, pool: Pool::new(Searcher { store, timeout }, interval) }
    }

    /// The records that may be its own.
    pub(super) async fn candidates(&self, legacy: &Legacy) -> Answer {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            fingerprints: self.keys.now().ring().iter().map(|key| key.fingerprint(legacy.plaintext())).collect(),
            digest: Sha256Digest::of(legacy.plaintext().expose()),
            hint: legacy.may_be_hashed().then(|| legacy.hint().to_owned()),
            answer,
        };
        self.pool.push(job).map_err(|Full| Arc::new(store::Error::Overloaded))?;
        // A searcher that panicked answers nobody.
        answered.await.unwrap_or_else(|_| Err(Arc::new(store::Error::TimedOut)))
    }
}

impl Work for Searcher {
    type Job = Job;
    const WORKERS: usize = 2;
    const MAX_SIZE: usize = 256;
    const MAX_WAITING: usize = 8_192;

    fn size(_job: &Job) -> usize {
        1
    }

    async fn work(&self, jobs: Vec<Job>) {
        match self.store.search_imported(sought(&jobs), self.timeout).await.map(Index::of) {
            Ok(index) => {
                for job in jobs {
                    let candidates = index.candidates(&job);
                    // Who no longer waits misses nothing.
                    let _ = job.answer.send(Ok(candidates));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for job in jobs {
                    let _ = job.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

fn sought(jobs: &[Job]) -> Sought {
    Sought {
        fingerprints: jobs.iter().flat_map(|job| &job.fingerprints).cloned().collect(),
        digests: jobs.iter().map(|job| job.digest.clone()).collect(),
        hints: jobs.iter().filter_map(|job| job.hint.clone()).collect(),
    }
}

/// What one statement found, to be given to those who asked.
#[derive(Debug, Default)]
struct Index {
    fingerprints: HashMap<[u8; 32], Vec<CredentialId>>,
    digests: HashMap<String, Vec<CredentialId>>,
    hints: HashMap<String, Vec<CredentialId>>,
}

impl Index {
    fn of(found: Vec<Found>) -> Self {
        let mut index = Self::default();
        for Found { credential, by } in found {
            match by {
                FoundBy::Fingerprint(fingerprint) => index.fingerprints.entry(*fingerprint.expose()).or_default(),
                FoundBy::Digest(digest) => index.digests.entry(digest.expose()).or_default(),
                FoundBy::Hint(hint) => index.hints.entry(hint).or_default(),
            }
            .push(credential);
        }
        for hinted in index.hints.values_mut() {
            // Imports see to it that there are no more.
            hinted.sort_unstable();
            hinted.truncate(MAX_CANDIDATES);
        }
        index
    }

    fn candidates(&self, job: &Job) -> Candidates {
        let by_fingerprint = job.fingerprints.iter().filter_map(|own| self.fingerprints.get(own.expose()));
        let mut told: Vec<_> =
            by_fingerprint.chain(self.digests.get(&job.digest.expose())).flatten().copied().collect();
        told.sort_unstable();
        told.dedup();
        let hinted = job.hint.as_ref().and_then(|hint| self.hints.get(hint));
        let hinted = hinted.into_iter().flatten().filter(|id| told.binary_search(id).is_err());
        Candidates { hinted: hinted.copied().collect(), told }
    }
}
