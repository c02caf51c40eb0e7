//! SessionService.

use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::{
    Door,
    convert::{self, Converted},
    request::{entrance, permit_change},
    status::BadField,
};
use crate::{
    authority::{DesktopSignIn, Error, PasswordAttempt, SignedIn, WhoSignsIn},
    domain::{
        caller::{Caller, Operation},
        credential::Kind,
        id::{CredentialId, SecretId},
        network::ClientAddress,
        session::{DesktopDevice, MalformedDevice},
        time::Timestamp,
    },
    proto::v1::{self as proto, session_service_server::SessionService, sign_in_desktop_request::Who},
};

#[tonic::async_trait]
impl SessionService for Door {
    async fn sign_in(&self, request: Request<proto::SignInRequest>) -> Result<Response<proto::SignInResponse>, Status> {
        let entrance = entrance(&request, Operation::SignIn, self.callers.openness())?;
        let signed_in = self.authority.sign_in(entrance, sign_in(request.into_inner())?).await?;
        Ok(Response::new(signed_in_message(&signed_in)))
    }

    async fn sign_out(
        &self,
        request: Request<proto::SignOutRequest>,
    ) -> Result<Response<proto::SignOutResponse>, Status> {
        let permit = permit_change(&request, Operation::SignOut)?;
        let proto::SignOutRequest { id_token } = request.into_inner();
        let id_token = Zeroizing::new(id_token);
        let (kind, presented) = if id_token.is_empty() {
            own_session(permit.caller())?
        } else {
            (Kind::WebSession, self.introspector.identify(&id_token).await.map_err(Error::from)?)
        };
        self.authority.sign_out(permit, kind, presented).await?;
        Ok(Response::new(proto::SignOutResponse {}))
    }

    async fn sign_in_desktop(
        &self,
        request: Request<proto::SignInDesktopRequest>,
    ) -> Result<Response<proto::SignInDesktopResponse>, Status> {
        let operation = match request.get_ref().who {
            Some(Who::AccountId(_)) => Operation::SignInDesktopByAccount,
            Some(Who::Credentials(_)) | None => Operation::SignInDesktopByPassword,
        };
        let permit = permit_change(&request, operation)?;
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
        let permit = permit_change(&request, Operation::SignOutDesktop)?;
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
        let permit = permit_change(&request, Operation::EndSession)?;
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
        let jwks_json = self.authority.jwks().await?.to_string();
        Ok(Response::new(proto::GetJwksResponse { jwks_json }))
    }
}

/// The session that a caller calls with.
fn own_session(caller: &Caller) -> Converted<(Kind, Option<(CredentialId, SecretId)>)> {
    let (kind, presented) = caller
        .session()
        .ok_or_else(|| BadField::new("id_token", "ID_TOKEN_REQUIRED", "the caller's own credential is no session"))?;
    Ok((kind, Some(presented)))
}

fn sign_in(message: proto::SignInRequest) -> Converted<PasswordAttempt> {
    let proto::SignInRequest { credentials, client_ip } = message;
    let address = convert::client_address(&client_ip)?;
    let missing = || BadField::new("credentials", "CREDENTIALS_REQUIRED", "a username and a password are wanted");
    Ok(password_attempt(credentials.ok_or_else(missing)?, address))
}

fn signed_in_message(signed_in: &SignedIn) -> proto::SignInResponse {
    let SignedIn { token, issue_time, expire_time } = signed_in;
    proto::SignInResponse {
        id_token: token.plaintext.expose().to_owned(),
        expires_in: Some(between(*issue_time, *expire_time)),
        expire_time: Some(convert::timestamp(*expire_time)),
    }
}

fn between(start: Timestamp, end: Timestamp) -> prost_types::Duration {
    let micros = end.as_micros() - start.as_micros();
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).expect("below a second");
    prost_types::Duration { seconds: micros / 1_000_000, nanos }
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
