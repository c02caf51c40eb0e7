//! What can go wrong with the database, as far as anybody above can act on it.

use sea_orm::{DbErr, SqlErr};

/// A failure of the store. Its sources are for the log, never for a caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, is busy beyond the time-outs, or failed:
    /// nothing was changed, or it is not known; try again.
    #[error("the database is unavailable")]
    Unavailable(#[source] DbErr),
    /// Something that must be unique is there already; the driver's text names
    /// the constraint.
    #[error("a uniqueness constraint is violated")]
    Duplicate(#[source] DbErr),
    /// The database did not answer in time: what was to be changed may be
    /// changed or not.
    #[error("the database did not answer in time")]
    TimedOut,
    /// More waits for the database than it can be expected to do.
    #[error("too much is waiting for the database")]
    Overloaded,
    /// PostgreSQL became a standby, which may lag behind.
    #[error("the database is a standby")]
    Standby,
    /// A row that this version cannot read.
    #[error("the database holds a {what} that cannot be read: {value:?}")]
    Unreadable {
        /// What was read.
        what: &'static str,
        /// The value, never a secret one.
        value: String,
    },
}

impl Error {
    /// Whether a violated constraint is on this column.
    pub(super) fn is_duplicate_of(&self, column: &str) -> bool {
        matches!(self, Self::Duplicate(source) if source.to_string().contains(column))
    }

    pub(super) fn unreadable(what: &'static str, value: impl ToString) -> Self {
        Self::Unreadable { what, value: value.to_string() }
    }
}

impl From<DbErr> for Error {
    fn from(source: DbErr) -> Self {
        match source.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::Duplicate(source),
            _ => Self::Unavailable(source),
        }
    }
}
