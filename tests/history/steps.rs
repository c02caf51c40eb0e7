//! The call that each step is.

use std::{hash::BuildHasher as _, net::Ipv4Addr, time::Duration};

use token_authority::{
    client::CallError,
    proto::v1::{
        self, CreateServiceCredentialRequest, DeleteAccountRequest, EndSessionRequest, EndTokenSecretRequest,
        IssueTokenRequest, PasswordCredentials, PutAccountRequest, RevokeAllTokensRequest,
        RevokeServiceCredentialRequest, RevokeTokenRequest, RotateServiceCredentialRequest, RotateTokenRequest,
        ServiceRole, SetPasswordRequest, SignInDesktopRequest, SignInRequest, SignOutDesktopRequest, SignOutRequest,
        UpdateTokenRequest, account_service_client::AccountServiceClient, revoke_token_request::Target,
        service_credential_service_client::ServiceCredentialServiceClient,
        session_service_client::SessionServiceClient, sign_in_desktop_request::Who,
        token_authority_service_client::TokenAuthorityServiceClient,
    },
};
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    calls::{Door, request_of},
    model::{Account, Session},
    support::web_session::read_part,
    world::{KnownSecret, Made, Overlap, Step, Subject},
};

/// A step that is being taken.
pub(super) struct Taking<'a> {
    pub(super) door: &'a Door,
    pub(super) admin: &'a str,
    pub(super) subject: &'a Subject,
    pub(super) deadline: Duration,
}

impl Taking<'_> {
    pub(super) async fn take(&self, step: &Step) -> Result<Made, CallError> {
        let account_id = self.subject.account.clone();
        match step {
            Step::Put(account) => {
                let request = put_request(account_id, account);
                self.call(self.accounts().put_account(self.request(request))).await?;
            }
            Step::Delete => {
                let request = DeleteAccountRequest { account_id };
                self.call(self.accounts().delete_account(self.request(request))).await?;
            }
            Step::Issue(_)
            | Step::Rotate(..)
            | Step::EndSecret(_)
            | Step::Update(..)
            | Step::Revoke(_)
            | Step::RevokeAll { .. } => return self.take_on_tokens(step).await,
            Step::SetPassword(_) | Step::SignIn(_) | Step::SignOut(..) | Step::EndSession(_) => {
                return self.take_on_sessions(step).await;
            }
            Step::CreateService | Step::RotateService | Step::RevokeService => {
                return self.take_on_the_service(step).await;
            }
            Step::Policy(_) => unreachable!("a start applies it"),
        }
        Ok(Made::Nothing)
    }

    async fn take_on_tokens(&self, step: &Step) -> Result<Made, CallError> {
        let mut tokens = TokenAuthorityServiceClient::new(self.channel());
        let account_id = self.subject.account.clone();
        match step {
            Step::Issue(scopes) => {
                let request = IssueTokenRequest {
                    account_id,
                    label: "token".to_owned(),
                    scopes: scopes.iter().flat_map(|scopes| texts(scopes)).collect(),
                    inherits_permissions: scopes.is_none(),
                    ..IssueTokenRequest::default()
                };
                let issued = self.call(tokens.issue_token(self.request(request))).await?;
                let token = issued.token.expect("it is told");
                let secret = newest(&token, issued.secret);
                return Ok(Made::Credential { id: token.token_id, secret });
            }
            Step::Rotate(_, overlap) => {
                let seconds = match overlap {
                    Overlap::None => 0,
                    Overlap::Long => 24 * 60 * 60,
                };
                let request = RotateTokenRequest {
                    token_id: self.credential(),
                    overlap: Some(prost_types::Duration { seconds, nanos: 0 }),
                    ..RotateTokenRequest::default()
                };
                let rotated = self.call(tokens.rotate_token(self.request(request))).await?;
                return Ok(Made::Secret(newest(&rotated.token.expect("it is told"), rotated.secret)));
            }
            Step::EndSecret(_) => {
                let request = EndTokenSecretRequest { token_id: self.credential(), secret_id: self.secret().id };
                self.call(tokens.end_token_secret(self.request(request))).await?;
            }
            Step::Update(_, scopes) => {
                let token = v1::Token {
                    token_id: self.credential(),
                    scopes: scopes.iter().flat_map(|scopes| texts(scopes)).collect(),
                    inherits_permissions: scopes.is_none(),
                    ..v1::Token::default()
                };
                let paths = texts(&["scopes", "inherits_permissions"]).collect();
                let update_mask = Some(prost_types::FieldMask { paths });
                let request = UpdateTokenRequest { token: Some(token), update_mask };
                self.call(tokens.update_token(self.request(request))).await?;
            }
            Step::Revoke(_) => {
                let request = RevokeTokenRequest { target: Some(Target::TokenId(self.credential())), reason: 0 };
                self.call(tokens.revoke_token(self.request(request))).await?;
            }
            Step::RevokeAll { include_sessions } => {
                let include_sessions = *include_sessions;
                let request = RevokeAllTokensRequest { account_id, reason: 0, include_sessions };
                self.call(tokens.revoke_all_tokens(self.request(request))).await?;
            }
            _ => unreachable!("it is about something else"),
        }
        Ok(Made::Nothing)
    }

    async fn take_on_sessions(&self, step: &Step) -> Result<Made, CallError> {
        let mut sessions = SessionServiceClient::new(self.channel());
        match step {
            Step::SetPassword(password) => {
                let request =
                    SetPasswordRequest { account_id: self.subject.account.clone(), password: password.clone() };
                self.call(self.accounts().set_password(self.request(request))).await?;
            }
            Step::SignIn(Session::Web) => {
                let (credentials, client_ip) = (Some(self.by_password()), self.address());
                let request = SignInRequest { credentials, client_ip };
                let plaintext = self.call(sessions.sign_in(self.request(request))).await?.id_token;
                let id = read_part(&plaintext, 1)["jti"].as_str().expect("it has an id").to_owned();
                return Ok(Made::Credential { id, secret: KnownSecret { id: String::new(), plaintext } });
            }
            Step::SignIn(Session::Desktop) => {
                let request = SignInDesktopRequest {
                    who: Some(Who::Credentials(self.by_password())),
                    device_name: "laptop".to_owned(),
                    client_ip: self.address(),
                    ..SignInDesktopRequest::default()
                };
                let signed_in = self.call(sessions.sign_in_desktop(self.request(request))).await?;
                let id = signed_in.session.expect("it is told").session_id;
                return Ok(Made::Credential {
                    id,
                    secret: KnownSecret { id: String::new(), plaintext: signed_in.secret },
                });
            }
            Step::SignOut(_, Session::Web) => {
                let request = SignOutRequest { id_token: self.secret().plaintext };
                self.call(sessions.sign_out(self.request(request))).await?;
            }
            Step::SignOut(_, Session::Desktop) => {
                let request = SignOutDesktopRequest { secret: self.secret().plaintext };
                self.call(sessions.sign_out_desktop(self.request(request))).await?;
            }
            Step::EndSession(_) => {
                let request = EndSessionRequest { session_id: self.credential() };
                self.call(sessions.end_session(self.request(request))).await?;
            }
            _ => unreachable!("it is about something else"),
        }
        Ok(Made::Nothing)
    }

    async fn take_on_the_service(&self, step: &Step) -> Result<Made, CallError> {
        let mut services = ServiceCredentialServiceClient::new(self.channel());
        let credential_id = self.subject.service.clone().unwrap_or_default();
        match step {
            Step::CreateService => {
                let request = CreateServiceCredentialRequest {
                    name: self.subject.account.clone(),
                    roles: vec![ServiceRole::Auditor.into()],
                    ..CreateServiceCredentialRequest::default()
                };
                let created = self.call(services.create_service_credential(self.request(request))).await?;
                let id = created.credential.expect("it is told").credential_id;
                Ok(Made::Service { id, secret: created.secret })
            }
            Step::RotateService => {
                let request = RotateServiceCredentialRequest {
                    credential_id: credential_id.clone(),
                    overlap: Some(prost_types::Duration::default()),
                    ..RotateServiceCredentialRequest::default()
                };
                let rotated = self.call(services.rotate_service_credential(self.request(request))).await?;
                Ok(Made::Service { id: credential_id, secret: rotated.secret })
            }
            Step::RevokeService => {
                let request = RevokeServiceCredentialRequest { credential_id };
                self.call(services.revoke_service_credential(self.request(request))).await?;
                Ok(Made::Nothing)
            }
            _ => unreachable!("it is about something else"),
        }
    }

    fn channel(&self) -> Channel {
        self.door.channel.clone()
    }

    fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        request_of(self.admin, message, self.deadline)
    }

    async fn call<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, CallError> {
        self.door.call(self.deadline, call).await
    }

    /// The id of what the step is about.
    fn credential(&self) -> String {
        self.subject.credential.clone().expect("it says which")
    }

    fn secret(&self) -> KnownSecret {
        self.subject.secret.clone().expect("it says which")
    }

    fn by_password(&self) -> PasswordCredentials {
        let password = self.subject.password.clone().expect("it has a password");
        PasswordCredentials { username: self.subject.account.clone(), password }
    }

    /// An address that hardly any other account has: one whose attempts are in
    /// doubt takes no other's place.
    fn address(&self) -> String {
        let [a, b, c, ..] = foldhash::quality::FixedState::default().hash_one(&self.subject.account).to_ne_bytes();
        Ipv4Addr::new(10, a, b, c).to_string()
    }
}

/// The secret that was made last, which comes first.
fn newest(token: &v1::Token, plaintext: String) -> KnownSecret {
    KnownSecret { id: token.secrets[0].secret_id.clone(), plaintext }
}

fn put_request(account_id: String, account: &Account) -> PutAccountRequest {
    let Account { plan, permissions, limited, suspended, mark } = account;
    let account = v1::Account {
        username: account_id.clone(),
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
