//! What is the token of a web session? A signed JSON Web Token (RFC 7519) as RFC
//! 9068 has access tokens, so that none of another use is taken for one.
//!
//! It is signed for others, who verify it by the public keys. Here it is an
//! opaque text like any other: found by its `jti`, and proved by what is kept of
//! the whole of it, so that nothing in it is ever believed.

use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    account::{AccountId, Username},
    credential::Plaintext,
    id::CredentialId,
    signing::SigningKey,
    text::is_invisible,
    time::Timestamp,
};

/// The longest that one may live: those who verify offline believe it until it
/// ends.
pub const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// The longest text that is looked at; ours are about half of it at most.
const MAX_BYTES: usize = 4 * 1024;
/// `typ` (RFC 9068, section 2.1).
const TYPE: &str = "at+jwt";
const ALGORITHM: &str = "EdDSA";
/// Of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;
const HINT_CHARACTERS: usize = 4;

/// What the settings let tokens say of who signs them, or for whom they are: 1 to
/// 255 bytes that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party(String);

/// Text that names nobody.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("1 to 255 bytes without invisible characters are wanted")]
pub struct MalformedParty;

impl Party {
    /// Checks the form.
    pub fn new(text: impl Into<String>) -> Result<Self, MalformedParty> {
        let text = text.into();
        let well_formed = (1..=255).contains(&text.len()) && !text.chars().any(is_invisible);
        if well_formed { Ok(Self(text)) } else { Err(MalformedParty) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// Who signs it.
    pub issuer: &'a Party,
    /// For whom it is.
    pub audience: &'a Party,
    /// Who had somebody signed in.
    pub client: &'a str,
    /// Whose session it is.
    pub account: &'a AccountId,
    /// The account's username.
    pub username: Option<&'a Username>,
    /// The session.
    pub id: CredentialId,
    /// When it was opened.
    pub issue_time: Timestamp,
    /// When it ends, a whole second.
    pub expire_time: Timestamp,
}

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    client_id: &'a str,
    jti: String,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
}

/// A token as it was presented. That it has the form says nothing of who signed
/// it.
#[derive(Clone, Debug)]
pub struct WebToken {
    /// Which session it claims to be.
    pub id: CredentialId,
    /// The whole of it.
    pub plaintext: Plaintext,
}

/// What every header of ours has, and no more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    // None of these needs an escape.
    #[serde(borrow)]
    typ: &'a str,
    alg: &'a str,
    kid: &'a str,
}

/// The one claim that is read; a second one is an error.
#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    jti: &'a str,
}

impl WebToken {
    /// Signs what a token says.
    pub fn sign(claims: &Claims<'_>, key: &SigningKey) -> Self {
        let Claims { issuer, audience, client, account, username, id, issue_time, expire_time } = *claims;
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.public().id().to_string());
        let payload = Payload {
            iss: &issuer.0,
            sub: account.as_str(),
            aud: &audience.0,
            client_id: client,
            jti: id.to_string(),
            iat: seconds(issue_time),
            exp: seconds(expire_time),
            preferred_username: username.map(Username::shown),
        };
        let signed = jsonwebtoken::encode(&header, &payload, &key.encoding_key());
        Self { id, plaintext: Plaintext::signed(signed.expect("it is text, and the key is of its kind")) }
    }

    /// Takes what was presented for a token, if it has the form: three parts in
    /// base64url without padding, a header that says what ours say, claims that
    /// name a session, and a signature of the right length.
    pub fn recognize(presented: &str) -> Option<Self> {
        if presented.len() > MAX_BYTES {
            return None;
        }
        let mut parts = presented.split('.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let decode = |part| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header = decode(header)?;
        let Header { typ, alg, kid } = object(&header)?;
        if typ != TYPE || alg != ALGORITHM || !is_key_id(kid) || decode(signature)?.len() != SIGNATURE_BYTES {
            return None;
        }
        let payload = Zeroizing::new(decode(payload)?);
        let Identified { jti } = object(&payload)?;
        let id: CredentialId = jti.parse().ok()?;
        if id.uuid().get_version_num() != 7 || id.uuid().get_variant() != uuid::Variant::RFC4122 {
            return None;
        }
        Some(Self { id, plaintext: Plaintext::signed(presented.to_owned()) })
    }

    /// Enough to recognise it by: `eyJ…9fQ2`.
    pub fn hint(&self) -> String {
        let text = self.plaintext.expose();
        format!("eyJ…{}", &text[text.len() - HINT_CHARACTERS..])
    }
}

/// A JSON object; a list of its values would be read as one, too. What is passed
/// over in it is text as well.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let json = str::from_utf8(json).ok().filter(|json| json.starts_with('{'))?;
    serde_json::from_str(json).ok()
}

fn is_key_id(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// As a NumericDate (RFC 7519, section 2).
fn seconds(time: Timestamp) -> i64 {
    time.as_micros() / 1_000_000
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[path = "web_token_tests.rs"]
mod tests;
