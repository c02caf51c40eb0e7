//! Who did what? The audit trail: a row for every change, in the change's own
//! transaction, so that neither exists without the other.

use sea_orm::{ActiveValue::Set, EntityTrait as _};

use super::{Error, Transaction, entity};
use crate::domain::{id::AuditId, time::Timestamp};

/// One entry of the trail.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who did it: a caller's name, or the part of this service that acted by
    /// itself.
    pub actor: String,
    /// The address that the actor called from.
    pub actor_address: Option<String>,
    /// What was done, for example `token.issue`.
    pub action: &'static str,
    /// On what: an id, never a secret.
    pub target: String,
    /// Whose it is.
    pub account_id: Option<String>,
    /// The request that it was done in, as the log has it.
    pub request_id: Option<String>,
    /// What else is to be known, never a secret.
    pub detail: serde_json::Value,
}

impl Transaction {
    pub(super) async fn insert_events(&self, events: &[Event], now: Timestamp) -> Result<(), Error> {
        let rows: Vec<_> = events.iter().cloned().map(|event| row(event, now)).collect();
        if !rows.is_empty() {
            entity::audit_event::Entity::insert_many(rows).exec_without_returning(self.connection()).await?;
        }
        Ok(())
    }
}

fn row(event: Event, now: Timestamp) -> entity::audit_event::ActiveModel {
    let Event { actor, actor_address, action, target, account_id, request_id, detail } = event;
    entity::audit_event::ActiveModel {
        id: Set(AuditId::at(now, crate::random::bytes()).uuid()),
        event_time: Set(now.as_micros()),
        actor: Set(actor),
        actor_ip: Set(actor_address),
        action: Set(action.to_owned()),
        target: Set(target),
        account_id: Set(account_id),
        request_id: Set(request_id),
        detail: Set(detail.to_string()),
    }
}
