//! SessionService: sign-in is not in this version yet.

use tonic::{Request, Response, Status};

use super::{Door, status};
use crate::{
    domain::caller::Operation,
    proto::v1::{self as proto, session_service_server::SessionService},
};

#[tonic::async_trait]
impl SessionService for Door {
    async fn sign_in(&self, request: Request<proto::SignInRequest>) -> Result<Response<proto::SignInResponse>, Status> {
        self.doorman.permit_unimplemented(&request, Operation::SignIn).await
    }

    async fn sign_out(
        &self,
        request: Request<proto::SignOutRequest>,
    ) -> Result<Response<proto::SignOutResponse>, Status> {
        self.doorman.permit_unimplemented(&request, Operation::SignOut).await
    }

    async fn sign_in_desktop(
        &self,
        request: Request<proto::SignInDesktopRequest>,
    ) -> Result<Response<proto::SignInDesktopResponse>, Status> {
        let operation = match request.get_ref().who {
            Some(proto::sign_in_desktop_request::Who::AccountId(_)) => Operation::SignInDesktopByAccount,
            Some(proto::sign_in_desktop_request::Who::Credentials(_)) | None => Operation::SignInDesktopByPassword,
        };
        self.doorman.permit_unimplemented(&request, operation).await
    }

    async fn sign_out_desktop(
        &self,
        request: Request<proto::SignOutDesktopRequest>,
    ) -> Result<Response<proto::SignOutDesktopResponse>, Status> {
        self.doorman.permit_unimplemented(&request, Operation::SignOutDesktop).await
    }

    async fn end_session(
        &self,
        request: Request<proto::EndSessionRequest>,
    ) -> Result<Response<proto::EndSessionResponse>, Status> {
        self.doorman.permit_unimplemented(&request, Operation::EndSession).await
    }

    async fn get_jwks(
        &self,
        _request: Request<proto::GetJwksRequest>,
    ) -> Result<Response<proto::GetJwksResponse>, Status> {
        // Open to all.
        Err(status::not_implemented())
    }
}
