//! A network that swallows what is sent to PostgreSQL: the service says that it
//! cannot answer, and recovers by itself once the network has.

use std::time::Duration;

use futures_util::future::join_all;
use token_authority::{
    proto::v1::IntrospectRequest,
    settings::{DatabaseUrl, Span},
};
use tonic::Code;

use crate::support::{Backend, TestServer, swallow::Swallow, wait::until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_is_unavailable_and_then_forgotten() {
    let database = Backend::Postgres.database();
    let mut settings = database.settings(None);
    let url = database.url().expect("PostgreSQL has one").to_owned();
    let (before, port, after) = taken_apart(&url);
    let network = Swallow::before(port).await;
    settings.database.url = Some(DatabaseUrl::new(format!("{before}{}{after}", network.port())));
    settings.database.acquire_timeout = Span(Duration::from_secs(1));
    settings.database.lock_timeout = Span(Duration::from_millis(500));
    settings.database.statement_timeout = Span(Duration::from_secs(1));
    settings.database.call_timeout = Span(Duration::from_secs(2));
    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "kept", &["read"]).await;
    let ask = async || {
        let request = IntrospectRequest { token: issued.secret.clone(), ..Default::default() };
        admin.try_introspect(request).await
    };
    assert!(ask().await.unwrap().active);

    network.swallow(true);
    // More than there are connections, so that none is left that was not used.
    for answer in join_all((0..32).map(|_| ask())).await {
        let error = answer.expect_err("nothing can be known");
        assert_eq!(error.code, Code::Unavailable, "{error:?}");
        assert!(error.retry_after.is_some(), "{error:?}");
    }
    network.swallow(false);
    until("it answers again", async || ask().await.is_ok_and(|answer| answer.active)).await;
    assert!(admin.revoke(&issued.token.token_id).await.is_ok(), "changes go on as well");
    server.end().await;
}

/// What stands before and after a URL's port, and the port.
fn taken_apart(url: &str) -> (&str, u16, &str) {
    let at = url.rfind('@').expect("it names a user");
    let colon = at + url[at..].find(':').expect("it names a port") + 1;
    let slash = colon + url[colon..].find('/').expect("it names a database");
    (&url[..colon], url[colon..slash].parse().expect("a number"), &url[slash..])
}
