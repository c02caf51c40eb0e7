//! What proves to others that an answer was given? A signed response to an
//! introspection (RFC 9701), for resource servers that keep it as evidence. Its
//! `typ`, its audience and what it lacks (`sub`, `exp`) keep it from being taken
//! for a token.

use serde::Serialize;
use serde_json::Value;

use super::{signing::SigningKey, time::Timestamp, web_token::Party};

/// `typ` (section 5), and the media type without `application/`.
pub const TYPE: &str = "token-introspection+jwt";

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    token_introspection: &'a Value,
}

/// Signs an answer that `audience` was given at `now`.
pub fn sign(key: &SigningKey, issuer: &Party, audience: &str, now: Timestamp, answer: &Value) -> String {
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key.public().id().to_string());
    let iat = now.as_micros().div_euclid(1_000_000);
    let payload = Payload { iss: issuer.as_str(), aud: audience, iat, token_introspection: answer };
    jsonwebtoken::encode(&header, &payload, &key.encoding_key()).expect("it is text, and the key is of its kind")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::web_token::WebToken;

    #[test]
    fn it_is_no_token_of_a_session() {
        let key = SigningKey::from_seed(&[7; 32]);
        let issuer = Party::new("https://auth.example.org").expect("a name");
        let now = Timestamp::from_micros(1_700_000_000_999_999).expect("in range");
        let answer = serde_json::json!({ "active": true, "jti": "0190163d-8694-739b-aea5-966c26f8ad91" });
        let signed = sign(&key, &issuer, "service:x", now, &answer);
        assert!(WebToken::recognize(&signed).is_none());

        let parts: Vec<_> = signed.split('.').collect();
        let read = |part: &str| {
            use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
            let json = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
            serde_json::from_slice::<Value>(&json).expect("JSON")
        };
        let header = read(parts[0]);
        assert_eq!((&header["typ"], &header["alg"]), (&TYPE.into(), &"EdDSA".into()));
        let expected = serde_json::json!({
            "iss": "https://auth.example.org",
            "aud": "service:x",
            "iat": 1_700_000_000,
            "token_introspection": answer,
        });
        assert_eq!(read(parts[1]), expected);
    }
}
