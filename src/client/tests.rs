//! The client against a server on loopback that answers as the test says.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    task::{Context, Poll},
    time::Duration,
};

use tonic::{Code, Status, body::Body, codegen::Service, server::NamedService};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::proto::v1;

/// Refuses each call, with what it saw of the call in the error's metadata.
#[derive(Clone)]
struct Refusing;

impl NamedService for Refusing {
    const NAME: &'static str = "token_authority.v1.AccountService";
}

impl Service<http::Request<Body>> for Refusing {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let seen = ["authorization", "grpc-timeout"].map(|name| {
            let value = request.headers().get(name).expect("sent").to_str().expect("ASCII");
            (name.to_owned(), value.to_owned())
        });
        let details = ErrorDetails::with_error_info("SEEN", "token-authority", seen);
        let status = Status::with_error_details(Code::PermissionDenied, "refused", details);
        std::future::ready(Ok(status.into_http()))
    }
}

async fn listen() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
    let address = listener.local_addr().expect("loopback");
    (listener, address)
}

fn token() -> BearerToken {
    BearerToken::new("svc_example").expect("well-formed")
}

#[tokio::test]
async fn a_call_carries_credential_and_deadline_and_brings_the_reason_back() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(Refusing)
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
    );
    let client = Client::connect(&format!("http://{address}"), token(), Timeouts::default()).await.expect("loopback");

    let error = client.call(client.accounts().who_am_i(v1::WhoAmIRequest {})).await.expect_err("refused");

    assert_eq!(error.code, Code::PermissionDenied);
    assert_eq!(error.reason.as_deref(), Some("SEEN"));
    assert_eq!(error.metadata["authorization"], "Bearer svc_example");
    assert_eq!(error.metadata["grpc-timeout"], "10000000u");
    server.abort();
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_missed_deadline() {
    let (listener, address) = listen().await;
    let timeouts = Timeouts { call: Duration::from_millis(50), ..Timeouts::default() };
    let client = Client::connect(&format!("http://{address}"), token(), timeouts).await.expect("loopback");

    let error = client.call(client.accounts().who_am_i(v1::WhoAmIRequest {})).await.expect_err("refused");

    assert_eq!(error.code, Code::DeadlineExceeded);
    drop(listener);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = Client::connect(&format!("http://{address}"), token(), Timeouts::default()).await.expect_err("refused");
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
}
