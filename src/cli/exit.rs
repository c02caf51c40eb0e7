//! What does the exit code say?
//!
//! Scripts branch on these: a meaning never moves to another number. The table
//! is in the documentation of [`crate::cli`] and at the end of `--help`.

use std::process::ExitCode;

use tonic::Code;

use crate::client::{CallError, ConnectError};

/// How a command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: another failure.
    Failure,
    /// 2: wrong usage.
    Usage,
    /// 3: no credential, a wrong one, or one that may not do this.
    Denied,
    /// 4: not found.
    NotFound,
    /// 5: refused by a rule.
    Refused,
    /// 6: unreachable, too slow or too busy.
    Unavailable,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::NotFound => 4,
            Self::Refused => 5,
            Self::Unavailable => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<&CallError> for Exit {
    fn from(error: &CallError) -> Self {
        // Sent as PERMISSION_DENIED, yet no other credential would help: it is
        // the plan that says no.
        if error.reason.as_deref() == Some("TOKEN_LIMIT_REACHED") {
            return Self::Refused;
        }
        match error.code {
            Code::Ok => Self::Done,
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied,
            Code::NotFound => Self::NotFound,
            Code::InvalidArgument
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::Aborted => Self::Refused,
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Self::Unavailable,
            Code::Cancelled | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => Self::Failure,
        }
    }
}

impl From<&ConnectError> for Exit {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Url(_) | ConnectError::Tls(_) => Self::Usage,
            ConnectError::Unreachable(_) => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn every_code_has_its_exit() {
        let expected = [
            (Code::Cancelled, 1),
            (Code::Unknown, 1),
            (Code::InvalidArgument, 5),
            (Code::DeadlineExceeded, 6),
            (Code::NotFound, 4),
            (Code::AlreadyExists, 5),
            (Code::PermissionDenied, 3),
            (Code::ResourceExhausted, 6),
            (Code::FailedPrecondition, 5),
            (Code::Aborted, 5),
            (Code::OutOfRange, 5),
            (Code::Unimplemented, 1),
            (Code::Internal, 1),
            (Code::Unavailable, 6),
            (Code::DataLoss, 1),
            (Code::Unauthenticated, 3),
        ];
        for (code, exit) in expected {
            let error = CallError::from(Status::new(code, ""));
            assert_eq!(Exit::from(&error).code(), exit, "{code:?}");
        }
    }

    #[test]
    fn a_plans_limit_is_a_rule_and_no_matter_of_permission() {
        let details = ErrorDetails::with_error_info("TOKEN_LIMIT_REACHED", "token-authority", []);
        let status = Status::with_error_details(Code::PermissionDenied, "", details);
        assert_eq!(Exit::from(&CallError::from(status)), Exit::Refused);
    }
}
