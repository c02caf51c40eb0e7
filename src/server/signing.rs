//! When is a new signing key made? At the start where there is none, and by
//! whichever server first finds that the current one is too old or lost.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    authority::bootstrap::{self, NewKeyReason, SigningKeyState},
    domain::{keys::Keys, signing::SigningKeyId},
    keys::KeysAtHand,
    store::{self, Store},
    telemetry::told_of,
};

/// How soon it is noticed.
const EVERY: Duration = Duration::from_secs(5);

/// How old the key is that signs, as it was when it was last looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Age(Arc<Mutex<Option<(Instant, Duration)>>>);

impl Age {
    /// None where this server does not see to it.
    pub(super) fn now(&self) -> Option<Duration> {
        let seen = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.map(|(then, age)| age + then.elapsed())
    }

    fn see(&self, age: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = age.map(|age| (Instant::now(), age));
    }
}

/// Looks, and says what was done.
pub(super) async fn ensure(store: &Store, keys: &Keys, lifetime: Duration, age: &Age) -> Result<(), bootstrap::Error> {
    match bootstrap::ensure_signing_key(store, keys, lifetime).await? {
        SigningKeyState::Good(old) => age.see(Some(old)),
        SigningKeyState::Made(id, reason) => {
            say(&id, reason);
            age.see(Some(Duration::ZERO));
        }
        SigningKeyState::Others => age.see(None),
    }
    Ok(())
}

/// Looks again and again, until `stop`.
pub(super) async fn follow(store: Store, keys: Arc<KeysAtHand>, lifetime: Duration, age: Age, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let at_hand = keys.now().clone();
        let (database, age) = (store.clone(), age.clone());
        let looked = store.change(async move { ensure(&database, &at_hand, lifetime, &age).await });
        match looked.await {
            // Where the database does not answer, the health check says so.
            Ok(()) | Err(bootstrap::Error::Store(store::Error::Unavailable(_) | store::Error::TimedOut)) => {}
            Err(error) => {
                tracing::warn!(error = told_of(&error), "the signing key was not looked at");
            }
        }
    }
}

fn say(kid: &SigningKeyId, reason: NewKeyReason) {
    match reason {
        NewKeyReason::First => tracing::info!(%kid, "the first signing key was made"),
        NewKeyReason::TooOld => tracing::info!(%kid, "the signing key was too old: another takes its place"),
        NewKeyReason::Asked => tracing::info!(%kid, "another signing key takes the place of the one before"),
        NewKeyReason::Unreadable => tracing::warn!(
            %kid,
            "the signing key was sealed under a master key that is not here: another takes its place"
        ),
    }
}
