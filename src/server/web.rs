//! Calls from browsers: gRPC-Web, for the pages of origins that the settings name.
//! A browser asks first whether a page may call (CORS, the Fetch standard, section
//! 3.2); nothing is let in by that: each call still shows its credential.

use std::time::Duration;

use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use tonic_web::GrpcWebLayer;
use tower_http::cors::CorsLayer;

/// How long a browser may remember that a page may call: none does for longer.
const MAX_AGE: Duration = Duration::from_hours(2);

/// What clients of gRPC-Web send, and what they must be able to read. None of it is
/// a cookie: a credential is sent by the page itself, or not at all.
const SENT: [HeaderName; 6] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-user-agent"),
];
const READ: [HeaderName; 4] = [
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("x-request-id"),
];

/// Answers browsers that ask, and turns their calls into gRPC; none where there is
/// no origin.
pub(super) fn layer(origins: Vec<HeaderValue>) -> Option<(CorsLayer, GrpcWebLayer)> {
    if origins.is_empty() {
        return None;
    }
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(SENT)
        .expose_headers(READ)
        .max_age(MAX_AGE);
    Some((cors, GrpcWebLayer::new()))
}
