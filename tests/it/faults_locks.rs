//! Changes that wait for a lock keep nobody waiting who only asks.

use token_authority::proto::v1::ServiceRole;

use crate::support::{Backend, TestServer, gate::Gate, issue_request, settings::be_patient, wait::until};

/// More than there are connections.
const CHANGES: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn introspection_goes_on_while_changes_wait_for_a_lock() {
    let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
    let admin = server.admin().await;
    let issued = admin.issue("grace", "laptop", &[]).await;
    admin.issue("ada", "laptop", &[]).await;
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;

    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let changes: Vec<_> = (0..CHANGES)
        .map(|_| {
            let admin = admin.clone();
            tokio::spawn(async move { admin.try_issue(issue_request("ada", "waits", &[])).await })
        })
        .collect();
    let most = server.database.settings(None).database.max_connections / 2;
    until("all that may change something wait", async || gate.backends("wait_event_type = 'Lock'") == u64::from(most))
        .await;

    for _ in 0..10 {
        assert!(gateway.introspect(&issued.secret).await.active);
    }
    assert_eq!(admin.tokens_of("ada", &[]).await.len(), 1, "the changes still wait");
    gate.open();
    lock.join().unwrap();
    for change in changes {
        change.await.unwrap().expect("it waited no longer than it may");
    }
    server.end().await;
}
