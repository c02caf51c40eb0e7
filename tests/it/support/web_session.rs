//! Web sessions, and their tokens as others verify them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use token_authority::{
    client::CallError,
    proto::v1::{GetJwksRequest, PasswordCredentials, SignInRequest, SignInResponse, SignOutRequest},
};

use super::{Actor, TestServer, install::install, server::Seen, sign_in::PASSWORD, terminal::ran_with_input};

/// A sign-in by username and password.
pub(crate) fn credentials(username: &str, password: &str) -> SignInRequest {
    let credentials = PasswordCredentials { username: username.to_owned(), password: password.to_owned() };
    SignInRequest { credentials: Some(credentials), ..Default::default() }
}

impl Actor {
    pub(crate) async fn try_sign_in(&self, request: SignInRequest) -> Result<SignInResponse, CallError> {
        if let Some(credentials) = &request.credentials {
            self.seen.password(&credentials.password);
        }
        let response = self.call(self.client.sessions().sign_in(request)).await?;
        self.seen.secret(&response.id_token);
        Ok(response)
    }

    /// Signs somebody in who has the usual password; gives the token.
    pub(crate) async fn sign_in(&self, username: &str) -> String {
        self.try_sign_in(credentials(username, PASSWORD)).await.expect("the password is right").id_token
    }

    pub(crate) async fn sign_out(&self, id_token: &str) -> Result<(), CallError> {
        let request = SignOutRequest { id_token: id_token.to_owned() };
        self.call(self.client.sessions().sign_out(request)).await.map(drop)
    }

    /// The keys by which others verify.
    pub(crate) async fn jwks(&self) -> Value {
        let response = self.call(self.client.sessions().get_jwks(GetJwksRequest {})).await.expect("it is open to all");
        serde_json::from_str(&response.jwks_json).expect("JSON")
    }

    /// The names of those keys.
    pub(crate) async fn kids(&self) -> Vec<String> {
        let jwks = self.jwks().await;
        let keys = jwks["keys"].as_array().expect("a list").iter();
        keys.map(|key| key["kid"].as_str().expect("a name").to_owned()).collect()
    }
}

impl TestServer {
    /// Somebody without a credential.
    pub(crate) async fn anybody(&self) -> Actor {
        Actor::anybody(&self.url(), self.seen.clone()).await
    }
}

impl Actor {
    pub(crate) async fn anybody(url: &str, seen: Seen) -> Self {
        Self::connect_with(url, None, seen).await
    }
}

/// The three parts of a token.
pub(crate) fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().expect("three parts")
}

/// A part of a token that is JSON: the first is the header, the second the claims.
pub(crate) fn read_part(token: &str, index: usize) -> Value {
    let json = BASE64_URL_SAFE_NO_PAD.decode(parts(token)[index]).expect("base64url");
    serde_json::from_slice(&json).expect("JSON")
}

/// The token with another part in the place of one.
pub(crate) fn with_part(token: &str, index: usize, json: &Value) -> String {
    let mut parts = parts(token).map(ToOwned::to_owned);
    parts[index] = BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    parts.join(".")
}

/// Has a JWT library that is none of ours verify a token by the public keys; what
/// it says where it refuses is the error.
pub(crate) fn verify(token: &str, jwks: &Value, issuer: &str, audience: &str) -> Result<Value, String> {
    verify_by("examples/verify_session.py", token, jwks, issuer, audience)
}

/// The same of a signed answer to an introspection.
pub(crate) fn verify_answer(answer: &str, jwks: &Value, issuer: &str, audience: &str) -> Result<Value, String> {
    verify_by("examples/verify_answer.py", answer, jwks, issuer, audience)
}

fn verify_by(program: &str, token: &str, jwks: &Value, issuer: &str, audience: &str) -> Result<Value, String> {
    let mut keys = tempfile::NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut keys, jwks.to_string().as_bytes()).expect("it can be written");
    let mut command = Command::new("python3");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(program))
        .arg(keys.path())
        .args([issuer, audience])
        .env("PYTHONPATH", pyjwt())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ran = ran_with_input(command, token);
    if ran.code == 0 { Ok(serde_json::from_str(&ran.stdout).expect("JSON")) } else { Err(ran.stderr) }
}

/// The directory of PyJWT.
fn pyjwt() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| install("install-pyjwt"))
}
