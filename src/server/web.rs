//! Calls from browsers: gRPC-Web, for the pages of origins that the settings name.
//! A browser asks first whether a page may call (CORS, the Fetch standard); nothing
//! is let in by that: each call still shows its credential.

use std::time::Duration;

use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use tonic_web::GrpcWebLayer;
use tower_http::cors::CorsLayer;

use super::tls::Speaks;
use crate::settings;

/// What is spoken on the gRPC port: browsers may not come over HTTP/2.
pub(super) fn speaks(settings: &settings::Grpc) -> Speaks {
    if settings.web.allowed_origins.is_empty() { Speaks::Http2 } else { Speaks::Both }
}

/// How long a browser may remember that a page may call.
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
