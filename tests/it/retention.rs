//! What ended is removed after its retention; what lives, and the end of the
//! log of changes, stays.

use std::time::Duration;

use token_authority::{
    proto::v1::{IssueTokenRequest, RevocationReason, ServiceRole, TokenState, issue_token_request::Expiry},
    store::{Purged, Store},
};

use crate::support::{
    Actor, Backend, Database, TestServer,
    calls::{service_request, span},
    issue_request,
    wait::until,
};

const DAY: Duration = Duration::from_hours(24);
const STATES: [TokenState; 4] = [TokenState::Active, TokenState::Expired, TokenState::Revoked, TokenState::Suspended];

/// Opens the database that a server has just ended on; the last of its tasks
/// may hold SQLite's lock a moment longer.
pub(crate) async fn open(database: &Database) -> Store {
    let config = database.settings(None).store_config().unwrap();
    let mut opened = None;
    until("the database is free", async || {
        opened = Store::open(config.clone()).await.ok();
        opened.is_some()
    })
    .await;
    opened.unwrap()
}

async fn labels(admin: &Actor, account: &str) -> Vec<String> {
    let tokens = admin.tokens_of(account, &STATES).await;
    let mut labels: Vec<_> = tokens.into_iter().map(|token| token.label).collect();
    labels.sort();
    labels
}

on_both_databases!(what_ended_is_removed_and_what_lives_stays, the_log_loses_only_a_prefix);

async fn what_ended_is_removed_and_what_lives_stays(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;

    let revoked = admin.issue("ada", "revoked", &[]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let short = IssueTokenRequest {
        expiry: Some(Expiry::Ttl(span(Duration::from_millis(1)))),
        ..issue_request("ada", "expired", &[])
    };
    admin.try_issue(short).await.unwrap();
    until("it has expired", async || admin.tokens_of("ada", &[TokenState::Expired]).await.len() == 1).await;
    let live = admin.issue("ada", "live", &[]).await;
    admin.issue("grace", "ended with all", &[]).await;
    admin.revoke_all("grace", RevocationReason::Compromised, false).await.unwrap();
    let later = admin.issue("grace", "issued since", &[]).await;
    let service = admin.create_service(service_request("billing", &[ServiceRole::Auditor])).await.unwrap();
    let rotated = admin.rotate_service(&service.credential.credential_id, Duration::ZERO).await.unwrap();
    let ended = admin.create_service(service_request("reports", &[ServiceRole::Auditor])).await.unwrap();
    admin.revoke_service(&ended.credential.credential_id).await.unwrap();
    assert_eq!(labels(&admin, "ada").await, ["expired", "live", "revoked"]);
    assert_eq!(labels(&admin, "grace").await, ["ended with all", "issued since"]);
    server.end().await;

    let store = open(&database).await;
    assert_eq!(store.purge(DAY, DAY).await.unwrap(), Purged::default(), "none of it is a day old");
    let purged = store.purge(Duration::ZERO, DAY).await.unwrap();
    assert_eq!(purged, Purged { credentials: 4, secrets: 1, changes: 0, signing_keys: 0 });
    assert_eq!(store.purge(Duration::ZERO, DAY).await.unwrap(), Purged::default(), "once is enough");
    drop(store);
    database.assert_whole().await;
    assert_eq!(database.count("secrets").await, database.count("credentials").await);
    let trail = "(SELECT DISTINCT action FROM audit_events WHERE action IN ('credential.purge', 'secret.purge')) t";
    assert_eq!(database.count(trail).await, 2);

    let settings = database.settings(None);
    open(&database).await;
    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    assert_eq!(labels(&admin, "ada").await, ["live"]);
    assert_eq!(labels(&admin, "grace").await, ["issued since"]);
    for secret in [&live.secret, &later.secret] {
        assert!(admin.introspect(secret).await.active);
    }
    assert!(server.actor(&rotated.secret).await.who_am_i().await.is_ok());
    server.end().await;
}

async fn the_log_loses_only_a_prefix(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    for number in 1..=6 {
        admin.issue("ada", &number.to_string(), &[]).await;
    }
    server.end().await;
    let head: u64 = database.scalar("SELECT revision FROM head").await.parse().unwrap();
    let log = async || {
        let rows =
            database.scalar("SELECT min(revision) || ' ' || max(revision) || ' ' || count(*) FROM changes").await;
        rows.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<u64>>()
    };
    let purge = async || {
        let store = open(&database).await;
        store.purge(DAY, DAY).await.unwrap().changes
    };

    // Clocks are read before the head is locked: times need not be in order.
    database.execute("UPDATE changes SET commit_time = 1 WHERE revision IN (2, 4)").await;
    assert_eq!(purge().await, 4);
    assert_eq!(log().await, [5, head, head - 4]);

    database.execute("UPDATE changes SET commit_time = 1").await;
    assert_eq!(purge().await, head - 5);
    assert_eq!(log().await, [head, head, 1], "the head's own row stays, whatever its age");
    assert_eq!(purge().await, 0);
}
