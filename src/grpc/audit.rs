//! AuditService.

use prost_types::{Struct, Value, value::Kind};
use tonic::{Request, Response, Status};

use super::{
    Door,
    convert::{self, Converted},
    request::permit,
    status::BadField,
};
use crate::{
    domain::{caller::Operation, time::Timestamp},
    proto::v1::{self as proto, AuditOutcome, audit_service_server::AuditService},
    store::{AuditFilter, Entry, Event},
};

/// Longer than anything that the trail holds in a field that is looked for.
const MAX_FILTER: usize = 256;

#[tonic::async_trait]
impl AuditService for Door {
    async fn list_audit_events(
        &self,
        request: Request<proto::ListAuditEventsRequest>,
    ) -> Result<Response<proto::ListAuditEventsResponse>, Status> {
        let permit = permit(&request, Operation::ListAuditEvents)?;
        let mut message = request.into_inner();
        let page = convert::page(message.page_size, std::mem::take(&mut message.page_token))?;
        let (entries, next_page_token) = self.authority.list_audit_events(permit, filter(message)?, page).await?;
        let events = entries.into_iter().map(event).collect();
        Ok(Response::new(proto::ListAuditEventsResponse { events, next_page_token }))
    }
}

fn filter(message: proto::ListAuditEventsRequest) -> Converted<AuditFilter> {
    let proto::ListAuditEventsRequest {
        page_size: _,
        page_token: _,
        account_id,
        actor,
        action,
        target,
        request_id,
        outcome,
        start_time,
        end_time,
        oldest_first,
    } = message;
    let refused = match AuditOutcome::try_from(outcome) {
        Ok(AuditOutcome::Unspecified) => None,
        Ok(AuditOutcome::Done) => Some(false),
        Ok(AuditOutcome::Refused) => Some(true),
        Err(_) => return Err(BadField::new("outcome", "INVALID_FILTER", "a known outcome is wanted")),
    };
    Ok(AuditFilter {
        account_id: text("account_id", account_id)?,
        actor: text("actor", actor)?,
        action: text("action", action)?,
        target: text("target", target)?,
        request_id: text("request_id", request_id)?,
        refused,
        start: time("start_time", start_time)?,
        end: time("end_time", end_time)?,
        oldest_first,
    })
}

/// PostgreSQL's text holds no NUL.
fn text(field: &str, text: String) -> Converted<Option<String>> {
    match text.as_str() {
        "" => Ok(None),
        given if given.len() > MAX_FILTER || given.contains('\0') => Err(BadField::new(
            field,
            "INVALID_FILTER",
            format!("at most {MAX_FILTER} bytes, none of them NUL, are wanted"),
        )),
        _ => Ok(Some(text)),
    }
}

fn time(field: &str, time: Option<prost_types::Timestamp>) -> Converted<Option<Timestamp>> {
    time.map(|time| convert::time(field, "INVALID_FILTER", time)).transpose()
}

fn event(Entry { id, time, event }: Entry) -> proto::AuditEvent {
    let Event { actor, actor_address, action, target, account_id, request_id, detail, refusal } = event;
    let outcome = if refusal.is_some() { AuditOutcome::Refused } else { AuditOutcome::Done };
    let (refusal_reason, count) = refusal.map_or((String::new(), 1), |refusal| (refusal.reason, refusal.count));
    proto::AuditEvent {
        event_id: id.to_string(),
        event_time: Some(convert::timestamp(time)),
        actor,
        actor_address: actor_address.unwrap_or_default(),
        action: action.into_owned(),
        target,
        account_id: account_id.unwrap_or_default(),
        request_id: request_id.unwrap_or_default(),
        outcome: outcome.into(),
        refusal_reason,
        count: i64::try_from(count).unwrap_or(i64::MAX),
        detail: match value(detail).kind {
            Some(Kind::StructValue(detail)) => Some(detail),
            _ => None,
        },
    }
}

fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;

    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(bool),
        // JSON's numbers are doubles for most who read them.
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(value).collect() })
        }
        Json::Object(fields) => {
            Kind::StructValue(Struct { fields: fields.into_iter().map(|(name, json)| (name, value(json))).collect() })
        }
    };
    Value { kind: Some(kind) }
}
