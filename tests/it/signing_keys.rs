//! What signs the tokens of sessions: made once for all replicas, kept sealed,
//! replaced by age, by command, and where it is lost.

use serde_json::Value;
use token_authority::{proto::v1::ServiceRole, server::Server};
use tonic::Code;

use crate::support::{
    Actor, Backend, Database, Process, TestServer, assert_refused, log,
    sign_in::PASSWORD,
    wait::until,
    web_session::{credentials, read_part, verify},
};

const PARTY: &str = "token-authority";
const DAY: i64 = 86_400_000_000;

on_both_databases!(
    the_first_start_makes_one_and_no_other_does,
    one_that_is_too_old_is_replaced,
    promoting_a_master_key_seals_it_anew,
    losing_the_ring_ends_no_session,
    one_that_was_changed_is_replaced,
    the_list_and_the_command_tell_of_them,
);

async fn start(database: &Database) -> (TestServer, Actor) {
    let server = TestServer::on(database.clone(), &database.settings(None)).await;
    let admin = server.admin().await;
    (server, admin)
}

async fn started(backend: Backend) -> (Database, TestServer, Actor) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    (server.database.clone(), server, admin)
}

/// The key that signs, and the master key that it is sealed under.
async fn current(database: &Database) -> (String, String) {
    let of = async |column: &str| {
        database.scalar(&format!("SELECT {column} FROM signing_keys WHERE retire_time IS NULL")).await
    };
    (of("kid").await, of("master_key").await)
}

async fn kid_of_a_new_token(admin: &Actor) -> String {
    read_part(&admin.sign_in("ada").await, 0)["kid"].as_str().unwrap().to_owned()
}

async fn age(database: &Database, days: i64) {
    let older = format!("UPDATE signing_keys SET create_time = create_time - {}", days * DAY);
    database.execute(&older).await;
}

async fn made_because(database: &Database, reason: &str) -> u64 {
    let event = format!("audit_events WHERE action = 'signing-key.create' AND detail LIKE '%\"reason\":\"{reason}\"%'");
    database.count(&event).await
}

async fn the_first_start_makes_one_and_no_other_does(backend: Backend) {
    let (database, server, admin) = started(backend).await;
    let (kid, master) = current(&database).await;
    assert_eq!((kid_of_a_new_token(&admin).await, master.as_str()), (kid.clone(), "k1"));
    let sealed = "SELECT length(sealed) FROM signing_keys";
    assert_eq!(database.scalar(sealed).await, "48", "a seed and the seal's tag");
    server.end().await;
    let (server, admin) = start(&database).await;
    assert_eq!(kid_of_a_new_token(&admin).await, kid);
    assert_eq!(database.count("signing_keys").await, 1);
    assert_eq!(made_because(&database, "first").await, 1);
    server.end().await;
    database.assert_whole().await;
}

async fn one_that_is_too_old_is_replaced(backend: Backend) {
    let (database, server, admin) = started(backend).await;
    let first = kid_of_a_new_token(&admin).await;
    age(&database, 89).await;
    server.end().await;
    let (server, admin) = start(&database).await;
    assert_eq!(kid_of_a_new_token(&admin).await, first);

    // While the service runs.
    age(&database, 2).await;
    until("another signs", async || current(&database).await.0 != first).await;
    let second = kid_of_a_new_token(&admin).await;
    assert_eq!(second, current(&database).await.0);
    assert_eq!(database.count("signing_keys WHERE sealed IS NULL AND master_key IS NULL").await, 1, "it is erased");
    server.end().await;

    // And when it starts.
    age(&database, 91).await;
    let (server, admin) = start(&database).await;
    assert_ne!(kid_of_a_new_token(&admin).await, second);
    assert_eq!(made_because(&database, "too old").await, 2);
    server.end().await;
}

async fn promoting_a_master_key_seals_it_anew(backend: Backend) {
    let (database, server, admin) = started(backend).await;
    let kid = kid_of_a_new_token(&admin).await;
    server.end().await;
    database.keys_done(&["add", "--id", "k2"]);
    let sealed = async || database.scalar("SELECT CAST(sealed AS TEXT) FROM signing_keys").await;
    let before = if backend == Backend::Postgres { Some(sealed().await) } else { None };
    database.keys_done(&["promote", "k2"]);
    assert_eq!(current(&database).await, (kid.clone(), "k2".to_owned()));
    if let Some(before) = before {
        assert_ne!(sealed().await, before);
    }
    database.put_ring(&database.ring_without("k1"));
    let (server, admin) = start(&database).await;
    assert_eq!(kid_of_a_new_token(&admin).await, kid);
    assert_eq!(database.count("signing_keys").await, 1);
    server.end().await;
}

async fn losing_the_ring_ends_no_session(backend: Backend) {
    let (database, server, admin) = started(backend).await;
    let token = admin.sign_in("ada").await;
    let lost = read_part(&token, 0)["kid"].as_str().unwrap().to_owned();
    server.end().await;
    std::fs::remove_file(database.ring_file()).unwrap();
    assert_eq!(database.keys(&["add", "--id", "k2"]).code, 0);
    let promoted = database.keys(&["promote", "k2"]);
    assert_eq!(promoted.code, 0, "{promoted:?}");
    assert_eq!(current(&database).await, (lost.clone(), "k1".to_owned()), "it cannot be opened");

    let (server, admin) = start(&database).await;
    server.seen.secret(&token);
    let new = kid_of_a_new_token(&admin).await;
    assert_ne!(new, lost);
    assert_eq!(current(&database).await, (new.clone(), "k2".to_owned()));
    assert!(String::from_utf8_lossy(&log::kept()).contains("another takes its place"));
    assert_eq!(made_because(&database, "unreadable").await, 1);
    assert!(admin.introspect(&token).await.active, "what is kept of it outlives the ring");
    assert_eq!(admin.kids().await, [new, lost]);
    verify(&token, &admin.jwks().await, PARTY, PARTY).unwrap();
    server.end().await;
}

async fn one_that_was_changed_is_replaced(backend: Backend) {
    let (database, server, admin) = started(backend).await;
    let changed = kid_of_a_new_token(&admin).await;
    server.end().await;
    // Another's private half, as a thief of the database would like to put it.
    let zeros = if backend == Backend::Postgres { "'\\x00'::bytea" } else { "x'00'" };
    database.execute(&format!("UPDATE signing_keys SET sealed = {zeros}")).await;
    let (server, admin) = start(&database).await;
    assert_ne!(kid_of_a_new_token(&admin).await, changed);
    server.end().await;
}

async fn the_list_and_the_command_tell_of_them(backend: Backend) {
    let (database, server, admin) = started(backend).await;
    let first = kid_of_a_new_token(&admin).await;
    server.end().await;
    let said = database.keys_done(&["rotate-signing"]);
    let second = said.split(' ').nth(2).unwrap().to_owned();
    assert_eq!(said, format!("the key {second} signs from now on\n"));
    let listed: Value = serde_json::from_str(&database.keys_done(&["list", "--output", "json"])).unwrap();
    let keys = listed["signingKeys"].as_array().unwrap();
    let names: Vec<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(names, [second.as_str(), first.as_str()]);
    assert_eq!((&keys[0]["sealedUnder"], keys[0].get("retireTime")), (&"k1".into(), None));
    assert!(keys[1].get("sealedUnder").is_none() && keys[1]["lastExpireTime"].is_string());
    let table = database.keys_done(&["list"]);
    assert!(table.contains("SIGNING KEY") && table.contains(&first) && table.contains(&second), "{table}");
    assert_eq!(made_because(&database, "asked").await, 1);

    let (server, admin) = start(&database).await;
    assert_eq!(kid_of_a_new_token(&admin).await, second);
    server.end().await;
    database.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_replicas_that_find_it_too_old_at_once_one_makes_another() {
    let (database, server, admin) = started(Backend::Postgres).await;
    // So that the former one is kept.
    kid_of_a_new_token(&admin).await;
    server.end().await;
    age(&database, 91).await;
    let replicas = [database.clone(), database.replica(), database.replica()];
    let starts = replicas.iter().map(|replica| async { Server::start(&replica.settings(None)).await.unwrap() });
    let servers = futures_util::future::join_all(starts).await;
    assert_eq!(database.count("signing_keys").await, 2);
    for server in servers {
        server.shutdown().await.unwrap();
    }
}

/// It could not open what others seal, and replaces nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lacks_the_master_key_signs_nothing() {
    let (database, server, admin) = started(Backend::Postgres).await;
    let kid = kid_of_a_new_token(&admin).await;
    let other = database.replica();
    let replica = Process::start(&other);
    let there = replica.admin().await;
    assert_eq!(kid_of_a_new_token(&there).await, kid);

    database.keys_done(&["add", "--id", "k2"]);
    database.keys_done(&["promote", "k2"]);
    let refused = async || there.try_sign_in(credentials("ada", PASSWORD)).await.is_err();
    until("it notices", refused).await;
    let refused = there.try_sign_in(credentials("ada", PASSWORD)).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable, "{refused:?}");
    assert_eq!(kid_of_a_new_token(&admin).await, kid);
    // Longer than it takes to look.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(database.count("signing_keys").await, 1);

    other.put_ring(&database.ring());
    until("it signs again", async || there.try_sign_in(credentials("ada", PASSWORD)).await.is_ok()).await;
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    let refused = gateway.try_sign_in(credentials("ada", PASSWORD)).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_PERMITTED");
    assert!(replica.terminate().success());
    server.end().await;
}
