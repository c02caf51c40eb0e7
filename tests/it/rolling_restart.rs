//! Replicas behind a balancer are replaced one after another, at full load: no call
//! fails, and no verdict is wrong. The balancer is Envoy, set as
//! examples/gateways/envoy-replicas.yaml has it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use token_authority::proto::v1::InactiveReason;

use crate::support::{
    Actor, Backend, Database, Issued, Process,
    envoy::{Endpoints, Envoy},
    server::Seen,
    settings::set_patience,
    wait::until,
    wire::http_text,
};

const EXAMPLE: &str = include_str!("../../examples/gateways/envoy-replicas.yaml");
const CLUSTER: &str = "token-authority";
const REPLICAS: usize = 3;
/// Issue, ask and revoke.
const CHANGING: usize = 16;
/// Only ask.
const ASKING: usize = 16;

/// How a balancer gets to know that a replica ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It asks for its health, and has its address until it is gone.
    ByHealth,
    /// Its address is taken away first, as Kubernetes does.
    ByAddress,
}

/// Enough for Envoy's next question, by the example's interval and timeout.
const DELAY: &str = "3s";

/// The example, with these addresses in the place of its own.
fn example(endpoints: &Endpoints) -> String {
    let (before, rest) = EXAMPLE.split_once("      cluster_type:\n").expect("where addresses come from");
    let (_, after) = rest.split_once("      lb_policy:").expect("what comes after them");
    let discovery = format!("      type: EDS\n      eds_cluster_config: {}\n", endpoints.source());
    assert_eq!(before.matches("port_value: 50050").count(), 1);
    let before = before.replace("port_value: 50050", "port_value: 0");
    format!("{before}{discovery}      lb_policy:{after}")
}

fn replica(database: &Database, told: Told) -> Process {
    Process::start_with(database, |command| {
        set_patience(command);
        command.env("TOKEN_AUTHORITY__LOG__FILTER", "info");
        if told == Told::ByHealth {
            command.env("TOKEN_AUTHORITY__SHUTDOWN__DELAY", DELAY);
        }
    })
}

/// What clients do until all is over.
struct Load {
    gateway: String,
    admin_token: String,
    /// Stays active.
    steady: String,
    /// The last token of each of those that change.
    watched: Vec<Mutex<Option<Arc<Watched>>>>,
    is_over: AtomicBool,
    calls: AtomicUsize,
    after_revocations: AtomicUsize,
}

struct Watched {
    issued: Issued,
    is_revoked: AtomicBool,
}

impl Load {
    /// A client with a connection of its own.
    async fn client(&self) -> Actor {
        Actor::connect(&self.gateway, &self.admin_token, Seen::default()).await
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Issues, asks, revokes, and asks again.
    async fn change(&self, number: usize) {
        let client = self.client().await;
        let account = format!("account-{number}");
        while !self.is_over() {
            let issued = client.issue(&account, "rolling", &[]).await;
            let watched = Arc::new(Watched { issued, is_revoked: AtomicBool::new(false) });
            *self.watched[number].lock().unwrap() = Some(watched.clone());
            let secret = &watched.issued.secret;
            assert!(client.introspect(secret).await.active, "a new token is turned away");
            client.revoke(&watched.issued.token.token_id).await.expect("it is revoked");
            watched.is_revoked.store(true, Ordering::SeqCst);
            let answer = client.introspect(secret).await;
            assert_eq!(answer.inactive_reason(), InactiveReason::Revoked, "{answer:?}");
            self.calls.fetch_add(4, Ordering::Relaxed);
        }
    }

    /// Asks about what others issue and revoke.
    async fn ask(&self, mut number: usize) {
        let client = self.client().await;
        while !self.is_over() {
            assert!(client.introspect(&self.steady).await.active, "a good token is turned away");
            self.calls.fetch_add(1, Ordering::Relaxed);
            number = (number + 1) % CHANGING;
            let watched = self.watched[number].lock().unwrap().clone();
            if let Some(watched) = watched {
                let was_revoked = watched.is_revoked.load(Ordering::SeqCst);
                let answer = client.introspect(&watched.issued.secret).await;
                self.calls.fetch_add(1, Ordering::Relaxed);
                if was_revoked {
                    assert!(!answer.active, "a revoked token is let in");
                    self.after_revocations.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits until clients made so many calls more.
    async fn goes_on(&self, calls: usize) {
        let before = self.calls.load(Ordering::Relaxed);
        until("clients go on", async || self.calls.load(Ordering::Relaxed) >= before + calls).await;
    }
}

/// How many verdicts a server has given.
async fn verdicts(server: &Process) -> f64 {
    let http = server.http;
    let (_, told) = tokio::task::spawn_blocking(move || http_text(http, "/metrics")).await.unwrap();
    let counts = told.lines().filter(|line| line.starts_with("token_authority_verdicts_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn addresses(servers: &[Process]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.grpc).collect()
}

/// Replaces the first of the servers by a new one, which comes last.
async fn replace_first(servers: &mut Vec<Process>, new: Process, told: Told, envoy: &Envoy, endpoints: &Endpoints) {
    servers.push(new);
    let all = addresses(servers);
    endpoints.set(&all);
    until("the new one is sent calls", async || envoy.sends_to(CLUSTER, &all)).await;

    let old = servers.remove(0);
    let others = addresses(servers);
    if told == Told::ByAddress {
        endpoints.set(&others);
        until("the old one is sent no more", async || envoy.sends_to(CLUSTER, &others)).await;
    }
    let ended = tokio::task::spawn_blocking(move || {
        let status = old.terminate();
        assert!(status.success(), "{status}");
    });
    ended.await.unwrap();
    endpoints.set(&others);
}

async fn replace_all(told: Told) {
    let database = Backend::Postgres.database();
    let mut servers = vec![replica(&database, told)];
    while servers.len() < REPLICAS {
        servers.push(replica(&database.replica(), told));
    }
    let endpoints = Endpoints::new(CLUSTER, &addresses(&servers));
    let envoy = Envoy::start(&example(&endpoints)).await;
    until("all are sent calls", async || envoy.sends_to(CLUSTER, &addresses(&servers))).await;

    let gateway = format!("http://{}", envoy.address("token-authority"));
    let admin_token = database.admin_token();
    let steady =
        Actor::connect(&gateway, &admin_token, Seen::default()).await.issue("steady", "steady", &[]).await.secret;
    let load = Arc::new(Load {
        gateway,
        admin_token,
        steady,
        watched: (0..CHANGING).map(|_| Mutex::default()).collect(),
        is_over: AtomicBool::new(false),
        calls: AtomicUsize::new(0),
        after_revocations: AtomicUsize::new(0),
    });
    let clients: Vec<_> = (0..CHANGING + ASKING)
        .map(|number| {
            let load = load.clone();
            tokio::spawn(
                async move { if number < CHANGING { load.change(number).await } else { load.ask(number).await } },
            )
        })
        .collect();

    load.goes_on(200).await;
    for _ in 0..REPLICAS {
        let data = database.replica();
        let new = tokio::task::spawn_blocking(move || replica(&data, told)).await.unwrap();
        replace_first(&mut servers, new, told, &envoy, &endpoints).await;
        load.goes_on(200).await;
    }
    load.is_over.store(true, Ordering::Relaxed);
    for client in join_all(clients).await {
        client.expect("no call failed, and no verdict was wrong");
    }

    for server in &servers {
        assert!(verdicts(server).await > 0.0, "each of the new ones answers calls");
    }
    let [calls, after] = [&load.calls, &load.after_revocations].map(|count| count.load(Ordering::Relaxed));
    assert!(after > 0, "some asked after a revocation");
    let retries = envoy.count(&format!("cluster.{CLUSTER}.upstream_rq_retry"));
    eprintln!("{calls} calls, {after} of them after a revocation; the balancer sent {retries} again");
    for server in servers {
        assert!(server.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_where_the_balancer_asks_for_health() {
    replace_all(Told::ByHealth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_where_the_balancer_is_told_addresses() {
    replace_all(Told::ByAddress).await;
}
