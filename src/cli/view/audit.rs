//! How is the audit trail shown?

use prost_types::value::Kind;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{cli::values::Time, proto::v1};

use super::{Listing, View, or};

/// An event of the audit trail, as the contract's message has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct AuditEventView {
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<Time>,
    actor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor_address: String,
    action: String,
    target: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    refusal_reason: String,
    count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

impl From<v1::AuditEvent> for AuditEventView {
    fn from(event: v1::AuditEvent) -> Self {
        let outcome = match event.outcome() {
            v1::AuditOutcome::Done => "done",
            v1::AuditOutcome::Refused => "refused",
            v1::AuditOutcome::Unspecified => "unspecified",
        };
        let v1::AuditEvent {
            event_id,
            event_time,
            actor,
            actor_address,
            action,
            target,
            account_id,
            request_id,
            outcome: _,
            refusal_reason,
            count,
            detail,
        } = event;
        Self {
            event_id,
            event_time: event_time.map(Time),
            actor,
            actor_address,
            action,
            target,
            account_id,
            request_id,
            outcome,
            refusal_reason,
            count,
            detail: detail.map(object),
        }
    }
}

impl AuditEventView {
    fn shown_outcome(&self) -> String {
        match (self.refusal_reason.as_str(), self.count) {
            ("", _) => self.outcome.to_owned(),
            (reason, 1) => reason.to_owned(),
            (reason, count) => format!("{reason} ×{count}"),
        }
    }
}

fn object(detail: prost_types::Struct) -> Value {
    let fields = detail.fields.into_iter().map(|(name, value)| (name, json(value)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn json(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(bool)) => bool.into(),
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(detail)) => object(detail),
    }
}

/// `audit list`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct AuditEventsListed {
    pub(in crate::cli) events: Vec<AuditEventView>,
}

impl View for AuditEventsListed {
    fn table(&self) -> String {
        let mut listing = Listing::new(["TIME", "ACTOR", "FROM", "ACTION", "TARGET", "ACCOUNT", "OUTCOME"]);
        for event in &self.events {
            listing.row([
                &or(event.event_time, ""),
                &event.actor,
                &event.actor_address,
                &event.action,
                &event.target,
                &event.account_id,
                &event.shown_outcome(),
            ]);
        }
        listing.render()
    }
}
