//! Threads for long computations, to which the scheduler prefers all that answers
//! calls: they take what processors have left, and a tenth of one where nothing is
//! left.

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// How nice they are, of 19: each step is worth a fifth of the processor time.
const NICENESS: i32 = 10;

/// A bounded number of such threads.
#[derive(Debug)]
pub(super) struct Background(Option<Runtime>);

impl Background {
    /// At most `threads` at a time; they start when they are needed.
    pub(super) fn new(name: &str, threads: usize) -> Self {
        let runtime = Builder::new_current_thread()
            .thread_name(name)
            .max_blocking_threads(threads)
            .on_thread_start(give_way)
            .build();
        Self(Some(runtime.expect("it opens nothing that could be lacking")))
    }

    /// Computes on one of them. Once begun, it is not cancelled.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().expect("it is taken when it is dropped").spawn_blocking(work)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Asynchronous code may drop it, and must not wait for a thread.
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of this thread. Where that cannot be done, it goes on as it
/// was.
#[cfg(target_os = "linux")]
fn give_way() {
    // Linux takes a thread for what POSIX calls a process here.
    let _ = rustix::process::nice(NICENESS);
}

/// Elsewhere it would be the whole process's.
#[cfg(not(target_os = "linux"))]
fn give_way() {}
