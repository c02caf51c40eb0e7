//! What is collected in memory is written down by tasks of their own, which write a
//! last time when all calls have ended.

use std::time::Duration;

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long the last writing may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A task that writes.
#[derive(Debug)]
pub(super) struct Writer {
    // What it writes, for the log.
    what: &'static str,
    task: JoinHandle<()>,
    calls_ended: CancellationToken,
}

impl Writer {
    /// Starts what `run` makes, which ends after it was told that all calls have
    /// ended.
    pub(super) fn start<F>(what: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let calls_ended = CancellationToken::new();
        let task = tokio::spawn(run(calls_ended.clone()));
        Self { what, task, calls_ended }
    }

    /// Writes a last time. No call is in flight any more.
    pub(super) async fn end(mut self) {
        self.calls_ended.cancel();
        if timeout(END_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("the last {} were not written in time, and are lost", self.what);
            self.task.abort();
        }
    }
}
