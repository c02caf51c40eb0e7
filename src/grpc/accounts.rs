//! AccountService.

use tonic::{Request, Response, Status};

use super::{
    Door, convert,
    request::{permit, permit_change},
};
use crate::{
    domain::caller::{Identity, Operation, Principal},
    proto::v1::{self as proto, account_service_server::AccountService},
};

#[tonic::async_trait]
impl AccountService for Door {
    async fn put_account(
        &self,
        request: Request<proto::PutAccountRequest>,
    ) -> Result<Response<proto::PutAccountResponse>, Status> {
        let permit = permit_change(&request, Operation::PutAccount)?;
        let change = convert::put_account(request.into_inner())?;
        let view = self.authority.put_account(permit, change).await?;
        Ok(Response::new(proto::PutAccountResponse { account: Some(convert::account(view)) }))
    }

    async fn get_account(
        &self,
        request: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        let permit = permit(&request, Operation::GetAccount)?;
        let proto::GetAccountRequest { account_id } = request.into_inner();
        let account = convert::own_or_account_id(&account_id)?;
        let view = self.authority.get_account(permit, account).await?;
        Ok(Response::new(proto::GetAccountResponse { account: Some(convert::account(view)) }))
    }

    async fn list_accounts(
        &self,
        request: Request<proto::ListAccountsRequest>,
    ) -> Result<Response<proto::ListAccountsResponse>, Status> {
        let permit = permit(&request, Operation::ListAccounts)?;
        let proto::ListAccountsRequest { page_size, page_token } = request.into_inner();
        let page = convert::page(page_size, page_token)?;
        let (views, next_page_token) = self.authority.list_accounts(permit, page).await?;
        let accounts = views.into_iter().map(convert::account).collect();
        Ok(Response::new(proto::ListAccountsResponse { accounts, next_page_token }))
    }

    async fn delete_account(
        &self,
        request: Request<proto::DeleteAccountRequest>,
    ) -> Result<Response<proto::DeleteAccountResponse>, Status> {
        let permit = permit_change(&request, Operation::DeleteAccount)?;
        let proto::DeleteAccountRequest { account_id } = request.into_inner();
        let account = convert::account_id("account_id", &account_id)?;
        self.authority.delete_account(permit, account).await?;
        Ok(Response::new(proto::DeleteAccountResponse {}))
    }

    async fn set_password(
        &self,
        request: Request<proto::SetPasswordRequest>,
    ) -> Result<Response<proto::SetPasswordResponse>, Status> {
        let permit = permit_change(&request, Operation::SetPassword)?;
        let proto::SetPasswordRequest { account_id, password } = request.into_inner();
        let password = zeroize::Zeroizing::new(password);
        let account = convert::account_id("account_id", &account_id)?;
        self.authority.set_password(permit, account, convert::new_password(&password)?).await?;
        Ok(Response::new(proto::SetPasswordResponse {}))
    }

    async fn who_am_i(
        &self,
        request: Request<proto::WhoAmIRequest>,
    ) -> Result<Response<proto::WhoAmIResponse>, Status> {
        let permit = permit(&request, Operation::WhoAmI)?;
        let caller = permit.caller().clone();
        let (scopes, service_roles) = match &caller.principal {
            Principal::Service(roles) => (Vec::new(), roles.iter().map(|own| convert::role(own).into()).collect()),
            Principal::Holder(rights) => (rights.scopes.iter().map(ToString::to_string).collect(), Vec::new()),
        };
        let account = match &caller.principal {
            Principal::Service(_) => None,
            Principal::Holder(_) => Some(self.authority.get_account(permit, None).await?),
        };
        Ok(Response::new(proto::WhoAmIResponse {
            account: account.map(convert::account),
            credential_id: caller.identity.credential().map(|id| id.to_string()).unwrap_or_default(),
            label: caller.label.as_ref().to_owned(),
            scopes,
            service_roles,
            expire_time: caller.expire_time.map(convert::timestamp),
            certificate_san: match &caller.identity {
                Identity::Credential { .. } => String::new(),
                Identity::Certificate(san) => san.to_string(),
            },
        }))
    }

    async fn get_catalog(
        &self,
        request: Request<proto::GetCatalogRequest>,
    ) -> Result<Response<proto::GetCatalogResponse>, Status> {
        let permit = permit(&request, Operation::GetCatalog)?;
        let policy = self.authority.catalog(permit).await?;
        Ok(Response::new(convert::catalog(&policy, self.authority.token_prefix())))
    }
}
