//! `POST /auth/sign-in` and `POST /auth/sign-out`: a username and a password for
//! a signed token, and its end. Only JSON is taken, which no page of another
//! origin can send unasked.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    attempt::Attempt,
    body,
    door::{Doors, Shown},
    trouble::Trouble,
};
use crate::{
    authority::{PasswordAttempt, SignedIn},
    caller::Refusal,
    domain::{
        caller::{Call, Operation},
        credential::Kind,
        time::Timestamp,
    },
};

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

#[derive(Serialize)]
struct SignedInAnswer<'a> {
    id_token: &'a str,
    expires_in: i64,
}

#[derive(Deserialize)]
struct SignOut {
    #[serde(default)]
    id_token: String,
}

pub(super) async fn sign_in(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let call = doors.call(&head);
    let mut attempt = Attempt::of("session.sign-in", &call);
    match try_sign_in(&doors, &head, body, call, &mut attempt).await {
        Ok(SignedIn { token, issue_time, expire_time }) => {
            let expires_in = whole_seconds(issue_time, expire_time);
            Json(SignedInAnswer { id_token: token.plaintext.expose(), expires_in }).into_response()
        }
        Err(trouble) => {
            attempt.refused(&trouble, &doors);
            trouble.plain()
        }
    }
}

async fn try_sign_in(
    doors: &Doors,
    head: &Parts,
    body: Body,
    call: Call,
    attempt: &mut Attempt,
) -> Result<SignedIn, Trouble> {
    let (entrance, _place) = doors.entrance(&Shown::of(head), call, Operation::SignIn).await?;
    attempt.through(&entrance);
    let Credentials { username, password } =
        body::read_json(head, body, "an object with username and password").await?;
    // Where a password was typed, is where its request came from.
    let presented = PasswordAttempt { username, password: Zeroizing::new(password), address: None };
    Ok(doors.authority.sign_in(entrance, presented).await?)
}

pub(super) async fn sign_out(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let call = doors.call(&head);
    let mut attempt = Attempt::of("session.sign-out", &call);
    match try_sign_out(&doors, &head, body, call, &mut attempt).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(trouble) => {
            attempt.refused(&trouble, &doors);
            trouble.plain()
        }
    }
}

/// Ends the session whose token is in the body, or else the caller's own.
async fn try_sign_out(
    doors: &Doors,
    head: &Parts,
    body: Body,
    call: Call,
    attempt: &mut Attempt,
) -> Result<(), Trouble> {
    let (caller, _place) = doors.callers.recognize(Shown::of(head).presented(), call).await?;
    attempt.by(&caller);
    let permit = caller.permit(Operation::SignOut).map_err(Refusal::from)?;
    let (kind, presented) = match id_token(head, body).await? {
        Some(id_token) => (Kind::WebSession, doors.introspector.identify(&id_token).await?),
        None => match permit.caller().session() {
            Some((kind, own)) => (kind, Some(own)),
            None => {
                let problem = "id_token: is wanted, since the caller's own credential is no session";
                return Err(Trouble::new(StatusCode::BAD_REQUEST, "ID_TOKEN_REQUIRED", problem));
            }
        },
    };
    Ok(doors.authority.sign_out(permit, kind, presented).await?)
}

/// The token in the body, if there is a body and one in it.
async fn id_token(head: &Parts, body: Body) -> Result<Option<Zeroizing<String>>, Trouble> {
    use axum::body::HttpBody as _;

    if body.is_end_stream() && !head.headers.contains_key(CONTENT_TYPE) {
        return Ok(None);
    }
    let SignOut { id_token } = body::read_json(head, body, "an object with id_token, or no body,").await?;
    Ok(Some(Zeroizing::new(id_token)).filter(|id_token| !id_token.is_empty()))
}

fn whole_seconds(start: Timestamp, end: Timestamp) -> i64 {
    (end.as_micros() - start.as_micros()) / 1_000_000
}
