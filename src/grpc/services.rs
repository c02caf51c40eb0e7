//! ServiceCredentialService.

use tonic::{Request, Response, Status};

use super::{
    Door, convert,
    request::{permit, permit_change},
    token_changes,
};
use crate::{
    authority::NewService,
    domain::caller::Operation,
    proto::v1::{self as proto, service_credential_service_server::ServiceCredentialService},
};

const INVALID_CREDENTIAL_ID: &str = "INVALID_CREDENTIAL_ID";

#[tonic::async_trait]
impl ServiceCredentialService for Door {
    async fn create_service_credential(
        &self,
        request: Request<proto::CreateServiceCredentialRequest>,
    ) -> Result<Response<proto::CreateServiceCredentialResponse>, Status> {
        let permit = permit_change(&request, Operation::CreateServiceCredential)?;
        let proto::CreateServiceCredentialRequest { name, roles, allowed_cidrs, ttl } = request.into_inner();
        let new = NewService {
            name: convert::label("name", &name)?,
            roles: convert::roles(&roles)?,
            networks: convert::networks(&allowed_cidrs)?,
            ttl: ttl.map(|ttl| convert::span("ttl", "INVALID_EXPIRY", ttl)).transpose()?,
        };
        let minted = self.authority.create_service(permit, new).await?;
        Ok(Response::new(proto::CreateServiceCredentialResponse {
            credential: Some(convert::service(minted.view)),
            secret: minted.plaintext.expose().to_owned(),
        }))
    }

    async fn list_service_credentials(
        &self,
        request: Request<proto::ListServiceCredentialsRequest>,
    ) -> Result<Response<proto::ListServiceCredentialsResponse>, Status> {
        let permit = permit(&request, Operation::ListServiceCredentials)?;
        let proto::ListServiceCredentialsRequest { page_size, page_token, include_ended } = request.into_inner();
        let page = convert::page(page_size, page_token)?;
        let (views, next_page_token) = self.authority.list_services(permit, include_ended, page).await?;
        let credentials = views.into_iter().map(convert::service).collect();
        Ok(Response::new(proto::ListServiceCredentialsResponse { credentials, next_page_token }))
    }

    async fn rotate_service_credential(
        &self,
        request: Request<proto::RotateServiceCredentialRequest>,
    ) -> Result<Response<proto::RotateServiceCredentialResponse>, Status> {
        let permit = permit_change(&request, Operation::RotateServiceCredential)?;
        let proto::RotateServiceCredentialRequest { credential_id, overlap, request_id } = request.into_inner();
        let id = convert::credential_id("credential_id", INVALID_CREDENTIAL_ID, &credential_id)?;
        let rotation = token_changes::rotation(id, overlap, request_id)?;
        let minted = self.authority.rotate_service(permit, rotation).await?;
        Ok(Response::new(proto::RotateServiceCredentialResponse {
            credential: Some(convert::service(minted.view)),
            secret: minted.plaintext.expose().to_owned(),
        }))
    }

    async fn revoke_service_credential(
        &self,
        request: Request<proto::RevokeServiceCredentialRequest>,
    ) -> Result<Response<proto::RevokeServiceCredentialResponse>, Status> {
        let permit = permit_change(&request, Operation::RevokeServiceCredential)?;
        let proto::RevokeServiceCredentialRequest { credential_id } = request.into_inner();
        let id = convert::credential_id("credential_id", INVALID_CREDENTIAL_ID, &credential_id)?;
        let view = self.authority.revoke_service(permit, id).await?;
        Ok(Response::new(proto::RevokeServiceCredentialResponse { credential: Some(convert::service(view)) }))
    }
}
