//! What is kept for how long? Records that ended, and the old end of the log
//! of changes, are removed after their retention times.

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    prelude::Expr,
    sea_query::{LockBehavior, LockType, Query},
};
use uuid::Uuid;

use super::{Change, Error, Event, Store, Subject, entity};
use crate::domain::id::{AccountKey, CredentialId};

/// How many rows one transaction removes at most.
const BATCH: u64 = 500;

/// What a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Credentials that ended long ago.
    pub credentials: u64,
    /// Secrets that a rotation ended long ago.
    pub secrets: u64,
    /// Rows of the log of changes.
    pub changes: u64,
    /// Signing keys whose last token has expired.
    pub signing_keys: u64,
}

/// The ways in which a credential ends, each found by an index of its own.
#[derive(Clone, Copy)]
enum Ended {
    Revoked,
    Expired,
    WithAllOfItsAccount,
}

impl Ended {
    fn before(self, horizon: i64) -> Condition {
        use entity::credential::Column;

        Condition::all().add(match self {
            Self::Revoked => Column::RevokeTime.lt(horizon),
            Self::Expired => Column::ExpireTime.lt(horizon),
            Self::WithAllOfItsAccount => Column::Id.in_subquery(of_ended_generations(horizon)),
        })
    }
}

impl Store {
    /// Removes what ended longer than `ended` ago, and changes committed longer
    /// than `changes` ago: a batch a transaction, so that nobody waits long.
    pub async fn purge(&self, ended: Duration, changes: Duration) -> Result<Purged, Error> {
        let mut purged = Purged::default();
        for way in [Ended::Revoked, Ended::Expired, Ended::WithAllOfItsAccount] {
            purged.credentials += self.in_batches(move |store| store.purge_credentials(way, ended)).await?;
        }
        purged.secrets = self.in_batches(move |store| store.purge_secrets(ended)).await?;
        purged.changes = self.in_batches(move |store| store.purge_changes(changes)).await?;
        purged.signing_keys = self.purge_signing_keys().await?;
        Ok(purged)
    }

    /// Removes what the audit trail was told longer than `retention` ago, and tells
    /// it how much that was.
    pub async fn purge_audit(&self, retention: Duration) -> Result<u64, Error> {
        self.in_batches(move |store| store.purge_entries(retention)).await
    }

    pub(super) async fn in_batches<F>(&self, batch: impl Fn(Self) -> F) -> Result<u64, Error>
    where
        F: Future<Output = Result<u64, Error>> + Send + 'static,
    {
        let mut removed = 0;
        loop {
            match self.change(batch(self.clone())).await? {
                0 => return Ok(removed),
                more => removed += more,
            }
        }
    }

    async fn purge_credentials(self, way: Ended, retention: Duration) -> Result<u64, Error> {
        use entity::credential::{Column, Entity};

        let transaction = self.begin().await?;
        let horizon = transaction.now().await?.saturating_sub(retention).as_micros();
        let rows: Vec<(Uuid, Option<Uuid>)> = Entity::find()
            .select_only()
            .column(Column::Id)
            .column(Column::Account)
            .filter(way.before(horizon))
            .order_by_asc(Column::Id)
            .limit(BATCH)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(transaction.connection())
            .await?;
        if rows.is_empty() {
            transaction.abandon().await?;
            return Ok(0);
        }
        Entity::delete_many()
            .filter(Column::Id.is_in(rows.iter().map(|(id, _)| *id)))
            .exec(transaction.connection())
            .await?;
        // A token's change names its account too.
        let subjects = rows.iter().flat_map(|(id, account)| {
            let account = account.map(|account| Subject::Account(AccountKey::from_uuid(account)));
            [Some(Subject::Credential(CredentialId::from_uuid(*id))), account].into_iter().flatten()
        });
        transaction.commit(Change::new(subjects, purge_event("credential.purge", rows.len()))).await?;
        Ok(rows.len() as u64)
    }

    async fn purge_secrets(self, retention: Duration) -> Result<u64, Error> {
        use entity::secret::{Column, Entity};

        let transaction = self.begin().await?;
        let horizon = transaction.now().await?.saturating_sub(retention).as_micros();
        let rows: Vec<(Uuid, Uuid)> = Entity::find()
            .select_only()
            .column(Column::Id)
            .column(Column::Credential)
            .filter(Column::EndTime.lt(horizon))
            .order_by_asc(Column::Id)
            .limit(BATCH)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(transaction.connection())
            .await?;
        if rows.is_empty() {
            transaction.abandon().await?;
            return Ok(0);
        }
        Entity::delete_many()
            .filter(Column::Id.is_in(rows.iter().map(|(id, _)| *id)))
            .exec(transaction.connection())
            .await?;
        let subjects = rows.iter().map(|(_, credential)| Subject::Credential(CredentialId::from_uuid(*credential)));
        transaction.commit(Change::new(subjects, purge_event("secret.purge", rows.len()))).await?;
        Ok(rows.len() as u64)
    }

    /// Removes what decides nothing any more, and so is no change.
    pub(super) async fn purge_windows(self, window: Duration) -> Result<u64, Error> {
        use entity::sign_in_attempt::{Column, Entity};

        let transaction = self.begin().await?;
        let horizon = transaction.now().await?.saturating_sub(window).as_micros();
        let buckets: Vec<Vec<u8>> = Entity::find()
            .select_only()
            .column(Column::Bucket)
            .filter(Column::WindowStart.lte(horizon))
            .order_by_asc(Column::Bucket)
            .limit(BATCH)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(transaction.connection())
            .await?;
        if buckets.is_empty() {
            transaction.abandon().await?;
            return Ok(0);
        }
        let removed =
            Entity::delete_many().filter(Column::Bucket.is_in(buckets)).exec(transaction.connection()).await?;
        transaction.commit_unrecorded().await?;
        Ok(removed.rows_affected)
    }

    /// Decides nothing, and so is no change.
    async fn purge_entries(self, retention: Duration) -> Result<u64, Error> {
        let transaction = self.begin().await?;
        let now = transaction.now().await?;
        let removed = transaction.remove_entries(now.saturating_sub(retention), BATCH).await?;
        if removed == 0 {
            transaction.abandon().await?;
            return Ok(0);
        }
        let count = usize::try_from(removed).unwrap_or(usize::MAX);
        let entries = transaction.insert_events(vec![purge_event("audit.purge", count)], now).await?;
        transaction.commit_unrecorded().await?;
        self.told(entries);
        // What was told of it now, a retention of nothing would remove again.
        Ok(if removed < BATCH { 0 } else { removed })
    }

    /// Removes the oldest of the log, and so is no change itself. The head's row
    /// stays, whatever its age.
    async fn purge_changes(self, retention: Duration) -> Result<u64, Error> {
        use entity::change::{Column, Entity};

        let transaction = self.begin().await?;
        let horizon = transaction.now().await?.saturating_sub(retention);
        let head = Query::select().column(entity::head::Column::Revision).from(entity::head::Entity).to_owned();
        let old: Vec<i64> = Entity::find()
            .select_only()
            .column(Column::Revision)
            .filter(Column::CommitTime.lt(horizon.as_micros()))
            .filter(Expr::col(Column::Revision).not_in_subquery(head))
            .order_by_asc(Column::Revision)
            .limit(BATCH)
            .into_tuple()
            .all(transaction.connection())
            .await?;
        let Some(last) = old.last() else {
            transaction.abandon().await?;
            return Ok(0);
        };
        // Commits are in the order of revisions, their times nearly so: all up
        // to the last one is removed, so that what is left has no gap.
        let removed = Entity::delete_many().filter(Column::Revision.lte(*last)).exec(transaction.connection()).await?;
        transaction.commit_unrecorded().await?;
        Ok(removed.rows_affected)
    }
}

/// The ids of credentials that were ended with all of their account's, before
/// the horizon.
fn of_ended_generations(horizon: i64) -> sea_orm::sea_query::SelectStatement {
    use entity::{credential, generation_raise as raise};

    // Kind 1 is a token (series 1), kinds 3 and 4 are sessions (series 2).
    let of_its_series = Expr::case(Expr::col((credential::Entity, credential::Column::Kind)).eq(1), 1).finally(2);
    Query::select()
        .column((credential::Entity, credential::Column::Id))
        .from(credential::Entity)
        .inner_join(
            raise::Entity,
            Condition::all()
                .add(
                    Expr::col((raise::Entity, raise::Column::Account))
                        .equals((credential::Entity, credential::Column::Account)),
                )
                .add(Expr::col((raise::Entity, raise::Column::Series)).eq(of_its_series))
                .add(
                    Expr::col((raise::Entity, raise::Column::Generation)).eq(Expr::col((
                        credential::Entity,
                        credential::Column::Generation,
                    ))
                    .add(1)),
                )
                .add(Expr::col((raise::Entity, raise::Column::RaiseTime)).lt(horizon)),
        )
        .limit(BATCH)
        .to_owned()
}

fn purge_event(action: &'static str, removed: usize) -> Event {
    Event { detail: serde_json::json!({ "removed": removed }), ..Event::new("system:retention", action, "") }
}
