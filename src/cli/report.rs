//! How is a failure worded?
//!
//! For people one line, and a second with details where there are any; for
//! programs one line of JSON. A server's words are escaped like any other of
//! its output.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{client::CallError, telemetry::told_of};

use super::{
    Error,
    console::OutputFormat,
    values::{code_name, seconds},
    view::{escape, escaped_json},
};

/// The text for standard error, without its last line's end.
pub(super) fn failure(error: &Error, format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => escaped_json(&Reported { error: Failure::new(error) }),
        OutputFormat::Table | OutputFormat::Secret => {
            let mut text = format!("error: {} [{}]", escape(&chain(error)), escape(error.reason()));
            if let Error::Call(call) = error
                && let Some(details) = details(call)
            {
                text.push_str("\n  ");
                text.push_str(&escape(&details));
            }
            text
        }
    }
}

/// The same for what does not stop the command.
pub(super) fn warning(message: &str, format: OutputFormat) -> String {
    #[derive(Serialize)]
    struct Warning<'a> {
        warning: &'a str,
    }
    match format {
        OutputFormat::Json => escaped_json(&Warning { warning: message }),
        OutputFormat::Table | OutputFormat::Secret => format!("warning: {}", escape(message)),
    }
}

/// How far a long command is.
pub(super) fn progress(done: u64, total: u64, format: OutputFormat) -> String {
    #[derive(Serialize)]
    struct Told {
        progress: Progress,
    }
    #[derive(Serialize)]
    struct Progress {
        done: u64,
        total: u64,
    }
    match format {
        OutputFormat::Json => escaped_json(&Told { progress: Progress { done, total } }),
        OutputFormat::Table | OutputFormat::Secret => format!("{done} of {total} done"),
    }
}

#[derive(Serialize)]
struct Reported<'a> {
    error: Failure<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    reason: &'a str,
    message: String,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    field_violations: Vec<Violation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    description: &'a str,
}

impl<'a> Failure<'a> {
    fn new(error: &'a Error) -> Self {
        let call = match error {
            Error::Call(call) => Some(call),
            _ => None,
        };
        Self {
            reason: error.reason(),
            message: chain(error),
            exit_code: error.exit().code(),
            code: call.map(|call| code_name(call.code)),
            field_violations: call
                .map(|call| call.field_violations.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|violation| Violation { field: &violation.field, description: &violation.description })
                .collect(),
            metadata: call.map(|call| &call.metadata).filter(|metadata| !metadata.is_empty()),
            retry_after: call.and_then(|call| call.retry_after).map(seconds),
        }
    }
}

/// The message with its causes, as far as they add anything.
fn chain(error: &Error) -> String {
    match error {
        // A status has been taken apart already; its own text is for debugging.
        Error::Call(call) if call.message.is_empty() => "the server gave no message".to_owned(),
        Error::Call(call) => call.message.clone(),
        _ => told_of(error),
    }
}

fn details(call: &CallError) -> Option<String> {
    let violations = call
        .field_violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        // One alone is often the message itself.
        .filter(|violation| !call.message.contains(violation));
    let metadata = call.metadata.iter().map(|(name, value)| format!("{name}={value}"));
    let retry = call.retry_after.map(|delay| format!("try again in {}", seconds(delay)));
    let all: Vec<String> = violations.chain(metadata).chain(retry).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use insta::assert_snapshot;
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn refused() -> Error {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("INVALID_LABEL", "token-authority", [("limit".to_owned(), "100".to_owned())])
            .add_bad_request_violation("label", "must not be empty")
            .set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::InvalidArgument, "no \u{1b}[31mlabel", details);
        Error::from(CallError::from(status))
    }

    #[test]
    fn people_get_the_reason_in_brackets_and_the_details_below() {
        assert_snapshot!(failure(&refused(), OutputFormat::Table), @r"
        error: no \u{1b}[31mlabel [INVALID_LABEL]
          label: must not be empty; limit=100; try again in 1.5s
        ");
        assert_snapshot!(
            failure(&Error::from(CallError::from(Status::not_found("no such token"))), OutputFormat::Secret),
            @"error: no such token [NOT_FOUND]"
        );
    }

    #[test]
    fn programs_get_one_line_of_json() {
        assert_snapshot!(
            failure(&refused(), OutputFormat::Json),
            @r#"{"error":{"reason":"INVALID_LABEL","message":"no \u001b[31mlabel","exitCode":5,"code":"INVALID_ARGUMENT","fieldViolations":[{"field":"label","description":"must not be empty"}],"metadata":{"limit":"100"},"retryAfter":"1.5s"}}"#
        );
        assert_snapshot!(
            warning("unwise", OutputFormat::Json),
            @r#"{"warning":"unwise"}"#
        );
        assert_snapshot!(progress(3, 5, OutputFormat::Json), @r#"{"progress":{"done":3,"total":5}}"#);
    }

    #[test]
    fn causes_are_told_once_each() {
        let error = Error::Read { what: "token.txt".to_owned(), source: io::Error::other("no such file") };
        assert_snapshot!(
            failure(&error, OutputFormat::Table),
            @"error: cannot read token.txt: no such file [UNREADABLE]"
        );
    }
}
