//! Who connects and says nothing is not kept; who is slow, or has nothing to ask for
//! a while, is.

use std::time::Duration;

use token_authority::settings::{Settings, Span};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{
    Backend, TestServer,
    pki::{Authority, Files},
    wire::{Wire, framed},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const WHO_AM_I: &str = "/token_authority.v1.AccountService/WhoAmI";
/// Far below what a connection may last otherwise.
const PATIENCE: Duration = Duration::from_secs(15);

fn impatient(settings: &mut Settings) {
    settings.grpc.preface_timeout = Span(Duration::from_secs(2));
}

/// Whether the server ends a connection by itself; what it sends before that does not
/// matter.
async fn is_closed(mut stream: impl AsyncRead + Unpin) -> bool {
    timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_not_kept_and_who_is_slow_is() {
    let server = TestServer::configured(Backend::Sqlite, None, impatient).await;
    let grpc = server.server.grpc_address();
    let authorization = format!("Bearer {}", server.database.admin_token());
    let headers = [("authorization", authorization.as_str())];
    // It begins like everybody, and then has nothing to ask for.
    let idle = Wire::connect(grpc).await;

    let silent = TcpStream::connect(grpc).await.unwrap();
    let mut half = TcpStream::connect(grpc).await.unwrap();
    half.write_all(&PREFACE[..PREFACE.len() - 1]).await.unwrap();
    let mut slow = TcpStream::connect(grpc).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in PREFACE {
        slow.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    slow.write_all(SETTINGS).await.unwrap();

    assert!(is_closed(silent).await, "it says nothing");
    assert!(is_closed(half).await, "it never comes to the end of what everybody says first");
    assert!(is_closed(TcpStream::connect(grpc).await.unwrap()).await, "it came later, and says nothing");
    // Both of the others have been there longer than that.
    let answer = idle.call(WHO_AM_I, &headers, framed(b"")).await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("0"));
    let ping = [b"\0\0\x08\x06\0\0\0\0\0".as_slice(), b"are you?"].concat();
    slow.write_all(&ping).await.unwrap();
    let mut heard = Vec::new();
    while !heard.windows(8).any(|window| window == b"are you?") {
        let read = timeout(PATIENCE, slow.read_buf(&mut heard)).await.expect("it answers").unwrap();
        assert_ne!(read, 0, "the slow one was closed");
    }
    // It would not answer that the server goes, and keep it waiting.
    drop(slow);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_agrees_on_tls_and_says_nothing_more_is_not_kept() {
    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    let files = Files::new(database.data_dir(), &authority.server(), None);
    let mut settings = database.settings(None);
    files.set(&mut settings);
    impatient(&mut settings);
    let server = TestServer::on(database, &settings).await;
    let silent = authority.connect(server.server.grpc_address(), None).await.unwrap();
    assert!(is_closed(silent).await);
    server.end().await;
}
