//! gRPC-Web, as a browser speaks it: HTTP/1.1, whole messages and trailers in the
//! body, and a question beforehand whether the page may call.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use token_authority::{
    proto::v1::{IntrospectResponse, Verdict},
    settings::Settings,
};

use crate::support::{
    Backend, TestServer,
    calls::{question, texts},
    http1::request,
    pki::{Authority, Files, connect},
    wire::{Wire, framed},
};

const INTROSPECT: &str = "/token_authority.v1.TokenAuthorityService/Introspect";
const PAGE: &str = "https://app.example.com";

/// The one message in an answer's body, and the trailers after it.
fn message_and_trailers(body: &[u8]) -> (Vec<u8>, String) {
    let (message, rest) = frame(body, 0);
    let (trailers, rest) = frame(rest, 0x80);
    assert!(rest.is_empty());
    (message.to_vec(), String::from_utf8(trailers.to_vec()).unwrap())
}

fn frame(bytes: &[u8], flag: u8) -> (&[u8], &[u8]) {
    assert_eq!(bytes[0], flag);
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    bytes[5..].split_at(length)
}

fn open(settings: &mut Settings) {
    settings.grpc.web.allowed_origins = texts(&["https://other.example.com", PAGE]);
}

on_both_databases!(a_page_calls_and_is_answered);

async fn a_page_calls_and_is_answered(backend: Backend) {
    let server = TestServer::configured(backend, None, open).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let address = server.server.grpc_address();
    let authorization = format!("Bearer {}", server.database.admin_token());
    let asked = framed(&question(&issued.secret, &["read"]).encode_to_vec());
    let headers = |content_type: &'static str| {
        [
            ("content-type", content_type),
            ("accept", content_type),
            ("x-grpc-web", "1"),
            ("origin", PAGE),
            ("authorization", authorization.as_str()),
            ("x-request-id", "a-page"),
        ]
    };

    let binary = request(address, "POST", INTROSPECT, &headers("application/grpc-web+proto"), &asked).await.unwrap();
    let (message, trailers) = message_and_trailers(&binary.body);
    let answer = IntrospectResponse::decode(message.as_slice()).unwrap();
    assert_eq!((answer.verdict(), answer.account_id.as_str()), (Verdict::Allowed, "ada"));
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    assert_eq!(binary.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(binary.header("access-control-allow-credentials"), None, "no cookie counts");
    assert_eq!(binary.header("x-request-id"), Some("a-page"));
    let readable = ["grpc-message", "grpc-status", "grpc-status-details-bin", "x-request-id"];
    assert_eq!(binary.list("access-control-expose-headers"), readable);

    let encoded = BASE64_STANDARD.encode(&asked);
    let text = request(address, "POST", INTROSPECT, &headers("application/grpc-web-text"), encoded.as_bytes()).await;
    assert_eq!(message_and_trailers(&decoded(&text.unwrap().body)).0, message);

    // The rules at the door are the same.
    admin.revoke(&issued.token.token_id).await.unwrap();
    let revoked = request(address, "POST", INTROSPECT, &headers("application/grpc-web"), &asked).await.unwrap();
    let answer = IntrospectResponse::decode(message_and_trailers(&revoked.body).0.as_slice()).unwrap();
    assert_eq!(answer.verdict(), Verdict::Unauthenticated);
    let no_credential = [("content-type", "application/grpc-web"), ("origin", PAGE)];
    let refused = request(address, "POST", INTROSPECT, &no_credential, &asked).await.unwrap();
    assert_eq!((refused.status, refused.header("grpc-status")), (200, Some("16")));
    assert!(refused.header("grpc-status-details-bin").is_some());
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));

    // Calls of gRPC go on beside it.
    let wire = Wire::connect(address).await;
    let answer = wire.call(INTROSPECT, &[("authorization", &authorization)], asked).await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("0"));
    server.end().await;
}

/// Base64 of each piece, each with its own padding.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    for four in text.chunks(4) {
        whole.extend(BASE64_STANDARD.decode(four).expect("base64"));
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pages_of_the_named_origins_may_call() {
    let server = TestServer::configured(Backend::Sqlite, None, open).await;
    let address = server.server.grpc_address();
    let asks = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,x-grpc-web"),
        ]
    };
    for origin in ["https://other.example.com", PAGE] {
        let answer = request(address, "OPTIONS", INTROSPECT, &asks(origin), b"").await.unwrap();
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
        assert_eq!(answer.list("access-control-allow-methods"), ["post"]);
        let allowed = ["authorization", "content-type", "grpc-timeout", "x-grpc-web", "x-request-id", "x-user-agent"];
        assert_eq!(answer.list("access-control-allow-headers"), allowed);
        assert!(answer.list("vary").contains(&"origin".to_owned()));
    }
    for origin in [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example.com",
        "null",
    ] {
        let answer = request(address, "OPTIONS", INTROSPECT, &asks(origin), b"").await.unwrap();
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_call_of_grpc_web_is_refused() {
    let server = TestServer::configured(Backend::Sqlite, None, open).await;
    let address = server.server.grpc_address();
    let authorization = format!("Bearer {}", server.database.admin_token());
    let headers = |content_type: &'static str| [("content-type", content_type), ("authorization", &authorization)];
    for (method, content_type, path, status) in [
        ("GET", "text/html", "/", 400),
        ("POST", "application/json", INTROSPECT, 400),
        // gRPC itself is spoken over HTTP/2 alone.
        ("POST", "application/grpc", INTROSPECT, 400),
        ("GET", "application/grpc-web", INTROSPECT, 405),
    ] {
        let answer = request(address, method, path, &headers(content_type), b"").await.unwrap();
        assert_eq!(answer.status, status, "{method} {content_type}");
    }
    for (path, body, status) in [
        ("/token_authority.v1.TokenAuthorityService/Guess", framed(b"").to_vec(), "12"),
        (INTROSPECT, framed(b"\xff\xff").to_vec(), "3"),
        (INTROSPECT, b"\x00\xff\xff\xff\xff".to_vec(), "3"),
    ] {
        let answer = request(address, "POST", path, &headers("application/grpc-web"), &body).await.unwrap();
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some(status)), "{path}");
    }
    let long = "a".repeat(64 * 1024);
    let answer = request(address, "POST", INTROSPECT, &[("x-long", &long)], b"").await;
    assert!(answer.is_none_or(|answer| answer.status == 431), "headers have a bound");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unless_it_is_switched_on_only_http2_is_spoken() {
    let server = TestServer::start(Backend::Sqlite).await;
    let headers = [("content-type", "application/grpc-web"), ("origin", PAGE)];
    for method in ["POST", "OPTIONS", "GET"] {
        let answer = request(server.server.grpc_address(), method, INTROSPECT, &headers, b"").await;
        assert!(answer.is_none(), "{answer:?}");
    }
    // Over HTTP/2 nobody is told that a page may call.
    let wire = Wire::connect(server.server.grpc_address()).await;
    let answer = wire.call(INTROSPECT, &[("origin", PAGE)], framed(b"")).await.unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), None);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_the_client_chooses_the_protocol() {
    for web in [true, false] {
        let authority = Authority::new("servers");
        let database = Backend::Sqlite.database();
        let files = Files::new(database.data_dir(), &authority.server(), None);
        let mut settings = database.settings(None);
        files.set(&mut settings);
        if web {
            open(&mut settings);
        }
        let server = TestServer::on(database, &settings).await;
        let offering = async |protocols: &[&[u8]]| {
            let mut config = authority.config(None);
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            let stream = connect(server.server.grpc_address(), config).await.ok()?;
            stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
        };
        assert_eq!(offering(&[b"http/1.1", b"h2"]).await.as_deref(), Some(&b"h2"[..]));
        assert_eq!(offering(&[b"http/1.1"]).await.as_deref(), web.then_some(&b"http/1.1"[..]));
        server.end().await;
    }
}
