//! A server that may open no more files goes on for those who are connected, and lets
//! others in again once there is room.

use std::net::TcpStream;

use crate::support::{Backend, Process, wait::until};

const ROOM: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lack_of_file_descriptors_passes() {
    let database = Backend::Sqlite.database();
    let server = Process::start(&database);
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert!(admin.introspect(&issued.secret).await.active);

    server.may_open(ROOM);
    // The system takes them for the server, which does not come to them.
    let held: Vec<_> = (0..2 * ROOM).map(|_| TcpStream::connect(server.grpc).unwrap()).collect();
    until("there is no room", async || !server.logged("a connection could not be accepted").is_empty()).await;
    assert!(admin.introspect(&issued.secret).await.active, "who is connected is answered");
    let revoked = admin.issue("ada", "another", &[]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    assert!(!admin.introspect(&revoked.secret).await.active, "revocation is immediate as ever");

    let (grpc, token) = (server.url(), database.admin_token());
    let seen = server.seen.clone();
    let waits = tokio::spawn(async move { crate::support::Actor::connect(&grpc, &token, seen).await });
    drop(held);
    let late = waits.await.unwrap();
    assert!(late.introspect(&issued.secret).await.active, "who came meanwhile is let in");
    assert!(server.terminate().success());
}
