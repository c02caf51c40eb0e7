//! Replicas that run follow the database's choice of a master key: one that lacks
//! it says so, makes nothing new, and goes on by itself once it is given the file.

use std::fs;

use token_authority::{grpc::SERVICES, proto::v1::ListTokensRequest};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{
    Actor, Backend, Database, Process, TestServer, assert_refused, issue_request, wait::until, wire::http_get,
};

const REASON: &str = "CURRENT_KEY_MISSING";
const WHAT_TO_DO: &str = "copy the file from a server that has it";

async fn has_status(replica: &Process, status: ServingStatus) -> bool {
    let channel = Channel::from_shared(replica.url()).unwrap().connect().await.unwrap();
    for service in SERVICES.into_iter().chain([""]) {
        let request = HealthCheckRequest { service: service.to_owned() };
        if HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status() != status {
            return false;
        }
    }
    let ready = if status == ServingStatus::Serving { 200 } else { 503 };
    http_get(replica.http, "/readyz") == ready
}

/// A replica of a server in this process, with a ring of its own.
async fn replica_of(server: &TestServer) -> (Database, Process, Actor) {
    let database = server.database.replica();
    let replica = Process::start(&database);
    let actor = replica.admin().await;
    (database, replica, actor)
}

/// Issues tokens until one is under that key.
async fn issue_under(key: &str, server: &TestServer, actor: &Actor) -> String {
    let mut secret = String::new();
    until("something is made under the key", async || {
        let issued = actor.issue("ada", "new", &[]).await;
        let id = &issued.token.secrets[0].secret_id;
        secret = issued.secret;
        server.database.scalar(&format!("SELECT key_id FROM secrets WHERE id = '{id}'")).await == key
    })
    .await;
    secret
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lacks_the_promoted_key_makes_nothing_new() {
    let server = TestServer::start(Backend::Postgres).await;
    let admin = server.admin().await;
    let (other, replica, there) = replica_of(&server).await;
    let old = admin.issue("ada", "old", &[]).await;
    admin.issue("ada", "older", &[]).await;
    let page = |page_size, page_token: &str| ListTokensRequest {
        account_id: "ada".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let page_token = admin.list_tokens(page(1, "")).await.unwrap().next_page_token;

    server.database.keys_done(&["add", "--id", "k2"]);
    server.database.keys_done(&["promote", "k2"]);
    let new = issue_under("k2", &server, &admin).await;
    until("the replica says that it does not serve", async || has_status(&replica, ServingStatus::NotServing).await)
        .await;
    assert_eq!(replica.told().await.count("token_authority_keys_current_at_hand"), 0);
    assert!(replica.log().contains("not serving: the current master key is not here"));
    assert!(replica.log().contains(WHAT_TO_DO) && replica.log().contains(other.ring_file().to_str().unwrap()));

    let refused = assert_refused(there.try_issue(issue_request("ada", "no", &[])).await, Code::Unavailable, REASON);
    assert!(refused.retry_after.is_some());
    assert_refused(there.list_tokens(page(1, "")).await, Code::Unavailable, REASON);
    assert!(!there.list_tokens(page(50, &page_token)).await.unwrap().tokens.is_empty(), "the former key opens it");
    for secret in [&old.secret, &new] {
        assert!(there.introspect(secret).await.active, "what can be proved is answered for");
    }
    assert!(there.revoke(&old.token.token_id).await.is_ok(), "what makes no secret is done");
    assert!(!admin.introspect(&old.secret).await.active);

    // A file that cannot be read changes nothing but the reason.
    other.put_ring("k1:short\n");
    until("it is said", async || replica.log().matches("not serving").count() == 2).await;
    assert!(has_status(&replica, ServingStatus::NotServing).await);
    other.put_ring(&server.database.ring());
    until("it serves", async || has_status(&replica, ServingStatus::Serving).await).await;
    assert_eq!(replica.told().await.count("token_authority_keys_current_at_hand"), 1);
    issue_under("k2", &server, &there).await;
    assert!(there.introspect(&new).await.active);
    let log = replica.log();
    assert_eq!(log.matches("not serving").count(), 2, "each state is told once:\n{log}");
    assert_eq!(log.matches("in order again").count(), 1, "{log}");
    other.look_for_keys(log.as_bytes());
    assert_eq!(server.database.count("secrets WHERE key_id IS NULL").await, 0);
    assert!(replica.terminate().success());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_with_a_file_that_has_the_key_follow_without_a_word() {
    let server = TestServer::start(Backend::Postgres).await;
    let admin = server.admin().await;
    let (other, replica, there) = replica_of(&server).await;
    let old = admin.issue("ada", "old", &[]).await;
    let runs = server.server.bcrypt_runs();

    server.database.keys_done(&["add", "--id", "k2"]);
    fs::copy(server.database.ring_file(), other.ring_file()).unwrap();
    server.database.keys_done(&["promote", "k2"]);
    assert!(admin.introspect(&old.secret).await.active);
    assert_eq!(server.server.bcrypt_runs(), runs);
    let new = issue_under("k2", &server, &there).await;
    assert!(admin.introspect(&new).await.active && there.introspect(&old.secret).await.active);
    assert!(!replica.log().contains("not serving"));
    assert!(replica.terminate().success());
    server.end().await;
}

/// Somebody added a key of the same name on each host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_key_of_the_promoted_name_turns_nobody_away() {
    let server = TestServer::start(Backend::Postgres).await;
    let admin = server.admin().await;
    let (other, replica, there) = replica_of(&server).await;
    for host in [&server.database, &other] {
        host.keys_done(&["add", "--id", "k2"]);
    }
    assert_ne!(server.database.ring(), other.ring());

    server.database.keys_done(&["promote", "k2"]);
    let new = issue_under("k2", &server, &admin).await;
    assert!(there.introspect(&new).await.active, "before it knows");
    until("it does not serve", async || has_status(&replica, ServingStatus::NotServing).await).await;
    assert!(there.introspect(&new).await.active, "and after");
    assert!(replica.log().contains("is not the database's master key of that name"));
    assert_refused(there.try_issue(issue_request("ada", "no", &[])).await, Code::Unavailable, REASON);

    other.put_ring(&server.database.ring());
    until("it serves", async || has_status(&replica, ServingStatus::Serving).await).await;
    assert!(there.introspect(&new).await.active);
    assert!(replica.terminate().success());
    server.end().await;
}
