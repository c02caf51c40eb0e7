//! SessionService: sign-in is not in this version yet.

use tonic::{Request, Response, Status};

use super::{Door, request::permit_unimplemented, status};
use crate::{
    domain::caller::Operation,
    proto::v1::{self as proto, session_service_server::SessionService},
};

#[tonic::async_trait]
impl SessionService for Door {
    async fn sign_in(&self, request: Request<proto::SignInRequest>) -> Result<Response<proto::SignInResponse>, Status> {
        permit_unimplemented(&request, Operation::SignIn)
    }

    async fn sign_out(
        &self,
        request: Request<proto::SignOutRequest>,
    ) -> Result<Response<proto::SignOutResponse>, Status> {
        permit_unimplemented(&request, Operation::SignOut)
    }

    async fn sign_in_desktop(
        &self,
        request: Request<proto::SignInDesktopRequest>,
    ) -> Result<Response<proto::SignInDesktopResponse>, Status> {
        let operation = match request.get_ref().who {
            Some(proto::sign_in_desktop_request::Who::AccountId(_)) => Operation::SignInDesktopByAccount,
            Some(proto::sign_in_desktop_request::Who::Credentials(_)) | None => Operation::SignInDesktopByPassword,
        };
        permit_unimplemented(&request, operation)
    }

    async fn sign_out_desktop(
        &self,
        request: Request<proto::SignOutDesktopRequest>,
    ) -> Result<Response<proto::SignOutDesktopResponse>, Status> {
        permit_unimplemented(&request, Operation::SignOutDesktop)
    }

    async fn end_session(
        &self,
        request: Request<proto::EndSessionRequest>,
    ) -> Result<Response<proto::EndSessionResponse>, Status> {
        permit_unimplemented(&request, Operation::EndSession)
    }

    async fn get_jwks(
        &self,
        _request: Request<proto::GetJwksRequest>,
    ) -> Result<Response<proto::GetJwksResponse>, Status> {
        // Open to all.
        Err(status::not_implemented())
    }
}
