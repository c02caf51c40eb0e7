//! TLS on both ports: who is let in, how others are refused, and that nobody who
//! comes without it is in anybody's way.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustls::AlertDescription;
use token_authority::{
    client::ConnectError,
    proto::v1::{IssueTokenRequest, WhoAmIRequest},
    settings::Settings,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use crate::support::{
    Backend, Database, TestServer, assert_refused,
    pki::{Authority, Files, Pair, caller, told},
    wait::connect_blocking,
};

const GATEWAY: &str = "spiffe://example.org/gateway";

/// A server with TLS on both ports, and who signed its certificate.
async fn start(clients: Option<&Authority>, change: impl FnOnce(&mut Settings)) -> (TestServer, Authority) {
    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    let files = Files::new(database.data_dir(), &authority.server(), clients);
    let mut settings = database.settings(None);
    files.set(&mut settings);
    change(&mut settings);
    (TestServer::on(database, &settings).await, authority)
}

fn require(settings: &mut Settings) {
    settings.grpc.tls.require_client_certificate = true;
    settings.http.tls.require_client_certificate = true;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ports_serve_tls() {
    let (server, authority) = start(None, |_| {}).await;
    let grpc = server.server.grpc_address();
    let admin = server.database.admin_token();
    let admin = caller(grpc, Some(&admin), &authority.tls(None), &server.seen).await.unwrap();
    assert_eq!(admin.call(admin.client.accounts().who_am_i(WhoAmIRequest {})).await.unwrap().label, "admin");

    let mut http = authority.config(None);
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(server.server.http_address()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(http)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    // Each port speaks its own protocol, and says so within TLS.
    let agreed = authority.connect(grpc, None).await.unwrap();
    assert_eq!(agreed.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(authority.alert(server.server.http_address(), None).await, AlertDescription::NoApplicationProtocol);
    // It would not answer that the server goes, and keep it waiting.
    drop(agreed);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_refuses_a_server_that_it_cannot_believe() {
    let (server, _) = start(None, |_| {}).await;
    let stranger = Authority::new("strangers").tls(None);
    let refused = caller(server.server.grpc_address(), None, &stranger, &server.seen).await.err().unwrap();
    assert!(matches!(refused, ConnectError::Unreachable(_)));
    assert!(told(&refused).contains("invalid peer certificate: UnknownIssuer"), "{}", told(&refused));
    server.end().await;

    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    let mut settings = database.settings(None);
    Files::new(database.data_dir(), &authority.server_called("other.example"), None).set(&mut settings);
    let server = TestServer::on(database, &settings).await;
    let grpc = server.server.grpc_address();
    let refused = caller(grpc, None, &authority.tls(None), &server.seen).await.err().unwrap();
    assert!(told(&refused).contains("certificate not valid for name"), "{}", told(&refused));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_refused_by_what_is_wrong_with_their_certificate() {
    let clients = Authority::new("clients");
    let (server, authority) = start(Some(&clients), require).await;
    let good = clients.client(&[GATEWAY]);
    let expired = clients.expired_client(&[GATEWAY]);
    let unknown = Authority::new("others").client(&[GATEWAY]);
    // By an authority of the same name.
    let forged = Authority::new("clients").client(&[GATEWAY]);
    let for_servers = clients.server();

    for (shown, alert) in [
        (None, AlertDescription::CertificateRequired),
        (Some(&expired), AlertDescription::CertificateExpired),
        (Some(&unknown), AlertDescription::UnknownCA),
        (Some(&forged), AlertDescription::DecryptError),
        (Some(&for_servers), AlertDescription::UnsupportedCertificate),
    ] {
        assert_eq!(authority.alert(server.server.grpc_address(), shown).await, alert);
        let mut http = authority.config(shown);
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        assert_eq!(authority.alert_to(server.server.http_address(), http).await, alert, "by the other port as well");
    }
    let tls = authority.tls(Some(&good));
    let caller = caller(server.server.grpc_address(), None, &tls, &server.seen).await.unwrap();
    // Let in, and nobody to this service: no role is set for the name.
    let refused = caller.call(caller.client.accounts().who_am_i(WhoAmIRequest {})).await;
    assert_refused(refused, Code::Unauthenticated, "CREDENTIAL_REQUIRED");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_tls_is_in_nobodys_way() {
    let (server, authority) = start(None, |_| {}).await;
    let grpc = server.server.grpc_address();
    let admin = server.database.admin_token();
    let tls = authority.tls(None);
    let steady = caller(grpc, Some(&admin), &tls, &server.seen).await.unwrap();

    // As many as would fill a queue that waits for the first of them.
    let silent: Vec<_> = (0..1_500).map(|_| TcpStream::connect(grpc).unwrap()).collect();
    let garbage: [&[u8]; 4] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        // The head of a ClientHello, and nothing of it.
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        &[0xff; 10_000],
    ];
    let flood = tokio::task::spawn_blocking(move || {
        for round in 0..400 {
            let mut stream = TcpStream::connect(grpc).unwrap();
            let _ = stream.write_all(garbage[round % garbage.len()]);
        }
    });
    for _ in 0..50 {
        let newcomer = caller(grpc, Some(&admin), &tls, &server.seen).await.unwrap();
        for caller in [&steady, &newcomer] {
            caller.call(caller.client.accounts().who_am_i(WhoAmIRequest {})).await.unwrap();
        }
    }
    flood.await.unwrap();
    drop(silent);

    // Plaintext is told that it is none of what is spoken here, and nothing else.
    let mut plain = connect_blocking(grpc);
    plain.write_all(garbage[1]).unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "a TLS alert: {answer:?}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_holder_is_judged_by_where_its_connection_comes_from() {
    let (server, authority) = start(None, |_| {}).await;
    let grpc = server.server.grpc_address();
    let (admin, tls) = (server.database.admin_token(), authority.tls(None));
    let admin = caller(grpc, Some(&admin), &tls, &server.seen).await.unwrap();
    for (network, reached) in [("127.0.0.1/32", true), ("10.0.0.0/8", false)] {
        let request = IssueTokenRequest {
            account_id: "ada".to_owned(),
            label: network.to_owned(),
            allowed_cidrs: vec![network.to_owned()],
            ..Default::default()
        };
        let issued = admin.try_issue(request).await.unwrap();
        let holder = caller(grpc, Some(&issued.secret), &tls, &server.seen).await.unwrap();
        let answer = holder.call(holder.client.accounts().who_am_i(WhoAmIRequest {})).await;
        if reached {
            assert_eq!(answer.unwrap().label, network);
        } else {
            assert_refused(answer, Code::Unauthenticated, "CREDENTIAL_INVALID");
        }
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    let pair = authority.server();
    let mixed = Pair { key: authority.server().key, ..pair.clone() };
    let wrong_key = Pair { key: "no key".to_owned(), ..pair.clone() };
    let wrong_certificate = Pair { certificate: "no certificate".to_owned(), ..pair.clone() };
    for (pair, setting, problem) in [
        (mixed, "grpc.tls.private_key_file", "does not fit the certificate"),
        (wrong_key, "grpc.tls.private_key_file", "holds no private key"),
        (wrong_certificate, "grpc.tls.certificate_file", "holds no certificate"),
        (authority.expired_server(), "grpc.tls.certificate_file", "has expired"),
    ] {
        let files = Files::new(database.data_dir(), &pair, None);
        assert_not_started(&database, &files, |_| {}, &[setting, problem, files.0.to_str().unwrap()]).await;
    }
    let files = Files::new(database.data_dir(), &pair, None);
    let absent = |settings: &mut Settings| settings.grpc.tls.client_ca_file = Some("/nowhere/ca.crt".into());
    assert_not_started(&database, &files, absent, &["grpc.tls.client_ca_file", "/nowhere/ca.crt"]).await;
}

async fn assert_not_started(database: &Database, files: &Files, change: impl FnOnce(&mut Settings), says: &[&str]) {
    let mut settings = database.settings(None);
    files.set(&mut settings);
    change(&mut settings);
    let error = token_authority::server::Server::start(&settings).await.expect_err("it does not start").to_string();
    assert!(says.iter().all(|part| error.contains(part)), "{error}");
    assert!(!error.contains("PRIVATE"), "{error}");
}
