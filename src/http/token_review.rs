//! `POST /kubernetes/tokenreview`: Kubernetes's webhook for tokens
//! (`authentication.k8s.io/v1`, and `v1beta1`, which an API server speaks unless
//! it is told otherwise). Who holds a good token is a user of the cluster's; what
//! that user may do, the cluster says.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::request::Parts,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    body,
    door::{Doors, Shown},
    introspect::kind,
    trouble::Trouble,
};
use crate::{
    domain::{
        account::Username,
        judgement::{Kinds, Question},
        scope::Scopes,
    },
    introspection::{Active, Inquiry, Verdict},
};

const VERSIONS: [&str; 2] = ["authentication.k8s.io/v1", "authentication.k8s.io/v1beta1"];
const KIND: &str = "TokenReview";
/// What the keys of extras begin with: they are to be words of whoever makes them.
const EXTRA: &str = "token-authority/";

/// How Kubernetes is answered.
#[derive(Clone, Debug, Default)]
pub struct Kubernetes {
    /// What the names of users and groups begin with, so that none is another's.
    pub name_prefix: String,
    /// For whom tokens are; none: for every API server.
    pub audiences: Vec<String>,
    /// What a token needs, all of it.
    pub required_scopes: Scopes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    token: String,
    #[serde(default)]
    audiences: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reviewed {
    api_version: &'static str,
    kind: &'static str,
    status: Status,
}

#[derive(Serialize)]
struct Status {
    authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audiences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

#[derive(Serialize)]
struct User {
    username: String,
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    extra: serde_json::Map<String, serde_json::Value>,
}

impl Kubernetes {
    /// What names begin with that are Kubernetes's own: `system:masters` may
    /// anything.
    pub const RESERVED: &str = "system:";
}

/// What is asked.
struct Asked {
    version: &'static str,
    // None: the caller wants no particular ones.
    audiences: Option<Vec<String>>,
    token: Zeroizing<String>,
}

pub(super) async fn review(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    answer(&doors, &head, body).await.unwrap_or_else(Trouble::plain)
}

async fn answer(doors: &Doors, head: &Parts, body: Body) -> Result<Response, Trouble> {
    let (visitor, _place) = doors.let_in(&Shown::of(head), doors.call(head)).await?;
    let (version, audiences, inquiry) = match read(head, body).await {
        Ok(Asked { version, audiences, token }) => (version, audiences, Ok(inquiry(token, &doors.kubernetes))),
        Err(trouble) => (VERSIONS[0], None, Err(trouble)),
    };
    let verdict = doors.judge(&visitor, inquiry).await?;
    let status = status(&verdict, audiences.as_deref(), &doors.kubernetes);
    Ok(Json(Reviewed { api_version: version, kind: KIND, status }).into_response())
}

async fn read(head: &Parts, body: Body) -> Result<Asked, Trouble> {
    let wanted = "a TokenReview of authentication.k8s.io/v1";
    let Review { api_version, kind, spec } = body::read_json(head, body, wanted).await?;
    let token = Zeroizing::new(spec.token);
    let version = VERSIONS.into_iter().find(|version| *version == api_version).filter(|_| kind == KIND);
    let version = version.ok_or_else(|| Trouble::malformed(format!("{wanted} is wanted")))?;
    Ok(Asked { version, audiences: spec.audiences.filter(|audiences| !audiences.is_empty()), token })
}

/// An API server tells no address of its client.
fn inquiry(unverified_token: Zeroizing<String>, kubernetes: &Kubernetes) -> Inquiry {
    let required_scopes = kubernetes.required_scopes.clone();
    let question = Question { accepted_kinds: Kinds::SUBJECTS, client_address: None, required_scopes };
    Inquiry { unverified_token, max_staleness: None, question }
}

fn status(verdict: &Verdict, wanted: Option<&[String]>, kubernetes: &Kubernetes) -> Status {
    let refused = |error| Status { authenticated: false, user: None, audiences: Vec::new(), error: Some(error) };
    let active = match verdict {
        Verdict::Inactive(_) => return refused("the token is not good"),
        Verdict::Active(active) if !active.missing.is_empty() => return refused("the token lacks a scope"),
        Verdict::Active(active) => active,
    };
    // Where the settings name none, nothing is said of audiences: then the API server
    // takes tokens to be for itself.
    let own = &kubernetes.audiences;
    let audiences: Vec<String> = match wanted {
        Some(wanted) => wanted.iter().filter(|audience| own.contains(audience)).cloned().collect(),
        None => own.clone(),
    };
    if audiences.is_empty() && !own.is_empty() {
        return refused("the token is for another audience");
    }
    match user(active, kubernetes) {
        Some(user) => Status { authenticated: true, user: Some(user), audiences, error: None },
        None => refused("the account's name is reserved"),
    }
}

/// Whom the cluster is to take the token's holder for; none: the name is
/// Kubernetes's own.
fn user(active: &Active, kubernetes: &Kubernetes) -> Option<User> {
    let Active { record, holder, scopes, missing: _, plan } = active;
    let account = &holder.account;
    let named = |name: &str| {
        let name = format!("{}{name}", kubernetes.name_prefix);
        (!name.starts_with(Kubernetes::RESERVED)).then_some(name)
    };
    let texts = [
        ("token-id", vec![record.id.to_string()]),
        ("kind", vec![kind(record.kind).to_owned()]),
        ("username", account.username.as_ref().map(Username::shown).map(ToOwned::to_owned).into_iter().collect()),
        ("scopes", scopes.iter().map(ToString::to_string).collect()),
        ("plan", plan.clone().into_iter().collect()),
    ];
    let told = texts.into_iter().filter(|(_, values)| !values.is_empty());
    Some(User {
        username: named(account.id.as_str())?,
        // Of this account alone: whoever gets its id afterwards has another.
        uid: account.key.to_string(),
        groups: account.roles.iter().filter_map(|role| named(role.as_str())).collect(),
        extra: told.map(|(key, values)| (format!("{EXTRA}{key}"), values.into())).collect(),
    })
}
