//! Calls of a replica: answered, refused, or who knows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use token_authority::{
    client::CallError,
    proto::v1::{
        self, CreateServiceCredentialRequest, DeleteAccountRequest, EndTokenSecretRequest, IntrospectRequest,
        IssueTokenRequest, PutAccountRequest, RevokeAllTokensRequest, RevokeServiceCredentialRequest,
        RevokeTokenRequest, RotateServiceCredentialRequest, RotateTokenRequest, ServiceRole, UpdateTokenRequest,
        account_service_client::AccountServiceClient, revoke_token_request::Target,
        service_credential_service_client::ServiceCredentialServiceClient,
        token_authority_service_client::TokenAuthorityServiceClient,
    },
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

use super::{
    model::{Account, Answer},
    world::{Made, Overlap, Step, Subject, TokenSecret},
};

/// A replica's door, for as long as its process is there: afterwards its port
/// may be another's.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) via: String,
    channel: Channel,
    is_open: Arc<AtomicBool>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may have been done or not; why.
    InDoubt(String),
    /// It was not done, and should have been.
    Refused(String),
}

impl Door {
    pub(crate) fn open(via: String, url: String) -> Self {
        let endpoint = Endpoint::from_shared(url).expect("the address makes a URL").tcp_nodelay(true);
        let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy();
        Self { via, channel, is_open: Arc::new(AtomicBool::new(true)) }
    }

    /// What is answered from now on is not counted.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::SeqCst)
    }

    /// Asks about a credential.
    pub(crate) async fn introspect(&self, caller: &str, token: String, deadline: Duration) -> Result<Answer, Failure> {
        let request = IntrospectRequest { token, ..IntrospectRequest::default() };
        let mut client = TokenAuthorityServiceClient::new(self.channel.clone());
        match self.call(deadline, client.introspect(request_of(caller, request, deadline))).await {
            Ok(response) => Ok(response.into()),
            Err(error) if error.reason.as_deref() == Some("CREDENTIAL_INVALID") => Ok(Answer::CallerRefused),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Takes a step on an account.
    pub(crate) async fn take(
        &self,
        admin: &str,
        subject: &Subject,
        step: &Step,
        deadline: Duration,
    ) -> Result<Made, Failure> {
        self.try_take(admin, subject, step, deadline).await.map_err(|error| failure(&error))
    }

    async fn try_take(
        &self,
        admin: &str,
        subject: &Subject,
        step: &Step,
        deadline: Duration,
    ) -> Result<Made, CallError> {
        let mut tokens = TokenAuthorityServiceClient::new(self.channel.clone());
        let mut accounts = AccountServiceClient::new(self.channel.clone());
        let mut services = ServiceCredentialServiceClient::new(self.channel.clone());
        let account_id = subject.account.clone();
        match step {
            Step::Put(account) => {
                let request = put_request(account_id, account);
                self.call(deadline, accounts.put_account(request_of(admin, request, deadline))).await?;
            }
            Step::Issue(scopes) => {
                let request = IssueTokenRequest {
                    account_id,
                    label: "token".to_owned(),
                    scopes: scopes.iter().flat_map(|scopes| texts(scopes)).collect(),
                    inherits_permissions: scopes.is_none(),
                    ..IssueTokenRequest::default()
                };
                let issued = self.call(deadline, tokens.issue_token(request_of(admin, request, deadline))).await?;
                let token = issued.token.expect("it is told");
                let secret = newest(&token, issued.secret);
                return Ok(Made::Token { id: token.token_id, secret });
            }
            Step::Rotate(_, overlap) => {
                let seconds = match overlap {
                    Overlap::None => 0,
                    Overlap::Long => 24 * 60 * 60,
                };
                let request = RotateTokenRequest {
                    token_id: subject.token.clone().expect("it says which"),
                    overlap: Some(prost_types::Duration { seconds, nanos: 0 }),
                    ..RotateTokenRequest::default()
                };
                let rotated = self.call(deadline, tokens.rotate_token(request_of(admin, request, deadline))).await?;
                return Ok(Made::Secret(newest(&rotated.token.expect("it is told"), rotated.secret)));
            }
            Step::EndSecret(_) => {
                let token_id = subject.token.clone().expect("it says which");
                let secret_id = subject.secret.clone().expect("it says which");
                let request = EndTokenSecretRequest { token_id, secret_id };
                self.call(deadline, tokens.end_token_secret(request_of(admin, request, deadline))).await?;
            }
            Step::Update(_, scopes) => {
                let token = v1::Token {
                    token_id: subject.token.clone().expect("it says which"),
                    scopes: scopes.iter().flat_map(|scopes| texts(scopes)).collect(),
                    inherits_permissions: scopes.is_none(),
                    ..v1::Token::default()
                };
                let paths = texts(&["scopes", "inherits_permissions"]).collect();
                let update_mask = Some(prost_types::FieldMask { paths });
                let request = UpdateTokenRequest { token: Some(token), update_mask };
                self.call(deadline, tokens.update_token(request_of(admin, request, deadline))).await?;
            }
            Step::Revoke(_) => {
                let token_id = subject.token.clone().expect("it says which");
                let request = RevokeTokenRequest { target: Some(Target::TokenId(token_id)), reason: 0 };
                self.call(deadline, tokens.revoke_token(request_of(admin, request, deadline))).await?;
            }
            Step::RevokeAll => {
                let request = RevokeAllTokensRequest { account_id, reason: 0, include_sessions: false };
                self.call(deadline, tokens.revoke_all_tokens(request_of(admin, request, deadline))).await?;
            }
            Step::Delete => {
                let request = DeleteAccountRequest { account_id };
                self.call(deadline, accounts.delete_account(request_of(admin, request, deadline))).await?;
            }
            Step::CreateService => {
                let request = CreateServiceCredentialRequest {
                    name: account_id,
                    roles: vec![ServiceRole::Auditor.into()],
                    ..CreateServiceCredentialRequest::default()
                };
                let call = services.create_service_credential(request_of(admin, request, deadline));
                let created = self.call(deadline, call).await?;
                let id = created.credential.expect("it is told").credential_id;
                return Ok(Made::Service { id, secret: created.secret });
            }
            Step::RotateService => {
                let credential_id = subject.service.clone().expect("there is one");
                let overlap = Some(prost_types::Duration::default());
                let request = RotateServiceCredentialRequest {
                    credential_id: credential_id.clone(),
                    overlap,
                    ..RotateServiceCredentialRequest::default()
                };
                let call = services.rotate_service_credential(request_of(admin, request, deadline));
                let rotated = self.call(deadline, call).await?;
                return Ok(Made::Service { id: credential_id, secret: rotated.secret });
            }
            Step::RevokeService => {
                let credential_id = subject.service.clone().expect("there is one");
                let request = RevokeServiceCredentialRequest { credential_id };
                let call = services.revoke_service_credential(request_of(admin, request, deadline));
                self.call(deadline, call).await?;
            }
            Step::Policy(_) => unreachable!("a start applies it"),
        }
        Ok(Made::Nothing)
    }

    async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        let result = match tokio::time::timeout(deadline, call).await {
            Ok(result) => result.map(Response::into_inner).map_err(CallError::from),
            Err(_elapsed) => Err(Status::deadline_exceeded("no reply in time").into()),
        };
        if self.is_open() {
            return result;
        }
        Err(Status::unavailable("the process has ended").into())
    }
}

/// The secret that was made last, which comes first.
fn newest(token: &v1::Token, plaintext: String) -> TokenSecret {
    TokenSecret { id: token.secrets[0].secret_id.clone(), plaintext }
}

fn put_request(account_id: String, account: &Account) -> PutAccountRequest {
    let Account { plan, permissions, limited, suspended, mark } = account;
    let account = v1::Account {
        account_id,
        plan: (*plan).to_owned(),
        permissions: texts(permissions).collect(),
        limit_permissions: *limited,
        suspended: *suspended,
        roles: vec![mark.clone()],
        ..v1::Account::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["*".to_owned()] });
    PutAccountRequest { account: Some(account), update_mask }
}

fn texts<'a>(items: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    items.iter().map(ToString::to_string)
}

fn request_of<T>(credential: &str, message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    let authorization = format!("Bearer {credential}").parse().expect("a credential can stand in a header");
    request.metadata_mut().insert("authorization", authorization);
    request
}

/// What the transport says tells nothing of what was done; nor does a service
/// that cannot answer.
fn failure(error: &CallError) -> Failure {
    match (error.code, &error.reason) {
        (code, None) => Failure::InDoubt(format!("{code:?}")),
        (
            code @ (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted),
            Some(reason),
        ) => Failure::InDoubt(format!("{code:?} {reason}")),
        (code, Some(reason)) => Failure::Refused(format!("{code:?} {reason}: {}", error.message)),
    }
}
