//! Who may hash now? bcrypt is slow on purpose: it runs on a bounded set of
//! threads behind a bounded queue, and never delays anybody who does not need
//! it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::background::Background;

use crate::{
    domain::{credential::Secret, digest::BcryptHash, legacy::Legacy, password::Password},
    telemetry::TRACED,
};

/// When a caller that found the queue full may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The threads and the queue before them.
#[derive(Clone)]
pub struct Bcrypt {
    cost: u32,
    background: Arc<Background>,
    // One for each thread.
    threads: Arc<Semaphore>,
    // One for each thread and each place in the queue.
    places: Arc<Semaphore>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    threads: usize,
    queue: usize,
    runs: AtomicU64,
    nanos: AtomicU64,
    refused: AtomicU64,
}

/// How busy the threads are, and were.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Runs under way.
    pub running: usize,
    /// Runs that wait for a thread.
    pub queued: usize,
    /// How many may be under way.
    pub threads: usize,
    /// How many may wait.
    pub queue: usize,
    /// How long all runs took together.
    pub time: Duration,
    /// How many found the queue full.
    pub refused: u64,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many secrets are waiting to be hashed")]
pub struct Busy {
    /// When to try again.
    pub retry_after: Duration,
}

impl Busy {
    pub(super) fn now() -> Self {
        Self { retry_after: RETRY_AFTER }
    }
}

impl Bcrypt {
    /// Hashes at `cost` (4 to 31, each step doubling the work), `threads` at a
    /// time, with at most `queue` more waiting.
    pub fn new(cost: u32, threads: usize, queue: usize) -> Self {
        Self {
            cost,
            background: Arc::new(Background::new("bcrypt", threads)),
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(threads + queue)),
            counts: Arc::new(Counts {
                threads,
                queue,
                runs: AtomicU64::new(0),
                nanos: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }),
        }
    }

    /// What a hash costs.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Hashes a secret, to be stored.
    pub async fn hash(&self, secret: Secret) -> Result<BcryptHash, Busy> {
        let cost = self.cost;
        self.run(move || {
            // A secret is 32 ASCII characters without NUL: bcrypt takes all of
            // it, and fails only on a cost that the settings do not allow.
            let hash = bcrypt::non_truncating_hash(secret.expose(), cost).expect("the cost was checked");
            BcryptHash::from_stored(hash)
        })
        .await
    }

    /// Whether a secret is the one that was hashed. A hash that cannot be read
    /// is nobody's.
    pub async fn verify(&self, unverified: Secret, hash: BcryptHash) -> Result<bool, Busy> {
        self.run(move || bcrypt::non_truncating_verify(unverified.expose(), hash.expose()).unwrap_or(false)).await
    }

    /// Whether another system hashed this. What bcrypt would take a part of alone
    /// is nobody's.
    pub async fn verify_legacy(&self, unverified: Legacy, hash: BcryptHash) -> Result<bool, Busy> {
        if !unverified.may_be_hashed() {
            return Ok(false);
        }
        self.run(move || {
            let whole = unverified.plaintext().expose();
            bcrypt::non_truncating_verify(whole, hash.expose()).unwrap_or(false)
        })
        .await
    }

    /// Hashes a password, to be stored.
    pub async fn hash_password(&self, password: Password) -> Result<BcryptHash, Busy> {
        let cost = self.cost;
        self.run(move || {
            // A password is at most 71 bytes without NUL.
            let hash = bcrypt::non_truncating_hash(password.expose(), cost).expect("the cost was checked");
            BcryptHash::from_stored(hash)
        })
        .await
    }

    /// Whether a password is the one that was hashed. Where what was typed can be
    /// none, or there is no hash, it is not, after as much work.
    pub async fn verify_password(&self, unverified: Option<Password>, hash: Option<BcryptHash>) -> Result<bool, Busy> {
        let may_match = unverified.is_some() && hash.is_some();
        let hash = hash.unwrap_or_else(|| nobodys_hash(self.cost));
        self.run(move || {
            let password = unverified.as_ref().map_or(&b"no password"[..], Password::expose);
            let matches = bcrypt::non_truncating_verify(password, hash.expose()).unwrap_or(false);
            may_match && matches
        })
        .await
    }

    /// How often bcrypt ran.
    pub fn runs(&self) -> u64 {
        self.counts.runs.load(Ordering::Relaxed)
    }

    /// How busy the threads are.
    pub fn load(&self) -> Load {
        let Counts { threads, queue, runs: _, nanos, refused } = &*self.counts;
        let running = threads.saturating_sub(self.threads.available_permits());
        let taken = (threads + queue).saturating_sub(self.places.available_permits());
        Load {
            running,
            queued: taken.saturating_sub(running),
            threads: *threads,
            queue: *queue,
            time: Duration::from_nanos(nanos.load(Ordering::Relaxed)),
            refused: refused.load(Ordering::Relaxed),
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        self.run_here(work).instrument(tracing::info_span!(target: TRACED, "bcrypt")).await
    }

    async fn run_here<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let busy = Busy::now();
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            busy
        })?;
        let thread = self.threads.clone().acquire_owned().await.map_err(|_| busy)?;
        let counts = self.counts.clone();
        let task = self.background.spawn(move || {
            counts.runs.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let output = work();
            let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            counts.nanos.fetch_add(nanos, Ordering::Relaxed);
            // Given back by the thread itself: a caller that went away does not
            // let more of them run.
            drop((place, thread));
            output
        });
        match task.await {
            Ok(output) => Ok(output),
            Err(failure) => match failure.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Err(busy),
            },
        }
    }
}

/// A hash that can be read, and that no password is known to have.
fn nobodys_hash(cost: u32) -> BcryptHash {
    // Salt and hash of zeros.
    BcryptHash::from_stored(format!("$2b${cost:02}${}", ".".repeat(53)))
}

impl fmt::Debug for Bcrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bcrypt").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::draw(|bytes| {
            bytes.fill(byte);
            Ok::<_, Infallible>(())
        })
        .expect("infallible")
    }

    #[tokio::test]
    async fn a_hash_verifies_its_own_secret_alone() {
        let bcrypt = Bcrypt::new(4, 1, 8);
        let hash = bcrypt.hash(secret(1)).await.expect("there is room");
        assert!(bcrypt.verify(secret(1), hash.clone()).await.expect("there is room"));
        assert!(!bcrypt.verify(secret(2), hash).await.expect("there is room"));
        let unreadable = BcryptHash::from_stored("junk");
        assert!(!bcrypt.verify(secret(1), unreadable).await.expect("there is room"));
        assert_eq!(bcrypt.runs(), 4);
    }

    #[tokio::test]
    async fn a_password_that_can_be_none_takes_as_much_work() {
        let bcrypt = Bcrypt::new(4, 1, 8);
        let password = || Password::new("correct horse").ok();
        let hash = bcrypt.hash_password(password().expect("well-formed")).await.expect("there is room");
        assert!(bcrypt.verify_password(password(), Some(hash.clone())).await.expect("there is room"));
        let wrong = Password::new("battery staple").ok();
        for (password, hash) in [(wrong, Some(hash.clone())), (None, Some(hash)), (password(), None), (None, None)] {
            let runs = bcrypt.runs();
            assert!(!bcrypt.verify_password(password, hash).await.expect("there is room"));
            assert_eq!(bcrypt.runs(), runs + 1);
        }
        // It is read: an unreadable one would be answered without any work.
        let parts: bcrypt::HashParts = nobodys_hash(12).expose().parse().expect("it can be read");
        assert_eq!(parts.get_cost(), 12);
    }

    #[tokio::test]
    async fn beyond_the_queue_callers_are_told_to_come_back() {
        let bcrypt = Bcrypt::new(4, 1, 1);
        // Hold the only thread, so that nothing runs meanwhile.
        let thread = bcrypt.threads.clone().acquire_owned().await.expect("it is open");
        let waiting = tokio::spawn({
            let bcrypt = bcrypt.clone();
            async move { (bcrypt.hash(secret(1)).await, bcrypt) }
        });
        let also_waiting = tokio::spawn({
            let bcrypt = bcrypt.clone();
            async move { bcrypt.hash(secret(2)).await }
        });
        while bcrypt.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(bcrypt.hash(secret(3)).await.is_err());
        drop(thread);
        assert!(waiting.await.expect("no panic").0.is_ok());
        assert!(also_waiting.await.expect("no panic").is_ok());
    }
}
