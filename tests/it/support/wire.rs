//! A client that sends what no generated client does: any path, any header, any
//! bytes.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request, StatusCode};
use token_authority::client::CallError;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

use super::{
    refusal::assert_one_error_info,
    wait::{connect_blocking, in_time},
};

/// One HTTP/2 connection.
pub(crate) struct Wire {
    send: SendRequest<Bytes>,
    authority: SocketAddr,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: StatusCode,
    /// Headers, and trailers over them.
    pub(crate) headers: HeaderMap,
}

impl Wire {
    pub(crate) async fn connect(authority: SocketAddr) -> Self {
        Self::over(tokio::net::TcpStream::connect(authority).await.expect("somebody listens"), authority).await
    }

    /// The same over a stream that was opened already.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        authority: SocketAddr,
    ) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2 is spoken");
        tokio::spawn(connection);
        Self { send, authority }
    }

    /// Sends the headers of a call and never its body; gives what came back.
    pub(crate) async fn headers_alone(&self, path: &str, headers: &[(&str, &str)]) -> Result<HeaderMap, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, _unfinished) = send.send_request(self.request(path, headers), false)?;
        Ok(in_time("a call without a body", response).await?.into_parts().0.headers)
    }

    fn request(&self, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("well-formed")
    }

    /// Makes a unary call, to its end.
    pub(crate) async fn call(&self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, h2::Error> {
        self.begin(path, headers).await?.finish(body).await
    }

    /// Begins a unary call: its headers are sent, and not yet its body.
    pub(crate) async fn begin(&self, path: &str, headers: &[(&str, &str)]) -> Result<Begun, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, body) = send.send_request(self.request(path, headers), false)?;
        Ok(Begun { response, body })
    }

    /// Whether the server has told that no call may be begun here any more.
    pub(crate) async fn takes_no_more(&self) -> bool {
        self.send.clone().ready().await.is_err()
    }
}

/// A call that was begun.
pub(crate) struct Begun {
    response: ResponseFuture,
    body: SendStream<Bytes>,
}

impl Begun {
    /// Sends its body; gives what came back.
    pub(crate) async fn finish(self, body: Bytes) -> Result<Answer, h2::Error> {
        let Self { response, body: mut stream } = self;
        // A server may answer and reset before it has read all of it.
        let _ = stream.send_data(body, true);
        let answer = async {
            let (parts, mut body) = response.await?.into_parts();
            while let Some(data) = body.data().await {
                let length = data?.len();
                body.flow_control().release_capacity(length)?;
            }
            let mut headers = parts.headers;
            headers.extend(body.trailers().await?.unwrap_or_default());
            Ok(Answer { http: parts.status, headers })
        };
        in_time("a call", answer).await
    }
}

impl Answer {
    /// The refusal that the headers tell, which is as the contract promises of
    /// every error.
    pub(crate) fn refusal(&self) -> CallError {
        let status = Status::from_header_map(&self.headers).unwrap_or_else(|| panic!("there is no status: {self:?}"));
        let error = CallError::from(status);
        assert_one_error_info(&error);
        error
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a short message"));
    frame.put_slice(message);
    frame.freeze()
}

/// The settings that a server sends first, by their numbers (RFC 9113, section
/// 6.5.2).
pub(crate) fn http2_settings(server: SocketAddr) -> Vec<(u16, u32)> {
    const SETTINGS: u8 = 4;

    let mut stream = connect_blocking(server);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("the preface is sent");
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("a frame's head");
    assert_eq!(head[3], SETTINGS, "the first frame is a SETTINGS frame");
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).expect("a frame's payload");
    let setting = |six: &[u8]| {
        let value = six[2..].try_into().expect("four bytes");
        (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes(value))
    };
    payload.chunks_exact(6).map(setting).collect()
}

/// Makes calls of which only the headers are sent until all are answered, and then
/// the bodies: whether the connection still answers.
pub(crate) fn survives_late_bodies(server: SocketAddr, path: &str, calls: u32) -> bool {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;

    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // POST and http by the static table; the rest as literals (RFC 7541, section 6.2.2).
    let mut head = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).expect("a short path")];
    head.extend(path.as_bytes());
    for text in ["content-type", "application/grpc"] {
        head.extend(if text.contains('/') { &[][..] } else { &[0] });
        head.push(u8::try_from(text.len()).expect("short"));
        head.extend(text.as_bytes());
    }
    let streams = || (0..calls).map(|call| 1 + 2 * call);
    let mut stream = connect_blocking(server);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("the preface is sent");
    let heads: Vec<u8> = streams().flat_map(|number| frame(HEADERS, END_HEADERS, number, &head)).collect();
    stream.write_all(&heads).expect("the headers are sent");

    let mut answered = 0;
    let mut read = || -> Option<u8> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).ok()?;
        if head[3] == HEADERS && head[4] & END_STREAM > 0 {
            answered += 1;
        }
        Some(head[3]).filter(|_| answered < calls || head[3] != HEADERS)
    };
    while read().is_some() {}
    assert_eq!(answered, calls, "each call is answered by its headers alone");
    let bodies: Vec<u8> = streams().flat_map(|number| frame(DATA, END_STREAM, number, &[0; 5])).collect();
    stream.write_all(&[bodies, frame(PING, 0, 0, &[0; 8])].concat()).expect("the bodies are sent");
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() || head[3] == GOAWAY {
            return false;
        }
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).expect("a frame's payload");
        if head[3] == PING {
            return true;
        }
    }
}

/// The status that a GET over HTTP/1.1 is answered with.
pub(crate) fn http_get(server: SocketAddr, path: &str) -> u16 {
    http_text(server, path).0
}

/// What an HTTP server answers, and its body.
pub(crate) fn http_text(server: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = connect_blocking(server);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    (status.unwrap_or_else(|| panic!("this is no HTTP answer: {answer}")), body)
}

/// A body that came in chunks (RFC 9112, section 7.1).
fn unchunked(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(length, 16).expect("a number");
        if length == 0 {
            return body;
        }
        body.push_str(&rest[..length]);
        chunks = rest[length..].strip_prefix("\r\n").expect("the chunk's end");
    }
}
