//! Waiting for what another does: its condition is looked at again and again,
//! within a bound.

use std::time::{Duration, Instant};

/// The most that is waited.
const PATIENCE: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_millis(10);

/// Returns once the condition holds; fails where it does not in time.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "this did not come about: {what}");
        tokio::time::sleep(EVERY).await;
    }
}

/// The same, outside a runtime.
pub(crate) fn until_blocking(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "this did not come about: {what}");
        std::thread::sleep(EVERY);
    }
}
