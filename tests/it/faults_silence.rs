//! A network that swallows what is sent to PostgreSQL: the service says that it
//! cannot answer, and recovers by itself once the network has.

use std::time::Duration;

use futures_util::future::join_all;
use token_authority::{
    proto::v1::IntrospectRequest,
    settings::{DatabaseUrl, Span},
};
use tonic::Code;

use crate::support::{Backend, TestServer, assert_refused, gate::Gate, swallow::Swallow, wait::until};

const TIMED_OUT: &str = r#"token_authority_database_work_total{kind="change",outcome="timed_out"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_is_unavailable_and_then_forgotten() {
    let database = Backend::Postgres.database();
    let mut settings = database.settings(None);
    let url = database.url().expect("PostgreSQL has one").to_owned();
    let (before, port, after) = taken_apart(&url);
    let network = Swallow::before(port).await;
    settings.database.url = Some(DatabaseUrl::new(format!("{before}{}{after}", network.port())));
    settings.database.acquire_timeout = Span(Duration::from_secs(1));
    settings.database.lock_timeout = Span(Duration::from_secs(5));
    settings.database.statement_timeout = Span(Duration::from_millis(5_500));
    settings.database.call_timeout = Span(Duration::from_secs(6));
    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "kept", &["read"]).await;
    let ask = async || {
        let request = IntrospectRequest { token: issued.secret.clone(), ..Default::default() };
        admin.try_introspect(request).await
    };
    assert!(ask().await.unwrap().active);

    // One change is on its way, and is not told that it waited too long.
    let waiting = admin.issue("ben", "waits", &[]).await.token.token_id;
    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ben");
    gate.is_reached().await;
    let (actor, id) = (admin.clone(), waiting.clone());
    let change = tokio::spawn(async move { actor.revoke(&id).await });
    until("it waits", async || gate.backends("wait_event_type = 'Lock'") == 1).await;
    network.swallow(true);
    // More than there are connections, so that none is left that was not used.
    for answer in join_all((0..32).map(|_| ask())).await {
        let error = answer.expect_err("nothing can be known");
        assert_eq!(error.code, Code::Unavailable, "{error:?}");
        assert!(error.retry_after.is_some(), "{error:?}");
    }
    assert_refused(change.await.unwrap(), Code::Unavailable, "DATABASE_UNAVAILABLE");
    assert!(server.told().await.count(TIMED_OUT) > 0, "it is told");
    gate.open();
    lock.join().unwrap();
    network.swallow(false);
    until("it answers again", async || ask().await.is_ok_and(|answer| answer.active)).await;
    for id in [&issued.token.token_id, &waiting] {
        until("changes go on as well", async || admin.revoke(id).await.is_ok()).await;
    }
    server.end().await;
}

/// What stands before and after a URL's port, and the port.
fn taken_apart(url: &str) -> (&str, u16, &str) {
    let at = url.rfind('@').expect("it names a user");
    let colon = at + url[at..].find(':').expect("it names a port") + 1;
    let slash = colon + url[colon..].find('/').expect("it names a database");
    (&url[..colon], url[colon..slash].parse().expect("a number"), &url[slash..])
}
