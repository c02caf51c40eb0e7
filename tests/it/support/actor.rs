//! Somebody who calls a server with a credential.

use std::time::Duration;

use token_authority::{
    client::{BearerToken, CallError, Client, Timeouts},
    proto::v1::{
        Account, IntrospectRequest, IntrospectResponse, IssueTokenRequest, PutAccountRequest, RevokeTokenRequest,
        Token, revoke_token_request::Target,
    },
};
use tonic::{Response, Status};

use super::{refusal::assert_one_error_info, server::Seen};

/// A caller.
#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) client: Client,
    pub(super) seen: Seen,
}

/// A token, and the secret that was shown with it.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) token: Token,
    pub(crate) secret: String,
}

impl Actor {
    pub(crate) async fn connect(url: &str, credential: &str, seen: Seen) -> Self {
        let token = BearerToken::new(credential).expect("a credential can stand in a header");
        Self::connect_with(url, Some(token), seen).await
    }

    pub(super) async fn connect_with(url: &str, token: Option<BearerToken>, seen: Seen) -> Self {
        let timeouts = Timeouts { connect: Duration::from_secs(10), call: Duration::from_secs(30) };
        let client = Client::connect(url, token, timeouts).await.expect("the server answers");
        Self { client, seen }
    }

    /// Runs a call of one of `client`'s clients; its error's whole text is kept,
    /// to be looked through for secrets, and its details are what the contract
    /// promises of every error.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        let result = self.client.call(call).await;
        if let Err(error) = &result {
            self.seen.error(format!("{error:?}"));
            assert_one_error_info(error);
        }
        result
    }

    /// Makes an account.
    pub(crate) async fn put_account(&self, account: Account) -> Account {
        let request = PutAccountRequest { account: Some(account), update_mask: None };
        let put = self.call(self.client.accounts().put_account(request)).await.expect("the account is made");
        put.account.expect("it is told")
    }

    /// Changes the fields of an account that `paths` names.
    pub(crate) async fn update_account(&self, account: Account, paths: &[&str]) -> Result<Account, CallError> {
        let paths = paths.iter().map(ToString::to_string).collect();
        let request = PutAccountRequest { account: Some(account), update_mask: Some(prost_types::FieldMask { paths }) };
        let put = self.call(self.client.accounts().put_account(request)).await?;
        Ok(put.account.expect("it is told"))
    }

    /// Issues a token.
    pub(crate) async fn try_issue(&self, request: IssueTokenRequest) -> Result<Issued, CallError> {
        let issued = self.call(self.client.tokens().issue_token(request)).await?;
        self.seen.secret(&issued.secret);
        Ok(Issued { token: issued.token.expect("it is told"), secret: issued.secret })
    }

    /// Issues a token with these scopes.
    pub(crate) async fn issue(&self, account: &str, label: &str, scopes: &[&str]) -> Issued {
        let request = IssueTokenRequest {
            account_id: account.to_owned(),
            label: label.to_owned(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        self.try_issue(request).await.expect("the token is issued")
    }

    /// Asks about a credential.
    pub(crate) async fn try_introspect(&self, request: IntrospectRequest) -> Result<IntrospectResponse, CallError> {
        self.call(self.client.tokens().introspect(request)).await
    }

    /// Asks about a credential that needs nothing.
    pub(crate) async fn introspect(&self, secret: &str) -> IntrospectResponse {
        self.try_introspect(IntrospectRequest { token: secret.to_owned(), ..Default::default() })
            .await
            .expect("there is an answer")
    }

    /// Revokes a token by its id.
    pub(crate) async fn revoke(&self, token_id: &str) -> Result<Option<Token>, CallError> {
        let request = RevokeTokenRequest { target: Some(Target::TokenId(token_id.to_owned())), reason: 0 };
        Ok(self.call(self.client.tokens().revoke_token(request)).await?.token)
    }
}
