//! `POST /oauth2/introspect` (RFC 7662): what is inactive looks alike, to all.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::request::Parts,
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
        credential::Kind,
        judgement::{Kinds, Question},
        network::ClientAddress,
        scope::Scopes,
        time::Timestamp,
    },
    introspection::{Active, Inquiry, Verdict},
};

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
    let verdict = doors.judge(&visitor, inquiry(head, body).await).await?;
    let told = members(&verdict, doors.metadata.issuer());
    Ok(Json(told).into_response())
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
        kind: kind(record.kind),
        label: &record.label,
        roles: account.roles.iter().map(|role| role.as_str()).collect(),
        plan: plan.as_deref(),
    };
    serde_json::to_value(answer).expect("it is text and numbers")
}

/// A kind of credential, as these doors call it.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Personal => "personal",
        Kind::Service => "service",
        Kind::DesktopSession => "desktop_session",
        Kind::WebSession => "web_session",
    }
}

/// As a NumericDate (RFC 7519, section 2): a part of a second is cut off, so that
/// nobody believes in what has ended.
fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}
