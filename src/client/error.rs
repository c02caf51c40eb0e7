//! What went wrong with a call, in terms that a program can act on?
//!
//! The contract's errors are a `google.rpc.Status` with one `ErrorInfo`; this
//! module takes it apart, so that callers match on [`CallError::reason`] and
//! never on a message.

use std::{collections::BTreeMap, error::Error as StdError, time::Duration};

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use super::{InvalidTls, InvalidUrl};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL names no server that this client can call.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// TLS cannot be spoken with what was given for it.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
    /// Nobody answered there, or not in time.
    #[error("cannot reach the server")]
    Unreachable(#[from] tonic::transport::Error),
}

/// Why a call was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// gRPC's code: how far to believe that the call had no effect.
    pub code: Code,
    /// For people; it may change between versions.
    pub message: String,
    /// `google.rpc.ErrorInfo.reason`, for example `TOKEN_LIMIT_REACHED`; stable.
    /// None where the call never came as far as the service.
    pub reason: Option<String>,
    /// `google.rpc.ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `google.rpc.BadRequest`: which fields of the request were refused.
    pub field_violations: Vec<FieldViolation>,
    /// `google.rpc.RetryInfo`: how long to wait before the next try.
    pub retry_after: Option<Duration>,
    /// The status as it came.
    pub source: Box<Status>,
}

/// One field of a request, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path in the request, for example `label`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let (code, message) = if passed_deadline(&status) {
            (Code::DeadlineExceeded, "no reply in time")
        } else {
            (status.code(), status.message())
        };
        let message = message.to_owned();
        let (reason, metadata) = match status.get_details_error_info() {
            Some(info) => (Some(info.reason), info.metadata.into_iter().collect()),
            None => (None, BTreeMap::new()),
        };
        let field_violations = status
            .get_details_bad_request()
            .map(|refused| refused.field_violations)
            .unwrap_or_default()
            .into_iter()
            .map(|violation| FieldViolation { field: violation.field, description: violation.description })
            .collect();
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Self { code, message, reason, metadata, field_violations, retry_after, source: Box::new(status) }
    }
}

/// The transport calls its own missed deadline `CANCELLED`, which would read as
/// if somebody had given up on purpose.
fn passed_deadline(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn details_of_the_status_are_taken_apart() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("INVALID_LABEL", "token-authority", HashMap::from([("limit".to_owned(), "100".to_owned())]))
            .add_bad_request_violation("label", "must not be empty")
            .set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::InvalidArgument, "invalid label", details);

        let error = CallError::from(status);

        assert_eq!(error.code, Code::InvalidArgument);
        assert_eq!(error.to_string(), "invalid label");
        assert_eq!(error.reason.as_deref(), Some("INVALID_LABEL"));
        assert_eq!(error.metadata["limit"], "100");
        assert_eq!(
            error.field_violations,
            [FieldViolation { field: "label".to_owned(), description: "must not be empty".to_owned() }]
        );
        assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_status_without_details_has_no_reason() {
        let error = CallError::from(Status::unavailable("connection refused"));
        assert_eq!(error.code, Code::Unavailable);
        assert_eq!(error.reason, None);
        assert!(error.field_violations.is_empty());
        assert_eq!(error.retry_after, None);
    }

    #[test]
    fn the_transports_missed_deadline_is_told_from_a_cancelled_call() {
        let expired = CallError::from(Status::from_error(Box::new(TimeoutExpired(()))));
        assert_eq!(expired.code, Code::DeadlineExceeded);
        assert_eq!(expired.message, "no reply in time");
        let cancelled = Status::cancelled("Timeout expired");
        assert_eq!(CallError::from(cancelled).code, Code::Cancelled);
    }
}
