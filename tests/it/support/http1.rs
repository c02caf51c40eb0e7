//! A client of HTTP/1.1 that sends any header, also twice.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The items of a list in a header, in lower case and sorted.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let list = self.header(name).unwrap_or_default();
        let mut items: Vec<_> = list.split(',').map(|item| item.trim().to_lowercase()).collect();
        items.sort_unstable();
        items
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("text")
    }
}

/// Makes a request; none: the server does not speak HTTP/1.1, or closed at once. It
/// is sent from another thread, since servers may be in this process.
pub(crate) async fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a string takes it");
    }
    write!(head, "content-length: {}\r\n\r\n", body.len()).expect("a string takes it");
    let sent = [head.as_bytes(), body].concat();
    tokio::task::spawn_blocking(move || exchange(server, &sent)).await.expect("no panic")
}

fn exchange(server: SocketAddr, sent: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(server).expect("somebody listens");
    // It may answer and close before it has read all.
    let _ = stream.write_all(sent);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").filter(|_| answer.starts_with(b"HTTP/1.1 "))?;
    let head = str::from_utf8(&answer[..end]).expect("text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let pair = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header");
        (name.to_lowercase(), value.trim().to_owned())
    };
    let headers: Vec<_> = lines.map(pair).collect();
    let body = &answer[end + 4..];
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { whole(body) } else { body.to_vec() };
    Some(Answer { status, headers, body })
}

/// The chunks of a body as one (RFC 9112, section 7.1).
fn whole(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = memchr::memmem::find(body, b"\r\n").expect("a chunk's head");
        let size = str::from_utf8(&body[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return whole;
        }
        let chunk = &body[end + 2..];
        whole.extend_from_slice(&chunk[..size]);
        body = &chunk[size + 2..];
    }
}
