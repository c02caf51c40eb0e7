//! Somebody who comes through an HTTP door.

use std::net::SocketAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    TestServer,
    http1::{self, Answer},
    server::Seen,
    wait::in_time,
};

/// A client of the HTTP port.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    seen: Seen,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Headers, by their names.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

impl TestServer {
    /// A client of its HTTP port.
    pub(crate) fn http(&self) -> Http {
        self.http_at(self.server.http_address())
    }

    /// A client of whatever stands before it.
    pub(crate) fn http_at(&self, address: SocketAddr) -> Http {
        Http { address, seen: self.seen.clone() }
    }
}

impl Http {
    pub(crate) async fn send(&self, method: &str, path: &str, headers: Headers<'_>, body: &str) -> Reply {
        let reply = self.send_plainly(method, path, headers, body).await;
        let has_all = reply.header("cache-control") == "no-store" && !reply.header("x-request-id").is_empty();
        assert!(has_all, "every answer of ours has these: {reply:?}");
        reply
    }

    /// To whatever stands before the server, which has its own ways to answer.
    pub(crate) async fn send_plainly(&self, method: &str, path: &str, headers: Headers<'_>, body: &str) -> Reply {
        let stream = tokio::net::TcpStream::connect(self.address).await.expect("somebody listens");
        self.send_over(stream, method, path, headers, body).await
    }

    /// Over a connection of the test's own.
    pub(crate) async fn send_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: &str,
    ) -> Reply {
        let answer = http1::exchange(stream, self.address, method, path, headers, body.as_bytes()).await;
        let Answer { status, headers, body } = answer.expect("there is an answer");
        let reply = Reply { status, headers, body: String::from_utf8(body.to_vec()).expect("text") };
        if reply.status >= 300 {
            self.seen.error(format!("{reply:?}"));
        }
        reply
    }

    pub(crate) async fn get(&self, path: &str, headers: Headers<'_>) -> Reply {
        self.send("GET", path, headers, "").await
    }

    /// Posts a form.
    pub(crate) async fn post_form(&self, path: &str, credential: &str, form: &str) -> Reply {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", credential)];
        self.send("POST", path, &headers, form).await
    }

    /// Posts JSON; without a credential where that is empty.
    pub(crate) async fn post_json(&self, path: &str, credential: &str, body: &Value) -> Reply {
        let mut headers = vec![("content-type", "application/json")];
        if !credential.is_empty() {
            headers.push(("authorization", credential));
        }
        self.send("POST", path, &headers, &body.to_string()).await
    }

    /// Sends these bytes, and gives the whole of what comes back until the server
    /// closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.expect("somebody listens");
        stream.write_all(bytes).await.expect("they are sent");
        let mut answer = Vec::new();
        // What was not read when the connection was closed resets it.
        let _ = in_time("an answer and the connection", stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Of a token that was signed for somebody.
    pub(crate) fn saw(&self, secret: &str) {
        self.seen.secret(secret);
    }
}

impl Reply {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// All of its challenges.
    pub(crate) fn challenges(&self) -> Vec<&str> {
        let values = self.headers.get_all(header::WWW_AUTHENTICATE).iter();
        values.map(|value| value.to_str().expect("ASCII")).collect()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.header("content-type").starts_with("application/"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("it is no JSON: {self:?}"))
    }

    /// The code of a refusal, if it has one.
    pub(crate) fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body["code"].as_str().map(ToOwned::to_owned)
    }

    /// What it says, where it was answered as it should be.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.json()
    }

    /// It was done, and nothing is said of it.
    #[track_caller]
    pub(crate) fn assert_done(&self) {
        assert!(matches!(self.status, 200 | 204) && self.body.is_empty(), "{self:?}");
    }

    /// It was refused with this status, and with this member of its body.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, member: &str, value: &str) {
        assert_eq!((self.status, self.json()[member].as_str()), (status, Some(value)), "{self:?}");
    }
}

/// A credential as the password of somebody.
pub(crate) fn basic(credential: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("anybody:{credential}")))
}

/// A bearer credential.
pub(crate) fn bearer(credential: &str) -> String {
    format!("Bearer {credential}")
}
