//! Does the process live, can it answer, and what does it measure?

use axum::{
    Router,
    extract::State,
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
async fn readyz(State(told): State<Told>) -> (StatusCode, &'static str) {
    if *told.ready.borrow() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

/// What is measured.
async fn metrics(State(told): State<Told>) -> impl IntoResponse {
    match told.meters.prometheus() {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, TEXT)], text),
        Err(error) => {
            tracing::error!(error = told_of(&error), "metrics cannot be told");
            (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, TEXT)], "metrics cannot be told\n".to_owned())
        }
    }
}
