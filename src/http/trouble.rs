//! Why does a request go no further? One place maps every refusal to a status and
//! the reason that the gRPC door gives; which words a door puts that into is its
//! own matter. What the caller may know and what the log must know are two
//! messages.

use std::time::Duration;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse as _, Response},
};

use crate::{
    authority::Error,
    caller::Refusal,
    introspection::{Busy, Fault},
    store,
    telemetry::told_of,
};

/// When to come back after a fault of the authority itself.
const RETRY_AFTER_FAULT: Duration = Duration::from_secs(1);

/// That a request goes no further, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) status: StatusCode,
    /// A constant, as in the contract's `ErrorInfo`.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// When to try again.
    pub(super) retry_after: Option<Duration>,
}

impl Trouble {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// A request that is not as its door wants it.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MALFORMED_REQUEST", message)
    }

    fn later(status: StatusCode, code: &'static str, message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(status, code, message) }
    }

    fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::later(StatusCode::SERVICE_UNAVAILABLE, code, message, RETRY_AFTER_FAULT)
    }

    /// A request that took too long.
    pub(super) fn not_answered_in_time() -> Self {
        Self::unavailable("NOT_ANSWERED_IN_TIME", "the service cannot answer now")
    }

    /// A fault that no second try mends.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the service failed")
    }

    fn bad_credential() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "CREDENTIAL_INVALID", "the credential is not good")
    }

    fn not_permitted() -> Self {
        Self::new(StatusCode::FORBIDDEN, "NOT_PERMITTED", "the caller may not do this")
    }

    /// Told to programs that know no protocol of errors: the words, and the code.
    pub(super) fn plain(self) -> Response {
        let body = serde_json::json!({ "error": self.message, "code": self.code });
        let mut response = self.with(body);
        if response.status() == StatusCode::UNAUTHORIZED {
            // Not Basic: a browser would ask its user for a password.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(BEARER));
        }
        response
    }

    /// Told with this body.
    pub(super) fn with(self, body: serde_json::Value) -> Response {
        let mut response = (self.status, Json(body)).into_response();
        if let Some(retry_after) = self.retry_after {
            // In whole seconds (RFC 9110, section 10.2.3), and not at once.
            let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        response
    }
}

/// Where a bearer credential is wanted (RFC 6750, section 3).
pub(super) const BEARER: &str = r#"Bearer realm="token-authority""#;

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoCredential => {
                Self::new(StatusCode::UNAUTHORIZED, "CREDENTIAL_REQUIRED", "a credential is wanted")
            }
            Refusal::BadCredential(_) => Self::bad_credential(),
            Refusal::NotPermitted(_) => Self::not_permitted(),
            Refusal::TooManyCalls { retry_after } => {
                Self::later(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_CALLS", refusal.to_string(), retry_after)
            }
            Refusal::Fault(Fault::Store(error)) => Self::from(&*error),
            Refusal::Fault(Fault::Busy(busy)) => busy.into(),
        }
    }
}

impl From<Busy> for Trouble {
    fn from(busy: Busy) -> Self {
        Self::later(StatusCode::SERVICE_UNAVAILABLE, "TOO_BUSY", busy.to_string(), busy.retry_after)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Refusal::from(fault).into()
    }
}

/// A fault of the database: never an answer, and mostly worth another try.
impl From<&store::Error> for Trouble {
    fn from(error: &store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) | store::Error::TimedOut | store::Error::Standby => {}
            store::Error::Overloaded => {
                tracing::warn!("too much is waiting for the database");
                return Self::unavailable("TOO_BUSY", error.to_string());
            }
            store::Error::Duplicate(_) | store::Error::Unreadable { .. } => {
                tracing::error!(error = told_of(error), "the database holds what it should not");
                return Self::internal();
            }
        }
        tracing::warn!(error = told_of(error), "the database failed");
        Self::unavailable("DATABASE_UNAVAILABLE", "the service cannot answer now")
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Store(error) => Self::from(&error),
            Error::Unconfirmed(error) => Self::from(&*error),
            Error::Busy(busy) => busy.into(),
            Error::NoCurrentKey(_) => Self::unavailable("CURRENT_KEY_MISSING", message),
            Error::NoSigningKey => Self::unavailable("SIGNING_KEY_MISSING", message),
            Error::CallerEnded => Self::bad_credential(),
            Error::NotPermitted => Self::not_permitted(),
            Error::BadCredentials => Self::new(StatusCode::UNAUTHORIZED, "BAD_CREDENTIALS", message),
            Error::TooManyAttempts { retry_after } => {
                Self::later(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_ATTEMPTS", message, retry_after)
            }
            Error::DesktopSessionViewOnly => Self::new(StatusCode::BAD_REQUEST, "DESKTOP_SESSION_VIEW_ONLY", message),
            Error::LastAdmin => Self::new(StatusCode::BAD_REQUEST, "LAST_ADMIN", message),
            // Of use cases that no door of these has.
            Error::InvalidPageToken
            | Error::AccountWanted
            | Error::AccountNotFound
            | Error::TokenNotFound
            | Error::ServiceNotFound
            | Error::SessionNotFound
            | Error::AccountSuspended
            | Error::UnknownScopes(_)
            | Error::InvalidExpiry { .. }
            | Error::ScopesWanted
            | Error::Excess(_)
            | Error::TokenLimitReached { .. }
            | Error::UnknownPlan
            | Error::PlanGone
            | Error::RequestIdReused(_)
            | Error::UpdateMaskRequired
            | Error::EtagMismatch
            | Error::UsernameTaken
            | Error::NameTaken
            | Error::TwoSecretsLive
            | Error::OverlapTooLong
            | Error::Ended
            | Error::TokenEnded
            | Error::SecretNotFound
            | Error::LastSecret
            | Error::LookupHintWanted
            | Error::InvalidLookupHint
            | Error::TooManyCandidates
            | Error::HashTaken
            | Error::CreatedInFuture
            | Error::OfToken { .. } => {
                tracing::error!(%message, "a use case refused what it is never asked for");
                Self::internal()
            }
        }
    }
}
