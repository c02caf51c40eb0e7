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
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::{IntoResponse as _, Response},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use zeroize::Zeroizing;

use super::{
    door::{Doors, Shown},
    introspect::kind,
    parameters::parameters,
    trouble::Trouble,
};
use crate::{
    domain::{
        account::Username,
        judgement::{Kinds, Question},
        scope::{Scope, Scopes},
    },
    introspection::{Active, Inquiry, Verdict},
};

/// Who the gateway is.
pub(super) const GATEWAY_CREDENTIAL: HeaderName = HeaderName::from_static("x-token-authority-credential");
/// Where some clients have their credential.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const INVALID_TOKEN: HeaderValue = HeaderValue::from_static(r#"Bearer realm="token-authority", error="invalid_token""#);
const INVALID_REQUEST: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="token-authority", error="invalid_request""#);
const CREDENTIAL_WANTED: HeaderValue = HeaderValue::from_static(super::trouble::BEARER);

/// What does not stand in a header as it is: RFC 9110 (section 5.5) leaves only
/// visible ASCII to be relied on.
const HIDDEN: &AsciiSet = &CONTROLS.add(b'%');

/// What a request shows of whom it is from.
enum Subject {
    Nobody,
    Several,
    Somebody(Zeroizing<String>),
}

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
            return Ok(unauthenticated(CREDENTIAL_WANTED, "CREDENTIAL_REQUIRED", "a credential is wanted"));
        }
        Subject::Several => {
            doors.callers.confirm(&visitor).await?;
            return Ok(unauthenticated(INVALID_REQUEST, "CREDENTIAL_AMBIGUOUS", "one credential is wanted"));
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
    Ok(match doors.judge(&visitor, inquiry).await? {
        Verdict::Inactive(_) => unauthenticated(INVALID_TOKEN, "CREDENTIAL_INVALID", "the credential is not good"),
        Verdict::Active(active) if !active.missing.is_empty() => forbidden(&active.missing),
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

/// The one credential of a request. What cannot be read is nobody's, as any
/// malformed one.
fn subject(headers: &HeaderMap) -> Subject {
    let authorization = headers.get_all(AUTHORIZATION).iter().map(|value| (value, true));
    let keys = headers.get_all(API_KEY).iter().map(|value| (value, false));
    let mut shown = authorization.chain(keys);
    let Some((value, has_scheme)) = shown.next() else {
        return Subject::Nobody;
    };
    if shown.next().is_some() {
        return Subject::Several;
    }
    let text = value.to_str().unwrap_or_default();
    if !has_scheme {
        return Subject::Somebody(Zeroizing::new(text.to_owned()));
    }
    match text.split_once(' ') {
        Some((scheme, bearer)) if scheme.eq_ignore_ascii_case("bearer") => {
            Subject::Somebody(Zeroizing::new(bearer.trim_matches(' ').to_owned()))
        }
        // Of another scheme: what we take was not tried.
        Some(_) | None => Subject::Nobody,
    }
}

fn required_scopes(head: &Parts) -> Result<Scopes, Trouble> {
    let [scope] = parameters(head.uri.query().unwrap_or_default().as_bytes(), ["scope"])?;
    let scopes = scope.map(|scopes| scopes.parse::<Scopes>()).transpose();
    Ok(scopes.map_err(|error| Trouble::malformed(format!("scope: {error}")))?.unwrap_or_default())
}

/// Refuses the request (RFC 6750, section 3).
fn unauthenticated(challenge: HeaderValue, code: &'static str, message: &str) -> Response {
    let mut response = Trouble::new(StatusCode::UNAUTHORIZED, code, message).plain();
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// Refuses the request for lack of scopes, and says which.
fn forbidden(missing: &[Scope]) -> Response {
    let scopes = missing.iter().cloned().collect::<Scopes>().to_string();
    let mut response = Trouble::new(StatusCode::FORBIDDEN, "INSUFFICIENT_SCOPE", "Insufficient scope").plain();
    let challenge = format!(r#"Bearer realm="token-authority", error="insufficient_scope", scope="{scopes}""#);
    // Scopes hold neither quotation mark nor backslash.
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What the upstream is told of whose request it is. All are there each time, if
/// empty, so that a gateway that copies them leaves none of the client's own.
fn identity(active: &Active) -> HeaderMap {
    let Active { record, holder, scopes, missing: _, plan } = active;
    let account = &holder.account;
    let roles: Vec<_> = account.roles.iter().map(|role| role.as_str()).collect();
    let username = account.username.as_ref().map(Username::shown).unwrap_or_default();
    let told = [
        ("x-token-authority-account-id", account.id.to_string()),
        ("x-token-authority-username", username.to_owned()),
        ("x-token-authority-token-id", record.id.to_string()),
        ("x-token-authority-kind", kind(record.kind).to_owned()),
        ("x-token-authority-scopes", scopes.to_string()),
        ("x-token-authority-roles", roles.join(" ")),
        ("x-token-authority-plan", plan.clone().unwrap_or_default()),
    ];
    let encoded = told.map(|(name, value)| (name, utf8_percent_encode(&value, HIDDEN).to_string()));
    let header = |(name, value): (&'static str, String)| {
        let value = HeaderValue::try_from(value).expect("visible ASCII and spaces");
        (HeaderName::from_static(name), value)
    };
    encoded.into_iter().map(header).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[(&str, &str)]) -> Subject {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        subject(&map)
    }

    #[test]
    fn a_request_has_one_credential() {
        for (headers, expected) in [
            (&[("authorization", "Bearer x")][..], "x"),
            (&[("authorization", "bEARER  x")], "x"),
            (&[("x-api-key", "x y")], "x y"),
            (&[("x-api-key", "\u{1F511}")], ""),
        ] {
            let Subject::Somebody(credential) = shown(headers) else { panic!("{headers:?}") };
            assert_eq!(credential.as_str(), expected);
        }
        for nobody in
            [&[][..], &[("authorization", "Basic eDp5")], &[("authorization", "Bearer")], &[("cookie", "x=y")]]
        {
            assert!(matches!(shown(nobody), Subject::Nobody), "{nobody:?}");
        }
        for several in [
            [("authorization", "Bearer x"), ("x-api-key", "x")],
            [("authorization", "Basic eDp5"), ("x-api-key", "x")],
            [("authorization", "Bearer x"), ("authorization", "Bearer x")],
            [("x-api-key", "x"), ("x-api-key", "x")],
        ] {
            assert!(matches!(shown(&several), Subject::Several), "{several:?}");
        }
    }
}
