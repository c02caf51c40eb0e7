//! Refusals in the words of OAuth 2.0 (RFC 6749, section 5.2; RFC 6750, section
//! 3; RFC 7009, section 2.2.1; RFC 7662, section 2.3).

use axum::{
    http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE},
    response::Response,
};

use super::{
    door::Shown,
    trouble::{BEARER, Trouble},
};

/// Where a credential is wanted as a password (RFC 7617, section 2.1).
const BASIC: &str = r#"Basic realm="token-authority", charset="UTF-8""#;
const INVALID_TOKEN: &str = r#"Bearer realm="token-authority", error="invalid_token""#;
const INSUFFICIENT_SCOPE: &str = r#"Bearer realm="token-authority", error="insufficient_scope""#;

/// What a caller is told that came in this way.
pub(super) fn refused(trouble: Trouble, shown: &Shown) -> Response {
    let by_bearer = matches!(shown, Shown::Bearer(_));
    let challenges: &[&'static str] = match (trouble.status, shown) {
        (StatusCode::UNAUTHORIZED, Shown::Bearer(_)) => &[INVALID_TOKEN],
        (StatusCode::UNAUTHORIZED, Shown::Basic(_)) => &[BASIC],
        // It is to choose.
        (StatusCode::UNAUTHORIZED, Shown::Nothing | Shown::Unreadable | Shown::Certificate(_)) => &[BASIC, BEARER],
        (StatusCode::FORBIDDEN, Shown::Bearer(_)) => &[INSUFFICIENT_SCOPE],
        _ => &[],
    };
    let error = match trouble.status {
        StatusCode::UNAUTHORIZED if by_bearer => "invalid_token",
        StatusCode::UNAUTHORIZED => "invalid_client",
        StatusCode::FORBIDDEN if by_bearer => "insufficient_scope",
        StatusCode::FORBIDDEN => "unauthorized_client",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        StatusCode::INTERNAL_SERVER_ERROR => "server_error",
        _ if trouble.code == "DESKTOP_SESSION_VIEW_ONLY" => "unsupported_token_type",
        _ => "invalid_request",
    };
    let body = serde_json::json!({ "error": error, "error_description": trouble.message });
    let mut response = trouble.with(body);
    for challenge in challenges {
        response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
