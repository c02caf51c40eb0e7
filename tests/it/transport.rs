//! The door itself: what is no call of the contract is refused like one, within
//! limits that are told.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use token_authority::{
    grpc::SERVICES,
    proto::v1::{IntrospectRequest, ListTokensRequest, RevokeTokenRequest, revoke_token_request::Target},
};
use tonic::{Code, codegen::tokio_stream, transport::Channel};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{
    Backend, TestServer,
    gate::Gate,
    wire::{Wire, framed, http2_settings, survives_late_bodies},
};

const INTROSPECT: &str = "/token_authority.v1.TokenAuthorityService/Introspect";
const LIST_TOKENS: &str = "/token_authority.v1.TokenAuthorityService/ListTokens";
const REVOKE_TOKEN: &str = "/token_authority.v1.TokenAuthorityService/RevokeToken";

fn bearer(server: &TestServer) -> String {
    format!("Bearer {}", server.database.admin_token())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_call_of_the_contract_is_refused_with_a_reason() {
    let server = TestServer::start(Backend::Sqlite).await;
    let wire = Wire::connect(server.server.grpc_address()).await;
    let authorization = bearer(&server);
    let headers = [("authorization", authorization.as_str())];
    let too_large = framed(&vec![0; server.database.settings(None).grpc.max_message_bytes + 1]);
    let mut cut_short =
        framed(&IntrospectRequest { token: "dt_x".to_owned(), ..Default::default() }.encode_to_vec()).to_vec();
    cut_short.pop();

    for (path, body, code, reason) in [
        ("/token_authority.v1.TokenAuthorityService/Guess", framed(b""), Code::Unimplemented, "UNKNOWN_METHOD"),
        ("/token_authority.v9.OtherService/Introspect", framed(b""), Code::Unimplemented, "UNKNOWN_METHOD"),
        ("/", framed(b""), Code::Unimplemented, "UNKNOWN_METHOD"),
        (INTROSPECT, framed(b"\xff\xff\xff"), Code::InvalidArgument, "MALFORMED_REQUEST"),
        // A string that is not UTF-8.
        (INTROSPECT, framed(b"\x0a\x01\xff"), Code::InvalidArgument, "MALFORMED_REQUEST"),
        (INTROSPECT, Bytes::from(cut_short), Code::InvalidArgument, "MALFORMED_REQUEST"),
        (INTROSPECT, Bytes::new(), Code::InvalidArgument, "MALFORMED_REQUEST"),
        (INTROSPECT, too_large, Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
    ] {
        let refusal = wire.call(path, &headers, body).await.unwrap().refusal();
        assert_eq!((refusal.code, refusal.reason.as_deref()), (code, Some(reason)), "{path}: {refusal:?}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_is_kept_and_its_end_is_called_so() {
    let server = TestServer::start(Backend::Postgres).await;
    let admin = server.admin().await;
    let kept = admin.issue("ada", "laptop", &[]).await;
    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;

    let wire = Wire::connect(server.server.grpc_address()).await;
    let authorization = bearer(&server);
    let headers = [("authorization", authorization.as_str()), ("grpc-timeout", "100m")];
    let request = RevokeTokenRequest { target: Some(Target::TokenId(kept.token.token_id)), reason: 0 };
    let refusal = wire.call(REVOKE_TOKEN, &headers, framed(&request.encode_to_vec())).await.unwrap().refusal();
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED")));
    gate.open();
    lock.join().unwrap();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_carries_the_requests_id() {
    let server = TestServer::start(Backend::Sqlite).await;
    let wire = Wire::connect(server.server.grpc_address()).await;
    let authorization = bearer(&server);
    let good = framed(&ListTokensRequest { account_id: "ada".to_owned(), ..Default::default() }.encode_to_vec());
    let junk = framed(b"\xff");
    for (path, body) in [(INTROSPECT, framed(b"")), (LIST_TOKENS, good), (LIST_TOKENS, junk), ("/unknown", framed(b""))]
    {
        let headers = [("authorization", authorization.as_str()), ("x-request-id", "call-1")];
        let answer = wire.call(path, &headers, body.clone()).await.unwrap();
        assert_eq!(answer.header("x-request-id"), Some("call-1"), "{path}");

        // One that is made up here, where there is none that could be logged.
        let mut made_up = BTreeSet::new();
        for bad in [&[][..], &[("x-request-id", "a b")], &[("x-request-id", &"a".repeat(129))]] {
            let headers = [&headers[..1], bad].concat();
            let answer = wire.call(path, &headers, body.clone()).await.unwrap();
            let id = answer.header("x-request-id").expect("there is an id").to_owned();
            assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
            made_up.insert(id);
        }
        assert_eq!(made_up.len(), 3);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_told_and_kept() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const MAX_HEADER_LIST_SIZE: u16 = 6;

    let server = TestServer::configured(Backend::Sqlite, None, |settings| {
        settings.grpc.max_streams_per_connection = 7;
    })
    .await;
    let address = server.server.grpc_address();
    let told = tokio::task::spawn_blocking(move || http2_settings(address)).await.unwrap();
    assert!(told.contains(&(MAX_CONCURRENT_STREAMS, 7)), "{told:?}");
    assert!(told.contains(&(MAX_HEADER_LIST_SIZE, 16 * 1024)), "{told:?}");

    let wire = Wire::connect(address).await;
    let huge = "a".repeat(20 * 1024);
    let answer = wire.call(INTROSPECT, &[("x-huge", &huge)], framed(b"")).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.http == 431), "oversized headers are let in");
    assert!(server.admin().await.who_am_i().await.is_ok());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_can_be_read_from_the_server_in_both_ways() {
    let server = TestServer::start(Backend::Sqlite).await;
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    macro_rules! services_by {
        ($version:ident) => {{
            use $version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let list = MessageRequest::ListServices(String::new());
            let request = ServerReflectionRequest { message_request: Some(list), ..Default::default() };
            let mut client = ServerReflectionClient::new(channel.clone());
            let requests = tokio_stream::iter([request]);
            let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap().message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
            list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
        }};
    }
    for listed in [services_by!(v1), services_by!(v1alpha)] {
        for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
            assert!(listed.contains(service), "{service} is not among {listed:?}");
        }
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_known_is_refused_before_a_body_is_read() {
    let server = TestServer::start(Backend::Sqlite).await;
    let wire = Wire::connect(server.server.grpc_address()).await;
    for headers in [&[][..], &[("authorization", "Bearer junk")], &[("authorization", "Basic eDp5")]] {
        let answered = wire.headers_alone(INTROSPECT, headers).await.unwrap();
        assert_eq!(answered["grpc-status"], (Code::Unauthenticated as i32).to_string().as_str(), "{headers:?}");
    }
    server.end().await;
}

/// Bodies that were on their way are not held against a client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_refused_keeps_its_connection() {
    let server = TestServer::start(Backend::Sqlite).await;
    let address = server.server.grpc_address();
    let calls = tokio::task::spawn_blocking(move || survives_late_bodies(address, INTROSPECT, 200));
    assert!(calls.await.unwrap());
    server.end().await;
}
