//! TokenAuthorityService.

use tonic::{Request, Response, Status};

use super::{
    Door, convert, imports, introspect,
    request::{permit, permit_change, visitor},
    status::BadField,
    token_changes,
};
use crate::{
    authority::RevokeTarget,
    domain::caller::Operation,
    proto::v1::{self as proto, token_authority_service_server::TokenAuthorityService},
};

const INVALID_TOKEN_ID: &str = "INVALID_TOKEN_ID";

#[tonic::async_trait]
impl TokenAuthorityService for Door {
    async fn issue_token(
        &self,
        request: Request<proto::IssueTokenRequest>,
    ) -> Result<Response<proto::IssueTokenResponse>, Status> {
        let permit = permit_change(&request, Operation::IssueToken)?;
        let issue = convert::issue_token(request.into_inner())?;
        let minted = self.authority.issue_token(permit, issue).await?;
        Ok(Response::new(proto::IssueTokenResponse {
            token: Some(convert::token(minted.view)),
            secret: minted.plaintext.expose().to_owned(),
        }))
    }

    async fn get_token(
        &self,
        request: Request<proto::GetTokenRequest>,
    ) -> Result<Response<proto::GetTokenResponse>, Status> {
        let permit = permit(&request, Operation::GetToken)?;
        let proto::GetTokenRequest { token_id } = request.into_inner();
        let id = convert::credential_id("token_id", INVALID_TOKEN_ID, &token_id)?;
        let view = self.authority.get_token(permit, id).await?;
        Ok(Response::new(proto::GetTokenResponse { token: Some(convert::token(view)) }))
    }

    async fn list_tokens(
        &self,
        request: Request<proto::ListTokensRequest>,
    ) -> Result<Response<proto::ListTokensResponse>, Status> {
        let permit = permit(&request, Operation::ListTokens)?;
        let proto::ListTokensRequest { account_id, page_size, page_token, states } = request.into_inner();
        let account = convert::own_or_account_id(&account_id)?;
        let states = convert::token_states(&states)?;
        let page = convert::page(page_size, page_token)?;
        let (views, next_page_token) = self.authority.list_tokens(permit, account, states, page).await?;
        let tokens = views.into_iter().map(convert::token).collect();
        Ok(Response::new(proto::ListTokensResponse { tokens, next_page_token }))
    }

    async fn update_token(
        &self,
        request: Request<proto::UpdateTokenRequest>,
    ) -> Result<Response<proto::UpdateTokenResponse>, Status> {
        let permit = permit_change(&request, Operation::UpdateToken)?;
        let change = token_changes::update_token(request.into_inner())?;
        let view = self.authority.update_token(permit, change).await?;
        Ok(Response::new(proto::UpdateTokenResponse { token: Some(convert::token(view)) }))
    }

    async fn rotate_token(
        &self,
        request: Request<proto::RotateTokenRequest>,
    ) -> Result<Response<proto::RotateTokenResponse>, Status> {
        let permit = permit_change(&request, Operation::RotateToken)?;
        let proto::RotateTokenRequest { token_id, overlap, request_id } = request.into_inner();
        let id = convert::credential_id("token_id", INVALID_TOKEN_ID, &token_id)?;
        let rotation = token_changes::rotation(id, overlap, request_id)?;
        let minted = self.authority.rotate_token(permit, rotation).await?;
        Ok(Response::new(proto::RotateTokenResponse {
            token: Some(convert::token(minted.view)),
            secret: minted.plaintext.expose().to_owned(),
        }))
    }

    async fn end_token_secret(
        &self,
        request: Request<proto::EndTokenSecretRequest>,
    ) -> Result<Response<proto::EndTokenSecretResponse>, Status> {
        let permit = permit_change(&request, Operation::EndTokenSecret)?;
        let proto::EndTokenSecretRequest { token_id, secret_id } = request.into_inner();
        let id = convert::credential_id("token_id", INVALID_TOKEN_ID, &token_id)?;
        let secret = token_changes::secret_id(&secret_id)?;
        let view = self.authority.end_token_secret(permit, id, secret).await?;
        Ok(Response::new(proto::EndTokenSecretResponse { token: Some(convert::token(view)) }))
    }

    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        use proto::revoke_token_request::Target;

        let operation = match request.get_ref().target {
            Some(Target::TokenId(_)) => Operation::RevokeTokenById,
            Some(Target::Secret(_)) | None => Operation::RevokeTokenBySecret,
        };
        let permit = permit_change(&request, operation)?;
        let proto::RevokeTokenRequest { target, reason } = request.into_inner();
        let reason = convert::revocation_reason(reason)?;
        let target = match target {
            Some(Target::TokenId(id)) => {
                RevokeTarget::Token(convert::credential_id("token_id", INVALID_TOKEN_ID, &id)?)
            }
            Some(Target::Secret(secret)) => {
                let secret = zeroize::Zeroizing::new(secret);
                let identified = self.introspector.identify(&secret).await;
                RevokeTarget::Presented(identified.map_err(crate::authority::Error::from)?)
            }
            None => {
                let problem = "token_id or secret is wanted";
                return Err(BadField::new("target", "TARGET_REQUIRED", problem).into());
            }
        };
        let token = self.authority.revoke_token(permit, target, reason).await?.map(convert::token);
        Ok(Response::new(proto::RevokeTokenResponse { token }))
    }

    async fn revoke_all_tokens(
        &self,
        request: Request<proto::RevokeAllTokensRequest>,
    ) -> Result<Response<proto::RevokeAllTokensResponse>, Status> {
        let permit = permit_change(&request, Operation::RevokeAllTokens)?;
        let proto::RevokeAllTokensRequest { account_id, reason, include_sessions } = request.into_inner();
        let account = convert::own_or_account_id(&account_id)?;
        let reason = convert::revocation_reason(reason)?;
        let ended = self.authority.revoke_all_tokens(permit, account, reason, include_sessions).await?;
        let revoked_count = i64::try_from(ended).unwrap_or(i64::MAX);
        Ok(Response::new(proto::RevokeAllTokensResponse { revoked_count }))
    }

    async fn import_tokens(
        &self,
        request: Request<proto::ImportTokensRequest>,
    ) -> Result<Response<proto::ImportTokensResponse>, Status> {
        let permit = permit_change(&request, Operation::ImportTokens)?;
        let import = imports::import(request.into_inner())?;
        let imported = self.authority.import_tokens(permit, import).await?;
        Ok(Response::new(imports::response(imported)))
    }

    async fn introspect(
        &self,
        mut request: Request<proto::IntrospectRequest>,
    ) -> Result<Response<proto::IntrospectResponse>, Status> {
        let visitor = visitor(&mut request)?;
        introspect::one(self, &visitor, request.into_inner()).await.map(Response::new)
    }

    async fn batch_introspect(
        &self,
        mut request: Request<proto::BatchIntrospectRequest>,
    ) -> Result<Response<proto::BatchIntrospectResponse>, Status> {
        let visitor = visitor(&mut request)?;
        introspect::batch(self, &visitor, request.into_inner()).await.map(Response::new)
    }

    async fn list_desktop_sessions(
        &self,
        request: Request<proto::ListDesktopSessionsRequest>,
    ) -> Result<Response<proto::ListDesktopSessionsResponse>, Status> {
        let permit = permit(&request, Operation::ListDesktopSessions)?;
        let proto::ListDesktopSessionsRequest { account_id, page_size, page_token, include_ended } =
            request.into_inner();
        let account = convert::own_or_account_id(&account_id)?;
        let page = convert::page(page_size, page_token)?;
        let (views, next_page_token) =
            self.authority.list_desktop_sessions(permit, account, include_ended, page).await?;
        let sessions = views.into_iter().map(convert::desktop_session).collect();
        Ok(Response::new(proto::ListDesktopSessionsResponse { sessions, next_page_token }))
    }
}
