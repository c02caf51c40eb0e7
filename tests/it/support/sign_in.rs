//! People who sign in, and what they are handed.

use token_authority::{
    client::CallError,
    proto::v1::{
        Account, DesktopSession, EndSessionRequest, PasswordCredentials, SetPasswordRequest, SignInDesktopRequest,
        SignOutDesktopRequest, sign_in_desktop_request::Who,
    },
};

use super::Actor;

pub(crate) const PASSWORD: &str = "correct horse";

/// A desktop session, and the secret that was shown with it.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) session: DesktopSession,
    pub(crate) secret: String,
}

/// A sign-in by username and password.
pub(crate) fn by_password(username: &str, password: &str) -> SignInDesktopRequest {
    let credentials = PasswordCredentials { username: username.to_owned(), password: password.to_owned() };
    SignInDesktopRequest { who: Some(Who::Credentials(credentials)), ..on_a_laptop() }
}

/// A sign-in on the word of who calls.
pub(crate) fn by_account(account: &str) -> SignInDesktopRequest {
    SignInDesktopRequest { who: Some(Who::AccountId(account.to_owned())), ..on_a_laptop() }
}

/// The same from an address.
pub(crate) fn from(address: &str, request: SignInDesktopRequest) -> SignInDesktopRequest {
    SignInDesktopRequest { client_ip: address.to_owned(), ..request }
}

fn on_a_laptop() -> SignInDesktopRequest {
    SignInDesktopRequest {
        device_name: "Laptop".to_owned(),
        platform: "linux".to_owned(),
        app_version: "1.0".to_owned(),
        ..Default::default()
    }
}

impl Actor {
    /// Makes an account with a username, which is its id, and a password.
    pub(crate) async fn put_user(&self, account: &str, password: &str) {
        let id = account.to_owned();
        self.put_account(Account { account_id: id.clone(), username: id, ..Default::default() }).await;
        self.set_password(account, password).await.expect("the password is set");
    }

    pub(crate) async fn set_password(&self, account: &str, password: &str) -> Result<(), CallError> {
        self.seen.password(password);
        let request = SetPasswordRequest { account_id: account.to_owned(), password: password.to_owned() };
        self.call(self.client.accounts().set_password(request)).await.map(drop)
    }

    pub(crate) async fn sign_in_desktop(&self, request: SignInDesktopRequest) -> Result<SignedIn, CallError> {
        if let Some(Who::Credentials(credentials)) = &request.who {
            self.seen.password(&credentials.password);
        }
        let response = self.call(self.client.sessions().sign_in_desktop(request)).await?;
        self.seen.secret(&response.secret);
        Ok(SignedIn { session: response.session.expect("it is told"), secret: response.secret })
    }

    pub(crate) async fn sign_out_desktop(&self, secret: &str) -> Result<(), CallError> {
        let request = SignOutDesktopRequest { secret: secret.to_owned() };
        self.call(self.client.sessions().sign_out_desktop(request)).await.map(drop)
    }

    pub(crate) async fn end_session(&self, session_id: &str) -> Result<(), CallError> {
        let request = EndSessionRequest { session_id: session_id.to_owned() };
        self.call(self.client.sessions().end_session(request)).await.map(drop)
    }
}
