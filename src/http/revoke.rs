//! `POST /oauth2/revoke` (RFC 7009): whoever holds a secret may end it; one that
//! nobody has is ended already.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};

use super::{
    attempt::Attempt,
    body::{self, FORM},
    door::{Doors, Shown},
    oauth,
    parameters::parameters,
    trouble::Trouble,
};
use crate::{
    authority::{Error, RevokeTarget},
    caller::Refusal,
    domain::{caller::Operation, record::RevocationReason},
};

pub(super) async fn revoke(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let shown = Shown::of(&head);
    let call = doors.call(&head);
    let mut attempt = Attempt::of("token.revoke", &call);
    let revoking = async {
        let (caller, _place) = doors.callers.recognize(shown.presented(), call).await?;
        attempt.by(&caller);
        let permit = caller.permit(Operation::RevokeTokenBySecret).map_err(Refusal::from)?;
        let token = token(&head, body).await?;
        let presented = RevokeTarget::Presented(doors.introspector.identify(&token).await?);
        match doors.authority.revoke_token(permit, presented, RevocationReason::Unspecified).await {
            // It went while this waited.
            Ok(_) | Err(Error::TokenNotFound | Error::ServiceNotFound) => Ok(()),
            Err(error) => Err(Trouble::from(error)),
        }
    };
    match revoking.await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(trouble) => {
            attempt.refused(&trouble, &doors);
            oauth::refused(trouble, &shown)
        }
    }
}

/// A hint saves a search elsewhere; here a token says itself what it is.
async fn token(head: &Parts, body: Body) -> Result<zeroize::Zeroizing<String>, Trouble> {
    let form = body::read(head, body, FORM).await?;
    let [token] = parameters(&form, ["token"])?;
    token.ok_or_else(|| Trouble::malformed("token: is wanted"))
}
