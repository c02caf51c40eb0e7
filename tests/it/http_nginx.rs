//! A real nginx before an upstream, by examples/gateways/nginx.conf: who is let
//! through, what the upstream sees, and what a client cannot make it see.

use token_authority::proto::v1::{Account, IssueTokenRequest, ServiceRole};

use crate::support::{
    Actor, Backend, TestServer,
    calls::{service_request, texts},
    http::{Headers, Http, Reply, bearer},
    issue_request,
    nginx::{Nginx, free_address},
    upstream::{Received, Upstream},
};

const ANSWER: &str = r#"{"trades":[]}"#;
const FILE: &str = "examples/gateways/nginx.conf";

struct Site {
    server: TestServer,
    admin: Actor,
    upstream: Upstream,
    nginx: Nginx,
    clients: Http,
}

async fn start() -> Site {
    let server = TestServer::configured(Backend::Sqlite, None, |settings| {
        settings.http.trusted_proxies = texts(&["127.0.0.1"]);
    })
    .await;
    let admin = server.admin().await;
    let gateway = admin.create_service(service_request("nginx", &[ServiceRole::Introspector])).await.unwrap().secret;
    let upstream = Upstream::start(ANSWER).await;
    let addresses = [
        ("127.0.0.1:8000", free_address()),
        ("127.0.0.1:8080", server.server.http_address()),
        ("127.0.0.1:9000", upstream.address),
    ];
    let credential = format!("proxy_set_header X-Token-Authority-Credential {gateway};\n");
    let nginx = Nginx::start(FILE, &addresses, &[("token-authority.credential", &credential)]).await;
    let clients = server.http_at(nginx.address);
    Site { server, admin, upstream, nginx, clients }
}

impl Site {
    async fn get(&self, path: &str, headers: Headers<'_>) -> Reply {
        self.clients.send_plainly("GET", path, headers, "").await
    }

    /// The one request that came through since this was last asked.
    #[track_caller]
    fn came(&self) -> Received {
        let received = self.upstream.take_received();
        let [one] = <[Received; 1]>::try_from(received).unwrap_or_else(|all| panic!("{all:?}"));
        one
    }

    #[track_caller]
    fn nothing_came(&self) {
        let received = self.upstream.take_received();
        assert!(received.is_empty(), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_let_through_by_their_token_and_its_scopes() {
    let site = start().await;
    let account = Account { account_id: "ada".to_owned(), username: "Ada".to_owned(), ..Default::default() };
    site.admin.put_account(account).await;
    let issued = site.admin.issue("ada", "laptop", &["trading:read"]).await;
    let good = bearer(&issued.secret);

    for headers in [[("authorization", good.as_str())], [("x-api-key", issued.secret.as_str())]] {
        for path in ["/api/v1/trades?day=1", "/"] {
            let reply = site.get(path, &headers).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, ANSWER), "{reply:?}\n{}", site.nginx.log());
            let came = site.came();
            assert_eq!(came.line, format!("GET {path}"));
            assert!(!came.holds(&issued.secret), "the credential does not reach it: {came:?}");
            let told = |name: &str| came.header(&format!("x-token-authority-{name}"));
            assert_eq!((told("account-id"), told("username")), (vec!["ada"], vec!["Ada"]));
            assert_eq!((told("token-id"), told("kind")), (vec![issued.token.token_id.as_str()], vec!["personal"]));
            assert_eq!((told("scopes"), told("credential")), (vec!["trading:read"], vec![]));
        }
    }

    let forbidden = site.get("/api/v1/signals", &[("authorization", &good)]).await;
    forbidden.assert_refused(403, "code", "INSUFFICIENT_SCOPE");
    let challenge = r#"Bearer realm="token-authority", error="insufficient_scope", scope="signals:write""#;
    assert_eq!(forbidden.challenges(), [challenge]);

    let nobody = site.get("/api/v1/trades", &[]).await;
    nobody.assert_refused(401, "code", "UNAUTHORIZED");
    assert_eq!(nobody.challenges(), [r#"Bearer realm="token-authority""#]);
    let junk = site.get("/api/v1/trades", &[("authorization", "Bearer junk")]).await;
    junk.assert_refused(401, "code", "UNAUTHORIZED");
    assert_eq!(junk.challenges(), [r#"Bearer realm="token-authority", error="invalid_token""#]);
    let two = [("authorization", good.as_str()), ("x-api-key", issued.secret.as_str())];
    site.get("/api/v1/trades", &two).await.assert_refused(401, "code", "UNAUTHORIZED");

    site.admin.revoke(&issued.token.token_id).await.unwrap();
    site.get("/", &[("authorization", &good)]).await.assert_refused(401, "code", "UNAUTHORIZED");
    site.nothing_came();
    site.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_says_of_itself_changes_nothing() {
    let site = start().await;
    let issued = site.admin.issue("ada", "laptop", &[]).await;
    let elsewhere = site.server.database.admin_token();
    let forged = [
        ("x-api-key", issued.secret.as_str()),
        ("x-token-authority-account-id", "root"),
        ("x-token-authority-username", "root"),
        ("x-token-authority-scopes", "everything"),
        ("x-token-authority-roles", "owner"),
        ("x-token-authority-plan", "PRO"),
        ("x-token-authority-credential", elsewhere.as_str()),
    ];
    assert_eq!(site.get("/", &forged).await.status, 200);
    let came = site.came();
    let told = |name: &str| came.header(&format!("x-token-authority-{name}"));
    assert_eq!(told("account-id"), ["ada"]);
    for absent in ["username", "scopes", "roles", "plan", "credential"] {
        assert!(told(absent).is_empty(), "{absent}: {came:?}");
    }

    let bound = |networks| IssueTokenRequest { allowed_cidrs: texts(networks), ..issue_request("ada", "bound", &[]) };
    let here = site.admin.try_issue(bound(&["127.0.0.0/8"])).await.unwrap();
    let there = site.admin.try_issue(bound(&["192.0.2.0/24"])).await.unwrap();
    for forwarded in ["192.0.2.7", "192.0.2.7, 127.0.0.1", "unknown", "10.0.0.1"] {
        let from_there = [("x-api-key", there.secret.as_str()), ("x-forwarded-for", forwarded)];
        assert_eq!(site.get("/", &from_there).await.status, 401, "{forwarded}");
        let from_here = [("x-api-key", here.secret.as_str()), ("x-forwarded-for", forwarded)];
        assert_eq!(site.get("/", &from_here).await.status, 200, "{forwarded}");
        assert_eq!(site.came().header("x-forwarded-for"), ["127.0.0.1"]);
    }
    // The question itself cannot be asked from outside.
    assert_eq!(site.get("/_token_authority", &[("x-api-key", &issued.secret)]).await.status, 404);
    site.nothing_came();
    site.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_answers_nobody_is_let_through() {
    let site = start().await;
    let issued = site.admin.issue("ada", "laptop", &[]).await;
    let headers = [("x-api-key", issued.secret.as_str())];
    assert_eq!(site.get("/", &headers).await.status, 200);
    site.came();
    let Site { server, upstream, nginx: _nginx, clients, .. } = site;
    server.end().await;
    let reply = clients.send_plainly("GET", "/", &headers, "").await;
    reply.assert_refused(503, "code", "UNAVAILABLE");
    assert_eq!(reply.header("retry-after"), "1");
    assert!(upstream.take_received().is_empty());
}
