//! Where is the truth? The database: the only place that names sea-orm.
//!
//! Reads take a [`Snapshot`], writes a [`Transaction`]; neither outlives its
//! task, and both run in tasks of their own ([`detached`]), so that a call that
//! is cancelled never abandons one half way.

mod accounts;
mod audit;
mod connect;
mod convert;
mod credentials;
mod entity;
mod error;
mod keys;
mod lists;
mod migrate;
mod policy;
mod purge;
mod snapshot;
mod transaction;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicI64};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};

pub use self::{
    audit::Event,
    connect::{Config, ConnectError, Location, Url},
    credentials::{Lock, NewSecret},
    error::Error,
    keys::CurrentKey,
    lists::{OverCap, SessionFilter, TokenFilter, TokenStates, Usage},
    migrate::MigrateError,
    purge::Purged,
    snapshot::{Found, Snapshot},
    transaction::{Change, Subject, Transaction},
};
use crate::domain::policy::Policy;

/// A database, open.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: connect::Connections,
    config: Config,
    // The last time that the embedded database's clock showed.
    latest_time: AtomicI64,
    // The policy last read, by its version; a version never changes.
    policy: Mutex<Option<Arc<Policy>>>,
}

impl Store {
    /// Opens the database, which must be fit for the promise that revocation
    /// is immediate. It may be without tables yet.
    pub async fn open(config: Config) -> Result<Self, ConnectError> {
        Ok(Self(Arc::new(Inner {
            connections: config.connect().await?,
            config,
            latest_time: AtomicI64::new(0),
            policy: Mutex::new(None),
        })))
    }

    /// Whether the database answers, and as a primary.
    pub async fn check(&self) -> Result<(), Error> {
        let store = self.clone();
        detached(async move {
            let query = match store.backend() {
                DbBackend::Postgres => "SELECT NOT pg_is_in_recovery() AS fit FROM head",
                _ => "SELECT TRUE AS fit FROM head",
            };
            let row = store.reader().query_one_raw(Statement::from_string(store.backend(), query)).await?;
            match row.map(|row| row.try_get("", "fit")).transpose()? {
                Some(true) => Ok(()),
                Some(false) => Err(Error::Standby),
                None => Err(Error::unreadable("head without a row", "")),
            }
        })
        .await
    }

    /// Whether this is the embedded database, which one process has alone.
    pub fn is_embedded(&self) -> bool {
        matches!(self.0.config.location, Location::Sqlite(_))
    }

    fn backend(&self) -> DbBackend {
        self.reader().get_database_backend()
    }

    fn reader(&self) -> &DatabaseConnection {
        &self.0.connections.read
    }

    fn writer(&self) -> &DatabaseConnection {
        &self.0.connections.write
    }

    fn known_policy(&self, version: u64) -> Option<Arc<Policy>> {
        let known = self.0.policy.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|policy| policy.document().version == version)
    }

    fn remember_policy(&self, policy: &Arc<Policy>) {
        *self.0.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(policy.clone());
    }
}

/// Runs work in a task of its own, which goes on to its end even where the
/// caller is cancelled.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(output) => output,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => unreachable!("nothing aborts the task, and yet: {cancelled}"),
        },
    }
}
