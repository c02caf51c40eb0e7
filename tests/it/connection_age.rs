//! A connection that has become old ends without a call that fails: its client is
//! told first, and what is in flight is finished.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use token_authority::{
    proto::v1::IntrospectRequest,
    settings::{Settings, Span, SpanOrNever},
};
use tokio::net::TcpStream;
use tonic::{Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Backend, TestServer,
    wait::{in_time, until},
    wire::{Wire, framed},
};

const INTROSPECT: &str = "/token_authority.v1.TokenAuthorityService/Introspect";

fn aging(settings: &mut Settings) {
    settings.grpc.max_connection_age = SpanOrNever::Span(Span(Duration::from_millis(200)));
}

/// Time enough to begin some calls.
fn aging_slowly(settings: &mut Settings) {
    settings.grpc.max_connection_age = SpanOrNever::Span(Span(Duration::from_secs(2)));
}

fn question() -> Bytes {
    framed(&IntrospectRequest { token: "dt_x".to_owned(), ..Default::default() }.encode_to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_answered_on_a_connection_that_takes_no_more() {
    let server = TestServer::configured(Backend::Sqlite, None, aging_slowly).await;
    let authorization = format!("Bearer {}", server.database.admin_token());
    let headers = [("authorization", authorization.as_str())];
    let wire = Wire::connect(server.server.grpc_address()).await;
    let begun = join_all((0..20).map(|_| wire.begin(INTROSPECT, &headers))).await;
    until("the client is told", async || wire.takes_no_more().await).await;
    for call in begun {
        let answer = call.unwrap().finish(question()).await.expect("it is answered");
        assert_eq!(answer.header("grpc-status"), Some("0"));
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_under_load_come_back_without_a_call_that_fails() {
    const CLIENTS: usize = 6;
    const CONNECTIONS: usize = 4;

    let server = TestServer::configured(Backend::Sqlite, None, aging).await;
    let grpc = server.server.grpc_address();
    let authorization = format!("Bearer {}", server.database.admin_token());
    let calls = Arc::new(AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(|_| {
        let (authorization, calls) = (authorization.clone(), calls.clone());
        tokio::spawn(async move {
            for _ in 0..CONNECTIONS {
                let wire = Wire::connect(grpc).await;
                // As every client of gRPC does: what it may not begin here any more, it
                // begins on another connection.
                while let Ok(call) = wire.begin(INTROSPECT, &[("authorization", &authorization)]).await {
                    let answer = match call.finish(question()).await {
                        // It left the client after the client had answered the server's
                        // ping, and was never looked at (RFC 9113, section 6.8).
                        Err(late) if late.is_go_away() && late.is_remote() => {
                            assert_eq!(late.reason(), Some(h2::Reason::NO_ERROR));
                            break;
                        }
                        answer => answer.expect("what was begun is answered"),
                    };
                    assert_eq!(answer.header("grpc-status"), Some("0"));
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    assert!(calls.load(Ordering::SeqCst) > CLIENTS * CONNECTIONS);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_client_comes_back_by_itself() {
    const CALLERS: usize = 6;

    let server = TestServer::configured(Backend::Sqlite, None, aging).await;
    let admin = server.admin().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    let calls = (0..CALLERS).map(|_| {
        let admin = admin.clone();
        tokio::spawn(async move {
            while tokio::time::Instant::now() < end {
                admin.who_am_i().await.expect("it is answered");
            }
        })
    });
    for call in join_all(calls).await {
        call.unwrap();
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_that_an_old_connection_of_http_1_ends() {
    let server = TestServer::configured(Backend::Sqlite, None, aging_slowly).await;
    let http = server.server.http_address();
    let stream = TcpStream::connect(http).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = 0;
    until("the connection becomes old", async || {
        sender.ready().await.expect("it is open");
        let request = http::Request::get("/healthz").header(HOST, http.to_string());
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.expect("it is answered");
        assert_eq!(answer.status(), 200);
        answers += 1;
        let closes = answer.headers().get(CONNECTION).is_some_and(|value| value == "close");
        answer.into_body().collect().await.expect("all of it");
        closes
    })
    .await;
    assert!(answers > 1, "it was young");
    in_time("it is closed", connection).await.unwrap().expect("in good order");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_end_ends_with_the_grace() {
    let short = |settings: &mut Settings| {
        aging(settings);
        settings.grpc.max_deadline = Span(Duration::from_millis(200));
        settings.grpc.max_connection_age_grace = Span(Duration::from_millis(200));
        settings.database.call_timeout = Span(Duration::from_millis(150));
        settings.introspection.timeout = Span(Duration::from_millis(150));
    };
    let server = TestServer::configured(Backend::Sqlite, None, short).await;
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    watched.message().await.unwrap().expect("the state now");
    let end: Result<Option<_>, Status> =
        tokio::time::timeout(Duration::from_secs(15), watched.message()).await.expect("it ends");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    server.end().await;
}
