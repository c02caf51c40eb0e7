//! The calls that actors make, one for each RPC.

use std::time::Duration;

use memchr::memmem;
use prost::Message;
use token_authority::{
    client::CallError,
    proto::v1::{
        Account, BatchIntrospectRequest, CreateServiceCredentialRequest, DeleteAccountRequest, GetAccountRequest,
        GetCatalogRequest, GetCatalogResponse, GetTokenRequest, IntrospectRequest, IntrospectResponse,
        IssueTokenRequest, ListAccountsRequest, ListAccountsResponse, ListDesktopSessionsRequest,
        ListDesktopSessionsResponse, ListServiceCredentialsRequest, ListServiceCredentialsResponse, ListTokensRequest,
        ListTokensResponse, RevocationReason, RevokeAllTokensRequest, RevokeServiceCredentialRequest,
        RevokeTokenRequest, RotateServiceCredentialRequest, ServiceCredential, ServiceRole, Token, TokenState,
        WhoAmIRequest, WhoAmIResponse, batch_introspect_result, revoke_token_request::Target,
    },
};

use super::Actor;

/// A service credential, and the secret that was shown with it.
#[derive(Clone, Debug)]
pub(crate) struct NewService {
    pub(crate) credential: ServiceCredential,
    pub(crate) secret: String,
}

/// A request for a token with these scopes.
pub(crate) fn issue_request(account: &str, label: &str, scopes: &[&str]) -> IssueTokenRequest {
    IssueTokenRequest {
        account_id: account.to_owned(),
        label: label.to_owned(),
        scopes: texts(scopes),
        ..Default::default()
    }
}

/// A request for a service credential.
pub(crate) fn service_request(name: &str, roles: &[ServiceRole]) -> CreateServiceCredentialRequest {
    CreateServiceCredentialRequest {
        name: name.to_owned(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        ..Default::default()
    }
}

/// A request about a credential that needs these scopes.
pub(crate) fn question(secret: &str, required_scopes: &[&str]) -> IntrospectRequest {
    IntrospectRequest {
        token: secret.to_owned(),
        required_scopes: texts(required_scopes),
        ..IntrospectRequest::default()
    }
}

/// As messages have them.
pub(crate) fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// A span of time as messages have it.
pub(crate) fn span(span: Duration) -> prost_types::Duration {
    span.try_into().expect("it is in range")
}

impl Actor {
    pub(crate) async fn get_token(&self, token_id: &str) -> Result<Token, CallError> {
        let request = GetTokenRequest { token_id: token_id.to_owned() };
        Ok(self.call(self.client.tokens().get_token(request)).await?.token.expect("it is told"))
    }

    pub(crate) async fn list_tokens(&self, request: ListTokensRequest) -> Result<ListTokensResponse, CallError> {
        self.call(self.client.tokens().list_tokens(request)).await
    }

    /// The tokens of an account in these states; the default ones where none is
    /// named.
    pub(crate) async fn tokens_of(&self, account: &str, states: &[TokenState]) -> Vec<Token> {
        let states = states.iter().map(|state| (*state).into()).collect();
        let request = ListTokensRequest { account_id: account.to_owned(), states, ..Default::default() };
        self.list_tokens(request).await.expect("they are listed").tokens
    }

    pub(crate) async fn revoke_secret(&self, secret: &str) -> Result<Option<Token>, CallError> {
        let request = RevokeTokenRequest { target: Some(Target::Secret(secret.to_owned())), reason: 0 };
        Ok(self.call(self.client.tokens().revoke_token(request)).await?.token)
    }

    pub(crate) async fn revoke_all(
        &self,
        account: &str,
        reason: RevocationReason,
        include_sessions: bool,
    ) -> Result<i64, CallError> {
        let request =
            RevokeAllTokensRequest { account_id: account.to_owned(), reason: reason.into(), include_sessions };
        Ok(self.call(self.client.tokens().revoke_all_tokens(request)).await?.revoked_count)
    }

    /// Asks about many credentials; each is judged.
    pub(crate) async fn batch_introspect(
        &self,
        requests: Vec<IntrospectRequest>,
    ) -> Result<Vec<IntrospectResponse>, CallError> {
        let judged = |result| match result {
            batch_introspect_result::Result::Response(response) => response,
            failure @ batch_introspect_result::Result::Failure(_) => panic!("it was not judged: {failure:?}"),
        };
        Ok(self.batch_results(requests).await?.into_iter().map(judged).collect())
    }

    /// Asks about many credentials; some may not be judged.
    pub(crate) async fn batch_results(
        &self,
        requests: Vec<IntrospectRequest>,
    ) -> Result<Vec<batch_introspect_result::Result>, CallError> {
        let request = BatchIntrospectRequest { requests };
        let response = self.call(self.client.tokens().batch_introspect(request)).await?;
        Ok(response.results.into_iter().map(|result| result.result.expect("there is one")).collect())
    }

    pub(crate) async fn list_desktop_sessions(
        &self,
        request: ListDesktopSessionsRequest,
    ) -> Result<ListDesktopSessionsResponse, CallError> {
        self.call(self.client.tokens().list_desktop_sessions(request)).await
    }

    pub(crate) async fn get_account(&self, account: &str) -> Result<Account, CallError> {
        let request = GetAccountRequest { account_id: account.to_owned() };
        Ok(self.call(self.client.accounts().get_account(request)).await?.account.expect("it is told"))
    }

    pub(crate) async fn list_accounts(&self, request: ListAccountsRequest) -> Result<ListAccountsResponse, CallError> {
        self.call(self.client.accounts().list_accounts(request)).await
    }

    pub(crate) async fn delete_account(&self, account: &str) -> Result<(), CallError> {
        let request = DeleteAccountRequest { account_id: account.to_owned() };
        self.call(self.client.accounts().delete_account(request)).await?;
        Ok(())
    }

    pub(crate) async fn who_am_i(&self) -> Result<WhoAmIResponse, CallError> {
        self.call(self.client.accounts().who_am_i(WhoAmIRequest {})).await
    }

    pub(crate) async fn catalog(&self) -> Result<GetCatalogResponse, CallError> {
        self.call(self.client.accounts().get_catalog(GetCatalogRequest {})).await
    }

    pub(crate) async fn create_service(
        &self,
        request: CreateServiceCredentialRequest,
    ) -> Result<NewService, CallError> {
        let response = self.call(self.client.services().create_service_credential(request)).await?;
        self.seen.secret(&response.secret);
        Ok(NewService { credential: response.credential.expect("it is told"), secret: response.secret })
    }

    pub(crate) async fn list_services(
        &self,
        request: ListServiceCredentialsRequest,
    ) -> Result<ListServiceCredentialsResponse, CallError> {
        self.call(self.client.services().list_service_credentials(request)).await
    }

    pub(crate) async fn rotate_service(&self, id: &str, overlap: Duration) -> Result<NewService, CallError> {
        let credential_id = id.to_owned();
        let overlap = Some(span(overlap));
        self.try_rotate_service(RotateServiceCredentialRequest { credential_id, overlap, ..Default::default() }).await
    }

    pub(crate) async fn revoke_service(&self, id: &str) -> Result<ServiceCredential, CallError> {
        let request = RevokeServiceCredentialRequest { credential_id: id.to_owned() };
        let response = self.call(self.client.services().revoke_service_credential(request)).await?;
        Ok(response.credential.expect("it is told"))
    }
}

/// The bytes of a reply hold nothing of a secret: not its 32 digits.
#[track_caller]
pub(crate) fn assert_without(reply: &impl Message, secret: &str) {
    let digits = &secret.as_bytes()[secret.len() - 38..secret.len() - 6];
    assert!(memmem::find(&reply.encode_to_vec(), digits).is_none(), "a reply shows the secret again");
}
