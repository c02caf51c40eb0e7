//! `POST /oauth2/introspect`, as RFC 7662 has it: who may ask, what is answered,
//! and that whatever is inactive looks alike.

use std::time::Duration;

use serde_json::{Value, json};
use token_authority::{
    proto::v1::{Account, IssueTokenRequest, ServiceRole, issue_token_request::Expiry},
    settings::{CertificateRole, Span},
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::{service_request, span, texts},
    forge,
    gate::Gate,
    http::{Http, Reply, basic, bearer},
    issue_request,
    pki::{self, Authority, Files},
    sign_in::{PASSWORD, by_account},
    wait::until,
};

const PATH: &str = "/oauth2/introspect";

on_both_databases!(
    an_active_token_is_told_in_the_members_of_the_rfc,
    what_is_inactive_looks_alike,
    what_was_revoked_is_inactive_at_once,
    a_caller_shows_its_credential_in_either_way,
);

async fn start(backend: Backend) -> (TestServer, Actor, Http, String) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin
        .put_account(Account {
            account_id: "ada-1".to_owned(),
            username: "Ada".to_owned(),
            roles: texts(&["owner", "staff"]),
            permissions: texts(&["read"]),
            ..Default::default()
        })
        .await;
    let caller = basic(&introspector(&server).await);
    let http = server.http();
    (server, admin, http, caller)
}

/// The credential of a service that may introspect.
async fn introspector(server: &TestServer) -> String {
    introspector_named(&server.admin().await, "resource server").await
}

async fn introspector_named(admin: &Actor, name: &str) -> String {
    service(admin, name, ServiceRole::Introspector).await
}

async fn service(admin: &Actor, name: &str, role: ServiceRole) -> String {
    admin.create_service(service_request(name, &[role])).await.unwrap().secret
}

fn form(members: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(members);
    form.finish()
}

async fn ask(http: &Http, caller: &str, token: &str) -> Reply {
    http.post_form(PATH, caller, &form(&[("token", token)])).await
}

async fn an_active_token_is_told_in_the_members_of_the_rfc(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    let request = IssueTokenRequest {
        expiry: Some(Expiry::Ttl(span(Duration::from_hours(1)))),
        ..issue_request("ada-1", "laptop", &["write", "read"])
    };
    let issued = admin.try_issue(request).await.unwrap();
    let reply = http.post_form(PATH, &caller, &form(&[("token", &issued.secret), ("token_type_hint", "pat")])).await;
    assert_eq!(reply.header("content-type"), "application/json");
    let (created, expires) = (issued.token.create_time.unwrap(), issued.token.expire_time.unwrap());
    let expected = json!({
        "active": true,
        "scope": "read write",
        "username": "Ada",
        "token_type": "Bearer",
        "iat": created.seconds,
        "exp": expires.seconds,
        "sub": "ada-1",
        "iss": "token-authority",
        "jti": issued.token.token_id,
        "kind": "personal",
        "label": "laptop",
        "roles": ["owner", "staff"],
    });
    assert_eq!(reply.ok(), expected);

    let bare = admin.issue("ben-1", "bare", &[]).await;
    let told = ask(&http, &caller, &bare.secret).await.ok();
    let absent = ["scope", "username", "roles", "plan"];
    assert!(absent.iter().all(|member| told.get(member).is_none()), "what there is none of is left out: {told}");

    let session = admin.sign_in_desktop(by_account("ada-1")).await.unwrap();
    assert_eq!(ask(&http, &caller, &session.secret).await.ok()["kind"], "desktop_session");
    admin.set_password("ada-1", PASSWORD).await.unwrap();
    let id_token = admin.sign_in("ada").await;
    let told = ask(&http, &caller, &id_token).await.ok();
    assert_eq!((&told["kind"], &told["scope"]), (&"web_session".into(), &"read".into()));
    server.end().await;
}

async fn what_is_inactive_looks_alike(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    let bound = IssueTokenRequest { allowed_cidrs: texts(&["10.0.0.0/8"]), ..issue_request("ada-1", "bound", &[]) };
    let bound = admin.try_issue(bound).await.unwrap();
    let revoked = admin.issue("ada-1", "revoked", &[]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let service = introspector_named(&admin, "another").await;
    admin.put_account(Account { account_id: "eve-1".to_owned(), suspended: false, ..Default::default() }).await;
    let suspended = admin.issue("eve-1", "suspended", &[]).await;
    let eve = Account { account_id: "eve-1".to_owned(), suspended: true, ..Default::default() };
    admin.update_account(eve, &["suspended"]).await.unwrap();

    let wrong = forge::wrong_secret(&bound.secret);
    let inactive: [(&str, &str); 7] = [
        (&revoked.secret, ""),
        (&suspended.secret, ""),
        (&service, ""),
        (&wrong, "10.0.0.1"),
        (&bound.secret, ""),
        (&bound.secret, "11.0.0.1"),
        ("junk \u{1F511}", ""),
    ];
    // The auditor and the admin, too, are told no reason here.
    for caller in [&caller, &basic(&server.database.admin_token())] {
        for (token, client_ip) in inactive {
            let reply = http.post_form(PATH, caller, &form(&[("token", token), ("client_ip", client_ip)])).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"active":false}"#), "{token}");
        }
    }
    let from_within = form(&[("token", &bound.secret), ("client_ip", "::ffff:10.1.2.3")]);
    assert_eq!(http.post_form(PATH, &caller, &from_within).await.ok()["active"], true);
    let said_by_a_header = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", caller.as_str()),
        ("x-forwarded-for", "10.1.2.3"),
    ];
    let reply = http.send("POST", PATH, &said_by_a_header, &form(&[("token", &bound.secret)])).await;
    assert_eq!(reply.ok()["active"], false, "no header says where a token was presented from");
    server.end().await;
}

async fn what_was_revoked_is_inactive_at_once(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    for _ in 0..20 {
        let issued = admin.issue("ada-1", "short", &[]).await;
        assert_eq!(ask(&http, &caller, &issued.secret).await.ok()["active"], true);
        admin.revoke(&issued.token.token_id).await.unwrap();
        assert_eq!(ask(&http, &caller, &issued.secret).await.ok(), json!({ "active": false }));
    }
    server.end().await;
}

async fn a_caller_shows_its_credential_in_either_way(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    let issued = admin.issue("ada-1", "laptop", &[]).await;
    let secret = introspector_named(&admin, "bearer").await;
    assert_eq!(ask(&http, &bearer(&secret), &issued.secret).await.ok()["active"], true);
    assert_eq!(ask(&http, &caller, &issued.secret).await.ok()["active"], true);

    let refused = ask(&http, &basic("junk"), &issued.secret).await;
    refused.assert_refused(401, "error", "invalid_client");
    assert_eq!(refused.challenges(), [r#"Basic realm="token-authority", charset="UTF-8""#]);
    let refused = ask(&http, &bearer("junk"), &issued.secret).await;
    refused.assert_refused(401, "error", "invalid_token");
    assert_eq!(refused.challenges(), [r#"Bearer realm="token-authority", error="invalid_token""#]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let refused = http.send("POST", PATH, &headers, &form(&[("token", &issued.secret)])).await;
    refused.assert_refused(401, "error", "invalid_client");
    assert_eq!(refused.challenges().len(), 2, "it may choose");

    let issuer = service(&admin, "issuer", ServiceRole::Issuer).await;
    ask(&http, &basic(&issuer), &issued.secret).await.assert_refused(403, "error", "unauthorized_client");
    let refused = ask(&http, &bearer(&issuer), &issued.secret).await;
    refused.assert_refused(403, "error", "insufficient_scope");
    assert_eq!(refused.challenges(), [r#"Bearer realm="token-authority", error="insufficient_scope""#]);
    ask(&http, &bearer(&issued.secret), &issued.secret).await.assert_refused(403, "error", "insufficient_scope");

    // One that ends is refused at once, whatever it asks.
    http.post_form("/oauth2/revoke", &bearer(&secret), &form(&[("token", &secret)])).await.assert_done();
    ask(&http, &bearer(&secret), &issued.secret).await.assert_refused(401, "error", "invalid_token");
    server.end().await;
}

/// Answers on SQLite come from memory, and need no database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_no_answer() {
    let server = TestServer::configured(Backend::Postgres, None, |settings| {
        settings.introspection.timeout = Span(Duration::from_millis(300));
    })
    .await;
    let admin = server.admin().await;
    let issued = admin.issue("ada-1", "laptop", &[]).await;
    let caller = basic(&introspector(&server).await);
    let http = server.http();
    assert_eq!(ask(&http, &caller, &issued.secret).await.ok()["active"], true);

    let gate = Gate::closed(&server.database);
    let held = gate.hold_head();
    until("nothing is confirmed any more", async || ask(&http, &caller, &issued.secret).await.status == 503).await;
    let reply = ask(&http, &caller, &issued.secret).await;
    reply.assert_refused(503, "error", "temporarily_unavailable");
    assert_eq!(reply.header("retry-after"), "1");
    gate.open();
    held.join().unwrap();
    until("it answers again", async || ask(&http, &caller, &issued.secret).await.status == 200).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_read_strictly() {
    let (server, admin, http, caller) = start(Backend::Sqlite).await;
    let issued = admin.issue("ada-1", "laptop", &[]).await;
    let token = issued.secret.as_str();
    for bad in [
        String::new(),
        "token=".to_owned(),
        format!("token={token}&token={token}"),
        format!("token={token}&client_ip=10.0.0.1&client_ip=10.0.0.2"),
        format!("token={token}&client_ip=localhost"),
        format!("token={token}&client_ip=10.0.0.1%2C10.0.0.2"),
        format!("{{\"token\":\"{token}\"}}"),
    ] {
        let reply = http.post_form(PATH, &caller, &bad).await;
        reply.assert_refused(400, "error", "invalid_request");
        assert!(!reply.body.contains(token), "nothing of it is told: {reply:?}");
    }
    assert_eq!(http.post_form(PATH, &caller, &format!("x=1&x=2&token={token}&client_ip=")).await.ok()["active"], true);

    let good = form(&[("token", token)]);
    for (content_type, encoding) in [
        ("application/json", None),
        ("text/plain", None),
        ("multipart/form-data", None),
        ("application/x-www-form-urlencoded", Some(("content-encoding", "gzip"))),
    ] {
        let mut headers = vec![("content-type", content_type), ("authorization", &caller)];
        headers.extend(encoding);
        http.send("POST", PATH, &headers, &good).await.assert_refused(415, "error", "invalid_request");
    }
    let with_charset =
        [("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"), ("authorization", caller.as_str())];
    assert_eq!(http.send("POST", PATH, &with_charset, &good).await.ok()["active"], true);
    let too_large = format!("{good}&x={}", "a".repeat(64 * 1024));
    http.post_form(PATH, &caller, &too_large).await.assert_refused(413, "error", "invalid_request");

    let in_the_query = format!("{PATH}?{good}");
    assert_eq!(http.get(&in_the_query, &[("authorization", &caller)]).await.status, 405);
    http.post_form(&in_the_query, &caller, "").await.assert_refused(400, "error", "invalid_request");
    let twice = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", caller.as_str()),
        ("authorization", caller.as_str()),
    ];
    http.send("POST", PATH, &twice, &good).await.assert_refused(401, "error", "invalid_client");
    // Whoever is not known is told nothing of what is wrong.
    http.post_form(PATH, &basic("junk"), "").await.assert_refused(401, "error", "invalid_client");
    server.end().await;
}

/// Nobody unknown has a request read: the answer comes before the body does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_before_its_body() {
    let (server, _, http, _) = start(Backend::Sqlite).await;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 100000\r\n\r\n"
    );
    let answer = http.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let headers = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "a".repeat(100_000));
    let answer = http.raw(headers.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_a_caller() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let database = Backend::Sqlite.database();
    let files = Files::new(database.data_dir(), &authority.server(), Some(&clients));
    let mut settings = database.settings(None);
    settings.http.tls = files.settings();
    let san = "gateway.example.org";
    settings.http.certificate_roles =
        vec![CertificateRole { san: san.to_owned(), roles: vec!["introspector".to_owned()] }];
    let server = TestServer::on(database, &settings).await;
    let issued = server.admin().await.issue("ada-1", "laptop", &[]).await;
    let http = server.http();
    let body = form(&[("token", &issued.secret)]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let mut asked: Vec<Value> = Vec::new();
    for (names, status) in [(&[san][..], 200), (&["other.example.org"], 401), (&[], 401)] {
        let identity = (!names.is_empty()).then(|| clients.client(names));
        let mut config = authority.config(identity.as_ref());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = pki::connect(http.address, config).await.unwrap();
        let reply = http.send_over(stream, "POST", PATH, &headers, &body).await;
        assert_eq!(reply.status, status, "{names:?}: {reply:?}");
        asked.push(reply.json());
    }
    assert_eq!((&asked[0]["active"], &asked[1]["error"]), (&true.into(), &"invalid_client".into()));
    server.end().await;
}
