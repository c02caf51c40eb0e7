//! `POST /oauth2/introspect` (RFC 7662): what is inactive looks alike, to all. The
//! answer is signed where it is asked for so (RFC 9701).

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap,
        header::{ACCEPT, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

use super::{
    body::{self, FORM},
    door::{Doors, Shown},
    oauth,
    parameters::parameters,
    trouble::Trouble,
};
use crate::{
    domain::{
        account::Username,
        judgement::{Kinds, Question},
        network::ClientAddress,
        scope::Scopes,
        time::Timestamp,
    },
    gateway,
    introspection::{Active, Inquiry, Verdict},
};

/// The media type of a signed answer.
const SIGNED: &str = "application/token-introspection+jwt";

/// What a resource server is told (section 2.2), and some that are ours.
#[derive(Serialize)]
struct Answer<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    sub: &'a str,
    iss: &'a str,
    jti: String,
    kind: &'static str,
    label: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
}

pub(super) async fn introspect(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let shown = Shown::of(&head);
    let answered = answer(&doors, &head, &shown, body).await;
    answered.unwrap_or_else(|trouble| oauth::refused(trouble, &shown))
}

async fn answer(doors: &Doors, head: &Parts, shown: &Shown, body: Body) -> Result<Response, Trouble> {
    let (visitor, _place) = doors.let_in(shown, doors.call(head)).await?;
    let (caller, verdict) = doors.judge(&visitor, inquiry(head, body).await).await?;
    let told = members(&verdict, doors.metadata.issuer());
    if !wants_it_signed(&head.headers) {
        return Ok(Json(told).into_response());
    }
    let signed = doors.authority.sign_answer(&caller.name(), &told, doors.introspector.now())?;
    Ok(([(CONTENT_TYPE, SIGNED)], signed).into_response())
}

/// Whether `Accept` names the media type of signed answers (RFC 9701, section 4),
/// and does not say that it is not wanted. Whoever takes anything gets plain JSON.
fn wants_it_signed(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_meant = parts.next().is_some_and(|named| named.eq_ignore_ascii_case(SIGNED));
        let mut weights = parts.filter_map(|parameter| parameter.split_once('='));
        is_meant && !weights.any(|(name, weight)| name.eq_ignore_ascii_case("q") && weight.parse() == Ok(0.0_f32))
    })
}

async fn inquiry(head: &Parts, body: Body) -> Result<Inquiry, Trouble> {
    let form = body::read(head, body, FORM).await?;
    // A hint saves a search elsewhere; here a token says itself what it is.
    let [token, client_ip] = parameters(&form, ["token", "client_ip"])?;
    let unverified_token = token.ok_or_else(|| Trouble::malformed("token: is wanted"))?;
    let client_address = client_ip.map(|address| address.parse::<ClientAddress>()).transpose();
    Ok(Inquiry {
        unverified_token,
        max_staleness: None,
        question: Question {
            accepted_kinds: Kinds::SUBJECTS,
            client_address: client_address.map_err(|error| Trouble::malformed(format!("client_ip: {error}")))?,
            required_scopes: Scopes::NONE,
        },
    })
}

/// The members of the answer, as a JSON object.
fn members(verdict: &Verdict, issuer: &str) -> serde_json::Value {
    let active = match verdict {
        Verdict::Inactive(_) => return serde_json::json!({ "active": false }),
        Verdict::Active(active) => active,
    };
    let Active { record, holder, scopes, missing: _, plan } = active;
    let account = &holder.account;
    let answer = Answer {
        active: true,
        scope: (!scopes.is_empty()).then(|| scopes.to_string()),
        username: account.username.as_ref().map(Username::shown),
        token_type: "Bearer",
        exp: record.expire_time.map(seconds),
        iat: seconds(record.create_time),
        sub: account.id.as_str(),
        iss: issuer,
        jti: record.id.to_string(),
        kind: gateway::kind(record.kind),
        label: &record.label,
        roles: account.roles.iter().map(|role| role.as_str()).collect(),
        plan: plan.as_deref(),
    };
    serde_json::to_value(answer).expect("it is text and numbers")
}

/// As a NumericDate (RFC 7519, section 2): a part of a second is cut off, so that
/// nobody believes in what has ended.
fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_answer_is_asked_for_by_name() {
        let asks = |accept: &str| wants_it_signed(&HeaderMap::from_iter([(ACCEPT, accept.parse().expect("ASCII"))]));
        for yes in [SIGNED, "application/json;q=0.5, Application/Token-Introspection+JWT ; q=0.1"] {
            assert!(asks(yes), "{yes}");
        }
        for no in ["*/*", "application/*", "application/jwt", "", "application/token-introspection+jwt;q=0.0"] {
            assert!(!asks(no), "{no}");
        }
    }
}
