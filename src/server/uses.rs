//! When are uses written down? Evenly over each interval those of the interval
//! before, sooner where there are many, and the rest when all calls have ended.
//! What cannot be written is kept, and tried again.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::writer::Writer;
use crate::{
    introspection::Uses,
    store::{self, MAX_USES, Store},
    telemetry::told_of,
};

/// Writes uses down at each interval from now on.
pub(super) fn write_down(store: Store, uses: Uses, every: Duration) -> Writer {
    Writer::start("uses", |calls_ended| run(store, uses, every, calls_ended))
}

async fn run(store: Store, uses: Uses, every: Duration, calls_ended: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut is_last, mut has_failed) = (false, false);
    while !is_last {
        tokio::select! {
            () = calls_ended.cancelled() => is_last = true,
            // What could not be written fills it up again.
            () = uses.fills_up(), if !has_failed => {}
            _ = ticks.tick() => {}
        }
        let written = write(&store, &uses, every, &calls_ended).await;
        has_failed = written.is_err();
        if let Err(error) = written {
            let what_of_them = if is_last { "are lost" } else { "are kept and tried again" };
            tracing::warn!(error = told_of(&error), "uses were not written, and {what_of_them}");
        }
        match uses.take_lost() {
            0 => {}
            lost => tracing::warn!(lost, "more secrets were used in the interval than are kept count of"),
        }
    }
}

/// Writes what there is, in batches with pauses between them that come to
/// `duration`; without pauses once all calls have ended, or there are many again.
async fn write(
    store: &Store,
    uses: &Uses,
    duration: Duration,
    calls_ended: &CancellationToken,
) -> Result<(), store::Error> {
    let taken = uses.take();
    let batches = taken.len().div_ceil(MAX_USES);
    let mut pause = duration / u32::try_from(batches.max(1)).unwrap_or(u32::MAX);
    for (number, batch) in taken.chunks(MAX_USES).enumerate() {
        if number > 0 && !pause.is_zero() {
            tokio::select! {
                () = sleep(pause) => {}
                () = calls_ended.cancelled() => pause = Duration::ZERO,
                () = uses.fills_up() => pause = Duration::ZERO,
            }
        }
        // Where its outcome is not known, it may be added twice.
        if let Err(error) = store.add_uses(batch).await {
            uses.note_failure();
            uses.give_back(taken[number * MAX_USES..].iter().copied());
            return Err(error);
        }
        uses.note_written(batch);
    }
    Ok(())
}
