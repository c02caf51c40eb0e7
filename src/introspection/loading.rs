//! What is not held? Records are loaded by the handful, many callers' in one
//! statement, in a bounded number of statements at a time: a flood of ids that
//! nobody knows costs little, and delays nobody who is known.
//!
//! A load begins after its callers came, and is answered by the database as one
//! snapshot: it confirms itself.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use super::{
    pool::{Full, Pool, Work},
    rounds::{Known, Pace, Shared},
};
use crate::{
    domain::id::CredentialId,
    store::{self, Fill, Store},
};

/// How often a load is tried whose database lags behind what was known.
const ATTEMPTS: usize = 3;

type Answer = Result<Arc<Fill>, Arc<store::Error>>;

/// Loads what is not held.
#[derive(Clone, Debug)]
pub(super) struct Loading(Pool<Loader>);

#[derive(Debug)]
struct Loader {
    store: Store,
    shared: Arc<Shared>,
    // Of one try.
    timeout: Duration,
}

#[derive(Debug)]
struct Job {
    ids: Vec<CredentialId>,
    answer: oneshot::Sender<Answer>,
    // None: whoever waits is not traced.
    trace: Option<Span>,
}

impl Loading {
    /// Loads from `store`, at that pace.
    pub(super) fn new(store: Store, shared: Arc<Shared>, Pace { interval, timeout }: Pace) -> Self {
        Self(Pool::new(Loader { store, shared, timeout }, interval))
    }

    /// Loads these credentials: what was committed before the call is in it. `trace` is
    /// the span of whoever waits.
    pub(super) async fn load(&self, ids: Vec<CredentialId>, trace: Span) -> Answer {
        let (answer, answered) = oneshot::channel();
        let trace = Some(trace).filter(|span| !span.is_disabled());
        self.0.push(Job { ids, answer, trace }).map_err(|Full| Arc::new(store::Error::Overloaded))?;
        // A loader that panicked answers nobody.
        answered.await.unwrap_or_else(|_| Err(Arc::new(store::Error::TimedOut)))
    }
}

impl Work for Loader {
    type Job = Job;
    const WORKERS: usize = 4;
    const MAX_SIZE: usize = 512;
    const MAX_WAITING: usize = 8_192;

    fn size(job: &Job) -> usize {
        job.ids.len()
    }

    async fn work(&self, mut jobs: Vec<Job>) {
        let ids = jobs.iter().flat_map(|job| &job.ids).copied().collect();
        // A statement for several is in the first one's trace. The others' spans are let
        // go now: none may outlast its call.
        let traces = jobs.iter_mut().filter_map(|job| job.trace.take());
        let trace = traces.reduce(|first, _| first).unwrap_or_else(Span::none);
        let answer = self.load_all(ids).instrument(trace).await;
        for job in jobs {
            // Who no longer waits misses nothing.
            let _ = job.answer.send(answer.clone());
        }
    }
}

impl Loader {
    async fn load_all(&self, ids: BTreeSet<CredentialId>) -> Answer {
        for _ in 0..ATTEMPTS {
            let known = self.shared.known();
            let fill = Arc::new(self.store.load(ids.clone(), self.timeout).await?);
            if !fill.records.is_empty() {
                self.shared.inbox.hold(fill.clone());
            }
            if !is_behind(&fill, known, self.shared.known()) {
                return Ok(fill);
            }
            // Whoever lags, or was put in the place of what was known, a round
            // finds out.
            self.shared.inbox.confirmed().await?;
        }
        tracing::error!("the database's answers do not agree on its history");
        Err(Arc::new(store::Error::TimedOut))
    }
}

/// Whether a fill lacks what was known before it began, or everything was
/// started over since.
fn is_behind(fill: &Fill, before: Known, after: Known) -> bool {
    let Some(applied) = before.applied else {
        return false;
    };
    let lags = fill.head.epoch != applied.epoch
        || fill.head.revision < applied.revision
        || (fill.head.revision == applied.revision && fill.head.tag != applied.tag);
    lags || after.starts != before.starts
}
