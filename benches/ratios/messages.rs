//! What is asked over gRPC, and what an answer says.

use bytes::{BufMut as _, BytesMut};
use envoy_types::pb::envoy::{
    config::core::v3::{Address, SocketAddress, address},
    service::auth::v3::{
        AttributeContext, CheckRequest,
        attribute_context::{HttpRequest, Peer, Request as Held},
    },
};
use prost::Message;
use token_authority::proto::v1::{IntrospectRequest, PasswordCredentials, SignInRequest};

/// How a scope is called that every credential holds which is asked about.
pub(crate) const NEEDED_SCOPE: &str = "trading:read";

/// What is asked about a credential.
pub(crate) fn question(credential: &str, max_staleness: Option<prost_types::Duration>) -> IntrospectRequest {
    IntrospectRequest {
        token: credential.to_owned(),
        required_scopes: vec![NEEDED_SCOPE.to_owned()],
        max_staleness,
        ..IntrospectRequest::default()
    }
}

/// A sign-in with a wrong password, from an address of its own.
pub(crate) fn wrong_sign_in(number: usize, username: &str) -> SignInRequest {
    let username = username.to_owned();
    let credentials = Some(PasswordCredentials { username, password: "wrong password".to_owned() });
    SignInRequest { credentials, client_ip: format!("10.0.{}.{}", number / 256 % 256, number % 256) }
}

/// Adds a message as gRPC frames it.
pub(crate) fn put(message: &impl Message, to: &mut BytesMut) {
    to.put_u8(0);
    to.put_u32(u32::try_from(message.encoded_len()).expect("a short message"));
    message.encode(to).expect("there is room");
}

/// A request that Envoy asks about, with the headers that
/// `examples/gateways/envoy.yaml` sends.
pub(crate) fn held(credential: &str) -> CheckRequest {
    let headers = [("authorization", format!("Bearer {credential}")), ("x-forwarded-for", "192.0.2.7".to_owned())];
    let http = HttpRequest {
        id: "6f1c2d1e-6f0e-4d0e-8a53-0b8a8f4f9f10".to_owned(),
        method: "GET".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        path: "/api/v1/trades?page=1".to_owned(),
        host: "api.example.com".to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        ..HttpRequest::default()
    };
    let socket = SocketAddress { address: "192.0.2.7".to_owned(), ..SocketAddress::default() };
    let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer { address, ..Peer::default() }),
            request: Some(Held { http: Some(http), ..Held::default() }),
            context_extensions: [("required_scopes".to_owned(), NEEDED_SCOPE.to_owned())].into(),
            ..AttributeContext::default()
        }),
    }
}

/// `active = true`, `verdict = VERDICT_ALLOWED`: the first two fields.
pub(crate) fn is_active(message: &[u8]) -> bool {
    message.starts_with(&[8, 1, 16, 1])
}

/// How many results there are, where each is a response, and active.
pub(crate) fn active_results(mut message: &[u8]) -> Option<usize> {
    let mut results = 0;
    while !message.is_empty() {
        let (result, rest) = first_field(message)?;
        let (response, _) = first_field(result)?;
        if !is_active(response) {
            return None;
        }
        results += 1;
        message = rest;
    }
    Some(results)
}

/// The content of a field numbered 1 that a message begins with, and the rest.
fn first_field(message: &[u8]) -> Option<(&[u8], &[u8])> {
    const TAG: u8 = 10;

    let mut rest = message.strip_prefix(&[TAG])?;
    let length = usize::try_from(prost::encoding::decode_varint(&mut rest).ok()?).ok()?;
    rest.split_at_checked(length)
}
