//! How is anything changed? In a transaction that locks first and counts
//! after, and whose last step, before the commit, is to record the change: its
//! audit events, then the head, whose lock makes the order of commits and the
//! order of revisions the same.
//!
//! Lock order everywhere: policy, accounts, credentials by id, secrets, audit,
//! head.

use std::{fmt, ops::Deref, str::FromStr, sync::atomic::Ordering, time::UNIX_EPOCH};

use sea_orm::{
    ActiveValue::Set, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait as _, ExprTrait as _, FromQueryResult, QueryFilter as _, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait as _, prelude::Expr,
};
use uuid::Uuid;

use super::{Error, Event, Head, Lock, Snapshot, Store, convert, entity};
use crate::domain::{
    id::{AccountKey, CredentialId, MalformedId},
    time::Timestamp,
};

/// Whom a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An account, and all that it holds.
    Account(AccountKey),
    /// One credential.
    Credential(CredentialId),
    /// The policy: everybody.
    Policy,
    /// The master key named current.
    Keys,
}

impl FromStr for Subject {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        match text.split_once(':') {
            Some(("account", key)) => Ok(Self::Account(key.parse()?)),
            Some(("credential", id)) => Ok(Self::Credential(id.parse()?)),
            None if text == "policy" => Ok(Self::Policy),
            None if text == "keys" => Ok(Self::Keys),
            _ => Err(MalformedId),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(key) => write!(f, "account:{}", key.uuid()),
            Self::Credential(id) => write!(f, "credential:{id}"),
            Self::Policy => f.write_str("policy"),
            Self::Keys => f.write_str("keys"),
        }
    }
}

/// What a transaction did: whom it concerns, and what the audit trail says.
#[derive(Debug, Default)]
pub struct Change {
    subjects: Vec<Subject>,
    events: Vec<Event>,
}

impl Change {
    /// A change with one event.
    pub fn new(subjects: impl IntoIterator<Item = Subject>, event: Event) -> Self {
        Self { subjects: subjects.into_iter().collect(), events: vec![event] }
    }

    /// This change and another.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.subjects.extend(other.subjects);
        self.events.extend(other.events);
        self
    }
}

/// A transaction that may write. It reads like a [`Snapshot`], and sees what
/// others commit while it waits for their locks.
///
/// Dropped without [`Transaction::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Transaction {
    snapshot: Snapshot,
}

impl Deref for Transaction {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads of one snapshot.
    Read,
    /// Reads of what is committed by then, and writes.
    Write,
}

impl Store {
    /// Begins a transaction that may write.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let connection = self.open_transaction(&self.writer(), Access::Write).await?;
        Ok(Transaction { snapshot: Snapshot::of(connection, self.clone()) })
    }

    /// Begins a transaction: every one begins here.
    pub(super) async fn open_transaction(
        &self,
        connection: &DatabaseConnection,
        access: Access,
    ) -> Result<DatabaseTransaction, Error> {
        if self.is_embedded() {
            let mode = match access {
                // The first read takes the snapshot, and excludes nobody.
                Access::Read => SqliteTransactionMode::Deferred,
                Access::Write => SqliteTransactionMode::Immediate,
            };
            let options = TransactionOptions { sqlite_transaction_mode: Some(mode), ..TransactionOptions::default() };
            return Ok(connection.begin_with_options(options).await?);
        }
        let transaction = connection.begin().await?;
        let mode = match access {
            Access::Read => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            // What is counted after a lock was waited for must see what its
            // holder did.
            Access::Write => "SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE",
        };
        transaction.execute_unprepared(mode).await?;
        self.0.config.forget_statements(&transaction).await?;
        self.set_up(&transaction).await?;
        Ok(transaction)
    }

    /// Refuses a standby, which may lag behind. Bounds how long this transaction
    /// waits for others' locks and, should this process go silent, how long
    /// others wait for its own; set in the transaction, so that it works through
    /// a pooler as well.
    async fn set_up(&self, connection: &DatabaseTransaction) -> Result<(), Error> {
        let config = &self.0.config;
        let milliseconds = |span: std::time::Duration| span.as_millis().to_string();
        let statement = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "SELECT pg_is_in_recovery() AS standby, \
                    set_config('lock_timeout', $1, true), \
                    set_config('idle_in_transaction_session_timeout', $2, true), \
                    set_config('statement_timeout', $3, true), \
                    CASE WHEN current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') \
                         THEN set_config('synchronous_commit', 'on', true) END",
            [
                milliseconds(config.lock_timeout).into(),
                milliseconds(config.idle_in_transaction_timeout).into(),
                milliseconds(config.statement_timeout).into(),
            ],
        );
        let row = connection.query_one_raw(statement).await?;
        match row.map(|row| row.try_get("", "standby")).transpose()? {
            Some(false) => Ok(()),
            Some(true) | None => Err(self.standby()),
        }
    }

    /// The time of the embedded database: this process's own clock, which
    /// never goes back.
    #[expect(clippy::disallowed_methods, reason = "this is the edge: the embedded database has no other clock")]
    pub(super) fn embedded_time(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        Ord::max(self.0.latest_time.fetch_max(now, Ordering::Relaxed), now)
    }
}

#[derive(FromQueryResult)]
struct Micros {
    micros: i64,
}

impl Snapshot {
    /// The database's time, now. After a lock was waited for, it is later than
    /// what its holder did.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let micros = match self.store().backend() {
            DbBackend::Postgres => {
                let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros";
                let statement = Statement::from_string(DbBackend::Postgres, query);
                let row = Micros::find_by_statement(statement).one(self.connection()).await?;
                row.ok_or_else(|| DbErr::RecordNotFound("the time".to_owned()))?.micros
            }
            _ => self.store().embedded_time(),
        };
        convert::timestamp(micros)
    }
}

impl Transaction {
    /// Records the change and commits it; where the database is embedded, its
    /// new head is known before this returns.
    pub async fn commit(self, change: Change) -> Result<(), Error> {
        let now = self.now().await?;
        let entries = self.insert_events(change.events, now).await?;

        let head = self.raise_head(Uuid::new_v4()).await?;
        let row = entity::change::ActiveModel {
            revision: Set(head.revision),
            tag: Set(head.tag),
            commit_time: Set(now.as_micros()),
            subjects: Set(convert::words(change.subjects)),
        };
        entity::change::Entity::insert(row).exec_without_returning(self.connection()).await?;
        let store = self.store().clone();
        let doubt = store.is_embedded().then(|| store.0.embedded_head.doubt());
        self.snapshot.commit().await?;
        if let Some(doubt) = doubt {
            doubt.settle(head);
        }
        store.told(entries);
        Ok(())
    }

    /// Commits what is no change: fingerprints stored later, uses, failures to
    /// sign in, and what was purged from the log of changes.
    pub(super) async fn commit_unrecorded(self) -> Result<(), Error> {
        self.snapshot.commit().await
    }

    /// Ends the transaction without a change.
    pub async fn abandon(self) -> Result<(), Error> {
        self.snapshot.end().await
    }

    async fn raise_head(&self, tag: Uuid) -> Result<Head, Error> {
        use entity::head::{Column, Entity};

        let heads = Entity::update_many()
            .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
            .col_expr(Column::Tag, Expr::value(tag))
            .filter(Expr::col(Column::Id).eq(1))
            .exec_with_returning(self.connection())
            .await?;
        match heads.as_slice() {
            [head] => Ok(Head { epoch: head.epoch, revision: head.revision, tag: head.tag }),
            other => Err(Error::unreadable("head: one row is wanted, rows", other.len())),
        }
    }

    /// Takes one of PostgreSQL's advisory locks until the commit; `name` stands
    /// for what it protects. They are granted in the order of asking, whereas
    /// a row that is always held shared by somebody can never be had alone.
    /// SQLite lets one transaction write at a time.
    pub(super) async fn advisory_lock(&self, name: i64, lock: Lock) -> Result<(), Error> {
        if self.store().is_embedded() {
            return Ok(());
        }
        let query = match lock {
            Lock::Shared => "SELECT pg_advisory_xact_lock_shared($1)",
            Lock::Exclusive => "SELECT pg_advisory_xact_lock($1)",
        };
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, query, [name.into()]);
        self.connection().query_one_raw(statement).await?;
        Ok(())
    }
}
