//! The HTTP doors, each in a file of its own, for programs that know its protocol
//! already: OAuth 2.0's endpoints, what gateways ask before they let a request
//! through, sign-in, and Kubernetes's webhook. Behind them is what is behind the
//! gRPC door: the same callers, the same table, the same engine. A handler goes
//! the same way: who calls, may it, what does it want, and only then the answer.

mod attempt;
mod body;
mod door;
mod introspect;
mod metadata;
mod oauth;
mod openapi;
mod operations;
mod parameters;
mod revoke;
mod sessions;
mod through;
mod token_review;
mod trouble;
mod verify;

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use tokio::sync::watch;

pub use self::{door::Doors, metadata::Metadata, through::Through, token_review::Kubernetes};
use crate::telemetry::Meters;

/// What is served, by its path. All are measured; those that operate the service
/// itself are not traced.
pub const ROUTES: [&str; 12] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/oauth2/introspect",
    "/oauth2/revoke",
    "/.well-known/oauth-authorization-server",
    "/.well-known/jwks.json",
    "/auth/verify",
    "/auth/sign-in",
    "/auth/sign-out",
    "/kubernetes/tokenreview",
    "/openapi.json",
];
/// What those ask who run the service.
const OPERATIONS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// All routes. `ready` tells whether the service answers.
pub fn routes(ready: watch::Receiver<bool>, meters: Meters, doors: Doors, through: Through) -> Router {
    Router::new()
        .route("/oauth2/introspect", post(introspect::introspect))
        .route("/oauth2/revoke", post(revoke::revoke))
        .route("/.well-known/oauth-authorization-server", get(metadata::metadata))
        .route("/.well-known/jwks.json", get(metadata::jwks))
        .route("/auth/verify", get(verify::verify))
        .route("/auth/sign-in", post(sessions::sign_in))
        .route("/auth/sign-out", post(sessions::sign_out))
        .route("/kubernetes/tokenreview", post(token_review::review))
        .route("/openapi.json", get(openapi::openapi))
        .with_state(Arc::new(doors))
        .merge(operations::routes(ready, meters))
        .layer(from_fn_with_state(through, through::through))
}
