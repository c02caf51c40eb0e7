//! Who waits for the next confirmation? Introspections join the open batch; the
//! rounds take it whole, and wake each of its waiters once.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::{
    domain::id::CredentialId,
    store::{self, Fill},
};

/// So many loads may wait to be held; what comes on top is loaded again when it
/// is next asked for.
const MAX_FILLS: usize = 64;

/// What a round brought its waiters: a confirmation that began after they had
/// come, or the reason why there is none.
pub(super) type Outcome = Result<(), Arc<store::Error>>;

/// Those who wait for one round.
#[derive(Debug, Default)]
pub(super) struct Batch {
    outcome: OnceLock<Outcome>,
    done: Notify,
}

/// What the rounds are asked to do.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    open: Mutex<Open>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Open {
    batch: Arc<Batch>,
    waiters: usize,
    // Somebody would have a fresh confirmation, and does not wait for it.
    refresh: bool,
    fills: Vec<Arc<Fill>>,
    forgotten: Vec<CredentialId>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) struct Work {
    /// What was loaded, to be held.
    pub(super) fills: Vec<Arc<Fill>>,
    /// Records that are to be loaded anew.
    pub(super) forgotten: Vec<CredentialId>,
    /// Whether anybody wants a confirmation.
    pub(super) round: bool,
}

impl Inbox {
    /// Waits for a confirmation that begins from now on.
    pub(super) async fn confirmed(&self) -> Outcome {
        let (batch, first) = {
            let mut open = self.open();
            open.waiters += 1;
            (open.batch.clone(), open.waiters == 1)
        };
        if first {
            self.wanted.notify_one();
        }
        batch.finished().await
    }

    /// Asks for a fresh confirmation, and does not wait for it.
    pub(super) fn refresh(&self) {
        let first = !std::mem::replace(&mut self.open().refresh, true);
        if first {
            self.wanted.notify_one();
        }
    }

    /// Gives what was loaded to be held.
    pub(super) fn hold(&self, fill: Arc<Fill>) {
        {
            let mut open = self.open();
            if open.fills.len() >= MAX_FILLS {
                return;
            }
            open.fills.push(fill);
        }
        self.wanted.notify_one();
    }

    /// Has a record loaded anew when it is next asked for.
    pub(super) fn forget(&self, id: CredentialId) {
        self.open().forgotten.push(id);
        self.wanted.notify_one();
    }

    /// Waits until there is something to do.
    pub(super) async fn work(&self) -> Work {
        loop {
            {
                let mut open = self.open();
                let work = Work {
                    fills: std::mem::take(&mut open.fills),
                    forgotten: std::mem::take(&mut open.forgotten),
                    round: open.waiters > 0 || open.refresh,
                };
                if work.round || !work.fills.is_empty() || !work.forgotten.is_empty() {
                    return work;
                }
            }
            self.wanted.notified().await;
        }
    }

    /// Takes the batch, and how many wait in it; who comes from now on waits for
    /// the next one.
    pub(super) fn take(&self) -> (Arc<Batch>, usize) {
        let mut open = self.open();
        open.refresh = false;
        (std::mem::take(&mut open.batch), std::mem::take(&mut open.waiters))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// Tells all who wait.
    pub(super) fn finish(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            self.done.notify_waiters();
        }
    }

    async fn finished(&self) -> Outcome {
        // It counts from here on, whether or not it was polled.
        let done = self.done.notified();
        if let Some(outcome) = self.outcome.get() {
            outcome.clone()
        } else {
            done.await;
            self.outcome.get().cloned().expect("a batch is finished before its waiters are woken")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{
            policy::{Document, Policy},
            time::Timestamp,
        },
        store::Head,
    };

    #[tokio::test]
    async fn while_a_round_takes_long_not_everything_that_is_loaded_waits() {
        let inbox = Inbox::default();
        let fill = Arc::new(Fill {
            head: Head { epoch: Uuid::nil(), revision: 0, tag: Uuid::nil() },
            time: Timestamp::MAX,
            policy: Arc::new(Policy::new(Document::default()).expect("well-formed")),
            records: HashMap::new(),
            holders: HashMap::new(),
        });
        for _ in 0..2 * MAX_FILLS {
            inbox.hold(fill.clone());
        }
        assert_eq!(inbox.work().await.fills.len(), MAX_FILLS);
        inbox.hold(fill);
        assert_eq!(inbox.work().await.fills.len(), 1);
    }

    #[tokio::test]
    async fn whoever_comes_after_the_batch_was_taken_waits_for_the_next() {
        let inbox = Arc::new(Inbox::default());
        let wait = || {
            let inbox = inbox.clone();
            tokio::spawn(async move { inbox.confirmed().await })
        };
        let early = wait();
        assert!(inbox.work().await.round);
        let (batch, waiters) = inbox.take();
        assert_eq!(waiters, 1);

        let late = wait();
        assert!(inbox.work().await.round);
        batch.finish(Ok(()));
        assert!(early.await.expect("no panic").is_ok());
        assert!(!late.is_finished(), "its round has not begun");
        let (batch, waiters) = inbox.take();
        assert_eq!(waiters, 1);
        batch.finish(Err(Arc::new(store::Error::TimedOut)));
        assert!(late.await.expect("no panic").is_err());
    }
}
