//! A real Envoy before a stub of an API, as `examples/gateways/envoy.yaml` sets it
//! up: what goes on, what does not, and what the API gets to see.

use std::{fs, net::SocketAddr};

use token_authority::{
    proto::v1::{Account, IssueTokenRequest, ServiceRole},
    settings::Settings,
};

use crate::support::{
    Backend, TestServer,
    calls::{NewService, service_request, texts},
    envoy::Envoy,
    http1::{self, Answer},
    issue_request,
    legacy::{LegacyToken, take_over},
    upstream::Upstream,
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateways/envoy.yaml");
const API: &str = r#"{"trades":[]}"#;

struct Site {
    server: TestServer,
    api: Upstream,
    envoy: Envoy,
    service: NewService,
}

impl Site {
    async fn start(backend: Backend, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_example(backend, change, |example| example).await
    }

    /// With the example as `edit` changes it; addresses apart, that is what an
    /// operator starts with.
    async fn with_example(
        backend: Backend,
        change: impl FnOnce(&mut Settings),
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let server = TestServer::configured(backend, None, |settings| {
            take_over(settings);
            change(settings);
        })
        .await;
        let request = service_request("envoy", &[ServiceRole::Introspector]);
        let service = server.admin().await.create_service(request).await.unwrap();
        let api = Upstream::start(API).await;
        let example = fs::read_to_string(EXAMPLE).unwrap();
        let example = replaced(&example, "port_value: 8000", "port_value: 0");
        let example = replaced(&example, "port_value: 9000", &format!("port_value: {}", api.address.port()));
        let grpc = server.server.grpc_address();
        let example = replaced(&example, "port_value: 50051", &format!("port_value: {}", grpc.port()));
        let credential = service.secret.clone();
        let envoy = Envoy::start_with(&edit(example), |command| {
            command.env("GATEWAY_CREDENTIAL", credential);
        })
        .await;
        Self { server, api, envoy, service }
    }

    fn address(&self) -> SocketAddr {
        self.envoy.address("api")
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        http1::request(self.address(), "GET", path, headers, b"").await.expect("Envoy answers")
    }

    /// The status of a request for the trades with a bearer credential.
    async fn trades(&self, credential: &str) -> u16 {
        self.get("/api/v1/trades", &[("Authorization", &format!("Bearer {credential}"))]).await.status
    }

    /// Looks for secrets in all that Envoy logged as well, its access log included.
    async fn end(self) {
        self.server.seen.error(self.envoy.log());
        self.server.end().await;
    }
}

/// The example with one thing replaced that stands in it once.
fn replaced(example: &str, from: &str, to: &str) -> String {
    assert_eq!(example.matches(from).count(), 1, "{from}");
    example.replace(from, to)
}

on_both_databases!(a_request_goes_on_with_an_identity_and_without_its_credential, what_is_refused_never_goes_on);

async fn a_request_goes_on_with_an_identity_and_without_its_credential(backend: Backend) {
    let site = Site::start(backend, |_| {}).await;
    let admin = site.server.admin().await;
    let ada = Account { account_id: "ada".to_owned(), username: "Ada".to_owned(), ..Default::default() };
    admin.put_account(ada).await;
    let issued = admin.issue("ada", "laptop", &["trading:read"]).await;
    let legacy = LegacyToken::new(1);
    let legacy_id = admin.import_one("ada", &legacy).await;
    let bearer = format!("Bearer {}", issued.secret);

    // What a client says of itself, once and twice, is not what the API hears.
    let claims = [
        ("X-Token-Authority-Account-Id", "root"),
        ("x-token-authority-account-id", "admin"),
        ("X-Token-Authority-Roles", "owner"),
        ("X-Token-Authority-Plan", "PRO"),
        ("X-Token-Authority-Scopes", "signals:write"),
        ("X-Forwarded-For", "192.0.2.7"),
    ];
    for (headers, path, token_id, scopes, credential) in [
        (
            [("Authorization", bearer.as_str())],
            "/api/v1/trades?x=1",
            &issued.token.token_id,
            &["trading:read"][..],
            &issued.secret,
        ),
        (
            [("X-API-Key", issued.secret.as_str())],
            "/api/v1/trades",
            &issued.token.token_id,
            &["trading:read"],
            &issued.secret,
        ),
        ([("X-API-Key", legacy.0.as_str())], "/other", &legacy_id, &[], &legacy.0),
        ([("Authorization", format!("bearer {}", legacy.0).leak())], "/other", &legacy_id, &[], &legacy.0),
    ] {
        let answer = site.get(path, &[&headers[..], &claims].concat()).await;
        assert_eq!((answer.status, answer.text()), (200, API), "{path}");
        let [received] = &site.api.take_received()[..] else { panic!("one request goes on") };
        assert_eq!(received.line, format!("GET {path}"));
        for (name, values) in [
            ("x-token-authority-account-id", &["ada"][..]),
            ("x-token-authority-username", &["Ada"]),
            ("x-token-authority-token-id", &[token_id.as_str()]),
            ("x-token-authority-kind", &["personal"]),
            ("x-token-authority-scopes", scopes),
            ("x-token-authority-roles", &[]),
            ("x-token-authority-plan", &[]),
            ("authorization", &[]),
            ("x-api-key", &[]),
        ] {
            assert_eq!(received.header(name), values, "{name}");
        }
        assert!(!received.holds(&credential[12..]), "the credential reaches the API");
        assert!(!received.holds(&site.service.secret[12..]), "Envoy's own credential reaches the API");
    }
    let log = site.envoy.log();
    let line = log.lines().find(|line| line.contains(&issued.token.token_id)).expect("the access log tells of it");
    assert!(line.contains(r#""account":"ada""#) && line.contains("VERDICT_ALLOWED"), "{line}");
    site.end().await;
}

async fn what_is_refused_never_goes_on(backend: Backend) {
    let site = Site::start(backend, |_| {}).await;
    let admin = site.server.admin().await;
    let issued = admin.issue("ada", "laptop", &["trading:read"]).await;
    let bearer = format!("Bearer {}", issued.secret);
    let challenge = r#"Bearer realm="token-authority""#;
    let invalid = (r#", error="invalid_token""#, "CREDENTIAL_INVALID");
    for (path, headers, status, (error, code)) in [
        ("/api/v1/trades", &[][..], 401, ("", "CREDENTIAL_REQUIRED")),
        ("/other", &[("Authorization", "Basic eDp5")], 401, ("", "CREDENTIAL_REQUIRED")),
        ("/api/v1/trades", &[("Authorization", "Bearer dt_junk")], 401, invalid),
        ("/api/v1/trades", &[("X-API-Key", "utm_0123456789abcdef")], 401, invalid),
        ("/api/v1/trades", &[("X-API-Key", &site.service.secret)], 401, invalid),
        ("/api/v1/trades", &[("X-API-Key", &issued.secret), ("X-API-Key", &issued.secret)], 401, invalid),
        ("/api/v1/trades", &[("Authorization", &bearer), ("Authorization", &bearer)], 401, invalid),
        (
            "/api/v1/trades",
            &[("Authorization", &bearer), ("X-API-Key", &issued.secret)],
            401,
            (r#", error="invalid_request""#, "CREDENTIAL_AMBIGUOUS"),
        ),
        (
            "/api/v1/signals/ingest",
            &[("Authorization", &bearer)],
            403,
            (r#", error="insufficient_scope", scope="signals:write""#, "INSUFFICIENT_SCOPE"),
        ),
    ] {
        let answer = site.get(path, headers).await;
        assert_eq!(answer.status, status, "{path} {headers:?}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some(format!("{challenge}{error}").as_str()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(body["code"], code);
        assert!(body["error"].is_string());
    }
    assert!(site.api.take_received().is_empty(), "nothing goes on");

    // Some servers take such a name for ours.
    let underscored = site.get("/other", &[("Authorization", &bearer), ("x_token_authority_account_id", "root")]).await;
    assert_eq!(underscored.status, 400);
    assert!(site.api.take_received().is_empty(), "nothing goes on");

    assert_eq!(site.trades(&issued.secret).await, 200);
    admin.revoke(&issued.token.token_id).await.unwrap();
    assert_eq!(site.trades(&issued.secret).await, 401);
    assert_eq!(site.api.take_received().len(), 1);

    // Where Envoy is not let in itself, nobody is let through.
    let kept = admin.issue("ada", "kept", &["trading:read"]).await;
    assert_eq!(site.trades(&kept.secret).await, 200);
    admin.revoke_service(&site.service.credential.credential_id).await.unwrap();
    assert_eq!(site.trades(&kept.secret).await, 503);
    assert_eq!(site.api.take_received().len(), 1);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_tells_of_nobody() {
    let site = Site::start(Backend::Sqlite, |_| {}).await;
    let names = ["account-id", "kind", "plan", "roles", "scopes", "token-id", "username"]
        .map(|name| format!("x-token-authority-{name}"));
    let mut claims: Vec<_> = names.iter().map(|name| (name.as_str(), "root")).collect();
    claims.extend([("authorization", "Bearer dt_junk"), ("x-api-key", "dt_junk")]);
    for (method, path) in [("GET", "/healthz"), ("OPTIONS", "/api/v1/trades")] {
        let answer = http1::request(site.address(), method, path, &claims, b"").await.expect("Envoy answers");
        assert_eq!(answer.status, 200);
        let [received] = &site.api.take_received()[..] else { panic!("one request goes on") };
        assert_eq!(received.line, format!("{method} {path}"));
        for (name, _) in &claims {
            assert!(received.header(name).is_empty(), "{name}");
        }
    }
    assert_eq!(site.get("/healthz/x", &[]).await.status, 401);
    site.end().await;
}

/// Requests from 203.0.113.0/24, as their headers have it.
async fn forwarded(site: &Site, forwarded: &[&str], status: u16) {
    let request = issue_request("ada", "bound", &["trading:read"]);
    let request = IssueTokenRequest { allowed_cidrs: texts(&["203.0.113.0/24"]), ..request };
    let bound = site.server.admin().await.try_issue(request).await.unwrap();
    let authorization = format!("Bearer {}", bound.secret);
    let mut headers = vec![("authorization", authorization.as_str())];
    headers.extend(forwarded.iter().map(|line| ("x-forwarded-for", *line)));
    let answer = site.get("/api/v1/trades", &headers).await;
    assert_eq!(answer.status, status, "{forwarded:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_client_is_it_does_not_say_itself() {
    let site = Site::start(Backend::Sqlite, |_| {}).await;
    forwarded(&site, &[], 401).await;
    forwarded(&site, &["203.0.113.7"], 401).await;
    forwarded(&site, &["203.0.113.7", "127.0.0.1"], 401).await;
    // Envoy's own peer is the client.
    let request = issue_request("ada", "bound", &["trading:read"]);
    let request = IssueTokenRequest { allowed_cidrs: texts(&["127.0.0.0/8"]), ..request };
    let bound = site.server.admin().await.try_issue(request).await.unwrap();
    assert_eq!(site.trades(&bound.secret).await, 200);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_the_client_is_whom_that_names() {
    // The peer stands for a load balancer. Being on loopback, Envoy would put its own
    // address in the place of that.
    let edit = |example: String| replaced(&example, "use_remote_address: true", "use_remote_address: false");
    let trust = |settings: &mut Settings| settings.grpc.trusted_proxies = texts(&["127.0.0.0/8", "10.0.0.0/8"]);
    let site = Site::with_example(Backend::Sqlite, trust, edit).await;
    forwarded(&site, &["203.0.113.7"], 200).await;
    forwarded(&site, &["198.51.100.1, 203.0.113.7"], 200).await;
    forwarded(&site, &["198.51.100.1", "203.0.113.7, 10.0.0.1"], 200).await;
    forwarded(&site, &["203.0.113.7, 198.51.100.1"], 401).await;
    forwarded(&site, &["203.0.113.7", "198.51.100.1"], 401).await;
    forwarded(&site, &["203.0.113.7, unknown"], 401).await;
    forwarded(&site, &[], 401).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_makes_no_sense_lets_nobody_through() {
    let edit =
        |example: String| replaced(&example, "required_scopes: \"signals:write\"", "required_scope: \"signals:write\"");
    let site = Site::with_example(Backend::Sqlite, |_| {}, edit).await;
    let issued = site.server.admin().await.issue("ada", "laptop", &["signals:write"]).await;
    let answer = site.get("/api/v1/signals", &[("x-api-key", &issued.secret)]).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(site.api.take_received().is_empty(), "nothing goes on");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_answers_nobody_is_let_through() {
    let site = Site::start(Backend::Sqlite, |_| {}).await;
    let issued = site.server.admin().await.issue("ada", "laptop", &["trading:read"]).await;
    assert_eq!(site.trades(&issued.secret).await, 200);
    let Site { server, api, envoy, service: _ } = site;
    server.end().await;
    let authorization = format!("Bearer {}", issued.secret);
    let headers = [("authorization", authorization.as_str())];
    let answer = http1::request(envoy.address("api"), "GET", "/api/v1/trades", &headers, b"").await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(api.take_received().len(), 1);
}
