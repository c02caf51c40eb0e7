//! When is the audit trail told of what was refused? At each interval, and when
//! all calls have ended. What cannot be written is kept, and tried again.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::writer::Writer;
use crate::{authority::Refusals, store::Store, telemetry::told_of};

/// Writes refusals down at each interval from now on.
pub(super) fn write_down(store: Store, refusals: Refusals, every: Duration) -> Writer {
    Writer::start("refusals", |calls_ended| run(store, refusals, every, calls_ended))
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
            let error = told_of(&error);
            tracing::warn!(error, "the audit trail was not told of refusals, and they {what_of_them}");
        }
    }
}
