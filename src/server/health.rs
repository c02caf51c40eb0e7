//! Can it answer? Asks the database, and tells health checks and `/readyz`.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{grpc, store::Store};

const EVERY: Duration = Duration::from_millis(500);
const WITHIN: Duration = Duration::from_secs(1);

/// Asks again and again until `stop`; then says that nothing is served, and
/// lets those go who watch: their streams would keep the server from ending.
pub(super) async fn watch(
    store: Store,
    mut health: HealthReporter,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => look_once(&store, &health, &ready).await,
        }
    }
    tell(&health, &ready, false).await;
    for service in names() {
        health.clear_service_status(service).await;
    }
}

/// What can be asked for: each service, and by the empty name the server as a
/// whole.
fn names() -> impl Iterator<Item = &'static str> {
    grpc::SERVICES.into_iter().chain([""])
}

/// Asks once.
pub(super) async fn look_once(store: &Store, health: &HealthReporter, ready: &watch::Sender<bool>) {
    let answers = match timeout(WITHIN, store.check()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tell_change(ready, Some(&error));
            false
        }
        Err(_) => {
            tell_change(ready, None);
            false
        }
    };
    if answers && !*ready.borrow() {
        tracing::info!("the database answers");
    }
    tell(health, ready, answers).await;
}

fn tell_change(ready: &watch::Sender<bool>, error: Option<&crate::store::Error>) {
    if *ready.borrow() {
        let error = error.map(|error| error as &(dyn std::error::Error + 'static));
        tracing::error!(error, "the database does not answer: not serving");
    }
}

async fn tell(health: &HealthReporter, ready: &watch::Sender<bool>, answers: bool) {
    let status = if answers { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in names() {
        health.set_service_status(service, status).await;
    }
    ready.send_replace(answers);
}
