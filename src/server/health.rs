//! Can it serve? Asks the database, looks whether the current master key is at
//! hand, and tells health checks and `/readyz`.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    grpc,
    keys::KeysAtHand,
    store::{self, Store},
    telemetry::told_of,
};

const EVERY: Duration = Duration::from_millis(500);
const WITHIN: Duration = Duration::from_secs(1);

/// Where the answer is told.
pub(super) struct Board {
    health: HealthReporter,
    ready: watch::Sender<bool>,
}

impl Board {
    /// Tells the first answer.
    pub(super) async fn new(health: HealthReporter, ready: watch::Sender<bool>, serves: bool) -> Self {
        let board = Self { health, ready };
        board.tell(serves).await;
        board
    }

    async fn tell(&self, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in names() {
            self.health.set_service_status(service, status).await;
        }
        self.ready.send_replace(serves);
    }
}

/// What can be asked for: each service, the one that Envoy asks among them, and by
/// the empty name the server as a whole.
fn names() -> impl Iterator<Item = &'static str> {
    grpc::SERVICES.into_iter().chain([grpc::AUTHORIZATION, ""])
}

/// Asks again and again until the server is `leaving`, and tells what changed; then
/// says that nothing is served. At `stop` it lets those go who watch: their streams
/// would keep the server from ending.
pub(super) async fn watch(
    store: Store,
    keys: Arc<KeysAtHand>,
    mut board: Board,
    leaving: CancellationToken,
    stop: CancellationToken,
) {
    let mut answered = *board.ready.borrow();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while leaving.run_until_cancelled(ticks.tick()).await.is_some() {
        let answer = ask(&store).await;
        match (answered, &answer) {
            (true, Err(error)) => {
                tracing::error!(error = told_of(error), "the database does not answer: not serving");
            }
            (false, Ok(())) => tracing::info!("the database answers again"),
            (true, Ok(())) | (false, Err(_)) => {}
        }
        answered = answer.is_ok();
        // Where the key is missing, whoever looks for it says so.
        let serves = answered && keys.now().current().is_ok();
        let served = *board.ready.borrow();
        if serves != served {
            board.tell(serves).await;
        }
    }
    board.tell(false).await;
    stop.cancelled().await;
    for service in names() {
        board.health.clear_service_status(service).await;
    }
}

/// Asks once.
pub(super) async fn ask(store: &Store) -> Result<(), store::Error> {
    timeout(WITHIN, store.check()).await.unwrap_or(Err(store::Error::TimedOut))
}
