//! What signs a session's token? An Ed25519 key (RFC 8037). Its private half is
//! kept sealed alone; its public half anybody may have, as a JSON Web Key (RFC
//! 7517).

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// The name of a signing key: the thumbprint of its public half (RFC 7638), 43
/// characters of base64url. Two keys never share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SigningKeyId(String);

impl SigningKeyId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SigningKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public half of a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: SigningKeyId,
    bytes: [u8; 32],
}

impl PublicKey {
    /// The key of these bytes (RFC 8032, section 5.1.5).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let x = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        // The members that say which key it is, in the order of their names.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let id = SigningKeyId(BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes())));
        Self { id, bytes }
    }

    /// Its name, `kid`.
    pub fn id(&self) -> &SigningKeyId {
        &self.id
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The key for others (RFC 8037).
    pub fn jwk(&self) -> serde_json::Value {
        serde_json::json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": BASE64_URL_SAFE_NO_PAD.encode(self.bytes),
            "kid": self.id.as_str(),
            "use": "sig",
            "alg": "EdDSA",
        })
    }
}

/// A JSON Web Key Set (RFC 7517, section 5).
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> String {
    let keys: Vec<_> = keys.into_iter().map(PublicKey::jwk).collect();
    serde_json::json!({ "keys": keys }).to_string()
}

/// A signing key with its private half.
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// The key of a seed (RFC 8032, section 5.1.5), which is all of it.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed");
        let public = pair.public_key().as_ref().try_into().expect("a public key has 32 bytes");
        Self { seed: Zeroizing::new(*seed), public: PublicKey::from_bytes(public), pair }
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The seed, for sealing alone.
    pub(super) fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The key as the library that signs wants it.
    pub(super) fn encoding_key(&self) -> jsonwebtoken::EncodingKey {
        let document = self.pair.to_pkcs8().expect("a key can be written");
        jsonwebtoken::EncodingKey::from_ed_der(document.as_ref())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.public.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.
    const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

    fn key() -> SigningKey {
        let seed = BASE64_URL_SAFE_NO_PAD.decode(SEED).expect("base64url");
        SigningKey::from_seed(seed.as_slice().try_into().expect("32 bytes"))
    }

    #[test]
    fn a_key_and_its_name_are_those_of_the_rfc() {
        let key = key();
        assert_eq!(
            jwks([key.public()]),
            r#"{"keys":[{"alg":"EdDSA","crv":"Ed25519","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","kty":"OKP","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#
        );
        assert_eq!(jwks([]), r#"{"keys":[]}"#);
    }

    #[test]
    fn nothing_of_a_private_key_is_printed() {
        assert_eq!(
            format!("{:?}", key()),
            r#"SigningKey { id: SigningKeyId("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"), .. }"#
        );
    }
}
