//! Does the schema fit? What this binary needs and the database lacks is
//! applied, by one process at a time, beside servers that run.

use std::{collections::BTreeSet, time::Duration};

use migrations::{Migrator, MigratorTrait as _};
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, RuntimeErr, Statement, TransactionTrait as _, sqlx};

use super::{Store, detached};

/// The key of the lock that migrating processes take in turn: "token-au".
const ADVISORY_LOCK: i64 = 0x746f_6b65_6e2d_6175;

/// How long a migration waits for a table that others use; no longer than an
/// introspection can, since whoever comes to the table meanwhile waits behind it.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it asks for it, others going first for so many times as long in between.
const TRIES: u32 = 10;
const OTHERS_FIRST: u32 = 4;
/// PostgreSQL's `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Why the schema does not fit.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Migrations are missing, and nobody said to apply them.
    #[error(
        "the database lacks {0} migration(s) of this version; run `token-authority migrate`, \
         or set database.migrate_on_start"
    )]
    Pending(usize),
    /// Somebody keeps a table that is to be changed.
    #[error(
        "a table that a migration changes is in use, by a backup or a transaction that was left open: \
         migrate again once that has ended; what was applied before it stays"
    )]
    TableInUse(#[source] DbErr),
    /// The driver's own failure.
    #[error("cannot migrate the database")]
    Driver(#[from] DbErr),
}

/// How a database's schema stands to this binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Migrations of this binary's that are not applied, in their order.
    pub pending: Vec<String>,
    /// Migrations that are applied, and are a newer binary's.
    pub unknown: Vec<String>,
    /// Whether nothing was ever applied.
    pub is_new: bool,
}

impl Store {
    /// How the schema stands to this binary.
    pub async fn schema(&self) -> Result<Schema, MigrateError> {
        let transaction = self.reader().begin().await?;
        self.0.config.forget_statements(&transaction).await?;
        let schema = compare(&transaction).await?;
        transaction.rollback().await?;
        Ok(schema)
    }

    /// Applies what is missing, and says how many that were. A schema that is
    /// newer than this binary is left as it is.
    pub async fn migrate(&self) -> Result<usize, MigrateError> {
        let store = self.clone();
        detached(async move {
            let (mut applied, mut tries) = (0, 0);
            loop {
                match store.try_migrate().await {
                    Ok(0) => return Ok(applied),
                    Ok(further) => (applied, tries) = (applied + further, 0),
                    Err(error) if !is_lock_timeout(&error) => return Err(error.into()),
                    Err(error) if tries + 1 == TRIES => return Err(MigrateError::TableInUse(error)),
                    Err(_) => {
                        tries += 1;
                        tracing::info!(tries, "a table that is to be changed is in use: it is tried again");
                        tokio::time::sleep(store.migration_patience() * OTHERS_FIRST).await;
                    }
                }
            }
        })
        .await
    }

    /// Applies the next that is missing; of a new database, which nobody waits for, all.
    async fn try_migrate(&self) -> Result<usize, DbErr> {
        let transaction = self.writer().begin().await?;
        self.0.config.forget_statements(&transaction).await?;
        if self.backend() == DbBackend::Postgres {
            let lock = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
            transaction.execute_unprepared(&lock).await?;
            let patience = self.migration_patience().as_millis();
            transaction.execute_unprepared(&format!("SET LOCAL lock_timeout = {patience}")).await?;
        }
        let Schema { pending, is_new, .. } = compare(&transaction).await?;
        let next = if is_new { pending.len() } else { pending.len().min(1) };
        if next > 0 {
            Migrator::up(&transaction, u32::try_from(next).ok()).await?;
        }
        transaction.commit().await?;
        Ok(next)
    }

    fn migration_patience(&self) -> Duration {
        self.0.config.lock_timeout.min(PATIENCE)
    }

    /// Refuses a schema that lacks what this binary needs.
    pub async fn check_schema(&self) -> Result<(), MigrateError> {
        match self.schema().await?.pending.len() {
            0 => Ok(()),
            pending => Err(MigrateError::Pending(pending)),
        }
    }
}

fn is_lock_timeout(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) = error else {
        return false;
    };
    let error = source.as_database_error();
    error.and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// Which of this binary's migrations are not applied, and which others are. Those, a
/// newer binary's, do no harm: migrations expand before they contract.
async fn compare(connection: &impl sea_orm::ConnectionTrait) -> Result<Schema, DbErr> {
    let backend = connection.get_database_backend();
    let query = match backend {
        DbBackend::Postgres => {
            "SELECT 1 FROM pg_tables WHERE schemaname = ANY (current_schemas(false)) AND tablename = 'seaql_migrations'"
        }
        _ => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    let is_new = connection.query_one_raw(Statement::from_string(backend, query)).await?.is_none();
    let mut applied = BTreeSet::new();
    if !is_new {
        let query = Statement::from_string(backend, "SELECT version FROM seaql_migrations");
        for row in connection.query_all_raw(query).await? {
            applied.insert(row.try_get::<String>("", "version")?);
        }
    }
    let mut pending: Vec<_> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let unknown = applied.iter().filter(|name| !pending.contains(name)).cloned().collect();
    pending.retain(|name| !applied.contains(name));
    Ok(Schema { pending, unknown, is_new: applied.is_empty() })
}
