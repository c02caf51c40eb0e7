//! The calls that change a token that is there.

use std::time::Duration;

use token_authority::{
    client::CallError,
    proto::v1::{EndTokenSecretRequest, RotateServiceCredentialRequest, RotateTokenRequest, Token, UpdateTokenRequest},
};

use super::{
    Actor, Issued,
    calls::{NewService, span, texts},
};

/// Long enough for no test to see its end.
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A request for a new secret.
pub(crate) fn rotate_request(token_id: &str, overlap: Duration) -> RotateTokenRequest {
    RotateTokenRequest { token_id: token_id.to_owned(), overlap: Some(span(overlap)), ..Default::default() }
}

/// The same, safe to be retried.
pub(crate) fn rotate_once(token_id: &str, overlap: Duration, request_id: &str) -> RotateTokenRequest {
    RotateTokenRequest { request_id: request_id.to_owned(), ..rotate_request(token_id, overlap) }
}

impl Actor {
    /// Gives a token a new secret.
    pub(crate) async fn try_rotate(&self, request: RotateTokenRequest) -> Result<Issued, CallError> {
        let rotated = self.call(self.client.tokens().rotate_token(request)).await?;
        self.seen.secret(&rotated.secret);
        Ok(Issued { token: rotated.token.expect("it is told"), secret: rotated.secret })
    }

    /// Gives a token a new secret that it may have.
    pub(crate) async fn rotate(&self, token_id: &str, overlap: Duration) -> Issued {
        self.try_rotate(rotate_request(token_id, overlap)).await.expect("it is rotated")
    }

    pub(crate) async fn try_rotate_service(
        &self,
        request: RotateServiceCredentialRequest,
    ) -> Result<NewService, CallError> {
        let response = self.call(self.client.services().rotate_service_credential(request)).await?;
        self.seen.secret(&response.secret);
        Ok(NewService { credential: response.credential.expect("it is told"), secret: response.secret })
    }

    pub(crate) async fn end_secret(&self, token_id: &str, secret_id: &str) -> Result<Token, CallError> {
        let request = EndTokenSecretRequest { token_id: token_id.to_owned(), secret_id: secret_id.to_owned() };
        Ok(self.call(self.client.tokens().end_token_secret(request)).await?.token.expect("it is told"))
    }

    /// Changes the fields of a token that `paths` names.
    pub(crate) async fn update_token(&self, token: Token, paths: &[&str]) -> Result<Token, CallError> {
        let update_mask = Some(prost_types::FieldMask { paths: texts(paths) });
        self.try_update_token(UpdateTokenRequest { token: Some(token), update_mask }).await
    }

    pub(crate) async fn try_update_token(&self, request: UpdateTokenRequest) -> Result<Token, CallError> {
        Ok(self.call(self.client.tokens().update_token(request)).await?.token.expect("it is told"))
    }
}
