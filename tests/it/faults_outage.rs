//! PostgreSQL goes away and comes back: until then nobody is let in and nobody
//! is turned away, and the service says that it cannot answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use token_authority::{client::CallError, grpc::SERVICES, proto::v1::IntrospectRequest, settings::Span};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{
    Actor, Backend, Database, TestServer, assert_refused, postgres::Postgres, wait::until, wire::http_get,
};

const WORKERS: usize = 8;

const READY: &str = "token_authority_ready";
const UNCONFIRMED: &str = r#"token_authority_confirmation_duration_seconds_count{outcome="failed"}"#;
const FAILED_CALLS: &str = concat!(
    r#"rpc_server_call_duration_seconds_count{rpc_method="token_authority.v1.TokenAuthorityService/Introspect","#,
    r#"rpc_response_status_code="UNAVAILABLE",rpc_system_name="grpc"}"#
);

/// How calls under load were answered.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    active: AtomicUsize,
    unavailable: AtomicUsize,
}

impl Load {
    /// Introspects a good token again and again.
    async fn run(&self, actor: &Actor, secret: &str) {
        while !self.is_over.load(Ordering::Relaxed) {
            let request = IntrospectRequest { token: secret.to_owned(), ..Default::default() };
            match actor.try_introspect(request).await {
                Ok(answer) => {
                    assert!(answer.active, "a good token is turned away");
                    self.active.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    assert_unavailable(&error);
                    self.unavailable.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn assert_unavailable(error: &CallError) {
    assert_eq!((error.code, error.reason.as_deref()), (Code::Unavailable, Some("DATABASE_UNAVAILABLE")), "{error:?}");
    assert!(error.retry_after.is_some(), "it says when to try again: {error:?}");
}

/// What the health check, which takes no credential, says of each service and
/// of the server as a whole.
async fn health(channel: &Channel) -> Vec<ServingStatus> {
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status()
    };
    join_all(SERVICES.into_iter().chain([""]).map(check)).await
}

async fn assert_health(server: &TestServer, status: ServingStatus, readyz: u16) {
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    until(status.as_str_name(), async || health(&channel).await.iter().all(|told| *told == status)).await;
    let http = server.server.http_address();
    let get = |path: &'static str| tokio::task::spawn_blocking(move || http_get(http, path));
    assert_eq!(get("/readyz").await.unwrap(), readyz);
    assert_eq!(get("/healthz").await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_is_gone_nobody_is_turned_away() {
    let cluster = Arc::new(Postgres::start());
    let database = Database::on(&cluster);
    let mut settings = database.settings(None);
    settings.database.acquire_timeout = Span(Duration::from_secs(1));
    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert_health(&server, ServingStatus::Serving, 200).await;

    let load = Load::default();
    let outage = async {
        until("there is load", async || load.active.load(Ordering::Relaxed) > WORKERS).await;
        let stopped = cluster.clone();
        tokio::task::spawn_blocking(move || stopped.stop()).await.unwrap();
        assert_health(&server, ServingStatus::NotServing, 503).await;
        assert_eq!(server.told().await.count(READY), 0);
        let revocation = admin.revoke(&issued.token.token_id).await;
        assert_unavailable(&revocation.expect_err("it cannot be revoked now"));
        assert_refused(
            server.actor("svc_nonsense").await.who_am_i().await,
            Code::Unauthenticated,
            "CREDENTIAL_INVALID",
        );

        let started = cluster.clone();
        tokio::task::spawn_blocking(move || started.start_again()).await.unwrap();
        assert_health(&server, ServingStatus::Serving, 200).await;
        let before = load.active.load(Ordering::Relaxed);
        until("there are answers again", async || load.active.load(Ordering::Relaxed) > before).await;
        load.is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all((0..WORKERS).map(|_| load.run(&admin, &issued.secret))), outage);
    let unavailable = load.unavailable.load(Ordering::Relaxed) as u64;
    assert!(unavailable > 0, "the outage was noticed");
    let told = server.told().await;
    assert_eq!(told.count(READY), 1);
    assert_eq!(told.count(FAILED_CALLS), unavailable);
    assert!(told.count(UNCONFIRMED) > 0, "{}", told.text);

    admin.revoke(&issued.token.token_id).await.unwrap();
    assert!(!admin.introspect(&issued.secret).await.active);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_is_healthy() {
    let server = TestServer::start(Backend::Sqlite).await;
    assert_health(&server, ServingStatus::Serving, 200).await;
    server.end().await;
}
