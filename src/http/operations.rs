//! Does the process live, can it answer, and what does it measure?

use axum::{
    Router,
    extract::{FromRef, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::sync::watch;

use crate::telemetry::{Meters, told_of};

/// Prometheus's text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Told {
    ready: watch::Receiver<bool>,
    meters: Meters,
}

impl FromRef<Told> for watch::Receiver<bool> {
    fn from_ref(told: &Told) -> Self {
        told.ready.clone()
    }
}

impl FromRef<Told> for Meters {
    fn from_ref(told: &Told) -> Self {
        told.meters.clone()
    }
}

/// Open to all. `ready` tells whether the service answers.
pub(super) fn routes(ready: watch::Receiver<bool>, meters: Meters) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Told { ready, meters })
}

/// The process lives.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The service can answer: the database does.
async fn readyz(State(ready): State<watch::Receiver<bool>>) -> (StatusCode, &'static str) {
    if *ready.borrow() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

/// What is measured.
async fn metrics(State(meters): State<Meters>) -> impl IntoResponse {
    match meters.prometheus() {
        Ok(told) => (StatusCode::OK, [(CONTENT_TYPE, TEXT)], told),
        Err(error) => {
            tracing::error!(error = told_of(&error), "metrics cannot be told");
            (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, TEXT)], "metrics cannot be told\n".to_owned())
        }
    }
}
