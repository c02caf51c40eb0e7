//! In which condition is the database? For whoever looks at it before it is
//! relied on.

use sea_orm::{
    ConnectionTrait as _, DatabaseTransaction, DbBackend, DbErr, EntityTrait as _, FromQueryResult, QueryOrder as _,
    Statement, TransactionTrait as _,
};

use super::{Error, Snapshot, Store, convert, entity};
use crate::domain::time::Timestamp;

/// What a database is, as far as the service's promises rest on it.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Of PostgreSQL, or of SQLite.
    pub version: String,
    /// None where the database is embedded.
    pub server: Option<ServerCondition>,
}

/// What PostgreSQL says of itself.
#[expect(clippy::struct_excessive_bools, reason = "each is one answer of the server's, and they go together in no way")]
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct ServerCondition {
    /// Its version as a number, for example 150004.
    pub version_number: i64,
    /// Whether it is a standby.
    pub standby: bool,
    /// Whether what is committed is on its disk.
    pub fsync: bool,
    /// Whether a page that was half written is found again after a crash.
    pub full_page_writes: bool,
    /// What a commit waits for where nobody says otherwise.
    pub synchronous_commit: String,
    /// Which standbys commits wait for; empty: none.
    pub synchronous_standbys: String,
    /// How many connections it grants: all together, to this role, to this database.
    pub max_connections: i64,
    /// How many there are.
    pub connections: i64,
    /// How many of those are this service's, of all replicas.
    pub own_connections: i64,
    /// Whether this connection is encrypted.
    pub encrypted: bool,
    /// Whether it stays on one machine.
    pub local: bool,
}

/// A limit of -1 is none.
const CONDITION: &str = "\
    SELECT current_setting('server_version_num')::bigint AS version_number, \
           pg_is_in_recovery() AS standby, \
           current_setting('fsync') = 'on' AS fsync, \
           current_setting('full_page_writes') = 'on' AS full_page_writes, \
           current_setting('synchronous_commit') AS synchronous_commit, \
           current_setting('synchronous_standby_names') AS synchronous_standbys, \
           LEAST(current_setting('max_connections')::bigint \
                     - current_setting('superuser_reserved_connections')::bigint, \
                 (SELECT NULLIF(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user), \
                 (SELECT NULLIF(datconnlimit, -1) FROM pg_database WHERE datname = current_database())) \
               AS max_connections, \
           (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL) AS connections, \
           (SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'token-authority' \
                  AND pid <> pg_backend_pid()) AS own_connections, \
           COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted, \
           COALESCE(inet_server_addr() <<= inet '127.0.0.0/8' OR inet_server_addr() = inet '::1', true) AS local";

impl Store {
    /// What the database is. A standby answers as well.
    pub async fn condition(&self) -> Result<Condition, Error> {
        let backend = self.backend();
        let transaction = self.look().await?;
        let version = match backend {
            DbBackend::Postgres => "SELECT current_setting('server_version') AS version",
            _ => "SELECT sqlite_version() AS version",
        };
        let row = transaction.query_one_raw(Statement::from_string(backend, version)).await?;
        let version = row.ok_or_else(|| DbErr::RecordNotFound(version.to_owned()))?.try_get("", "version")?;
        let server = if backend == DbBackend::Postgres {
            let statement = Statement::from_string(backend, CONDITION);
            let server = ServerCondition::find_by_statement(statement).one(&transaction).await?;
            Some(server.ok_or_else(|| DbErr::RecordNotFound(CONDITION.to_owned()))?)
        } else {
            None
        };
        transaction.rollback().await?;
        Ok(Condition { version, server })
    }

    /// A transaction that refuses no database, unlike a snapshot, and changes nothing.
    async fn look(&self) -> Result<DatabaseTransaction, Error> {
        let transaction = self.reader().begin().await?;
        if self.backend() == DbBackend::Postgres {
            transaction.execute_unprepared("SET TRANSACTION READ ONLY").await?;
        }
        self.0.config.forget_statements(&transaction).await?;
        Ok(transaction)
    }
}

impl Snapshot {
    /// When the last change was committed that the log of changes still has.
    pub async fn last_change_time(&self) -> Result<Option<Timestamp>, Error> {
        use entity::change::{Column, Entity};

        let last = Entity::find().order_by_desc(Column::Revision).one(self.connection()).await?;
        last.map(|last| convert::timestamp(last.commit_time)).transpose()
    }
}
