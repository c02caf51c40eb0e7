//! What others have to know before they come: the authorization server's metadata
//! (RFC 8414) and the public keys (RFC 7517), both open to all.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};

use super::{door::Doors, trouble::Trouble};

const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

/// What is told of the service itself.
#[derive(Clone, Debug)]
pub struct Metadata {
    issuer: String,
    // None: the issuer is no URL, and others cannot know where to go.
    document: Option<serde_json::Value>,
}

impl Metadata {
    /// Of a service that calls itself `issuer`, where clients may have certificates.
    pub fn new(issuer: &str, takes_certificates: bool) -> Self {
        let document = is_url(issuer).then(|| document(issuer, takes_certificates));
        Self { issuer: issuer.to_owned(), document }
    }

    /// The name of the service.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }
}

pub(super) async fn metadata(State(doors): State<Arc<Doors>>) -> Response {
    match &doors.metadata.document {
        Some(document) => Json(document.clone()).into_response(),
        None => {
            let problem = "there is no metadata: sessions.issuer is not a URL";
            Trouble::new(StatusCode::NOT_FOUND, "NO_METADATA", problem).plain()
        }
    }
}

pub(super) async fn jwks(State(doors): State<Arc<Doors>>) -> Response {
    match doors.authority.jwks().await {
        Ok(jwks) => ([(CONTENT_TYPE, JWK_SET)], jwks.to_string()).into_response(),
        Err(error) => Trouble::from(error).plain(),
    }
}

/// Section 2: it has no query and no fragment.
fn is_url(issuer: &str) -> bool {
    let parsed = issuer.parse::<Uri>().ok().filter(|uri| uri.query().is_none() && !issuer.contains('#'));
    parsed.is_some_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some())
}

/// There is no authorization endpoint and no token endpoint: nobody is sent here to
/// be asked.
fn document(issuer: &str, takes_certificates: bool) -> serde_json::Value {
    let base = issuer.trim_end_matches('/');
    let mut ways = vec!["client_secret_basic"];
    ways.extend(takes_certificates.then_some("tls_client_auth"));
    // At introspection, the types of access tokens count among them.
    let introspection_ways: Vec<_> = ways.iter().copied().chain(["Bearer"]).collect();
    serde_json::json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "response_types_supported": [],
        "grant_types_supported": [],
        "introspection_endpoint": format!("{base}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": introspection_ways,
        "revocation_endpoint": format!("{base}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": ways,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_url_has_metadata() {
        for url in ["https://auth.example.org", "https://auth.example.org/", "http://127.0.0.1:8080", "https://x/y"] {
            let document = Metadata::new(url, false).document.expect("it is a URL");
            assert_eq!(document["issuer"], url);
            let endpoint = document["introspection_endpoint"].as_str().expect("text");
            assert_eq!(endpoint, format!("{}/oauth2/introspect", url.trim_end_matches('/')));
        }
        for none in ["token-authority", "", "urn:x", "https://x?y", "https://x#y", "ftp://x", "/path"] {
            assert!(Metadata::new(none, false).document.is_none(), "{none}");
        }
    }
}
