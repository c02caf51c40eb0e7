//! Calls over bare HTTP/2, of messages encoded before: what a client costs on
//! the same cores hides what the server does.

use std::{future::poll_fn, net::SocketAddr};

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::{
    config::core::v3::{Address, SocketAddress, address},
    service::auth::v3::{
        AttributeContext, CheckRequest,
        attribute_context::{HttpRequest, Peer, Request as Held},
    },
};
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Version};
use prost::Message as _;
use token_authority::proto::v1::{BatchIntrospectRequest, IntrospectRequest, PasswordCredentials, SignInRequest};
use tokio::net::TcpStream;

use crate::spec::{Ask, Expected};

const OK: &[u8] = b"0";
/// RESOURCE_EXHAUSTED, UNAVAILABLE.
const BUSY: [&[u8]; 2] = [b"8", b"14"];
/// DEADLINE_EXCEEDED, UNAVAILABLE.
const TOO_LATE: [&[u8]; 2] = [b"4", b"14"];
/// RESOURCE_EXHAUSTED, UNAUTHENTICATED.
const REFUSED: [&[u8]; 2] = [b"8", b"16"];
/// How a scope is called that every credential holds which is asked about.
const NEEDED_SCOPE: &str = "trading:read";

pub(crate) type Connection = SendRequest<Bytes>;

/// Opens a connection, which lives as long as the runtime that it is opened on.
pub(crate) async fn connect(server: SocketAddr) -> Connection {
    let stream = TcpStream::connect(server).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP stream takes it");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(4 << 20).initial_connection_window_size(64 << 20);
    let (send, connection) = builder.handshake(stream).await.expect("HTTP/2 is spoken");
    tokio::spawn(async move {
        // Whoever calls is told of it.
        let _ = connection.await;
    });
    send
}

/// What the calls of one generator thread send: the same headers, and messages
/// in turn.
pub(crate) struct Requests {
    head: Request<()>,
    frames: Bytes,
    ends: Vec<usize>,
}

impl Requests {
    pub(crate) fn new(ask: &Ask, caller: &str, credentials: &[&str]) -> Self {
        let path = match ask {
            Ask::Introspect { .. } => "/token_authority.v1.TokenAuthorityService/Introspect",
            Ask::Batch(_) => "/token_authority.v1.TokenAuthorityService/BatchIntrospect",
            Ask::ExtAuthz => "/envoy.service.auth.v3.Authorization/Check",
            Ask::WrongSignIn => "/token_authority.v1.SessionService/SignIn",
            Ask::Check | Ask::Query(_) => "/grpc.health.v1.Health/Check",
        };
        let mut head = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("http://authority{path}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("user-agent", "ratios")
            .header("grpc-timeout", "10S")
            .body(())
            .expect("a well-formed request");
        if !matches!(ask, Ask::Check | Ask::Query(_)) {
            let bearer = HeaderValue::from_str(&format!("Bearer {caller}")).expect("a credential is ASCII");
            head.headers_mut().insert("authorization", bearer);
        }

        let max_staleness = match ask {
            Ask::Introspect { max_staleness: seconds @ 1.., .. } => {
                Some(prost_types::Duration { seconds: i64::from(*seconds), nanos: 0 })
            }
            _ => None,
        };
        let question = |credential: &&str| IntrospectRequest {
            token: (*credential).to_owned(),
            required_scopes: vec![NEEDED_SCOPE.to_owned()],
            max_staleness,
            ..IntrospectRequest::default()
        };
        let mut frames = BytesMut::new();
        let mut ends = Vec::new();
        let mut add = |message: &[u8]| {
            frames.put_u8(0);
            frames.put_u32(u32::try_from(message.len()).expect("a short message"));
            frames.put_slice(message);
            ends.push(frames.len());
        };
        match ask {
            // As many as there would be of the others.
            Ask::Check | Ask::Query(_) => (0..credentials.len().max(1)).for_each(|_| add(&[])),
            Ask::Introspect { .. } => credentials.iter().for_each(|one| add(&question(one).encode_to_vec())),
            Ask::Batch(size) => credentials.chunks_exact(*size).for_each(|some| {
                let requests = some.iter().map(question).collect();
                add(&BatchIntrospectRequest { requests }.encode_to_vec());
            }),
            Ask::ExtAuthz => credentials.iter().for_each(|one| add(&held(one).encode_to_vec())),
            Ask::WrongSignIn => {
                for (number, username) in credentials.iter().enumerate() {
                    let username = (*username).to_owned();
                    let credentials = Some(PasswordCredentials { username, password: "wrong password".to_owned() });
                    let client_ip = format!("10.0.{}.{}", number / 256 % 256, number % 256);
                    add(&SignInRequest { credentials, client_ip }.encode_to_vec());
                }
            }
        }
        Self { head, frames: frames.freeze(), ends }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn frame(&self, index: usize) -> Bytes {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.frames.slice(start..self.ends[index])
    }

    /// Calls with one of the messages.
    pub(crate) async fn call(&self, connection: &mut Connection, index: usize) -> Result<Reply, h2::Error> {
        poll_fn(|context| connection.poll_ready(context)).await?;
        let (response, mut request) = connection.send_request(self.head.clone(), false)?;
        request.send_data(self.frame(index), true)?;
        let (parts, mut body) = response.await?.into_parts();
        let mut message = Bytes::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            message = if message.is_empty() { data } else { [message, data].concat().into() };
        }
        let trailers = body.trailers().await?;
        let status = trailers.as_ref().unwrap_or(&parts.headers).get("grpc-status").cloned();
        Ok(Reply { status, message })
    }
}

/// A reply, of which no more is looked at than tells whether it is right.
#[derive(Debug)]
pub(crate) struct Reply {
    status: Option<HeaderValue>,
    message: Bytes,
}

/// Whether a reply was the right one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Right,
    Busy,
    Wrong,
}

impl Reply {
    pub(crate) fn answers(&self, ask: &Ask) -> Answer {
        let status = self.status.as_ref().map(HeaderValue::as_bytes);
        let message = self.message.get(5..).unwrap_or_default();
        let right = match ask {
            Ask::WrongSignIn if status.is_some_and(|status| TOO_LATE.contains(&status)) => return Answer::Busy,
            // Wrong, or one of too many.
            Ask::WrongSignIn => status.is_some_and(|status| REFUSED.contains(&status)),
            Ask::Introspect { expected: Expected::ActiveOrBusy | Expected::InactiveOrBusy, .. }
                if status.is_some_and(|status| BUSY.contains(&status)) =>
            {
                return Answer::Busy;
            }
            _ if status != Some(OK) => false,
            // `status = SERVING`.
            Ask::Check | Ask::Query(_) => message == [8, 1],
            // `verdict = VERDICT_UNAUTHENTICATED`, and nothing else.
            Ask::Introspect { expected: Expected::InactiveOrBusy, .. } => message == [16, 2],
            Ask::Introspect { .. } => is_active(message),
            Ask::Batch(size) => active_results(message) == Some(*size),
            // `status` without a code, and `ok_response`.
            Ask::ExtAuthz => message.starts_with(&[10, 0, 26]),
        };
        if right { Answer::Right } else { Answer::Wrong }
    }
}

/// A request that Envoy asks about, with the headers that
/// `examples/gateways/envoy.yaml` sends.
fn held(credential: &str) -> CheckRequest {
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
fn is_active(message: &[u8]) -> bool {
    message.starts_with(&[8, 1, 16, 1])
}

/// How many results there are, where each is a response, and active.
fn active_results(mut message: &[u8]) -> Option<usize> {
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
