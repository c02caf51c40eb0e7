//! When is what has ended removed? Every now and then, until the service ends.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    settings::Retention,
    store::{Purged, Store},
    telemetry::told_of,
};

/// Removes what is past its retention, once at the start and then at each
/// interval.
pub(super) async fn run(store: Store, retention: Retention, sign_in_window: Duration, stop: CancellationToken) {
    let mut ticks = interval(retention.interval.0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = store.purge_attempts(sign_in_window).await {
            let error = told_of(&error);
            tracing::warn!(error, "removing what was counted of sign-ins failed");
        }
        match store.purge_audit(retention.audit.0).await {
            Ok(0) => {}
            Ok(events) => tracing::info!(events, "removed audit events that were past their retention"),
            Err(error) => {
                let error = told_of(&error);
                tracing::warn!(error, "removing audit events that are past their retention failed");
            }
        }
        match store.purge(retention.ended.0, retention.changes.0).await {
            Ok(purged) if purged == Purged::default() => {}
            Ok(Purged { credentials, secrets, changes, signing_keys }) => {
                tracing::info!(credentials, secrets, changes, signing_keys, "removed what was past its retention");
            }
            Err(error) => {
                tracing::warn!(error = told_of(&error), "removing what is past its retention failed");
            }
        }
    }
}
