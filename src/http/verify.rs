//! `GET /auth/verify`: may this request go on? For gateways that ask before they
//! pass one on, such as nginx (`auth_request`) and Traefik (ForwardAuth).
//!
//! `Authorization` or `X-API-Key` is the request's own, so the gateway shows who it
//! is in a header of ours, or by its certificate. Where that or what it asks is
//! wrong, it is told 500: its clients can do nothing about it, and no gateway lets
//! a request through for that. 401 and 403 are about the request alone.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::{IntoResponse as _, Response},
};
use zeroize::Zeroizing;

use super::{
    body::JSON,
    door::{Doors, Shown},
    parameters::parameters,
    trouble::Trouble,
};
use crate::{
    domain::{
        judgement::{Kinds, Question},
        scope::Scopes,
    },
    gateway::{self, Denial, Subject},
    introspection::{Active, Inquiry, Verdict},
};

/// Who the gateway is.
pub(super) const GATEWAY_CREDENTIAL: HeaderName = HeaderName::from_static("x-token-authority-credential");

pub(super) async fn verify(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    match answer(&doors, &head).await {
        Ok(response) => response,
        Err(trouble) => of_the_gateway(trouble).plain(),
    }
}

async fn answer(doors: &Doors, head: &Parts) -> Result<Response, Trouble> {
    let (visitor, _place) = doors.let_in(&gateway(head), Doors::gateway_call(head)).await?;
    let subject = match subject(&head.headers) {
        Subject::Somebody(subject) => subject,
        Subject::Nobody => {
            doors.callers.confirm(&visitor).await?;
            return Ok(denied(&Denial::NoCredential));
        }
        Subject::Several => {
            doors.callers.confirm(&visitor).await?;
            return Ok(denied(&Denial::SeveralCredentials));
        }
    };
    let inquiry = required_scopes(head).map(|required_scopes| Inquiry {
        unverified_token: subject,
        max_staleness: None,
        question: Question {
            accepted_kinds: Kinds::SUBJECTS,
            client_address: doors.passed_on_from(head),
            required_scopes,
        },
    });
    let (_, verdict) = doors.judge(&visitor, inquiry).await?;
    Ok(match verdict {
        Verdict::Inactive(_) => denied(&Denial::BadCredential),
        Verdict::Active(active) if !active.missing.is_empty() => {
            denied(&Denial::InsufficientScope(active.missing.into_iter().collect()))
        }
        Verdict::Active(active) => (StatusCode::OK, identity(&active)).into_response(),
    })
}

/// What the gateway shows of itself.
fn gateway(head: &Parts) -> Shown {
    let mut values = head.headers.get_all(GATEWAY_CREDENTIAL).iter();
    match (values.next(), values.next()) {
        (None, _) => Shown::by_certificate(head),
        (Some(value), None) => {
            value.to_str().map_or(Shown::Unreadable, |value| Shown::Bearer(Zeroizing::new(value.to_owned())))
        }
        (Some(_), Some(_)) => Shown::Unreadable,
    }
}

/// The credential of the request.
fn subject(headers: &HeaderMap) -> Subject {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    Subject::of(values(gateway::AUTHORIZATION), values(gateway::API_KEY))
}

fn required_scopes(head: &Parts) -> Result<Scopes, Trouble> {
    let [scope] = parameters(head.uri.query().unwrap_or_default().as_bytes(), ["scope"])?;
    let scopes = scope.map(|scopes| scopes.parse::<Scopes>()).transpose();
    Ok(scopes.map_err(|error| Trouble::malformed(format!("scope: {error}")))?.unwrap_or_default())
}

/// Refuses the request.
fn denied(denial: &Denial) -> Response {
    let mut response = (denial.status(), [(CONTENT_TYPE, JSON)], denial.body()).into_response();
    if let Some(challenge) = denial.challenge().and_then(|challenge| HeaderValue::try_from(challenge).ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What the upstream is told of whose request it is. All are there each time, if
/// empty, so that a gateway that copies them leaves none of the client's own.
fn identity(active: &Active) -> HeaderMap {
    let header = |(name, value): (&'static str, String)| {
        let value = HeaderValue::try_from(value).expect("visible ASCII and spaces");
        (HeaderName::from_static(name), value)
    };
    gateway::identity(active).into_iter().map(header).collect()
}

/// What is wrong with the gateway's own credential or question. Whatever is said
/// of being too busy is said as it is.
fn of_the_gateway(trouble: Trouble) -> Trouble {
    let code = match (trouble.status, trouble.code) {
        (StatusCode::UNAUTHORIZED, "CREDENTIAL_REQUIRED") => "GATEWAY_CREDENTIAL_REQUIRED",
        (StatusCode::UNAUTHORIZED, _) => "GATEWAY_CREDENTIAL_INVALID",
        (StatusCode::FORBIDDEN, _) => "GATEWAY_NOT_PERMITTED",
        (StatusCode::BAD_REQUEST, _) => "GATEWAY_REQUEST_MALFORMED",
        _ => return trouble,
    };
    tracing::info!(code, "a gateway's own credential or question is wrong");
    Trouble {
        code,
        status: StatusCode::INTERNAL_SERVER_ERROR,
        message: format!("the gateway: {}", trouble.message),
        ..trouble
    }
}
