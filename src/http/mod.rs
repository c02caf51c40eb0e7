//! The HTTP door: whether the process lives, and whether it can answer.

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::sync::watch;

/// The routes. `ready` tells whether the database answers.
pub fn routes(ready: watch::Receiver<bool>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(ready)
}

/// The process lives.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The service can answer: the database does.
async fn readyz(State(ready): State<watch::Receiver<bool>>) -> (StatusCode, &'static str) {
    if *ready.borrow() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}
