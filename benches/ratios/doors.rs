//! What is asked over HTTP/1.1, where each call in flight takes a connection.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::{BufMut as _, BytesMut};
use http::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName},
};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::messages::{self, NEEDED_SCOPE};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const GRPC_WEB: &str = "application/grpc-web+proto";
/// What a resource server accepts that wants its answer signed (RFC 9701).
const SIGNED: &str = "application/token-introspection+jwt";
/// Where a gateway says at `/auth/verify` who it is.
const GATEWAY_CREDENTIAL: HeaderName = HeaderName::from_static("x-token-authority-credential");

/// Doors that are asked about a credential.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Door {
    /// Introspect as a browser's page calls it.
    GrpcWeb,
    /// `POST /oauth2/introspect`.
    Oauth,
    /// The same, with a signed answer.
    SignedOauth,
    /// `POST /kubernetes/tokenreview`.
    TokenReview,
    /// `GET /auth/verify`.
    Verify,
}

impl Door {
    /// What is the same in all requests of this caller.
    pub(crate) fn head(self, caller: &str) -> Request<()> {
        let post = |path, kind| {
            let request = Request::post(path).header(CONTENT_TYPE, kind);
            request.header(AUTHORIZATION, format!("Bearer {caller}"))
        };
        let head = match self {
            Self::GrpcWeb => post("/token_authority.v1.TokenAuthorityService/Introspect", GRPC_WEB),
            Self::Oauth => post("/oauth2/introspect", FORM),
            Self::SignedOauth => post("/oauth2/introspect", FORM).header(ACCEPT, SIGNED),
            Self::TokenReview => post("/kubernetes/tokenreview", JSON),
            Self::Verify => {
                Request::get(format!("/auth/verify?scope={NEEDED_SCOPE}")).header(GATEWAY_CREDENTIAL, caller)
            }
        };
        head.header(HOST, "authority").body(()).expect("a well-formed request")
    }

    /// Adds what is about this credential: a body; for a request without one, its
    /// `Authorization`.
    pub(crate) fn put(self, credential: &str, to: &mut BytesMut) {
        match self {
            Self::GrpcWeb => messages::put(&messages::question(credential, None), to),
            Self::Oauth | Self::SignedOauth => to.put_slice(format!("token={credential}").as_bytes()),
            Self::TokenReview => to.put_slice(review(credential).as_bytes()),
            Self::Verify => to.put_slice(format!("Bearer {credential}").as_bytes()),
        }
    }

    /// Whether an answer with status 200 says that the credential is good.
    pub(crate) fn passes(self, answer: &[u8]) -> bool {
        match self {
            // The status comes in a frame after the message's.
            Self::GrpcWeb => messages::is_active(answer.get(5..).unwrap_or_default()),
            Self::Oauth => answer.starts_with(br#"{"active":true"#),
            // The second of a JWT's three parts is what it says.
            Self::SignedOauth => answer
                .split(|byte| *byte == b'.')
                .nth(1)
                .and_then(|claims| BASE64_URL_SAFE_NO_PAD.decode(claims).ok())
                .is_some_and(|claims| memmem::find(&claims, br#""active":true"#).is_some()),
            Self::TokenReview => memmem::find(answer, br#""authenticated":true"#).is_some(),
            Self::Verify => true,
        }
    }
}

/// What an API server asks about a credential.
fn review(credential: &str) -> String {
    format!(
        r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","metadata":{{}},"spec":{{"token":"{credential}"}}}}"#
    )
}
