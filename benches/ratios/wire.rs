//! Calls over bare HTTP/2, and HTTP/1.1 where the door speaks that, of messages
//! encoded before: what a client costs on the same cores hides what the server does.

use std::{future::poll_fn, net::SocketAddr, rc::Rc};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, Version, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use token_authority::proto::v1::BatchIntrospectRequest;
use tokio::{net::TcpStream, sync::Mutex};

use crate::{
    messages,
    spec::{Ask, Expected},
};

const OK: &[u8] = b"0";
/// RESOURCE_EXHAUSTED, UNAVAILABLE.
const BUSY: [&[u8]; 2] = [b"8", b"14"];
/// DEADLINE_EXCEEDED, UNAVAILABLE.
const TOO_LATE: [&[u8]; 2] = [b"4", b"14"];
/// RESOURCE_EXHAUSTED, UNAUTHENTICATED.
const REFUSED: [&[u8]; 2] = [b"8", b"16"];

/// Why a call was not answered.
type Failure = Box<dyn std::error::Error>;

type Http2 = h2::client::SendRequest<Bytes>;
type Http1 = http1::SendRequest<Full<Bytes>>;

#[derive(Clone)]
pub(crate) enum Connection {
    Http2(Http2),
    /// One call at a time.
    Http1(Rc<Mutex<Http1>>),
}

/// Opens a connection, which lives as long as the runtime that it is opened on.
pub(crate) async fn connect(server: SocketAddr, ask: &Ask) -> Connection {
    let stream = TcpStream::connect(server).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP stream takes it");
    if matches!(ask, Ask::Door(_)) {
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await.expect("nothing is sent yet");
        drive(connection);
        return Connection::Http1(Rc::new(Mutex::new(send)));
    }
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(4 << 20).initial_connection_window_size(64 << 20);
    let (send, connection) = builder.handshake(stream).await.expect("HTTP/2 is spoken");
    drive(connection);
    Connection::Http2(send)
}

/// Keeps a connection going. Whoever calls is told how it ends.
fn drive<E: Send>(connection: impl Future<Output = Result<(), E>> + Send + 'static) {
    tokio::spawn(async move {
        let _ = connection.await;
    });
}

/// What the calls of one generator thread send: the same headers, and messages
/// in turn; at `/auth/verify`, credentials in turn in place of messages.
pub(crate) struct Requests {
    head: Request<()>,
    messages: Bytes,
    ends: Vec<usize>,
}

impl Requests {
    pub(crate) fn new(ask: &Ask, caller: &str, credentials: &[&str]) -> Self {
        let head = match ask {
            Ask::Check | Ask::Query(_) => head("grpc.health.v1.Health/Check", None),
            Ask::Introspect { .. } => head("token_authority.v1.TokenAuthorityService/Introspect", Some(caller)),
            Ask::Batch(_) => head("token_authority.v1.TokenAuthorityService/BatchIntrospect", Some(caller)),
            Ask::ExtAuthz => head("envoy.service.auth.v3.Authorization/Check", Some(caller)),
            Ask::WrongSignIn => head("token_authority.v1.SessionService/SignIn", Some(caller)),
            Ask::Door(door) => door.head(caller),
        };
        let max_staleness = match ask {
            Ask::Introspect { max_staleness: seconds @ 1.., .. } => {
                Some(prost_types::Duration { seconds: i64::from(*seconds), nanos: 0 })
            }
            _ => None,
        };
        let question = |credential: &&str| messages::question(credential, max_staleness);
        match ask {
            Ask::Introspect { .. } => Self::with(head, credentials, |one, to| messages::put(&question(one), to)),
            Ask::Batch(size) => Self::with(head, credentials.chunks_exact(*size), |some, to| {
                let requests = some.iter().map(question).collect();
                messages::put(&BatchIntrospectRequest { requests }, to);
            }),
            Ask::ExtAuthz => Self::with(head, credentials, |one, to| messages::put(&messages::held(one), to)),
            Ask::WrongSignIn => Self::with(head, credentials.iter().enumerate(), |(number, username), to| {
                messages::put(&messages::wrong_sign_in(number, username), to);
            }),
            Ask::Door(door) => Self::with(head, credentials, |one, to| door.put(one, to)),
            // As many as there would be of the others.
            Ask::Check | Ask::Query(_) => Self::with(head, 0..credentials.len().max(1), |_, to| messages::put(&(), to)),
        }
    }

    fn with<T>(head: Request<()>, of: impl IntoIterator<Item = T>, put: impl Fn(T, &mut BytesMut)) -> Self {
        let mut messages = BytesMut::new();
        let put = |one| {
            put(one, &mut messages);
            messages.len()
        };
        let ends = of.into_iter().map(put).collect();
        Self { head, messages: messages.freeze(), ends }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn message(&self, index: usize) -> Bytes {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.messages.slice(start..self.ends[index])
    }

    /// Calls with one of the messages.
    pub(crate) async fn call(&self, connection: &mut Connection, index: usize) -> Result<Reply, Failure> {
        let message = self.message(index);
        match connection {
            Connection::Http2(connection) => self.call_http2(connection, message).await,
            Connection::Http1(connection) => self.call_http1(&mut *connection.lock().await, message).await,
        }
    }

    async fn call_http2(&self, connection: &mut Http2, message: Bytes) -> Result<Reply, Failure> {
        poll_fn(|context| connection.poll_ready(context)).await?;
        let (response, mut request) = connection.send_request(self.head.clone(), false)?;
        request.send_data(message, true)?;
        let (parts, mut body) = response.await?.into_parts();
        let mut message = Bytes::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            message = if message.is_empty() { data } else { [message, data].concat().into() };
        }
        let trailers = body.trailers().await?;
        let grpc = trailers.as_ref().unwrap_or(&parts.headers).get("grpc-status").cloned();
        Ok(Reply { http: parts.status, grpc, message })
    }

    async fn call_http1(&self, connection: &mut Http1, message: Bytes) -> Result<Reply, Failure> {
        connection.ready().await?;
        let mut request = self.head.clone().map(|()| Full::default());
        if request.method() == Method::GET {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_maybe_shared(message)?);
        } else {
            *request.body_mut() = Full::new(message);
        }
        let (parts, body) = connection.send_request(request).await?.into_parts();
        Ok(Reply { http: parts.status, grpc: None, message: body.collect().await?.to_bytes() })
    }
}

/// What is the same in all calls of a method, and of a caller who shows who it is.
fn head(method: &str, caller: Option<&str>) -> Request<()> {
    let mut head = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://authority/{method}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", "ratios")
        .header("grpc-timeout", "10S");
    if let Some(caller) = caller {
        head = head.header(AUTHORIZATION, format!("Bearer {caller}"));
    }
    head.body(()).expect("a well-formed request")
}

/// A reply, of which no more is looked at than tells whether it is right.
#[derive(Debug)]
pub(crate) struct Reply {
    http: StatusCode,
    grpc: Option<HeaderValue>,
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
        let status = self.grpc.as_ref().map(HeaderValue::as_bytes);
        let message = self.message.get(5..).unwrap_or_default();
        let right = match ask {
            Ask::Door(door) => self.http == StatusCode::OK && door.passes(&self.message),
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
            Ask::Introspect { .. } => messages::is_active(message),
            Ask::Batch(size) => messages::active_results(message) == Some(*size),
            // `status` without a code, and `ok_response`.
            Ask::ExtAuthz => message.starts_with(&[10, 0, 26]),
        };
        if right { Answer::Right } else { Answer::Wrong }
    }
}
