//! What is here? A document for people and generators (OpenAPI 3.1), kept by hand
//! and held to the routes by tests.

use axum::{http::header::CONTENT_TYPE, response::IntoResponse};

use super::body::JSON;

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, JSON)], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::ROUTES;

    #[test]
    fn every_route_is_documented_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let documented: BTreeSet<_> =
            document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
        assert_eq!(documented, BTreeSet::from(ROUTES));
    }
}
