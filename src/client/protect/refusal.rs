//! What is a request answered with that is not let through?

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};

/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    CredentialRequired,
    SeveralCredentials,
    CredentialInvalid,
    /// With the scopes that the route needs, separated by spaces.
    InsufficientScope(String),
    /// With what the authority asks to wait.
    AuthorityUnavailable(Option<Duration>),
    AuthorityRefused,
}

impl Refusal {
    pub(super) fn response<R: From<&'static str>>(&self) -> Response<R> {
        let (status, body) = self.told();
        let mut response = Response::new(R::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Self::AuthorityUnavailable(wait) = self {
            headers.insert(header::RETRY_AFTER, seconds(*wait).into());
        }
        response
    }

    fn told(&self) -> (StatusCode, &'static str) {
        match self {
            Self::CredentialRequired => {
                (StatusCode::UNAUTHORIZED, r#"{"error":"Present a credential","code":"CREDENTIAL_REQUIRED"}"#)
            }
            Self::SeveralCredentials => {
                (StatusCode::UNAUTHORIZED, r#"{"error":"Present one credential","code":"SEVERAL_CREDENTIALS"}"#)
            }
            Self::CredentialInvalid => {
                (StatusCode::UNAUTHORIZED, r#"{"error":"The credential is not good","code":"CREDENTIAL_INVALID"}"#)
            }
            Self::InsufficientScope(_) => {
                (StatusCode::FORBIDDEN, r#"{"error":"Insufficient scope","code":"INSUFFICIENT_SCOPE"}"#)
            }
            Self::AuthorityUnavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"error":"The request cannot be judged now","code":"AUTHORITY_UNAVAILABLE"}"#,
            ),
            Self::AuthorityRefused => (
                StatusCode::INTERNAL_SERVER_ERROR,
                r#"{"error":"The request cannot be judged","code":"AUTHORITY_REFUSED"}"#,
            ),
        }
    }

    /// RFC 6750, section 3: where nothing was presented, no error is named.
    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Self::CredentialRequired => Some(HeaderValue::from_static("Bearer")),
            Self::SeveralCredentials => Some(HeaderValue::from_static(r#"Bearer error="invalid_request""#)),
            Self::CredentialInvalid => Some(HeaderValue::from_static(r#"Bearer error="invalid_token""#)),
            Self::InsufficientScope(scopes) => {
                let challenge = format!(r#"Bearer error="insufficient_scope", scope="{scopes}""#);
                // A scope that no header can carry is no scope either: nobody has it.
                Some(HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer")))
            }
            Self::AuthorityUnavailable(_) | Self::AuthorityRefused => None,
        }
    }
}

/// Whole ones, from 1: sooner is no use to anybody.
fn seconds(wait: Option<Duration>) -> u64 {
    let wait = wait.unwrap_or_default();
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_is_rounded_up() {
        for (wait, told) in [
            (None, 1),
            (Some(Duration::ZERO), 1),
            (Some(Duration::from_millis(200)), 1),
            (Some(Duration::from_secs(7)), 7),
            (Some(Duration::from_millis(1_001)), 2),
        ] {
            assert_eq!(seconds(wait), told, "{wait:?}");
        }
    }
}
