//! Where is the truth? The database: the only place that names sea-orm.
//!
//! Reads take a [`Snapshot`], writes a [`Transaction`]; neither outlives its
//! task, and both run in tasks of their own ([`Store::read`],
//! [`Store::change`]), so that a call that is cancelled never abandons one half
//! way.

mod accounts;
mod arrays;
mod attempts;
mod audit;
mod backup;
mod condition;
mod connect;
mod convert;
mod counts;
mod credentials;
mod entity;
mod error;
mod fingerprints;
mod head;
mod imports;
mod keys;
mod lists;
mod load;
mod migrate;
mod policy;
mod purge;
mod sessions;
mod signing_keys;
mod snapshot;
mod transaction;
mod uses;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, atomic::AtomicI64},
    time::{Duration, Instant},
};

use sea_orm::{DatabaseConnection, DbBackend};
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument as _;

use self::counts::{Counts, Purpose};
pub use self::{
    attempts::{Counted, Told},
    audit::{AuditFilter, Entry, Event, Refusal},
    backup::BackupError,
    condition::{Condition, ServerCondition},
    connect::{Config, ConnectError, Location, Url},
    counts::{PoolSize, StatementsDone, WorkDone},
    credentials::{Lock, NewSecret, SecretRequest},
    error::Error,
    fingerprints::NewFingerprint,
    head::{Changed, Confirmation, Head, HeadReader, MAX_CHANGES, Since},
    imports::{Found, FoundBy, Imported, Sought},
    lists::{OverCap, SessionFilter, TokenFilter, TokenStates, Usage},
    load::Fill,
    migrate::{MigrateError, Schema},
    purge::Purged,
    signing_keys::{Retired, SigningKeyRecord},
    snapshot::Snapshot,
    transaction::{Change, Subject, Transaction},
    uses::{MAX_USES, SecretUses},
};
use crate::{
    domain::{policy::Policy, scope::Scope, time::Timestamp},
    telemetry::{TRACED, told_of},
};

/// How much work of a kind may wait for the database or be under way; what comes
/// on top is refused, so that calls given up by their callers cannot pile up.
const MAX_WORK: usize = 1_024;
/// How many names of scopes are shared.
const MAX_SCOPE_NAMES: usize = 4_096;
/// How long closing may wait for connections that are still in use.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A database, open.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // Replaced as a whole where PostgreSQL went silent.
    connections: RwLock<Arc<connect::Connections>>,
    config: Config,
    counts: Arc<Counts>,
    // One for each piece of work; apart, so that changes that wait for locks
    // keep no read away.
    reads: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    // The last time that the embedded database's clock showed.
    latest_time: AtomicI64,
    embedded_head: head::EmbeddedHead,
    // The policy last read, with its text.
    policy: Mutex<Option<KnownPolicy>>,
    // The names of scopes that are shared by what is loaded.
    scope_names: quick_cache::sync::Cache<Scope, Scope>,
    // Who follows the audit trail.
    follower: OnceLock<mpsc::Sender<Entry>>,
}

/// A policy as it was read and as it was understood.
#[derive(Clone, Debug)]
struct KnownPolicy {
    text: Arc<str>,
    policy: Arc<Policy>,
}

impl Store {
    /// Opens the database, which must be fit for the promise that revocation
    /// is immediate. It may be without tables yet.
    pub async fn open(config: Config) -> Result<Self, ConnectError> {
        let connections = config.connect().await?;
        Ok(Self::on(connections, config))
    }

    /// Opens the database to be looked at, beside whoever uses it: nothing is made,
    /// taken or changed, and what is not fit is opened as well. Only what reads will do.
    pub async fn open_to_look(config: Config) -> Result<Self, ConnectError> {
        let connections = config.connect_to_look().await?;
        Ok(Self::on(connections, config))
    }

    fn on(mut connections: connect::Connections, config: Config) -> Self {
        let counts = Arc::<Counts>::default();
        counts::count_statements(&mut connections, &counts);
        Self(Arc::new(Inner {
            connections: RwLock::new(Arc::new(connections)),
            config,
            counts,
            reads: Arc::new(Semaphore::new(MAX_WORK)),
            changes: Arc::new(Semaphore::new(MAX_WORK)),
            latest_time: AtomicI64::new(0),
            embedded_head: head::EmbeddedHead::new(),
            policy: Mutex::new(None),
            scope_names: quick_cache::sync::Cache::new(MAX_SCOPE_NAMES),
            follower: OnceLock::new(),
        }))
    }

    /// Runs reads in a task of their own. A caller waits no longer than
    /// `call_timeout`.
    pub async fn read<T, E>(&self, work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.run(Purpose::Read, self.0.config.call_timeout, work).await
    }

    /// Runs reads as [`Store::read`] does, for callers that wait no longer than
    /// `limit`.
    pub async fn read_within<T, E>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.run(Purpose::Read, limit, work).await
    }

    /// Runs a change in a task of its own, which goes on to its end even where
    /// the caller is cancelled. A caller waits no longer than `call_timeout`:
    /// what becomes of the change after that it does not learn.
    pub async fn change<T, E>(&self, work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.run(Purpose::Change, self.0.config.call_timeout, work).await
    }

    async fn run<T, E>(
        &self,
        purpose: Purpose,
        limit: Duration,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let counts = self.0.counts.of(purpose);
        let place = self.places(purpose).clone().try_acquire_owned().map_err(|_| {
            counts.overloaded.count();
            Error::Overloaded
        })?;
        let connections = self.connections();
        let began = Instant::now();
        let span = tracing::info_span!(target: TRACED, "database", otel.name = purpose.name());
        let task = detached(async move {
            let result = work.await;
            drop(place);
            result
        });
        if let Ok(result) = tokio::time::timeout(limit, task.instrument(span)).await {
            counts.end(began.elapsed());
            return result;
        }
        counts.timed_out.count();
        self.replace(&connections, "the database went silent");
        Err(Error::TimedOut.into())
    }

    fn places(&self, purpose: Purpose) -> &Arc<Semaphore> {
        match purpose {
            Purpose::Read => &self.0.reads,
            Purpose::Change => &self.0.changes,
        }
    }

    /// A standby answered. Its connections are left behind: the primary may be
    /// found under the same name by now.
    fn standby(&self) -> Error {
        self.replace(&self.connections(), "the database became a standby");
        Error::Standby
    }

    /// Leaves connections behind that are of no use. A network that swallows what
    /// is sent looks like a slow server for as long as the system goes on trying,
    /// and nothing would free them meanwhile.
    fn replace(&self, useless: &Arc<connect::Connections>, why: &str) {
        let Some(mut fresh) = self.0.config.reconnect() else {
            return;
        };
        counts::count_statements(&mut fresh, &self.0.counts);
        let mut current = self.0.connections.write().unwrap_or_else(PoisonError::into_inner);
        // Many may have waited for the same ones.
        if Arc::ptr_eq(&current, useless) {
            tracing::warn!("{why}: its connections are replaced");
            *current = Arc::new(fresh);
        }
    }

    /// Whether the database answers, and as a primary.
    pub async fn check(&self) -> Result<(), Error> {
        let store = self.clone();
        detached(async move {
            let snapshot = store.snapshot_on(&store.connections().watch).await?;
            snapshot.policy().await?;
            snapshot.end().await
        })
        .await
    }

    /// Closes the database in good order: SQLite's log is written back.
    pub async fn close(self) {
        let connections = self.connections();
        let close = async {
            for connection in [&connections.read, &connections.watch, &connections.write] {
                connection.close_by_ref().await?;
            }
            Ok::<_, sea_orm::DbErr>(())
        };
        match tokio::time::timeout(CLOSE_TIMEOUT, close).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = told_of(&error), "the database was not closed in good order");
            }
            Err(_) => tracing::warn!("the database was not closed in good order: connections were still in use"),
        }
    }

    /// Whether this is the embedded database, which one process has alone.
    pub fn is_embedded(&self) -> bool {
        matches!(self.0.config.location, Location::Sqlite(_))
    }

    /// The revision of the embedded database, if it is known here and now: no
    /// commit is under way. None where the database is another process.
    pub fn embedded_revision(&self) -> Option<i64> {
        self.0.embedded_head.revision()
    }

    /// What time it is at the embedded database. None where the database is
    /// another process.
    pub fn embedded_now(&self) -> Option<Timestamp> {
        self.is_embedded().then(|| convert::timestamp(self.embedded_time()).unwrap_or(Timestamp::MAX))
    }

    fn backend(&self) -> DbBackend {
        if self.is_embedded() { DbBackend::Sqlite } else { DbBackend::Postgres }
    }

    fn connections(&self) -> Arc<connect::Connections> {
        self.0.connections.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reader(&self) -> DatabaseConnection {
        self.connections().read.clone()
    }

    fn writer(&self) -> DatabaseConnection {
        self.connections().write.clone()
    }

    fn known_policy(&self) -> Option<KnownPolicy> {
        self.0.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember_policy(&self, known: KnownPolicy) {
        *self.0.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

/// Runs work in a task of its own, which goes on to its end even where the
/// caller is cancelled.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work.in_current_span()).await {
        Ok(output) => output,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
