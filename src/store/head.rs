//! How far has the history of changes come? What replicas confirm themselves
//! by: the head, and the changes after the one that they know.
//!
//! PostgreSQL is asked each time, in one statement. The embedded database has
//! one writer, this process, which keeps its head in memory.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use sea_orm::{
    ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sqlx::{self, AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, postgres::PgRow},
};
use uuid::Uuid;

use super::{Error, Store, Subject, convert, entity};
use crate::domain::time::Timestamp;

/// More changes than this are not read: it is cheaper to load anew what is
/// wanted.
pub const MAX_CHANGES: u64 = 10_000;

/// One point in the history of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which history.
    pub epoch: Uuid,
    /// How many changes it holds.
    pub revision: i64,
    /// The last change's own mark: another history that has come as far has
    /// another one.
    pub tag: Uuid,
}

/// A committed change: whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its number.
    pub revision: i64,
    /// Its mark.
    pub tag: Uuid,
    /// Whom it concerns; none where a newer version wrote what this one cannot
    /// read.
    pub subjects: Option<Vec<Subject>>,
}

/// What the database said of itself at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation {
    /// How far it has come.
    pub head: Head,
    /// Its time.
    pub time: Timestamp,
}

/// The changes after a revision that was known, that one's own among them where
/// the log still has it; read in one snapshot with the head.
#[derive(Debug)]
pub struct Since {
    /// How far the database has come.
    pub head: Head,
    /// In the order of their revisions, at most [`MAX_CHANGES`] and one.
    pub changes: Vec<Changed>,
}

/// Asks the database for its head, on a connection of its own.
#[derive(Debug)]
pub struct HeadReader {
    store: Store,
    // Dropped after a failure: what is still on its way there concerns nobody.
    connection: Option<PgConnection>,
}

const ASK: &str = "SELECT pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
                   epoch, revision, tag FROM head";

impl Store {
    /// Something that asks for the head.
    pub fn head_reader(&self) -> HeadReader {
        HeadReader { store: self.clone(), connection: None }
    }
}

impl HeadReader {
    /// Asks how far the database has come, and what time it is there.
    pub async fn ask(&mut self) -> Result<Confirmation, Error> {
        if self.store.is_embedded() {
            let time = convert::timestamp(self.store.embedded_time())?;
            let head = match self.store.0.embedded_head.known() {
                Some(head) => head,
                None => self.read_embedded_head().await?,
            };
            return Ok(Confirmation { head, time });
        }
        let rows = self.rows(ASK, None).await?;
        let row = rows.first().ok_or_else(|| Error::unreadable("head", "no row"))?;
        if row.try_get(0)? {
            // The primary may be found under the same name by now.
            self.connection = None;
            return Err(Error::Standby);
        }
        Ok(Confirmation { head: head(row, 2)?, time: convert::timestamp(row.try_get(1)?)? })
    }

    /// Reads the changes from `revision` on, and the head, in one snapshot.
    pub async fn since(&mut self, revision: i64) -> Result<Since, Error> {
        if self.store.is_embedded() {
            return self.embedded_since(revision).await;
        }
        let query = format!(
            "SELECT h.epoch, h.revision, h.tag, c.revision, c.tag, c.subjects FROM head h \
             LEFT JOIN changes c ON c.revision >= {revision} AND c.revision <= h.revision \
             WHERE h.id = 1 ORDER BY c.revision LIMIT {}",
            MAX_CHANGES + 1
        );
        let rows = self.rows("", Some(query)).await?;
        let first = rows.first().ok_or_else(|| Error::unreadable("head", "no row"))?;
        let head = head(first, 0)?;
        let changes = rows.iter().map(|row| {
            let revision: Option<i64> = row.try_get(3)?;
            let Some(revision) = revision else {
                return Ok(None);
            };
            Ok(Some(Changed { revision, tag: row.try_get(4)?, subjects: subjects(row.try_get(5)?) }))
        });
        let changes = changes.filter_map(Result::transpose).collect::<Result<_, Error>>()?;
        Ok(Since { head, changes })
    }

    /// One statement: prepared where `fixed`, else sent as text.
    async fn rows(&mut self, fixed: &'static str, text: Option<String>) -> Result<Vec<PgRow>, Error> {
        let config = &self.store.0.config;
        // Taken out while it is in use: a statement that is given up half way
        // takes its connection with it.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => config.postgres_options()?.connect().await?,
        };
        let rows = match text {
            Some(text) => sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut connection).await?,
            // Through a pooler in transaction mode, one message is one
            // transaction.
            None if !config.prepared_statements => sqlx::raw_sql(fixed).fetch_all(&mut connection).await?,
            None => sqlx::query(fixed).fetch_all(&mut connection).await?,
        };
        self.connection = Some(connection);
        Ok(rows)
    }

    async fn read_embedded_head(&self) -> Result<Head, Error> {
        let undoubted = self.store.0.embedded_head.undoubted();
        let row = entity::head::Entity::find_by_id(1_i16).one(&self.store.reader()).await?;
        let row = row.ok_or_else(|| Error::unreadable("head", "no row"))?;
        let head = Head { epoch: row.epoch, revision: row.revision, tag: row.tag };
        self.store.0.embedded_head.learn(head, undoubted);
        Ok(head)
    }

    async fn embedded_since(&self, revision: i64) -> Result<Since, Error> {
        use entity::change::{Column, Entity};

        let snapshot = self.store.snapshot().await?;
        let row = entity::head::Entity::find_by_id(1_i16).one(snapshot.connection()).await?;
        let row = row.ok_or_else(|| Error::unreadable("head", "no row"))?;
        let query = Entity::find().filter(Column::Revision.gte(revision)).order_by_asc(Column::Revision);
        let rows = query.limit(MAX_CHANGES + 1).all(snapshot.connection()).await?;
        snapshot.end().await?;
        let changes =
            rows.into_iter().map(|entity::change::Model { revision, tag, commit_time: _, subjects: text }| Changed {
                revision,
                tag,
                subjects: subjects(&text),
            });
        Ok(Since { head: Head { epoch: row.epoch, revision: row.revision, tag: row.tag }, changes: changes.collect() })
    }
}

fn head(row: &PgRow, first: usize) -> Result<Head, Error> {
    Ok(Head { epoch: row.try_get(first)?, revision: row.try_get(first + 1)?, tag: row.try_get(first + 2)? })
}

fn subjects(text: &str) -> Option<Vec<Subject>> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| word.parse().ok()).collect()
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        Self::Unavailable(DbErr::Query(sea_orm::RuntimeErr::SqlxError(source.into())))
    }
}

/// The embedded database's head, as this process, its only writer, knows it.
/// While a commit is under way it is in doubt; so it stays where one failed,
/// until the database was asked again.
#[derive(Debug)]
pub(super) struct EmbeddedHead {
    state: Mutex<State>,
    // The known head's revision, or UNKNOWN: what the hot path compares.
    revision: AtomicI64,
}

const UNKNOWN: i64 = -1;

#[derive(Debug)]
struct State {
    // The furthest that is known to have been committed.
    latest: Option<Head>,
    // Since when it is not known what was: since the start, or a failure.
    lost: bool,
    committing: u32,
    // How often it came into doubt.
    doubts: u64,
}

/// A commit under way. Dropped before it was settled, nobody knows what it did.
pub(super) struct Doubt<'a>(Option<&'a EmbeddedHead>);

impl EmbeddedHead {
    pub(super) fn new() -> Self {
        let state = State { latest: None, lost: true, committing: 0, doubts: 0 };
        Self { state: Mutex::new(state), revision: AtomicI64::new(UNKNOWN) }
    }

    /// The known head's revision; none while it is in doubt.
    pub(super) fn revision(&self) -> Option<i64> {
        Some(self.revision.load(Ordering::SeqCst)).filter(|revision| *revision != UNKNOWN)
    }

    /// A commit begins: what it does may be seen before it returns.
    pub(super) fn doubt(&self) -> Doubt<'_> {
        let mut state = self.state();
        state.committing += 1;
        state.doubts += 1;
        self.revision.store(UNKNOWN, Ordering::SeqCst);
        Doubt(Some(self))
    }

    fn known(&self) -> Option<Head> {
        self.state().known()
    }

    /// What there was of doubts until now; none while a commit is under way,
    /// which what is read meanwhile may know of or not.
    fn undoubted(&self) -> Option<u64> {
        let state = self.state();
        (state.committing == 0).then_some(state.doubts)
    }

    /// A commit ended: it made this the head, or nobody knows.
    fn settle(&self, head: Option<Head>) {
        let mut state = self.state();
        state.committing -= 1;
        match head {
            // Others may have committed since, and settled before.
            Some(head) if state.latest.is_none_or(|latest| latest.revision < head.revision) => {
                state.latest = Some(head);
            }
            Some(_) => {}
            None => state.lost = true,
        }
        self.publish(&state);
    }

    /// The database was asked; `undoubted` is what there was of doubts before.
    /// Where a commit was under way then or began since, nobody knows which came
    /// first.
    fn learn(&self, head: Head, undoubted: Option<u64>) {
        let mut state = self.state();
        if undoubted == Some(state.doubts) {
            state.latest = Some(head);
            state.lost = false;
            self.publish(&state);
        }
    }

    fn publish(&self, state: &State) {
        let revision = state.known().map_or(UNKNOWN, |head| head.revision);
        self.revision.store(revision, Ordering::SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn known(&self) -> Option<Head> {
        self.latest.filter(|_| self.committing == 0 && !self.lost)
    }
}

impl Doubt<'_> {
    /// The commit succeeded, and made this the head.
    pub(super) fn settle(mut self, head: Head) {
        if let Some(embedded) = self.0.take() {
            embedded.settle(Some(head));
        }
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(embedded) = self.0.take() {
            embedded.settle(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(revision: i64) -> Head {
        Head { epoch: Uuid::nil(), revision, tag: Uuid::nil() }
    }

    fn known(embedded: &EmbeddedHead) -> Option<i64> {
        embedded.revision()
    }

    #[test]
    fn the_head_is_in_doubt_while_a_commit_is_under_way() {
        let embedded = EmbeddedHead::new();
        assert_eq!(known(&embedded), None, "nobody asked yet");
        embedded.learn(head(4), embedded.undoubted());
        assert_eq!(known(&embedded), Some(4));

        let one = embedded.doubt();
        assert_eq!(known(&embedded), None);
        let other = embedded.doubt();
        other.settle(head(6));
        assert_eq!(known(&embedded), None, "one is still under way");
        one.settle(head(5));
        assert_eq!(known(&embedded), Some(6), "whoever settles last");
    }

    #[test]
    fn after_a_failed_commit_the_database_is_asked() {
        let embedded = EmbeddedHead::new();
        embedded.learn(head(4), embedded.undoubted());
        drop(embedded.doubt());
        assert_eq!(known(&embedded), None);
        embedded.doubt().settle(head(5));
        assert_eq!(known(&embedded), None, "a later success tells nothing of it");

        let before = embedded.undoubted();
        embedded.doubt().settle(head(6));
        embedded.learn(head(5), before);
        assert_eq!(known(&embedded), None, "what was read before a commit does not count");
        embedded.learn(head(6), embedded.undoubted());
        assert_eq!(known(&embedded), Some(6));
    }

    #[test]
    fn what_is_read_during_a_commit_does_not_count() {
        let embedded = EmbeddedHead::new();
        embedded.learn(head(4), embedded.undoubted());

        let commit = embedded.doubt();
        // It reads 4, and the commit ends before it is back.
        let during = embedded.undoubted();
        commit.settle(head(5));
        embedded.learn(head(4), during);
        assert_eq!(known(&embedded), Some(5), "it does not go back");

        let commit = embedded.doubt();
        let during = embedded.undoubted();
        drop(commit);
        embedded.learn(head(5), during);
        assert_eq!(known(&embedded), None, "it may have committed after that was read");
    }
}
