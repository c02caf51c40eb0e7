//! Who does what many wait for? A bounded number of workers, each of whom takes
//! all that waits, up to a bound, and does it in one. Where one follows upon the
//! other they are paced, as rounds are, so that each takes many: a flood costs
//! little, and delays nobody else. A job that comes alone does not wait.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// What workers do.
pub(super) trait Work: Send + Sync + 'static {
    /// What somebody waits for, and how it is told to them.
    type Job: Send;
    /// So many work at a time.
    const WORKERS: usize;
    /// One takes jobs of so much size together; one job is never parted.
    const MAX_SIZE: usize;
    /// So many jobs may wait.
    const MAX_WAITING: usize;

    /// How much a job is.
    fn size(job: &Self::Job) -> usize;

    /// Does these in one.
    fn work(&self, jobs: Vec<Self::Job>) -> impl Future<Output = ()> + Send;
}

/// The workers, and what waits for them.
pub(super) struct Pool<W: Work>(Arc<Inner<W>>);

struct Inner<W: Work> {
    work: W,
    interval: Duration,
    queue: Mutex<Queue<W::Job>>,
}

struct Queue<J> {
    waiting: VecDeque<J>,
    workers: usize,
    // When the next may begin; none: at once.
    next: Option<Instant>,
}

/// Too many jobs wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full;

/// A worker's place, which is given back even where it panics.
struct Place<W: Work>(Option<Pool<W>>);

impl<W: Work> Drop for Place<W> {
    fn drop(&mut self) {
        let Some(pool) = self.0.take() else {
            return;
        };
        let mut queue = pool.queue();
        if std::thread::panicking() && !queue.waiting.is_empty() {
            // Somebody has to do what waits.
            drop(queue);
            tokio::spawn(pool.clone().serve(Self(Some(pool))));
        } else {
            queue.workers -= 1;
        }
    }
}

impl<W: Work> Clone for Pool<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Work> fmt::Debug for Pool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl<W: Work> Pool<W> {
    /// Workers that begin at least `interval` apart where they are busy.
    pub(super) fn new(work: W, interval: Duration) -> Self {
        let queue = Queue { waiting: VecDeque::new(), workers: 0, next: None };
        Self(Arc::new(Inner { work, interval, queue: Mutex::new(queue) }))
    }

    /// Has a job done by a worker who begins after this call.
    pub(super) fn push(&self, job: W::Job) -> Result<(), Full> {
        let mut queue = self.queue();
        if queue.waiting.len() >= W::MAX_WAITING {
            return Err(Full);
        }
        queue.waiting.push_back(job);
        if queue.workers < W::WORKERS {
            queue.workers += 1;
            tokio::spawn(self.clone().serve(Place(Some(self.clone()))));
        }
        Ok(())
    }

    async fn serve(self, mut place: Place<W>) {
        loop {
            let next = self.queue().next;
            if let Some(next) = next.filter(|next| *next > Instant::now()) {
                sleep_until(next).await;
                // Another one may have begun by now.
                continue;
            }
            let jobs = {
                let mut queue = self.queue();
                let jobs = queue.take::<W>();
                if jobs.is_empty() {
                    // Within the same lock: who comes next starts another worker.
                    queue.workers -= 1;
                    place.0 = None;
                    return;
                }
                let is_alone = jobs.len() == 1 && queue.workers == 1;
                queue.next = (!is_alone).then(|| Instant::now() + self.0.interval);
                jobs
            };
            self.0.work.work(jobs).await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<W::Job>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Queue<J> {
    fn take<W: Work<Job = J>>(&mut self) -> Vec<J> {
        let mut jobs = Vec::new();
        let mut size = 0;
        while let Some(job) = self.waiting.pop_front_if(|job| jobs.is_empty() || size + W::size(job) <= W::MAX_SIZE) {
            size += W::size(&job);
            jobs.push(job);
        }
        jobs
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// Tells of what is done in one.
    struct Tell(mpsc::UnboundedSender<Vec<usize>>);

    impl Work for Tell {
        type Job = usize;
        const WORKERS: usize = 2;
        const MAX_SIZE: usize = 10;
        const MAX_WAITING: usize = 20;

        fn size(job: &usize) -> usize {
            *job
        }

        async fn work(&self, jobs: Vec<usize>) {
            assert!(!jobs.contains(&0), "a job that panics");
            self.0.send(jobs).expect("somebody listens");
        }
    }

    fn pool(interval: Duration) -> (Pool<Tell>, mpsc::UnboundedReceiver<Vec<usize>>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Pool::new(Tell(tell), interval), told)
    }

    #[tokio::test]
    async fn what_waits_is_done_in_one_up_to_a_bound_and_no_job_is_parted() {
        let (pool, mut told) = pool(Duration::ZERO);
        for size in [4, 6, 30, 1, 2] {
            pool.push(size).expect("there is room");
        }
        for together in [vec![4, 6], vec![30], vec![1, 2]] {
            assert_eq!(told.recv().await, Some(together));
        }
    }

    #[tokio::test]
    async fn one_alone_does_not_wait_and_those_behind_each_other_are_paced() {
        // Longer than any test.
        let (pool, mut told) = pool(Duration::from_hours(1));
        for _ in 0..3 {
            pool.push(1).expect("there is room");
            assert_eq!(told.recv().await, Some(vec![1]));
        }
        for _ in 0..2 {
            pool.push(1).expect("there is room");
        }
        assert_eq!(told.recv().await, Some(vec![1, 1]));
        pool.push(1).expect("there is room");
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(told.try_recv().is_err(), "it waits");
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let (pool, _told) = pool(Duration::ZERO);
        let pushed = (0..=Tell::MAX_WAITING).filter(|_| pool.push(1).is_ok()).count();
        assert_eq!(pushed, Tell::MAX_WAITING);
    }

    #[tokio::test]
    async fn a_worker_that_panics_gives_its_place_back() {
        let (pool, mut told) = pool(Duration::ZERO);
        for _ in 0..=Tell::WORKERS {
            pool.push(0).expect("there is room");
            while pool.queue().workers > 0 {
                tokio::task::yield_now().await;
            }
        }
        pool.push(1).expect("there is room");
        assert_eq!(told.recv().await, Some(vec![1]));

        // What waits behind those that panic is done, too.
        for job in [0, 30, 0, 30] {
            pool.push(job).expect("there is room");
        }
        assert_eq!(told.recv().await, Some(vec![30]));
        assert_eq!(told.recv().await, Some(vec![30]));
    }
}
