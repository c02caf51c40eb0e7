//! What is the caller told? One place maps every refusal to a status (AIP-193)
//! with exactly one `ErrorInfo`: domain `token-authority`, a constant reason.
//! What the caller may know and what the log must know are two messages.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    authority::Error,
    caller::Refusal,
    domain::{delegation::Excess, scope::Scopes},
    introspection::{Busy, Fault},
    store,
    telemetry::told_of,
};

/// The domain of every `ErrorInfo`.
pub(super) const DOMAIN: &str = "token-authority";

/// When to come back after a fault of the authority itself.
const RETRY_AFTER_FAULT: Duration = Duration::from_secs(1);

/// A field that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadField {
    field: String,
    reason: &'static str,
    problem: String,
}

impl BadField {
    pub(super) fn new(field: impl Into<String>, reason: &'static str, problem: impl ToString) -> Self {
        Self { field: field.into(), reason, problem: problem.to_string() }
    }

    /// The same within a repeated field or message.
    pub(super) fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

impl From<BadField> for Status {
    fn from(BadField { field, reason, problem }: BadField) -> Self {
        let message = format!("{field}: {problem}");
        let mut details = info(reason);
        details.add_bad_request_violation(field, problem);
        Status::with_error_details(Code::InvalidArgument, message, details)
    }
}

pub(super) fn info(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

fn info_with(reason: &str, metadata: impl IntoIterator<Item = (&'static str, String)>) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

pub(super) fn plain(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, info(reason))
}

/// For a caller that may try again after a while.
fn later(code: Code, reason: &str, message: impl Into<String>, retry_after: Duration) -> Status {
    let mut details = info(reason);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(code, message, details)
}

/// A call that goes no further.
pub(super) fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NoCredential => {
            plain(Code::Unauthenticated, "CREDENTIAL_REQUIRED", "a credential is wanted: authorization: Bearer …")
        }
        Refusal::BadCredential(_) => bad_credential(),
        Refusal::NotPermitted(_) => not_permitted(),
        Refusal::TooManyCalls { retry_after } => {
            later(Code::ResourceExhausted, "TOO_MANY_CALLS", refusal.to_string(), *retry_after)
        }
        Refusal::Fault(fault) => no_answer(fault),
    }
}

/// A fault of what answers: never an answer itself.
fn no_answer(fault: &Fault) -> Status {
    match fault {
        Fault::Store(error) => unavailable(error),
        Fault::Busy(busy) => too_busy(*busy),
    }
}

fn bad_credential() -> Status {
    plain(Code::Unauthenticated, "CREDENTIAL_INVALID", "the credential is not good")
}

/// A caller whose credential is good, and not for this.
pub(super) fn not_permitted() -> Status {
    plain(Code::PermissionDenied, "NOT_PERMITTED", "the caller may not do this")
}

/// A fault of the database: never an answer, and mostly worth another try.
pub(super) fn unavailable(error: &store::Error) -> Status {
    match error {
        store::Error::Unavailable(_) | store::Error::TimedOut | store::Error::Standby => {}
        store::Error::Overloaded => {
            tracing::warn!("too much is waiting for the database");
            return too_busy_with(error.to_string(), RETRY_AFTER_FAULT);
        }
        // No second try mends these.
        store::Error::Duplicate(_) | store::Error::Unreadable { .. } => {
            tracing::error!(error = told_of(error), "the database holds what it should not");
            return plain(Code::Internal, "INTERNAL", "the service failed");
        }
    }
    tracing::warn!(error = told_of(error), "the database failed");
    cannot_answer("DATABASE_UNAVAILABLE")
}

/// An introspection whose caller's patience, or ours, came to its end.
pub(super) fn not_answered_in_time() -> Status {
    cannot_answer("NOT_ANSWERED_IN_TIME")
}

fn cannot_answer(reason: &str) -> Status {
    later(Code::Unavailable, reason, "the service cannot answer now", RETRY_AFTER_FAULT)
}

/// A key that other servers have, or that is about to be there.
fn key_missing(reason: &str, message: String) -> Status {
    later(Code::Unavailable, reason, message, RETRY_AFTER_FAULT)
}

/// Too much to hash at once.
pub(super) fn too_busy(busy: Busy) -> Status {
    too_busy_with(busy.to_string(), busy.retry_after)
}

fn too_busy_with(message: String, retry_after: Duration) -> Status {
    later(Code::ResourceExhausted, "TOO_BUSY", message, retry_after)
}

/// The first few: a status travels in headers, which clients bound.
fn listed(scopes: &Scopes) -> String {
    const SHOWN: usize = 10;

    let mut words: Vec<_> = scopes.iter().take(SHOWN).map(|scope| scope.as_str().to_owned()).collect();
    if scopes.len() > SHOWN {
        words.push(format!("(and {} more)", scopes.len() - SHOWN));
    }
    words.join(" ")
}

fn scope_not_granted(message: String, scopes: String) -> Status {
    let details = info_with("SCOPE_NOT_GRANTED", [("scopes", scopes)]);
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// A refusal of one of many: which one it is stands in its message, in its fields'
/// paths and in its metadata.
fn of_token(index: usize, refusal: Status) -> Status {
    let mut details = refusal.get_error_details();
    let Some(info) = details.error_info().cloned() else {
        return refusal;
    };
    let parent = format!("tokens[{index}]");
    let mut metadata = info.metadata;
    metadata.insert("index".to_owned(), index.to_string());
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    details.set_error_info(info.reason, info.domain, metadata);
    let message = if violations.is_empty() {
        format!("{parent}: {}", refusal.message())
    } else {
        format!("{parent}.{}", refusal.message())
    };
    let violations: Vec<_> = violations
        .into_iter()
        .map(|violation| tonic_types::FieldViolation { field: format!("{parent}.{}", violation.field), ..violation })
        .collect();
    if !violations.is_empty() {
        details.set_bad_request(violations);
    }
    Status::with_error_details(refusal.code(), message, details)
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Store(error) => unavailable(&error),
            Error::Unconfirmed(error) => unavailable(&error),
            Error::Busy(busy) => too_busy(busy),
            Error::NoCurrentKey(_) => key_missing("CURRENT_KEY_MISSING", message),
            Error::NoSigningKey => key_missing("SIGNING_KEY_MISSING", message),
            Error::CallerEnded => bad_credential(),
            Error::NotPermitted => not_permitted(),
            Error::InvalidPageToken => BadField::new("page_token", "INVALID_PAGE_TOKEN", message).into(),
            Error::AccountWanted => BadField::new("account_id", "INVALID_ACCOUNT_ID", message).into(),
            Error::AccountNotFound => plain(Code::NotFound, "ACCOUNT_NOT_FOUND", message),
            Error::TokenNotFound => plain(Code::NotFound, "TOKEN_NOT_FOUND", message),
            Error::ServiceNotFound => plain(Code::NotFound, "SERVICE_CREDENTIAL_NOT_FOUND", message),
            Error::SessionNotFound => plain(Code::NotFound, "SESSION_NOT_FOUND", message),
            Error::BadCredentials => plain(Code::Unauthenticated, "BAD_CREDENTIALS", message),
            Error::TooManyAttempts { retry_after } => {
                later(Code::ResourceExhausted, "TOO_MANY_ATTEMPTS", message, retry_after)
            }
            Error::AccountSuspended => plain(Code::PermissionDenied, "ACCOUNT_SUSPENDED", message),
            Error::UnknownScopes(scopes) => {
                BadField::new("scopes", "UNKNOWN_SCOPE", format!("{message}: {}", listed(&scopes))).into()
            }
            Error::InvalidExpiry { field, problem } => BadField::new(field, "INVALID_EXPIRY", problem).into(),
            Error::ScopesWanted => BadField::new("scopes", "SCOPES_REQUIRED", message).into(),
            Error::Excess(Excess::Scopes(scopes)) => scope_not_granted(message, listed(&scopes)),
            Error::Excess(Excess::Inheriting) => scope_not_granted(message, String::new()),
            Error::Excess(Excess::Networks) => plain(Code::PermissionDenied, "NETWORK_NOT_GRANTED", message),
            Error::Excess(Excess::Expiry) => plain(Code::PermissionDenied, "EXPIRY_NOT_GRANTED", message),
            Error::TokenLimitReached { limit, plan, code, message } => {
                let metadata = [("limit", limit.to_string()), ("plan", plan), ("code", code)];
                let mut details = info_with("TOKEN_LIMIT_REACHED", metadata);
                details.add_quota_failure_violation("tokens", message.clone());
                Status::with_error_details(Code::PermissionDenied, message, details)
            }
            Error::UnknownPlan => BadField::new("account.plan", "UNKNOWN_PLAN", message).into(),
            Error::PlanGone => BadField::new("account_id", "UNKNOWN_PLAN", message).into(),
            Error::RequestIdReused(first) => {
                let details = info_with("REQUEST_ID_REUSED", [("token_id", first.to_string())]);
                Status::with_error_details(Code::AlreadyExists, message, details)
            }
            Error::DesktopSessionViewOnly => plain(Code::FailedPrecondition, "DESKTOP_SESSION_VIEW_ONLY", message),
            Error::UpdateMaskRequired => BadField::new("update_mask", "UPDATE_MASK_REQUIRED", message).into(),
            Error::EtagMismatch => plain(Code::Aborted, "ETAG_MISMATCH", message),
            Error::UsernameTaken => plain(Code::AlreadyExists, "USERNAME_TAKEN", message),
            Error::NameTaken => plain(Code::AlreadyExists, "NAME_TAKEN", message),
            Error::LastAdmin => plain(Code::FailedPrecondition, "LAST_ADMIN", message),
            Error::TwoSecretsLive => plain(Code::FailedPrecondition, "TWO_SECRETS_LIVE", message),
            Error::OverlapTooLong => BadField::new("overlap", "INVALID_OVERLAP", message).into(),
            Error::Ended => plain(Code::FailedPrecondition, "CREDENTIAL_ENDED", message),
            Error::TokenEnded => plain(Code::FailedPrecondition, "TOKEN_ENDED", message),
            Error::SecretNotFound => plain(Code::NotFound, "SECRET_NOT_FOUND", message),
            Error::LastSecret => plain(Code::FailedPrecondition, "LAST_SECRET", message),
            Error::LookupHintWanted => BadField::new("lookup_hint", "LOOKUP_HINT_REQUIRED", message).into(),
            Error::InvalidLookupHint => BadField::new("lookup_hint", "INVALID_LOOKUP_HINT", message).into(),
            Error::TooManyCandidates => plain(Code::FailedPrecondition, "TOO_MANY_CANDIDATES", message),
            Error::HashTaken => plain(Code::AlreadyExists, "HASH_TAKEN", message),
            Error::CreatedInFuture => BadField::new("create_time", "INVALID_CREATE_TIME", message).into(),
            Error::OfToken { index, error } => of_token(index, Self::from(*error)),
        }
    }
}
