//! Certificates are replaced while the server runs: from the next connection on,
//! without a call that fails.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use token_authority::settings::CertificateRole;

use crate::support::{
    Backend, TestServer, log,
    pki::{Authority, Files, Pair, caller, told_of_call},
    wait::until,
};

const CLIENTS: usize = 8;
const GATEWAY: &str = "spiffe://example.org/gateway";

/// Files behind links to a directory that is itself a link, which is swapped: as
/// Kubernetes has them.
struct Mounted(PathBuf);

impl Mounted {
    fn new(directory: &Path, pair: &Pair) -> Self {
        let mounted = Self(directory.join("mounted"));
        fs::create_dir(&mounted.0).unwrap();
        mounted.swap(pair);
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), mounted.0.join(file)).unwrap();
        }
        mounted
    }

    fn swap(&self, pair: &Pair) {
        let version = self.0.join(format!("..{}", uuid::Uuid::new_v4()));
        fs::create_dir(&version).unwrap();
        Files(version.clone()).write(pair);
        symlink(&version, self.0.join("..data_tmp")).unwrap();
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_use_a_new_certificate_and_no_call_fails() {
    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    let (first, second) = (authority.server(), authority.server());
    let mounted = Mounted::new(database.data_dir(), &first);
    let mut settings = database.settings(None);
    Files(mounted.0.clone()).set(&mut settings);
    let server = TestServer::on(database, &settings).await;
    let grpc = server.server.grpc_address();
    let (admin, tls) = (server.database.admin_token(), authority.tls(None));
    let steady = caller(grpc, Some(&admin), &tls, &server.seen).await.unwrap();

    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (steady, admin, tls, seen) = (steady.clone(), admin.clone(), tls.clone(), server.seen.clone());
            let (stop, calls) = (stop.clone(), calls.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let newcomer = caller(grpc, Some(&admin), &tls, &seen).await.expect("it is let in");
                    for caller in [&newcomer, &steady] {
                        caller.who_am_i().await.expect("it is answered");
                        calls.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    until("there is load", async || calls.load(Ordering::SeqCst) > 10 * CLIENTS).await;
    assert_eq!(authority.shown(grpc, None).await, first.der());
    mounted.swap(&second);
    until("another is shown", async || authority.shown(grpc, None).await == second.der()).await;
    let so_far = calls.load(Ordering::SeqCst);
    until("the load goes on", async || calls.load(Ordering::SeqCst) > so_far + 10 * CLIENTS).await;
    stop.store(true, Ordering::SeqCst);
    for client in join_all(load).await {
        client.unwrap();
    }
    assert_eq!(authority.shown(grpc, None).await, second.der());
    until("both ports use it", async || {
        let mut config = authority.config(None);
        config.alpn_protocols.clear();
        authority.shown_to(server.server.http_address(), config).await == second.der()
    })
    .await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_told_and_the_former_stays() {
    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    let first = authority.server();
    let files = Files::new(database.data_dir(), &first, None);
    let mut settings = database.settings(None);
    files.set(&mut settings);
    settings.http.tls = token_authority::settings::Tls::default();
    let server = TestServer::on(database, &settings).await;
    let grpc = server.server.grpc_address();
    let told =
        async || server.told().await.count(r#"token_authority_certificate_expire_time_seconds{listener="grpc"}"#);
    assert_eq!(told().await, first.expire_time());

    let mixed = Pair { key: authority.server().key, ..authority.server() };
    for (bad, problem) in [(mixed, "does not fit the certificate"), (authority.expired_server(), "has expired")] {
        let mark = log::mark();
        files.write(&bad);
        until("it is told", async || {
            let log = String::from_utf8(log::since(mark)).unwrap();
            let is_told = |line: &str| line.contains("WARN") && line.contains("those read before stay in use");
            log.lines().any(|line| {
                is_told(line) && line.contains(problem) && line.contains("tls.crt") != line.contains("tls.key")
            })
        })
        .await;
        assert_eq!(authority.shown(grpc, None).await, first.der());
    }
    let second = authority.server_for(7_200);
    files.write(&second);
    until("one in order is shown", async || authority.shown(grpc, None).await == second.der()).await;
    assert_eq!(told().await, second.expire_time());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_an_authority_that_is_replaced_are_let_in_no_longer() {
    let (authority, old, new) = (Authority::new("servers"), Authority::new("old"), Authority::new("new"));
    let database = Backend::Sqlite.database();
    let files = Files::new(database.data_dir(), &authority.server(), Some(&old));
    let mut settings = database.settings(None);
    files.set(&mut settings);
    settings.grpc.certificate_roles =
        vec![CertificateRole { san: GATEWAY.to_owned(), roles: vec!["admin".to_owned()] }];
    let server = TestServer::on(database, &settings).await;
    let grpc = server.server.grpc_address();
    let (before, after) = (authority.tls(Some(&old.client(&[GATEWAY]))), authority.tls(Some(&new.client(&[GATEWAY]))));
    let connected = caller(grpc, None, &before, &server.seen).await.unwrap();
    connected.who_am_i().await.unwrap();
    let bearer = caller(grpc, Some(&server.database.admin_token()), &authority.tls(None), &server.seen).await.unwrap();

    files.write_clients(&new);
    // Its connection ends, and it is not let in again.
    until("it is refused", async || connected.who_am_i().await.is_err()).await;
    let error = connected.who_am_i().await.unwrap_err();
    assert!(told_of_call(&error).contains("UnknownCA"), "{}", told_of_call(&error));
    let newcomer = caller(grpc, None, &after, &server.seen).await.unwrap();
    assert_eq!(newcomer.who_am_i().await.unwrap().certificate_san, GATEWAY);
    bearer.who_am_i().await.expect("who showed no certificate goes on");
    server.end().await;
}
