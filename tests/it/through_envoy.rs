//! The four systems as their users meet them: the curl calls of their handbooks, as
//! they are written there (but for the host's name), through a real Envoy to a stub
//! of their API. Statuses and bodies are those that the handbooks tell; the
//! credential never reaches the API, and no header that a client sets changes
//! anything.

use std::time::Duration;

use prost_types::Duration as Span;
use serde_json::{Value, json};
use token_authority::{
    proto::v1::{Account, ImportedToken, IssueTokenRequest, ServiceRole, issue_token_request::Expiry},
    settings,
};

use crate::support::{
    Actor, Backend, Issued, Process, Terminal, TestServer,
    calls::{service_request, texts},
    curl::Answered,
    gateway::{Gateway, Product},
    issue_request,
    legacy::LegacyToken,
    sign_in::PASSWORD,
    wait::until,
};

const UTM: &str = "api.utm.example.com";
const UTMSTACK: &str = "utmstack.example.com";
const UTHO: &str = "api.utho.example.com";
const UPTRAKIT: &str = "uptrakit.example.com";

/// Before a server in this process.
async fn gateway(server: &TestServer, host: &str, guarded: Vec<(Value, &str)>, answer: &'static str) -> Gateway {
    let made =
        server.admin().await.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap();
    let (grpc, http) = (server.server.grpc_address(), server.server.http_address());
    Gateway::start(Product { host, grpc, http, credential: &made.secret, guarded, answer }).await
}

fn get(path: &str) -> Value {
    method("GET", path)
}

fn method(method: &str, path: &str) -> Value {
    json!({"path": path, "headers": [{"name": ":method", "string_match": {"exact": method}}]})
}

/// It came through to the API, which answered; the credential did not.
fn assert_let_in(gateway: &Gateway, answer: &Answered, credential: &str, expected: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{answer:?}");
    let [received] = &gateway.api.take_received()[..] else {
        panic!("one request is one request");
    };
    assert!(!received.holds(credential), "the API sees the credential: {received:?}");
    for header in ["authorization", "x-api-key"] {
        assert_eq!(received.header(header), [""; 0], "{header} came through");
    }
}

/// It was turned away, without the API.
fn assert_unauthorized(gateway: &Gateway, answer: &Answered) {
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{answer:?}");
    assert!(gateway.api.take_received().is_empty());
}

fn assert_forbidden(gateway: &Gateway, answer: &Answered, scope: &str) {
    assert_eq!(answer.status, 403, "{answer:?}");
    let challenge = answer.header("www-authenticate").expect("RFC 6750");
    assert!(challenge.contains(r#"error="insufficient_scope""#) && challenge.contains(scope), "{challenge}");
    let body = answer.json();
    assert!(body["error"].is_string() && body["code"].is_string(), "a structured body: {body}");
    assert!(gateway.api.take_received().is_empty());
}

/// A command of somebody who says that it comes from elsewhere, and is somebody else.
fn disguised(command: &str) -> String {
    format!(
        "{command} -H 'X-Forwarded-For: 10.1.2.3' -H 'X-Real-IP: 10.1.2.3' -H 'Forwarded: for=10.1.2.3' \
         -H 'X-Envoy-External-Address: 10.1.2.3'"
    )
}

async fn put(admin: &Actor, id: &str, plan: &str, permissions: &[&str]) {
    let (account_id, username) = (id.to_owned(), id.to_owned());
    let permissions = texts(permissions);
    admin.put_account(Account { account_id, username, plan: plan.to_owned(), permissions, ..Account::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn utm() {
    const TRADES: &str = r#"{"trades": []}"#;

    let server = TestServer::configured(Backend::Sqlite, Some("examples/utm.toml"), |_| {}).await;
    let admin = server.admin().await;
    put(&admin, "trader", "PRO", &[]).await;
    let guarded =
        vec![(get("/api/v1/trades"), "trading:read"), (method("POST", "/api/v1/signals/ingest"), "signals:write")];
    let gateway = gateway(&server, UTM, guarded, TRADES).await;
    let trades = |header: &str| format!("curl https://{UTM}/api/v1/trades \\\n-H \"{header}\"");
    let ingest = |header: &str| format!("curl -X POST https://{UTM}/api/v1/signals/ingest \\\n-H \"{header}\"");
    let bearer = |secret: &str| format!("Authorization: Bearer {secret}");

    let Issued { token, secret } = admin.issue("trader", "TradingView Webhook", &["trading:read"]).await;
    assert_let_in(&gateway, &gateway.run(&trades(&bearer(&secret))), &secret, TRADES);
    assert_let_in(&gateway, &gateway.run(&disguised(&trades(&bearer(&secret)))), &secret, TRADES);
    assert_forbidden(&gateway, &gateway.run(&ingest(&bearer(&secret))), "signals:write");

    // "The legacy X-API-Key: utm_* header still works for tokens issued before the
    // unification and continues to authenticate against the same scope checks."
    let key = LegacyToken::new(1);
    server.seen.legacy(&key.0, key.hint());
    let scopes = texts(&["trading:read"]);
    admin.import(vec![ImportedToken { scopes, ..key.by_bcrypt("trader") }]).await;
    let legacy = format!("X-API-Key: {}", key.0);
    assert_let_in(&gateway, &gateway.run(&trades(&legacy)), &key.0, TRADES);
    assert_forbidden(&gateway, &gateway.run(&ingest(&legacy)), "signals:write");

    // "Expired tokens return 401 Unauthorized."
    let soon = Some(Expiry::Ttl(Span { seconds: 1, nanos: 0 }));
    let short = IssueTokenRequest { expiry: soon, ..issue_request("trader", "short", &["trading:read"]) };
    let expiring = trades(&bearer(&admin.try_issue(short).await.unwrap().secret));
    until("it expires", async || gateway.run(&expiring).status == 401).await;
    gateway.api.take_received();
    assert_unauthorized(&gateway, &gateway.run(&expiring));

    // "The token is invalidated immediately."
    admin.revoke(&token.token_id).await.unwrap();
    let revoked = gateway.run(&trades(&bearer(&secret)));
    assert_unauthorized(&gateway, &revoked);
    let unknown = gateway.run(&trades(&bearer("dt_your_token_here")));
    assert_unauthorized(&gateway, &unknown);
    assert_eq!(revoked.body, unknown.body, "nobody is told which it is");
    server.seen.error(gateway.log());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn utmstack() {
    const ALERTS: &str = r#"{"alerts": []}"#;

    let server = TestServer::configured(Backend::Sqlite, Some("examples/utmstack.toml"), |settings| {
        settings.introspection.use_interval = settings::Span(Duration::from_millis(10));
    })
    .await;
    let admin = server.admin().await;
    put(&admin, "soc-analyst", "", &["alerts:read"]).await;
    admin.set_password("soc-analyst", PASSWORD).await.unwrap();
    let gateway = gateway(&server, UTMSTACK, vec![(get("/api/alerts"), "alerts:read")], ALERTS).await;
    let alerts = |token: &str| format!("curl https://{UTMSTACK}/api/alerts -H \"Authorization: Bearer {token}\"");

    // Steps 1 to 3: "a Bearer token, usually under the key id_token".
    let sign_in = |password: &str| {
        format!(
            "curl -X POST https://{UTMSTACK}/auth/sign-in -H \"Content-Type: application/json\" \
             -d '{{\"username\": \"soc-analyst\", \"password\": \"{password}\"}}'"
        )
    };
    let signed_in = gateway.run(&sign_in(PASSWORD));
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    let id_token = signed_in.json()["id_token"].as_str().expect("a token").to_owned();
    server.seen.secret(&id_token);
    assert_eq!(gateway.run(&sign_in("battery staple")).status, 401);
    assert_let_in(&gateway, &gateway.run(&alerts(&id_token)), &id_token, ALERTS);
    let without = gateway.run(&format!("curl https://{UTMSTACK}/api/alerts"));
    assert_unauthorized(&gateway, &without);

    // "The API key is used exactly like a Bearer token."
    let user = server.actor(&id_token).await;
    let key = async |networks: &[&str]| {
        let request = IssueTokenRequest { allowed_cidrs: texts(networks), ..issue_request("", "Integration", &[]) };
        user.try_issue(request).await.unwrap()
    };
    let here = key(&["127.0.0.0/8"]).await;
    assert_let_in(&gateway, &gateway.run(&alerts(&here.secret)), &here.secret, ALERTS);
    assert_let_in(&gateway, &gateway.run(&disguised(&alerts(&here.secret))), &here.secret, ALERTS);
    let elsewhere = key(&["10.0.0.0/8"]).await;
    for command in [alerts(&elsewhere.secret), disguised(&alerts(&elsewhere.secret))] {
        assert_unauthorized(&gateway, &gateway.run(&command));
    }
    let shown = async || user.get_token(&here.token.token_id).await.unwrap();
    until("the last use shows", async || shown().await.last_used_time.is_some()).await;
    assert_eq!(shown().await.last_used_ip, "127.0.0.1", "not where a header says");

    // "Automatic on logout"; the key lives on, until it is deleted.
    let sign_out = format!("curl -X POST https://{UTMSTACK}/auth/sign-out -H \"Authorization: Bearer {id_token}\"");
    assert_eq!(gateway.run(&sign_out).status, 204);
    assert_unauthorized(&gateway, &gateway.run(&alerts(&id_token)));
    assert_let_in(&gateway, &gateway.run(&alerts(&here.secret)), &here.secret, ALERTS);
    admin.revoke(&here.token.token_id).await.unwrap();
    assert_unauthorized(&gateway, &gateway.run(&alerts(&here.secret)));
    server.seen.error(gateway.log());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn utho() {
    const CLOUD: &str = r#"{"cloud": []}"#;

    let server = TestServer::configured(Backend::Sqlite, Some("examples/utho.toml"), |_| {}).await;
    let admin = server.admin().await;
    let guarded = vec![(get("/v2/cloud"), "read"), (method("POST", "/v2/cloud"), "write")];
    let gateway = gateway(&server, UTHO, guarded, CLOUD).await;
    let look = |secret: &str| format!("curl https://{UTHO}/v2/cloud -H \"Authorization: Bearer {secret}\"");
    let order = |secret: &str| format!("{} -X POST -d '{{}}'", look(secret));

    // "Select the access level for the token (Read or Write)."
    let read = admin.issue("customer", "monitoring", &["read"]).await;
    assert_let_in(&gateway, &gateway.run(&look(&read.secret)), &read.secret, CLOUD);
    assert_forbidden(&gateway, &gateway.run(&order(&read.secret)), "write");
    let write = admin.issue("customer", "terraform", &["write"]).await;
    for command in [look(&write.secret), order(&write.secret), disguised(&order(&write.secret))] {
        assert_let_in(&gateway, &gateway.run(&command), &write.secret, CLOUD);
    }

    // "This will immediately revoke the token's access."
    admin.revoke(&write.token.token_id).await.unwrap();
    for command in [look(&write.secret), order(&write.secret)] {
        assert_unauthorized(&gateway, &gateway.run(&command));
    }
    server.seen.error(gateway.log());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uptrakit() {
    const HOSTS: &str = r#"{"hosts": []}"#;
    const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/uptrakit.toml");

    let database = Backend::Sqlite.database();
    let process = Process::start_with(&database, |command| {
        command.args(["--config", SETTINGS]);
    });
    let admin = process.admin().await;
    put(&admin, "ada", "", &["hosts:read"]).await;
    let profile = admin.issue("ada", "profile page", &[]).await;
    let ada = Terminal::new(&database, &process, &profile.secret);
    let credential =
        &admin.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap().secret;
    let guarded = vec![(get("/api/v1/hosts"), "hosts:read")];
    let (grpc, http) = (process.grpc, process.http);
    let gateway = Gateway::start(Product { host: UPTRAKIT, grpc, http, credential, guarded, answer: HOSTS }).await;
    let hosts = |token: &str| format!("curl -H \"Authorization: Bearer {token}\" \\\nhttps://{UPTRAKIT}/api/v1/hosts");

    let token = ada.secret(&["auth", "token", "create", "--name", "ci-pipeline"]);
    assert!(token.starts_with("upk_"));
    assert_let_in(&gateway, &gateway.run(&hosts(&token)), &token, HOSTS);
    assert_let_in(&gateway, &gateway.run(&disguised(&hosts(&token))), &token, HOSTS);

    // It "inherits your permissions".
    let permit = async |permissions: &[&str]| {
        let ada = Account { account_id: "ada".to_owned(), permissions: texts(permissions), ..Account::default() };
        admin.update_account(ada, &["permissions"]).await.unwrap();
    };
    permit(&[]).await;
    assert_forbidden(&gateway, &gateway.run(&hosts(&token)), "hosts:read");
    permit(&["hosts:read"]).await;
    assert_let_in(&gateway, &gateway.run(&hosts(&token)), &token, HOSTS);

    // "There is no waiting period — revocation takes effect instantly."
    let listed = ada.json(&["auth", "token", "list"]);
    let id = listed["tokens"][0]["tokenId"].as_str().unwrap();
    assert_eq!(ada.run(&["auth", "token", "revoke", id]).code, 0);
    assert_unauthorized(&gateway, &gateway.run(&hosts(&token)));
    process.seen.error(gateway.log());
    assert!(process.terminate().success());
}
