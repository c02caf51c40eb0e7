//! When is the audit trail told of what was refused? At each interval, and when
//! all calls have ended. What cannot be written is kept, and tried again.

use std::time::Duration;

use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{authority::Refusals, store::Store};

/// How long the last writing may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes refusals down, in a task of its own.
#[derive(Debug)]
pub(super) struct Writer {
    task: JoinHandle<()>,
    calls_ended: CancellationToken,
}

impl Writer {
    /// Writes at each interval from now on.
    pub(super) fn start(store: Store, refusals: Refusals, every: Duration) -> Self {
        let calls_ended = CancellationToken::new();
        let task = tokio::spawn(run(store, refusals, every, calls_ended.clone()));
        Self { task, calls_ended }
    }

    /// Writes a last time. No call is in flight any more.
    pub(super) async fn end(mut self) {
        self.calls_ended.cancel();
        if timeout(END_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("the audit trail was not told in time of the last refusals");
            self.task.abort();
        }
    }
}

async fn run(store: Store, refusals: Refusals, every: Duration, calls_ended: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_last = false;
    while !is_last {
        tokio::select! {
            () = calls_ended.cancelled() => is_last = true,
            _ = ticks.tick() => {}
        }
        if let Err(error) = refusals.write(&store).await {
            let what_of_them = if is_last { "are lost" } else { "are kept and tried again" };
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the audit trail was not told of refusals, and they {what_of_them}");
        }
    }
}
