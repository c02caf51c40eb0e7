//! The tower layer of the client: a service behind it meets only those whom the
//! authority allows, and nobody's request is read before.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::HeaderName};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use token_authority::{
    client::{BearerToken, Client, IntrospectLayer, Subject, Timeouts},
    proto::v1::{IssueTokenRequest, ServiceRole},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Actor, Backend, Process, TestServer, issue_request, wait::until};

const INVALID: &str = r#"Bearer error="invalid_token""#;

/// A request's body that nobody may look at who was not let in.
struct Unread;

/// A protected service, and how many requests it met.
struct Protected {
    layer: IntrospectLayer,
    met: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Protected {
    fn by(client: &Client) -> Self {
        let layer = IntrospectLayer::new(client.clone()).client_address(|request| request.get::<IpAddr>().copied());
        Self { layer, met: Arc::default() }
    }

    fn needs(self, scopes: &[&str]) -> Self {
        Self { layer: self.layer.require(scopes.iter().copied()), met: self.met }
    }

    async fn ask(&self, headers: &[(&'static str, &str)], from: Option<&str>) -> Answer {
        let met = self.met.clone();
        let inner = service_fn(move |request: Request<Unread>| {
            met.fetch_add(1, Ordering::Relaxed);
            let subject = request.extensions().get::<Subject>().expect("somebody was let in");
            let body = json!({ "account": subject.account_id, "scopes": subject.scopes }).to_string();
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body))) }
        });
        let mut request = Request::new(Unread);
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header can hold it");
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        if let Some(from) = from {
            request.extensions_mut().insert::<IpAddr>(from.parse().expect("an address"));
        }
        let response = self.layer.layer(inner).oneshot(request).await.expect("it answers");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&body).expect("JSON");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn bearer(&self, credential: &str) -> Answer {
        self.ask(&[("authorization", &format!("Bearer {credential}"))], None).await
    }

    fn met(&self) -> usize {
        self.met.load(Ordering::Relaxed)
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    #[track_caller]
    fn is_refused(&self, status: u16, code: &str, challenge: Option<&str>) {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("www-authenticate"), challenge, "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.body["error"].is_string());
    }
}

async fn gateway(server: &TestServer) -> Actor {
    server.service("gateway", &[ServiceRole::Introspector]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_authority_allows_is_let_in_until_revoked() {
    let server = TestServer::start(Backend::Sqlite).await;
    let (admin, gateway) = (server.admin().await, gateway(&server).await);
    let kept = admin.issue("ada", "laptop", &["trading:read"]).await;
    let reader = Protected::by(&gateway.client).needs(&["trading:read"]);
    let expected = json!({ "account": "ada", "scopes": ["trading:read"] });

    let answer = reader.bearer(&kept.secret).await;
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected));
    let answer = reader.ask(&[("x-api-key", &kept.secret)], None).await;
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected));

    admin.revoke(&kept.token.token_id).await.unwrap();
    reader.bearer(&kept.secret).await.is_refused(401, "CREDENTIAL_INVALID", Some(INVALID));
    assert_eq!(reader.met(), 2);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_else_is_told_why_and_never_met() {
    let server = TestServer::start(Backend::Sqlite).await;
    let (admin, gateway) = (server.admin().await, gateway(&server).await);
    let kept = admin.issue("ada", "laptop", &["trading:read"]).await;
    let writer = Protected::by(&gateway.client).needs(&["signals:write", "trading:read"]);

    let challenge = r#"Bearer error="insufficient_scope", scope="signals:write trading:read""#;
    writer.bearer(&kept.secret).await.is_refused(403, "INSUFFICIENT_SCOPE", Some(challenge));
    writer.ask(&[], None).await.is_refused(401, "CREDENTIAL_REQUIRED", Some("Bearer"));
    let own = server.database.admin_token();
    for credential in ["dt_nonsense", &kept.secret[1..], &own, "a b"] {
        writer.bearer(credential).await.is_refused(401, "CREDENTIAL_INVALID", Some(INVALID));
    }
    let bearer = format!("Bearer {}", kept.secret);
    let (bearer, key) = (("authorization", bearer.as_str()), ("x-api-key", kept.secret.as_str()));
    for headers in [[bearer, key], [bearer, bearer], [key, key]] {
        let challenge = r#"Bearer error="invalid_request""#;
        writer.ask(&headers, None).await.is_refused(401, "SEVERAL_CREDENTIALS", Some(challenge));
    }
    assert_eq!(writer.met(), 0);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_counts_by_the_address_that_the_server_knows() {
    let server = TestServer::start(Backend::Sqlite).await;
    let (admin, gateway) = (server.admin().await, gateway(&server).await);
    let request =
        IssueTokenRequest { allowed_cidrs: vec!["192.0.2.0/24".to_owned()], ..issue_request("ada", "bound", &[]) };
    let bound = admin.try_issue(request).await.unwrap();
    let protected = Protected::by(&gateway.client);
    let presented = [("x-api-key", bound.secret.as_str()), ("x-forwarded-for", "192.0.2.7")];
    for from in ["192.0.2.7", "::ffff:192.0.2.7"] {
        assert_eq!(protected.ask(&presented, Some(from)).await.status, StatusCode::OK, "{from}");
    }
    for from in [None, Some("198.51.100.7"), Some("2001:db8::1")] {
        let answer = protected.ask(&presented, from).await;
        answer.is_refused(401, "CREDENTIAL_INVALID", Some(INVALID));
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_lets_nobody_in_and_says_that_it_is_at_fault() {
    let server = TestServer::start(Backend::Sqlite).await;
    let admin = server.admin().await;
    let kept = admin.issue("ada", "laptop", &[]).await;
    for actor in [server.actor("svc_nonsense").await, server.service("billing", &[ServiceRole::Issuer]).await] {
        let protected = Protected::by(&actor.client);
        for credential in [&kept.secret, "dt_nonsense"] {
            protected.bearer(credential).await.is_refused(500, "AUTHORITY_REFUSED", None);
        }
        assert_eq!(protected.met(), 0);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_away_or_silent_lets_nobody_in() {
    let database = Backend::Sqlite.database();
    let mut process = Process::start(&database);
    let admin = process.admin().await;
    let kept = admin.issue("ada", "laptop", &[]).await;
    let token = BearerToken::new(database.admin_token()).unwrap();
    let client = Client::connect(&process.url(), token, Timeouts::default()).await.unwrap();
    let protected = Protected::by(&client);
    assert_eq!(protected.bearer(&kept.secret).await.status, StatusCode::OK);

    process.signal("STOP");
    let hasty = Protected { layer: protected.layer.clone().deadline(Duration::from_millis(200)), met: Arc::default() };
    for credential in [&kept.secret, "dt_nonsense"] {
        let answer = hasty.bearer(credential).await;
        answer.is_refused(503, "AUTHORITY_UNAVAILABLE", None);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(hasty.met(), 0);
    process.signal("CONT");
    until("it answers again", async || protected.bearer(&kept.secret).await.status == StatusCode::OK).await;

    let address = process.grpc;
    process.kill();
    for credential in [&kept.secret, "dt_nonsense"] {
        protected.bearer(credential).await.is_refused(503, "AUTHORITY_UNAVAILABLE", None);
    }
    let again = Process::start_with(&database, |command| {
        command.env("TOKEN_AUTHORITY__GRPC__LISTEN", address.to_string());
    });
    until("it is found again", async || protected.bearer(&kept.secret).await.status == StatusCode::OK).await;
    protected.bearer("dt_nonsense").await.is_refused(401, "CREDENTIAL_INVALID", Some(INVALID));
    assert!(again.terminate().success());
}
