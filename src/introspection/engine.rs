//! What is known of these credentials, and is that all there is to know? From
//! memory, once it is confirmed that nothing changed; what is not held is loaded.
//!
//! Every answer reflects all that was committed before its call began, unless the
//! caller allows it to be staler. A database that does not answer is a fault,
//! never an answer.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::{
    cache::{Look, Size, View},
    clock::Instant,
    counts::Counts,
    loading::Loading,
    rounds::{Pace, Rounds, Shared},
};
use crate::{
    domain::{id::CredentialId, time::Timestamp},
    keys::KeysAtHand,
    store::{self, Store},
    telemetry::{Confirmations, TRACED},
};

/// How often what was confirmed is looked at again where it moves on meanwhile.
const LOOKS: usize = 4;
/// An answer that rests on a confirmation of more than this part of the
/// staleness that it may have asks for a fresh one, for those who come later.
const REFRESH_AFTER: u32 = 4;

/// How fresh an answer has to be, the freshest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// It knows all that was committed before the call began.
    Strict,
    /// It rests on a confirmation that began then or later.
    Since(Instant),
    /// It rests on a confirmation that began at most so long ago.
    Within(Duration),
}

/// How stale an answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Staleness {
    /// Where the question says nothing.
    pub default: Duration,
    /// Whatever the question says.
    pub max: Duration,
}

impl Staleness {
    /// How fresh an answer has to be whose question allows for so much staleness.
    pub fn freshness(self, asked: Option<Duration>) -> Freshness {
        match asked.unwrap_or(self.default).min(self.max) {
            Duration::ZERO => Freshness::Strict,
            staleness => Freshness::Within(staleness),
        }
    }
}

/// What bounds the engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many bytes records and accounts take in memory.
    pub cache_bytes: u64,
    /// How rounds follow each other.
    pub pace: Pace,
}

/// Knows what is in the database.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    store: Store,
    shared: Arc<Shared>,
    loading: Loading,
}

impl Engine {
    /// Begins to follow the database; the task that does so ends when it is
    /// aborted.
    pub(super) fn start(
        store: Store,
        limits: Limits,
        keys: Arc<KeysAtHand>,
        confirmations: Confirmations,
    ) -> (Self, JoinHandle<()>) {
        let shared = Arc::new(Shared::new(limits.cache_bytes));
        let rounds =
            tokio::spawn(Rounds::new(shared.clone(), store.head_reader(), limits.pace, keys, confirmations).run());
        let loading = Loading::new(store.clone(), shared.clone(), limits.pace);
        (Self { store, shared, loading }, rounds)
    }

    /// What is known of these credentials, as fresh as is wanted.
    pub(super) async fn view(&self, ids: &[CredentialId], freshness: Freshness) -> Result<View, Arc<store::Error>> {
        if let Look::Held(view) = self.look_at_once(ids, freshness) {
            self.shared.counts.hits.count();
            return Ok(view);
        }
        for _ in 0..LOOKS {
            // What is not held anyway needs no confirmation: a load is its own.
            if let Look::Missing = self.look(ids) {
                break;
            }
            let waits = tracing::info_span!(target: TRACED, "confirmation");
            self.shared.inbox.confirmed().instrument(waits).await?;
            match self.look(ids) {
                Look::Held(view) => {
                    self.shared.counts.hits.count();
                    return Ok(view);
                }
                Look::Missing => break,
                Look::Moving => {}
            }
        }
        // Apart, so that calls which find all of it held do not carry its state.
        self.shared.counts.misses.count();
        let loads = tracing::info_span!(target: TRACED, "load", records = ids.len());
        let load = self.loading.load(ids.to_vec(), loads.clone());
        let fill = Box::pin(load.instrument(loads)).await?;
        let now = self.shared.clock.not_before(fill.time);
        Ok(View::of(&fill, ids, now))
    }

    /// What is counted.
    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// How much is held.
    pub(super) fn held(&self) -> Size {
        self.shared.cache.size()
    }

    /// The revision that what is held reflects.
    pub(super) fn revision(&self) -> i64 {
        self.shared.cache.revision()
    }

    /// How long ago the last confirmation began.
    pub(super) fn confirmation_age(&self) -> Option<Duration> {
        self.shared.confirmed().map(|began| began.until(Instant::now()))
    }

    /// What is held, however old.
    pub(super) fn glance(&self, ids: &[CredentialId]) -> Option<View> {
        match self.look(ids) {
            Look::Held(view) => Some(view),
            Look::Missing | Look::Moving => None,
        }
    }

    /// Has a record loaded anew when it is next asked for.
    pub(super) fn forget(&self, id: CredentialId) {
        self.shared.inbox.forget(id);
    }

    /// What is held, where that needs no further confirmation.
    fn look_at_once(&self, ids: &[CredentialId], freshness: Freshness) -> Look {
        self.shared.cache.look(ids, || self.is_fresh(freshness).then(|| self.now()))
    }

    fn look(&self, ids: &[CredentialId]) -> Look {
        self.shared.cache.look(ids, || Some(self.now()))
    }

    fn is_fresh(&self, freshness: Freshness) -> bool {
        // The embedded database's only writer is this process: comparing now is a
        // confirmation that began now.
        if self.store.embedded_revision() == Some(self.shared.cache.revision()) {
            return true;
        }
        let Some(confirmed) = self.shared.confirmed() else {
            return false;
        };
        match freshness {
            Freshness::Strict => cfg!(feature = "unconfirmed"),
            Freshness::Since(began) => cfg!(feature = "unconfirmed") || confirmed >= began,
            Freshness::Within(limit) => {
                let age = confirmed.until(Instant::now());
                if age > limit / REFRESH_AFTER {
                    self.shared.inbox.refresh();
                }
                age <= limit
            }
        }
    }

    /// The database's time.
    pub(super) fn now(&self) -> Timestamp {
        match self.store.embedded_now() {
            Some(now) => now,
            None => self.shared.clock.now(),
        }
    }
}
