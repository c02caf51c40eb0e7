//! `healthcheck`: does a server answer?
//!
//! For probes that have nothing but this program: an image from scratch has
//! neither a shell nor curl.

use tonic::Status;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{Error, connection::Session, console};
use crate::client::CallError;

/// Asks as balancers do. Who is asked needs to know nobody.
pub(super) async fn run(session: &Session) -> Result<(), Error> {
    let mut health = session.client.health();
    let reply = session.call(health.check(HealthCheckRequest::default())).await?;
    if reply.status() != ServingStatus::Serving {
        return Err(CallError::from(Status::unavailable("the server answers that it is not serving")).into());
    }
    console::print(b"serving\n")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tonic::transport::server::TcpIncoming;
    use tonic_health::server::{HealthReporter, health_reporter};

    use super::*;
    use crate::{
        cli::Exit,
        client::{Client, Timeouts},
    };

    /// A server that is nothing but its health, and a connection to it.
    async fn server() -> (HealthReporter, Session) {
        let (reporter, service) = health_reporter();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let client = Client::connect(&url, None, Timeouts::default()).await.expect("a connection");
        (reporter, Session { client, console: console::Console::new(console::OutputFormat::Table) })
    }

    #[tokio::test]
    async fn a_server_that_serves_is_well() {
        let (_reporter, session) = server().await;
        run(&session).await.expect("well");
    }

    #[tokio::test]
    async fn one_that_does_not_is_to_be_tried_again_later() {
        let (reporter, session) = server().await;
        reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        let error = run(&session).await.expect_err("not well");
        assert_eq!(error.exit(), Exit::Unavailable);
        assert_eq!(error.to_string(), "the server answers that it is not serving");
    }
}
