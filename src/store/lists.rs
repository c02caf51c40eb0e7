//! Lists: pages of tokens, service credentials and desktop sessions, newest
//! first, and when each was last used.

use std::collections::HashMap;

use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::{
    Error, Snapshot,
    convert::{self, kind_code},
    entity::{self, credential::Column},
};
use crate::domain::{
    account::Account,
    credential::Kind,
    id::{CredentialId, SecretId},
    record::Record,
    session::DesktopDevice,
    time::Timestamp,
};

/// The states that a list of tokens shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of four states")]
pub struct TokenStates {
    /// In use.
    pub active: bool,
    /// Its account is suspended, or its plan has no room for it.
    pub suspended: bool,
    /// Its time is over.
    pub expired: bool,
    /// It was ended.
    pub revoked: bool,
}

/// Which of an account's live tokens its plan has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverCap {
    /// None of them.
    None,
    /// Those with a higher id.
    After(CredentialId),
    /// All that count.
    All,
    /// All, counted or not: the plan is unknown.
    UnknownPlan,
}

/// Which tokens a list shows.
#[derive(Clone, Debug)]
pub struct TokenFilter<'a> {
    /// Whose.
    pub account: &'a Account,
    /// In which states.
    pub states: TokenStates,
    /// For which the plan has no room.
    pub over_cap: OverCap,
    /// Whether imported tokens count against the plan.
    pub counts_imported: bool,
    /// The last one of the page before.
    pub before: Option<CredentialId>,
    /// At most so many.
    pub limit: u64,
}

/// Which desktop sessions a list shows.
#[derive(Clone, Debug)]
pub struct SessionFilter<'a> {
    /// Whose.
    pub account: &'a Account,
    /// Those that ended as well.
    pub include_ended: bool,
    /// The last one of the page before.
    pub before: Option<CredentialId>,
    /// At most so many.
    pub limit: u64,
}

/// When a secret was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When.
    pub last_used_time: Timestamp,
    /// From where, if that was known.
    pub last_used_ip: Option<String>,
    /// How often.
    pub use_count: i64,
}

impl Usage {
    /// That of several secrets: the last use of any, and how often all of them
    /// were used.
    pub fn of_all<'a>(usages: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let last = usages.clone().max_by_key(|usage| usage.last_used_time)?;
        Some(Self { use_count: usages.map(|usage| usage.use_count).sum(), ..last.clone() })
    }
}

impl Snapshot {
    /// A page of an account's tokens.
    pub async fn list_tokens(&self, filter: &TokenFilter<'_>, now: Timestamp) -> Result<Vec<Record>, Error> {
        let revoked = || revoked(filter.account.generations.tokens);
        let expired = || Column::ExpireTime.lte(now.as_micros());
        let live = || Condition::all().add(revoked().not()).add(unexpired(now));
        let over = || over_cap(filter);

        let TokenStates { active, suspended, expired: show_expired, revoked: show_revoked } = filter.states;
        let mut states = Condition::any();
        if filter.account.suspended {
            states = states.add_option(suspended.then(live));
        } else {
            states = states
                .add_option(active.then(|| live().add(over().not())))
                .add_option(suspended.then(|| live().add(over())));
        }
        states = states
            .add_option(show_expired.then(|| Condition::all().add(revoked().not()).add(expired())))
            .add_option(show_revoked.then(revoked));
        if states.is_empty() {
            return Ok(Vec::new());
        }

        let query = entity::credential::Entity::find()
            .filter(Column::Account.eq(filter.account.key.uuid()))
            .filter(Column::Kind.eq(kind_code(Kind::Personal)))
            .filter(states);
        self.page(query, filter.before, filter.limit).await
    }

    /// A page of all service credentials.
    pub async fn list_services(
        &self,
        include_ended: bool,
        before: Option<CredentialId>,
        limit: u64,
        now: Timestamp,
    ) -> Result<Vec<Record>, Error> {
        let mut query = entity::credential::Entity::find().filter(Column::Kind.eq(kind_code(Kind::Service)));
        if !include_ended {
            query = query.filter(Column::RevokeTime.is_null()).filter(unexpired(now));
        }
        self.page(query, before, limit).await
    }

    /// A page of an account's desktop sessions, each with its device.
    pub async fn list_desktop_sessions(
        &self,
        filter: &SessionFilter<'_>,
        now: Timestamp,
    ) -> Result<Vec<(Record, DesktopDevice)>, Error> {
        let mut query = entity::credential::Entity::find()
            .filter(Column::Account.eq(filter.account.key.uuid()))
            .filter(Column::Kind.eq(kind_code(Kind::DesktopSession)));
        if !filter.include_ended {
            query = query.filter(revoked(filter.account.generations.sessions).not()).filter(unexpired(now));
        }
        let records = self.page(query, filter.before, filter.limit).await?;

        let ids = records.iter().map(|record| record.id.uuid());
        let devices = entity::desktop_session::Entity::find().filter(entity::desktop_session::Column::Id.is_in(ids));
        let mut devices: HashMap<_, _> = devices
            .all(self.connection())
            .await?
            .into_iter()
            .map(|entity::desktop_session::Model { id, device_name, platform, app_version }| {
                (id, DesktopDevice::from_stored(device_name, platform, app_version))
            })
            .collect();
        Ok(records
            .into_iter()
            .map(|record| {
                let device = devices.remove(&record.id.uuid()).unwrap_or_default();
                (record, device)
            })
            .collect())
    }

    /// When the secrets of these records were last used; one never used is
    /// absent.
    pub async fn usage(&self, records: &[Record]) -> Result<HashMap<SecretId, Usage>, Error> {
        use entity::usage::{Column, Entity};

        let secrets = records.iter().flat_map(|record| &record.secrets).map(|secret| secret.id.uuid());
        let query = Entity::find().filter(Column::Secret.is_in(secrets));
        query
            .all(self.connection())
            .await?
            .into_iter()
            .map(|entity::usage::Model { secret, last_used_time, last_used_ip, use_count }| {
                let last_used_time = convert::timestamp(last_used_time)?;
                Ok((SecretId::from_uuid(secret), Usage { last_used_time, last_used_ip, use_count }))
            })
            .collect()
    }

    async fn page(
        &self,
        query: sea_orm::Select<entity::credential::Entity>,
        before: Option<CredentialId>,
        limit: u64,
    ) -> Result<Vec<Record>, Error> {
        let before = before.map(|before| Column::Id.lt(before.uuid()));
        let query = query.filter(Condition::all().add_option(before)).order_by_desc(Column::Id).limit(limit);
        let rows = query.all(self.connection()).await?;
        self.with_secrets(rows).await
    }
}

/// Ended by itself, or with all of its account's.
fn revoked(generation: i64) -> Condition {
    Condition::any().add(Column::RevokeTime.is_not_null()).add(Column::Generation.lt(generation))
}

fn unexpired(now: Timestamp) -> Condition {
    Condition::any().add(Column::ExpireTime.is_null()).add(Column::ExpireTime.gt(now.as_micros()))
}

fn over_cap(filter: &TokenFilter<'_>) -> Condition {
    let uncounted = (!filter.counts_imported).then(|| Column::Imported.eq(false));
    let counted = Condition::all().add_option(uncounted);
    match filter.over_cap {
        // An `id` is never null: nothing, and everything.
        OverCap::None => Condition::all().add(Column::Id.is_null()),
        OverCap::UnknownPlan => Condition::all().add(Column::Id.is_not_null()),
        OverCap::After(last) => counted.add(Column::Id.gt(last.uuid())),
        OverCap::All => counted.add(Column::Id.is_not_null()),
    }
}
