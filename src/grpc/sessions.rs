//! SessionService: web sessions are not in this version yet.

use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::{
    Door,
    convert::{self, Converted},
    request::{permit, permit_unimplemented},
    status::{self, BadField},
};
use crate::{
    authority::{DesktopSignIn, Error, PasswordAttempt, WhoSignsIn},
    domain::{
        caller::Operation,
        credential::Kind,
        network::ClientAddress,
        session::{DesktopDevice, MalformedDevice},
    },
    proto::v1::{self as proto, session_service_server::SessionService, sign_in_desktop_request::Who},
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
            Some(Who::AccountId(_)) => Operation::SignInDesktopByAccount,
            Some(Who::Credentials(_)) | None => Operation::SignInDesktopByPassword,
        };
        let permit = permit(&request, operation)?;
        let minted = self.authority.sign_in_desktop(permit, desktop_sign_in(request.into_inner())?).await?;
        Ok(Response::new(proto::SignInDesktopResponse {
            session: Some(convert::desktop_session(minted.view)),
            secret: minted.plaintext.expose().to_owned(),
        }))
    }

    async fn sign_out_desktop(
        &self,
        request: Request<proto::SignOutDesktopRequest>,
    ) -> Result<Response<proto::SignOutDesktopResponse>, Status> {
        let permit = permit(&request, Operation::SignOutDesktop)?;
        let proto::SignOutDesktopRequest { secret } = request.into_inner();
        let secret = Zeroizing::new(secret);
        let presented = self.introspector.identify(&secret).await.map_err(Error::from)?;
        self.authority.sign_out(permit, Kind::DesktopSession, presented).await?;
        Ok(Response::new(proto::SignOutDesktopResponse {}))
    }

    async fn end_session(
        &self,
        request: Request<proto::EndSessionRequest>,
    ) -> Result<Response<proto::EndSessionResponse>, Status> {
        let permit = permit(&request, Operation::EndSession)?;
        let proto::EndSessionRequest { session_id } = request.into_inner();
        let id = convert::credential_id("session_id", "INVALID_SESSION_ID", &session_id)?;
        self.authority.end_session(permit, id).await?;
        Ok(Response::new(proto::EndSessionResponse {}))
    }

    async fn get_jwks(
        &self,
        _request: Request<proto::GetJwksRequest>,
    ) -> Result<Response<proto::GetJwksResponse>, Status> {
        // Open to all.
        Err(status::not_implemented())
    }
}

fn desktop_sign_in(message: proto::SignInDesktopRequest) -> Converted<DesktopSignIn> {
    let proto::SignInDesktopRequest { who, device_name, platform, app_version, client_ip } = message;
    let address = convert::client_address(&client_ip)?;
    let who = match who {
        None => return Err(BadField::new("who", "WHO_REQUIRED", "credentials or account_id is wanted")),
        Some(Who::AccountId(id)) => WhoSignsIn::Account(convert::account_id("account_id", &id)?),
        Some(Who::Credentials(credentials)) => WhoSignsIn::Password(password_attempt(credentials, address)),
    };
    Ok(DesktopSignIn { who, device: device(&device_name, &platform, &app_version)?, address })
}

fn password_attempt(message: proto::PasswordCredentials, address: Option<ClientAddress>) -> PasswordAttempt {
    let proto::PasswordCredentials { username, password } = message;
    PasswordAttempt { username, password: Zeroizing::new(password), address }
}

fn device(device_name: &str, platform: &str, app_version: &str) -> Converted<DesktopDevice> {
    DesktopDevice::new(device_name, platform, app_version).map_err(|error| {
        let (field, reason) = match error {
            MalformedDevice::DeviceName(_) => ("device_name", "INVALID_DEVICE_NAME"),
            MalformedDevice::Platform(_) => ("platform", "INVALID_PLATFORM"),
            MalformedDevice::AppVersion(_) => ("app_version", "INVALID_APP_VERSION"),
        };
        BadField::new(field, reason, error)
    })
}
