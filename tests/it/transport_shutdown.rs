//! A server that is told to end says so first, finishes what is in flight, and
//! waits for nobody who only listens.

use std::{sync::Mutex, time::Duration};

use futures_util::future::join_all;
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{Backend, Process, gate::Gate, issue_request, wait::until, wire::http_get};

/// As many as the default settings let change something at once.
const CALLS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_finished() {
    let database = Backend::Postgres.database();
    let server = Process::start(&database);
    let admin = server.admin().await;
    admin.issue("ada", "first", &[]).await;

    // All of them stand in the middle of their call when the signal comes.
    let gate = Gate::closed(&database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let admin = admin.clone();
            tokio::spawn(async move { admin.try_issue(issue_request("ada", "in flight", &[])).await })
        })
        .collect();
    until("all wait for the lock", async || gate.backends("wait_event_type = 'Lock'") == CALLS).await;
    server.signal("TERM");
    until("it has heard", async || server.log().contains("what is in flight is finished first")).await;
    gate.open();

    for call in join_all(calls).await {
        call.unwrap().expect("a call in flight is finished");
    }
    lock.join().unwrap();
    assert!(server.terminate().success());
    assert_eq!(database.count("credentials WHERE label = 'in flight'").await, CALLS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_its_health_does_not_keep_a_server_alive() {
    let database = Backend::Sqlite.database();
    let server = Process::start(&database);
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    let told = Mutex::new(ServingStatus::Serving);
    let watch = async {
        while let Ok(Some(answer)) = watched.message().await {
            *told.lock().unwrap() = answer.status();
        }
    };
    let ended = tokio::task::spawn_blocking(move || server.terminate());
    tokio::time::timeout(Duration::from_secs(15), watch).await.expect("the watch ends");
    assert_eq!(*told.lock().unwrap(), ServingStatus::NotServing, "it says so before it goes");
    assert!(ended.await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_no_while_calls_are_still_taken() {
    let database = Backend::Sqlite.database();
    // Longer than this test: what is seen is seen within it.
    let server = Process::start_with(&database, |command| {
        command.env("TOKEN_AUTHORITY__SHUTDOWN__DELAY", "10min");
    });
    let http = server.http;
    let readyz = async || tokio::task::spawn_blocking(move || http_get(http, "/readyz")).await.unwrap();
    assert_eq!(readyz().await, 200);
    server.signal("TERM");
    until("/readyz says no", async || readyz().await == 503).await;

    // Whoever connects only now is served as ever.
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::NotServing);
    let admin = server.admin().await;
    let issued = admin.issue("ada", "late", &[]).await;
    assert!(admin.introspect(&issued.secret).await.active);
}
