//! Who did what? The audit trail: a row for every change, in the change's own
//! transaction, so that neither exists without the other; and rows for what was
//! refused, counted, on their own. Rows are added and read, and removed once they
//! are past their retention; the database itself refuses to change one.

use std::borrow::Cow;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Error, Snapshot, Store, Transaction, convert,
    entity::{self, audit_event::Column},
};
use crate::{
    domain::{id::AuditId, time::Timestamp},
    telemetry::told_of,
};

/// What the trail is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who did it, or tried: a caller's name, or the part of this service that
    /// acted by itself.
    pub actor: String,
    /// The address that the actor called from.
    pub actor_address: Option<String>,
    /// What was done, for example `token.issue`.
    pub action: Cow<'static, str>,
    /// On what: an id, never a secret.
    pub target: String,
    /// Whose it is.
    pub account_id: Option<String>,
    /// The request that it was done in, as the log has it.
    pub request_id: Option<String>,
    /// What else is to be known, never a secret.
    pub detail: serde_json::Value,
    /// Why it was not done; none: it was.
    pub refusal: Option<Refusal>,
}

/// Attempts that were refused alike, in one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason that callers were told.
    pub reason: String,
    /// How many there were.
    pub count: u64,
}

/// An event as it stands in the trail. Its id orders it by time.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: AuditId,
    /// When it was done; of refusals, when they were written down.
    pub time: Timestamp,
    /// What it tells.
    pub event: Event,
}

/// Which entries are looked for: those that fit all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Whose.
    pub account_id: Option<String>,
    /// By whom.
    pub actor: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// On what.
    pub target: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// Refusals alone, or none.
    pub refused: Option<bool>,
    /// From then on.
    pub start: Option<Timestamp>,
    /// Before then.
    pub end: Option<Timestamp>,
    /// In the order of time, and not in the opposite one.
    pub oldest_first: bool,
}

impl Event {
    /// That it was done, and nothing else.
    pub fn new(actor: impl Into<String>, action: &'static str, target: impl Into<String>) -> Self {
        Self {
            actor: actor.into(),
            actor_address: None,
            action: action.into(),
            target: target.into(),
            account_id: None,
            request_id: None,
            detail: serde_json::Value::Null,
            refusal: None,
        }
    }
}

impl Store {
    /// Sends whatever the trail is told from now on, once it is committed, where it
    /// is followed. What a follower has no room for it is not sent.
    pub fn follow_audit_trail(&self, follower: mpsc::Sender<Entry>) {
        let _ = self.0.follower.set(follower);
    }

    /// Tells the follower what was committed.
    pub(super) fn told(&self, entries: Vec<Entry>) {
        let Some(follower) = self.0.follower.get() else {
            return;
        };
        for entry in entries {
            if let Err(error) = follower.try_send(entry) {
                tracing::warn!(
                    error = told_of(&error),
                    "an audit event was not sent to who follows them; it is in the database"
                );
            }
        }
    }
}

impl Snapshot {
    /// A page of the trail, after the entry that ended the page before.
    pub async fn audit_trail(
        &self,
        filter: &AuditFilter,
        after: Option<AuditId>,
        limit: u64,
    ) -> Result<Vec<Entry>, Error> {
        let AuditFilter { account_id, actor, action, target, request_id, refused, start, end, oldest_first } = filter;
        let at = |time: &Timestamp| first_at(*time);
        let after = after.map(AuditId::uuid);
        let fits = Condition::all()
            .add_option(account_id.as_ref().map(|id| Column::AccountId.eq(id)))
            .add_option(actor.as_ref().map(|actor| Column::Actor.eq(actor)))
            .add_option(action.as_ref().map(|action| Column::Action.eq(action)))
            .add_option(target.as_ref().map(|target| Column::Target.eq(target)))
            .add_option(request_id.as_ref().map(|id| Column::RequestId.eq(id)))
            .add_option(
                refused.map(|only| if only { Column::Refusal.is_not_null() } else { Column::Refusal.is_null() }),
            )
            .add_option(start.as_ref().map(|start| Column::Id.gte(at(start))))
            .add_option(end.as_ref().map(|end| Column::Id.lt(at(end))));
        let query = entity::audit_event::Entity::find().filter(fits).limit(limit);
        let query = if *oldest_first {
            query.filter(Condition::all().add_option(after.map(|id| Column::Id.gt(id)))).order_by_asc(Column::Id)
        } else {
            query.filter(Condition::all().add_option(after.map(|id| Column::Id.lt(id)))).order_by_desc(Column::Id)
        };
        query.all(self.connection()).await?.into_iter().map(entry).collect()
    }
}

impl Transaction {
    pub(super) async fn insert_events(&self, events: Vec<Event>, now: Timestamp) -> Result<Vec<Entry>, Error> {
        let entries = (0..).zip(events).map(|(number, event)| Entry { id: id_at(now, number), time: now, event });
        let entries: Vec<_> = entries.collect();
        if !entries.is_empty() {
            let rows = entries.iter().map(row);
            entity::audit_event::Entity::insert_many(rows).exec_without_returning(self.connection()).await?;
        }
        Ok(entries)
    }

    /// Commits what the trail alone is told.
    pub async fn commit_told(self, events: Vec<Event>) -> Result<(), Error> {
        let now = self.now().await?;
        let entries = self.insert_events(events, now).await?;
        let store = self.store().clone();
        self.commit_unrecorded().await?;
        store.told(entries);
        Ok(())
    }

    /// Removes up to `limit` of the oldest entries, written before `horizon`; tells
    /// how many.
    pub(super) async fn remove_entries(&self, horizon: Timestamp, limit: u64) -> Result<u64, Error> {
        let ids: Vec<Uuid> = entity::audit_event::Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.lt(first_at(horizon)))
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_tuple()
            .all(self.connection())
            .await?;
        let Some(last) = ids.last() else {
            return Ok(0);
        };
        let removed =
            entity::audit_event::Entity::delete_many().filter(Column::Id.lte(*last)).exec(self.connection()).await?;
        Ok(removed.rows_affected)
    }
}

/// The id of the `number`th of a transaction's entries: they stay in their order.
fn id_at(now: Timestamp, number: u16) -> AuditId {
    let mut random: [u8; 8] = crate::random::bytes();
    // The first two bits are not an id's own.
    let [high, low] = number.to_be_bytes();
    random[..2].copy_from_slice(&[high & 0x3f, low]);
    AuditId::at(now, random)
}

/// The first id that an entry of this microsecond can have.
fn first_at(time: Timestamp) -> Uuid {
    AuditId::at(time, [0; 8]).uuid()
}

fn row(Entry { id, time, event }: &Entry) -> entity::audit_event::ActiveModel {
    let Event { actor, actor_address, action, target, account_id, request_id, detail, refusal } = event.clone();
    let count = refusal.as_ref().map_or(1, |refusal| refusal.count);
    entity::audit_event::ActiveModel {
        id: Set(id.uuid()),
        event_time: Set(time.as_micros()),
        actor: Set(actor),
        actor_ip: Set(actor_address),
        action: Set(action.into_owned()),
        target: Set(target),
        account_id: Set(account_id),
        request_id: Set(request_id),
        detail: Set(detail.to_string()),
        refusal: Set(refusal.map(|refusal| refusal.reason)),
        count: Set(i64::try_from(count).unwrap_or(i64::MAX)),
    }
}

fn entry(row: entity::audit_event::Model) -> Result<Entry, Error> {
    let entity::audit_event::Model {
        id,
        event_time,
        actor,
        actor_ip,
        action,
        target,
        account_id,
        request_id,
        detail,
        refusal,
        count,
    } = row;
    let detail = serde_json::from_str(&detail).map_err(|_| Error::unreadable("detail of audit event", id))?;
    let refusal = refusal.map(|reason| Refusal { reason, count: count.unsigned_abs() });
    let event = Event {
        actor,
        actor_address: actor_ip,
        action: action.into(),
        target,
        account_id,
        request_id,
        detail,
        refusal,
    };
    Ok(Entry { id: AuditId::from_uuid(id), time: convert::timestamp(event_time)?, event })
}
