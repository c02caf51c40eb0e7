//! Which database, and is it fit? Connections to SQLite (embedded, one process
//! alone) and PostgreSQL (shared by replicas).

use std::{
    fs::{DirBuilder, File, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, TransactionTrait as _,
    sqlx::{
        self, ConnectOptions as _, Connection as _, Postgres, Sqlite,
        pool::PoolOptions,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::timeout;

/// How many may read an embedded database at a time.
const SQLITE_READERS: u32 = 4;

/// How long a connection to PostgreSQL may lie unused, and be used at all: a network in
/// between forgets what is silent, and a server's process gathers memory.
const MAX_IDLE: Duration = Duration::from_mins(10);
const MAX_AGE: Duration = Duration::from_mins(30);

/// Where the database is, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where.
    pub location: Location,
    /// The most connections to PostgreSQL, at least 2; two more are for asking
    /// whether it answers, and how far its history has come.
    pub max_connections: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// How long a change waits for another's lock.
    pub lock_timeout: Duration,
    /// How long a transaction whose process went silent keeps its locks.
    pub idle_in_transaction_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// How long a caller waits for all of its work.
    pub call_timeout: Duration,
    /// Whether PostgreSQL prepares statements by name (not through PgBouncer in
    /// transaction mode).
    pub prepared_statements: bool,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file that this process alone uses.
    Sqlite(PathBuf),
    /// A server, by its URL, which may hold a password.
    Postgres(Url),
}

/// A database URL that does not print its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// The URL as given.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Url(…)")
    }
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Another process has the file.
    #[error("another process is using the database {0}: SQLite serves one at a time; stop it, or use PostgreSQL")]
    InUse(PathBuf),
    /// The file or its lock cannot be made or opened.
    #[error("cannot open {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// PostgreSQL only reads here.
    #[error(
        "the PostgreSQL server is a standby (in recovery): revocation cannot be immediate there; give the primary's URL"
    )]
    Standby,
    /// PostgreSQL may lose what it acknowledged.
    #[error(
        "the PostgreSQL server runs with fsync = off: a revocation that was acknowledged could be lost; turn it on"
    )]
    FsyncOff,
    /// The driver's own failure.
    #[error("cannot connect to the database")]
    Driver(#[source] DbErr),
}

impl From<DbErr> for ConnectError {
    fn from(source: DbErr) -> Self {
        Self::Driver(source)
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(source: sqlx::Error) -> Self {
        Self::Driver(DbErr::Conn(sea_orm::RuntimeErr::SqlxError(source.into())))
    }
}

/// Open connections, apart for reading and for writing: changes that wait for
/// each other's locks keep no read waiting.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) read: DatabaseConnection,
    pub(super) write: DatabaseConnection,
    /// For asking whether the database is there, however busy the others are.
    pub(super) watch: DatabaseConnection,
    // Held for its lock.
    _lock: Option<File>,
}

impl Config {
    pub(super) async fn connect(&self) -> Result<Connections, ConnectError> {
        match &self.location {
            Location::Sqlite(path) => self.connect_sqlite(path).await,
            Location::Postgres(url) => self.connect_postgres(url).await,
        }
    }

    /// Connections that change nothing, and take nothing from who is at work.
    pub(super) async fn connect_to_look(&self) -> Result<Connections, ConnectError> {
        let path = match &self.location {
            Location::Sqlite(path) => path,
            Location::Postgres(url) => {
                // A pool tries again until its time is over, and then says no more than that.
                let options = self.options_of(url)?;
                let tried = timeout(self.acquire_timeout, options.connect());
                tried.await.map_err(|_| sqlx::Error::PoolTimedOut)??.close().await?;
                return self.postgres_pools(url);
            }
        };
        // The log is there as long as anybody has the database open. Where nobody has,
        // SQLite would leave files of its own behind, unless nothing can change.
        let in_use = log_beside(path).exists();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .read_only(true)
            .immutable(!in_use)
            .busy_timeout(self.lock_timeout)
            .disable_statement_logging();
        let read = DatabaseConnection::from(self.pool::<Sqlite>(1).connect_with(options).await?);
        Ok(Connections { write: read.clone(), watch: read.clone(), read, _lock: None })
    }

    async fn connect_sqlite(&self, path: &Path) -> Result<Connections, ConnectError> {
        let lock = lock_beside(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(self.lock_timeout)
            .disable_statement_logging();
        // Made before SQLite would, for its owner alone: it holds hashes. The log
        // beside it takes its mode.
        let made = File::options().create(true).append(true).mode(0o600).open(path);
        made.map_err(|source| ConnectError::File { path: path.to_owned(), source })?;
        // The writer comes first: it turns on the log.
        let write = self.pool::<Sqlite>(1).connect_with(options.clone()).await?;
        let options = options.pragma("query_only", "ON");
        let read = self.pool::<Sqlite>(SQLITE_READERS).connect_with(options.clone()).await?;
        let watch = self.pool::<Sqlite>(1).connect_with(options).await?;
        Ok(Connections { read: read.into(), write: write.into(), watch: watch.into(), _lock: Some(lock) })
    }

    async fn connect_postgres(&self, url: &Url) -> Result<Connections, ConnectError> {
        let connections = self.postgres_pools(url)?;
        self.check_postgres(&connections.read).await?;
        Ok(connections)
    }

    /// Connections to put in the place of ones that went silent; none for an
    /// embedded database, which has no network in between.
    pub(super) fn reconnect(&self) -> Option<Connections> {
        match &self.location {
            Location::Sqlite(_) => None,
            Location::Postgres(url) => self.postgres_pools(url).ok(),
        }
    }

    /// Pools that connect when they are used.
    fn postgres_pools(&self, url: &Url) -> Result<Connections, ConnectError> {
        let options = self.options_of(url)?;
        let pool = |connections| {
            let pool = self.pool::<Postgres>(connections).before_acquire(|connection, found| {
                let may_be_used = found.idle_for < MAX_IDLE && found.age < MAX_AGE;
                Box::pin(async move {
                    if may_be_used {
                        connection.ping().await?;
                    }
                    Ok(may_be_used)
                })
            });
            DatabaseConnection::from(pool.connect_lazy_with(options.clone()))
        };
        let writers = self.max_connections / 2;
        Ok(Connections {
            read: pool(self.max_connections - writers),
            write: pool(writers),
            watch: pool(1),
            _lock: None,
        })
    }

    /// A pool without the driver's own upkeep, which may take a thread of the runtime for
    /// ever (docs/decisions/0044-pools-without-upkeep.md).
    #[expect(clippy::disallowed_methods, reason = "this is where it is turned off")]
    fn pool<DB: sqlx::Database>(&self, connections: u32) -> PoolOptions<DB> {
        PoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(self.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    }

    /// How to connect to PostgreSQL; an embedded database has no such way.
    pub(super) fn postgres_options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        match &self.location {
            Location::Postgres(url) => self.options_of(url),
            Location::Sqlite(_) => Err(sqlx::Error::Configuration("the database is embedded".into())),
        }
    }

    fn options_of(&self, url: &Url) -> Result<PgConnectOptions, sqlx::Error> {
        let options = url.expose().parse::<PgConnectOptions>()?.application_name("token-authority");
        Ok(options.statement_cache_capacity(if self.prepared_statements { 100 } else { 0 }).disable_statement_logging())
    }

    async fn check_postgres(&self, connection: &DatabaseConnection) -> Result<(), ConnectError> {
        let query = "SELECT pg_is_in_recovery() AS standby, current_setting('fsync') AS fsync";
        let transaction = connection.begin().await?;
        self.forget_statements(&transaction).await?;
        let row = transaction
            .query_one_raw(Statement::from_string(DbBackend::Postgres, query))
            .await?
            .ok_or_else(|| DbErr::RecordNotFound(query.to_owned()))?;
        transaction.rollback().await?;
        if row.try_get("", "standby")? {
            return Err(ConnectError::Standby);
        }
        if row.try_get::<String>("", "fsync")? != "on" {
            return Err(ConnectError::FsyncOff);
        }
        Ok(())
    }

    /// Where statements must not outlive their transaction, drops those that are
    /// left on the server's side. Through a pooler in transaction mode they may
    /// be another client's, and the driver would take their names again.
    pub(super) async fn forget_statements(&self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        if !self.prepared_statements && transaction.get_database_backend() == DbBackend::Postgres {
            transaction.execute_unprepared("DEALLOCATE ALL").await?;
        }
        Ok(())
    }
}

/// SQLite's log of a database.
fn log_beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Takes the lock that keeps a second process away. It goes with the process,
/// however that ends.
fn lock_beside(database: &Path) -> Result<File, ConnectError> {
    let path = database.with_added_extension("lock");
    let failed = |source| ConnectError::File { path: path.clone(), source };
    if let Some(directory) = database.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ConnectError::InUse(database.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sqlite_has_every_commit_on_disk_before_it_is_acknowledged() {
        const FULL: i64 = 2;
        let second = Duration::from_secs(1);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = Config {
            location: Location::Sqlite(directory.path().join("test.db")),
            max_connections: 1,
            acquire_timeout: second,
            lock_timeout: second,
            idle_in_transaction_timeout: second,
            statement_timeout: second,
            call_timeout: second,
            prepared_statements: true,
        };
        let connections = config.connect().await.expect("it opens");
        let pragma = async |name: &str| {
            let statement = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {name}"));
            connections.write.query_one_raw(statement).await.expect("it is answered").expect("by a row")
        };
        assert_eq!(pragma("synchronous").await.try_get_by_index::<i64>(0).expect("a number"), FULL);
        assert_eq!(pragma("journal_mode").await.try_get_by_index::<String>(0).expect("a word"), "wal");
        assert_eq!(pragma("foreign_keys").await.try_get_by_index::<i64>(0).expect("a number"), 1);
        assert!(matches!(config.connect().await, Err(ConnectError::InUse(_))), "one process has it alone");
    }
}
