//! What is not held? Records are loaded by the handful, many callers' in one
//! statement, in a bounded number of statements at a time: a flood of ids that
//! nobody knows delays nobody who is known.
//!
//! A load begins after its callers came, and is answered by the database as one
//! snapshot: it confirms itself.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::rounds::{Known, Shared};
use crate::{
    domain::id::CredentialId,
    store::{self, Fill, Store},
};

/// So many statements load at a time.
const LOADERS: usize = 4;
/// A statement loads what waits, up to so many credentials; one caller's own are
/// never parted.
const MAX_IDS: usize = 512;
/// So many callers may wait.
const MAX_WAITING: usize = 8_192;
/// How often a load is tried whose database lags behind what was known.
const ATTEMPTS: usize = 3;

type Answer = Result<Arc<Fill>, Arc<store::Error>>;

/// Loads what is not held.
#[derive(Clone, Debug)]
pub(super) struct Loading {
    store: Store,
    shared: Arc<Shared>,
    timeout: Duration,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    loaders: usize,
}

#[derive(Debug)]
struct Job {
    ids: Vec<CredentialId>,
    answer: oneshot::Sender<Answer>,
}

/// A loader's place, which is given back even where it panics.
struct Place(Option<Arc<Mutex<Queue>>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            lock(&queue).loaders -= 1;
        }
    }
}

impl Loading {
    /// Loads from `store`; a caller waits no longer than `timeout` for one try.
    pub(super) fn new(store: Store, shared: Arc<Shared>, timeout: Duration) -> Self {
        Self { store, shared, timeout, queue: Arc::default() }
    }

    /// Loads these credentials: what was committed before the call is in it.
    pub(super) async fn load(&self, ids: Vec<CredentialId>) -> Answer {
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = lock(&self.queue);
            if queue.waiting.len() >= MAX_WAITING {
                return Err(Arc::new(store::Error::Overloaded));
            }
            queue.waiting.push_back(Job { ids, answer });
            if queue.loaders < LOADERS {
                queue.loaders += 1;
                tokio::spawn(self.clone().work(Place(Some(self.queue.clone()))));
            }
        }
        // A loader that panicked answers nobody.
        answered.await.unwrap_or_else(|_| Err(Arc::new(store::Error::TimedOut)))
    }

    async fn work(self, mut place: Place) {
        loop {
            let jobs = {
                let mut queue = lock(&self.queue);
                let jobs = queue.next();
                if jobs.is_empty() {
                    // Within the same lock: who comes next starts another loader.
                    queue.loaders -= 1;
                    place.0 = None;
                    return;
                }
                jobs
            };
            let ids = jobs.iter().flat_map(|job| &job.ids).copied().collect();
            let answer = self.load_all(ids).await;
            for job in jobs {
                // Who no longer waits misses nothing.
                let _ = job.answer.send(answer.clone());
            }
        }
    }

    async fn load_all(&self, ids: BTreeSet<CredentialId>) -> Answer {
        for _ in 0..ATTEMPTS {
            let known = self.shared.known();
            let fill = Arc::new(self.store.load(ids.clone(), self.timeout).await?);
            self.shared.inbox.hold(fill.clone());
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

impl Queue {
    fn next(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut ids = 0;
        while let Some(job) = self.waiting.pop_front_if(|job| jobs.is_empty() || ids + job.ids.len() <= MAX_IDS) {
            ids += job.ids.len();
            jobs.push(job);
        }
        jobs
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
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
