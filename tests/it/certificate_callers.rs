//! Services that identify themselves by a client certificate: its names have
//! roles by the settings, it is judged on each call, and records go by it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use token_authority::{
    client::CallError,
    proto::v1::{IssueTokenRequest, ServiceRole, WhoAmIResponse},
    settings::{CertificateRole, Settings},
};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    gate::Gate,
    issue_request, log,
    pki::{Authority, Files, Pair, caller},
    settings::be_patient,
    sign_in::{PASSWORD, by_password},
    wait::until,
};

const GATEWAY: &str = "spiffe://example.org/gateway";
const ISSUER: &str = "issuer.example.org";

struct Site {
    server: TestServer,
    authority: Authority,
    clients: Authority,
}

/// A server where some names have roles.
async fn start(backend: Backend, roles: &[(&str, &[&str])], change: impl FnOnce(&mut Settings)) -> Site {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let database = backend.database();
    let files = Files::new(database.data_dir(), &authority.server(), Some(&clients));
    let mut settings = database.settings(None);
    files.set(&mut settings);
    settings.grpc.certificate_roles = roles
        .iter()
        .map(|(san, roles)| CertificateRole {
            san: (*san).to_owned(),
            roles: roles.iter().map(ToString::to_string).collect(),
        })
        .collect();
    change(&mut settings);
    let server = TestServer::on(database, &settings).await;
    Site { server, authority, clients }
}

impl Site {
    /// Whoever shows a certificate with these names.
    async fn named(&self, names: &[&str]) -> Actor {
        self.showing(&self.clients.client(names), None).await
    }

    async fn showing(&self, pair: &Pair, credential: Option<&str>) -> Actor {
        let tls = self.authority.tls(Some(pair));
        caller(self.server.server.grpc_address(), credential, &tls, &self.server.seen).await.unwrap()
    }

    async fn admin(&self) -> Actor {
        let admin = self.server.database.admin_token();
        let tls = self.authority.tls(None);
        caller(self.server.server.grpc_address(), Some(&admin), &tls, &self.server.seen).await.unwrap()
    }
}

on_both_databases!(a_name_has_the_roles_of_the_settings_and_records_go_by_it, what_it_does_is_retried_by_its_name);

async fn a_name_has_the_roles_of_the_settings_and_records_go_by_it(backend: Backend) {
    let roles: [(&str, &[&str]); 2] = [(GATEWAY, &["introspector"]), (ISSUER, &["issuer", "login"])];
    let site = start(backend, &roles, |_| {}).await;
    site.admin().await.put_user("ada", PASSWORD).await;
    let (gateway, issuer) = (site.named(&[GATEWAY]).await, site.named(&["ISSUER.Example.org"]).await);

    let WhoAmIResponse { account, credential_id, label, service_roles, expire_time, certificate_san, scopes: _ } =
        gateway.who_am_i().await.unwrap();
    assert_eq!((credential_id.as_str(), label.as_str(), certificate_san.as_str()), ("", GATEWAY, GATEWAY));
    assert_eq!(service_roles, [i32::from(ServiceRole::Introspector)]);
    assert!(account.is_none() && expire_time.is_some());

    assert_refused(gateway.try_issue(issue_request("ada", "x", &[])).await, Code::PermissionDenied, "NOT_PERMITTED");
    let issued = issuer.issue("ada", "by certificate", &[]).await;
    let refused = issuer.try_introspect(crate::support::calls::question(&issued.secret, &[])).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_PERMITTED");
    for (secret, active) in [(issued.secret.as_str(), true), ("dt_junk", false), (&issued.secret, true)] {
        assert_eq!(gateway.introspect(secret).await.active, active);
    }
    issuer.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    issuer.revoke(&issued.token.token_id).await.unwrap();
    assert!(!gateway.introspect(&issued.secret).await.active);

    let made = format!("credentials WHERE created_by = 'certificate:{ISSUER}'");
    assert_eq!(site.server.database.count(&made).await, 2);
    for action in ["token.issue", "token.revoke", "session.sign-in-desktop"] {
        let event = format!("audit_events WHERE actor = 'certificate:{ISSUER}' AND action = '{action}'");
        assert_eq!(site.server.database.count(&event).await, 1, "{action}");
    }
    site.server.end().await;
}

async fn what_it_does_is_retried_by_its_name(backend: Backend) {
    let roles: [(&str, &[&str]); 2] = [(GATEWAY, &["issuer"]), (ISSUER, &["issuer"])];
    let site = start(backend, &roles, |_| {}).await;
    let request = || IssueTokenRequest {
        request_id: "6f1c2d1e-6f0e-4d0e-8a53-0b8a8f4f9f10".to_owned(),
        ..issue_request("ada", "once", &[])
    };
    site.named(&[GATEWAY]).await.try_issue(request()).await.unwrap();
    // A renewed certificate is another, of the same service.
    let renewed = site.named(&["other.example.org", GATEWAY]).await;
    let repeated = renewed.try_issue(request()).await;
    assert_eq!(repeated.unwrap_err().reason.as_deref(), Some("REQUEST_ID_REUSED"));
    site.named(&[ISSUER]).await.try_issue(request()).await.expect("request ids are each service's own");
    site.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_has_so_many_calls_in_flight_whatever_certificates_show_it() {
    const MAX_CALLS: usize = 3;

    let bounded = |settings: &mut Settings| {
        be_patient(settings);
        settings.grpc.max_calls_per_caller = MAX_CALLS;
    };
    let roles: [(&str, &[&str]); 2] = [(GATEWAY, &["issuer", "introspector"]), (ISSUER, &["introspector"])];
    let site = start(Backend::Postgres, &roles, bounded).await;
    let issued = site.named(&[GATEWAY]).await.issue("ada", "laptop", &[]).await;
    // A certificate of its own each, as replicas of one service have.
    let replicas = [site.named(&[GATEWAY]).await, site.named(&[GATEWAY]).await];

    let gate = Gate::closed(&site.server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let refused = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..2 * MAX_CALLS)
        .map(|number| {
            let (replica, refused) = (replicas[number % 2].clone(), refused.clone());
            tokio::spawn(async move {
                let result = replica.try_issue(issue_request("ada", "in flight", &[])).await;
                refused.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
                result
            })
        })
        .collect();
    until("the surplus is refused", async || refused.load(Ordering::SeqCst) == MAX_CALLS).await;
    let question = || crate::support::calls::question(&issued.secret, &[]);
    for replica in &replicas {
        assert_refused(replica.try_introspect(question()).await, Code::ResourceExhausted, "TOO_MANY_CALLS");
    }
    let other = site.named(&[ISSUER]).await;
    for _ in 0..2 * MAX_CALLS {
        assert!(other.introspect(&issued.secret).await.active, "another name has places of its own");
    }
    gate.open();
    lock.join().unwrap();
    let mut minted = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => minted += 1,
            refused => {
                assert_refused(refused, Code::ResourceExhausted, "TOO_MANY_CALLS");
            }
        }
    }
    assert_eq!(minted, MAX_CALLS);
    assert!(replicas[0].introspect(&issued.secret).await.active);
    site.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_a_header_it_alone_decides() {
    let site = start(Backend::Sqlite, &[(GATEWAY, &["admin"])], |_| {}).await;
    let pair = site.clients.client(&[GATEWAY]);
    let issued = site.showing(&pair, None).await.issue("ada", "holder", &[]).await;

    let holder = site.showing(&pair, Some(&issued.secret)).await;
    let told = holder.who_am_i().await.unwrap();
    assert_eq!((told.label.as_str(), told.certificate_san.as_str()), ("holder", ""));
    assert_refused(holder.try_issue(issue_request("bob", "x", &[])).await, Code::PermissionDenied, "NOT_PERMITTED");

    let wrong = site.showing(&pair, Some("svc_wrong")).await;
    assert_refused(wrong.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    let question = crate::support::calls::question(&issued.secret, &[]);
    assert_refused(wrong.try_introspect(question).await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    site.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_without_roles_is_nobodys() {
    let roles: [(&str, &[&str]); 2] = [(GATEWAY, &["admin"]), (ISSUER, &["admin"])];
    let site = start(Backend::Sqlite, &roles, |_| {}).await;
    let mark = log::mark();
    for names in [
        &["spiffe://example.org/gateway/"][..],
        &["spiffe://example.org/Gateway"],
        &["*.example.org"],
        &["a.issuer.example.org"],
        &["127.0.0.1"],
        &[],
    ] {
        let stranger = site.named(names).await;
        assert_refused(stranger.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_REQUIRED");
        let question = crate::support::calls::question("dt_x", &[]);
        assert_refused(stranger.try_introspect(question).await, Code::Unauthenticated, "CREDENTIAL_REQUIRED");
    }
    let log = String::from_utf8(log::since(mark)).unwrap();
    let reason = log.lines().find(|line| line.contains("no name of the client certificate has a role"));
    assert!(reason.is_some_and(|line| line.contains("spiffe://example.org/gateway/")), "{log}");
    site.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_signing_in_is_open_a_name_without_roles_may_as_anybody_may() {
    let open = |settings: &mut Settings| settings.sign_in.open = true;
    let site = start(Backend::Sqlite, &[(GATEWAY, &["login"])], open).await;
    site.admin().await.put_user("ada", PASSWORD).await;
    for (names, actor) in
        [(&["other.example.org"][..], "anybody"), (&[GATEWAY], "certificate:spiffe://example.org/gateway")]
    {
        site.named(names).await.sign_in("ada").await;
        let event = format!("audit_events WHERE action = 'session.sign-in' AND actor = '{actor}'");
        assert_eq!(site.server.database.count(&event).await, 1, "{actor}");
    }
    site.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_ends_on_a_connection_that_goes_on() {
    let site = start(Backend::Postgres, &[(GATEWAY, &["admin"])], |_| {}).await;
    let short = site.clients.client_for(&[GATEWAY], 6);
    // Both open their connections while it is good.
    let (asks, issues) = (site.showing(&short, None).await, site.showing(&short, None).await);
    let issued = issues.issue("ada", "while it is good", &[]).await;
    assert!(asks.introspect(&issued.secret).await.active);

    let is_refused = |error: &CallError| error.reason.as_deref() == Some("CREDENTIAL_INVALID");
    let question = || crate::support::calls::question(&issued.secret, &[]);
    until("it has ended", async || asks.try_introspect(question()).await.is_err_and(|error| is_refused(&error))).await;
    assert_refused(issues.try_issue(issue_request("ada", "x", &[])).await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    site.server.end().await;
}
