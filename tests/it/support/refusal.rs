//! What a refusal must be.

use std::fmt::Debug;

use token_authority::client::CallError;
use tonic::Code;
use tonic_types::{ErrorDetail, StatusExt as _};

/// The call was refused with this code, for this reason.
#[track_caller]
pub(crate) fn assert_refused<T: Debug>(result: Result<T, CallError>, code: Code, reason: &str) -> CallError {
    let error = result.expect_err("the call is refused");
    assert_eq!((error.code, error.reason.as_deref()), (code, Some(reason)), "{error:?}");
    error
}

/// The call was refused with INVALID_ARGUMENT, for this reason, and exactly this
/// field of the request is named.
#[track_caller]
pub(crate) fn assert_field_refused<T: Debug>(result: Result<T, CallError>, reason: &str, field: &str) {
    let error = assert_refused(result, Code::InvalidArgument, reason);
    let fields: Vec<_> = error.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, [field], "{error:?}");
}

/// Every error has exactly one `ErrorInfo`, of this service's domain, but those
/// that the client's own side of the connection makes.
#[track_caller]
pub(crate) fn assert_one_error_info(error: &CallError) {
    let clients_own =
        matches!(error.code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown);
    let details = error.source.check_error_details_vec().expect("the details can be read");
    if clients_own && details.is_empty() {
        return;
    }
    let infos: Vec<_> = details
        .iter()
        .filter_map(|detail| match detail {
            ErrorDetail::ErrorInfo(info) => Some(info),
            _ => None,
        })
        .collect();
    let [info] = infos[..] else { panic!("{} ErrorInfos: {error:?}", infos.len()) };
    assert_eq!(info.domain, "token-authority");
    let is_constant = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(!info.reason.is_empty() && info.reason.bytes().all(is_constant), "{}", info.reason);
}
