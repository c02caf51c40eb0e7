//! What can stop a command?

use std::io;

use crate::client::{CallError, ConnectError, InvalidBearerToken};

use super::Exit;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that make no sense together, beyond what the parser can tell.
    #[error("{0}")]
    Usage(String),
    /// Nothing to authenticate with.
    #[error(
        "no credential to call with: set TOKEN_AUTHORITY_TOKEN, give --token-file FILE, or run \
         this in a terminal to be asked"
    )]
    NoCredential,
    /// What was given to authenticate with cannot be one.
    #[error("{from}: {source}")]
    UnusableCredential {
        /// Where it came from, for example `--token-file`.
        from: &'static str,
        /// What is wrong with it.
        source: InvalidBearerToken,
    },
    /// A file or standard input could not be read.
    #[error("cannot read {what}")]
    Read {
        /// Which file.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused, or did not answer.
    #[error(transparent)]
    Call(Box<CallError>),
    /// A reply that breaks the contract.
    #[error("the server's reply breaks the contract: {0}")]
    Reply(&'static str),
    /// Standard output took no more.
    #[error("cannot write the output")]
    Write(#[source] io::Error),
    /// Standard output took no more, and a secret was in it.
    #[error(
        "{id} has a new secret, but it could not be written and cannot be shown again: rotate or \
         revoke it"
    )]
    SecretLost {
        /// What the secret belongs to.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// Lines of a file that are not what is wanted.
    #[error("{}", told(.problems, *.more))]
    Lines {
        /// The first few: the line's number and what is wrong with it.
        problems: Vec<(u64, String)>,
        /// How many more there are.
        more: u64,
    },
    /// The asynchronous runtime did not start.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// A command of the server's host failed.
    #[error(transparent)]
    Server(Box<dyn std::error::Error + Send + Sync>),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

fn told(problems: &[(u64, String)], more: u64) -> String {
    let mut told: Vec<_> = problems.iter().map(|(line, problem)| format!("line {line}: {problem}")).collect();
    if more > 0 {
        told.push(format!("and {more} more lines"));
    }
    told.join("; ")
}

impl Error {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoCredential | Self::UnusableCredential { .. } => Exit::Denied,
            Self::Connect(error) => error.into(),
            Self::Lines { .. } => Exit::Refused,
            Self::Call(error) => error.as_ref().into(),
            // Whoever reads has had enough; that is how `… list | head` ends.
            Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Read { .. }
            | Self::Reply(_)
            | Self::Write(_)
            | Self::SecretLost { .. }
            | Self::Runtime(_)
            | Self::Server(_) => Exit::Failure,
        }
    }

    /// A constant that names the failure: the server's own where it gave one.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Usage(_) => "USAGE",
            Self::NoCredential => "NO_CREDENTIAL",
            Self::UnusableCredential { .. } => "UNUSABLE_CREDENTIAL",
            Self::Read { .. } => "UNREADABLE",
            Self::Connect(ConnectError::Url(_)) => "INVALID_URL",
            Self::Connect(ConnectError::Tls(_)) => "INVALID_TLS",
            Self::Connect(ConnectError::Unreachable(_)) => "UNREACHABLE",
            Self::Call(error) => error.reason.as_deref().unwrap_or_else(|| super::values::code_name(error.code)),
            Self::Reply(_) => "BAD_REPLY",
            Self::Write(_) => "UNWRITABLE",
            Self::SecretLost { .. } => "SECRET_LOST",
            Self::Lines { .. } => "INVALID_LINES",
            Self::Runtime(_) => "RUNTIME",
            Self::Server(_) => "SERVER",
        }
    }
}
