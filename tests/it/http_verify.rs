//! `GET /auth/verify`: what gateways ask before they let a request through, and
//! what a client of theirs cannot do about it.

use token_authority::{
    proto::v1::{Account, IssueTokenRequest, ServiceRole},
    settings::Settings,
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::{service_request, texts},
    forge,
    http::{Headers, Http, Reply, basic, bearer},
    issue_request,
};

const PATH: &str = "/auth/verify";
const CREDENTIAL: &str = "x-token-authority-credential";
const INVALID_TOKEN: &str = r#"Bearer realm="token-authority", error="invalid_token""#;

on_both_databases!(
    a_request_goes_on_with_its_identity,
    what_is_not_good_is_401_and_what_lacks_a_scope_403,
    where_it_came_from_is_what_a_trusted_proxy_says,
    what_is_wrong_with_the_gateway_is_no_client_s_fault,
);

struct Gateway {
    server: TestServer,
    admin: Actor,
    http: Http,
    credential: String,
}

async fn start(backend: Backend, change: impl FnOnce(&mut Settings)) -> Gateway {
    let server = TestServer::configured(backend, None, |settings| {
        settings.http.trusted_proxies = texts(&["127.0.0.1", "10.0.0.0/8"]);
        change(settings);
    })
    .await;
    let admin = server.admin().await;
    let credential = admin.create_service(service_request("nginx", &[ServiceRole::Introspector])).await.unwrap().secret;
    let http = server.http();
    Gateway { server, admin, http, credential }
}

impl Gateway {
    /// What it is told of a request with these headers.
    async fn asks(&self, query: &str, headers: Headers<'_>) -> Reply {
        let mut all = vec![(CREDENTIAL, self.credential.as_str())];
        all.extend(headers);
        self.http.get(&format!("{PATH}{query}"), &all).await
    }
}

async fn a_request_goes_on_with_its_identity(backend: Backend) {
    let gateway = start(backend, |_| {}).await;
    let account = Account {
        account_id: "ada@example.org".to_owned(),
        username: "Ädä".to_owned(),
        roles: texts(&["owner", "50%"]),
        ..Default::default()
    };
    gateway.admin.put_account(account).await;
    let issued = gateway.admin.issue("ada@example.org", "laptop", &["read", "write"]).await;
    let bearer = bearer(&issued.secret);
    for headers in [[("authorization", bearer.as_str())], [("x-api-key", issued.secret.as_str())]] {
        for query in ["", "?scope=", "?scope=read", "?scope=read+write", "?scope=write%20read&x=1"] {
            let reply = gateway.asks(query, &headers).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{query}: {reply:?}");
            let told: Vec<_> = ["account-id", "username", "token-id", "kind", "scopes", "roles", "plan"]
                .map(|name| reply.headers.get(format!("x-token-authority-{name}")).expect("all are told"))
                .map(|value| value.to_str().expect("ASCII"))
                .to_vec();
            let expected = [
                "ada@example.org",
                "%C3%84d%C3%A4",
                &issued.token.token_id,
                "personal",
                "read write",
                "50%25 owner",
                "",
            ];
            let mut roles: Vec<_> = told[5].split(' ').collect();
            roles.sort_unstable();
            assert_eq!((&told[..5], roles.join(" ").as_str(), told[6]), (&expected[..5], expected[5], expected[6]));
        }
    }
    let headers = [(CREDENTIAL, gateway.credential.as_str()), ("x-api-key", &issued.secret)];
    assert_eq!(gateway.http.send("HEAD", PATH, &headers, "").await.status, 200);
    gateway.server.end().await;
}

async fn what_is_not_good_is_401_and_what_lacks_a_scope_403(backend: Backend) {
    let gateway = start(backend, |_| {}).await;
    let issued = gateway.admin.issue("ada", "laptop", &["trading:read"]).await;
    let good = bearer(&issued.secret);

    let nobody = gateway.asks("", &[]).await;
    nobody.assert_refused(401, "code", "CREDENTIAL_REQUIRED");
    assert_eq!(
        nobody.challenges(),
        [r#"Bearer realm="token-authority""#],
        "RFC 6750: no error where nothing was tried"
    );
    for credential in ["junk", &forge::wrong_secret(&issued.secret), &gateway.credential] {
        let refused = gateway.asks("", &[("authorization", &bearer(credential))]).await;
        refused.assert_refused(401, "code", "CREDENTIAL_INVALID");
        assert_eq!(refused.challenges(), [INVALID_TOKEN]);
    }
    for two in [
        [("authorization", good.as_str()), ("x-api-key", issued.secret.as_str())],
        [("authorization", &good), ("authorization", &good)],
        [("x-api-key", &issued.secret), ("x-api-key", &issued.secret)],
    ] {
        let refused = gateway.asks("", &two).await;
        refused.assert_refused(401, "code", "CREDENTIAL_AMBIGUOUS");
        assert_eq!(refused.challenges(), [r#"Bearer realm="token-authority", error="invalid_request""#]);
    }

    let forbidden = gateway.asks("?scope=signals:write+trading:read+admin", &[("authorization", &good)]).await;
    forbidden.assert_refused(403, "code", "INSUFFICIENT_SCOPE");
    assert_eq!(forbidden.json()["error"], "Insufficient scope");
    let challenge = r#"Bearer realm="token-authority", error="insufficient_scope", scope="admin signals:write""#;
    assert_eq!(forbidden.challenges(), [challenge]);

    assert_eq!(gateway.asks("", &[("authorization", &good)]).await.status, 200);
    gateway.admin.revoke(&issued.token.token_id).await.unwrap();
    assert_eq!(gateway.asks("", &[("authorization", &good)]).await.status, 401, "at once");
    gateway.server.end().await;
}

async fn where_it_came_from_is_what_a_trusted_proxy_says(backend: Backend) {
    let gateway = start(backend, |_| {}).await;
    let bound =
        |networks: &[&str]| IssueTokenRequest { allowed_cidrs: texts(networks), ..issue_request("ada", "bound", &[]) };
    let issued = gateway.admin.try_issue(bound(&["192.0.2.0/24"])).await.unwrap();
    for (forwarded, status) in [
        (&["192.0.2.7"][..], 200),
        (&["::ffff:192.0.2.7"], 200),
        (&["junk, 192.0.2.7, 10.1.1.1"], 200),
        (&["192.0.2.7, 203.0.113.9"], 401),
        (&["192.0.2.7", "203.0.113.9"], 401),
        (&["192.0.2.7, unknown"], 401),
        (&[""], 401),
        (&[], 401),
    ] {
        let mut headers = vec![("x-api-key", issued.secret.as_str())];
        headers.extend(forwarded.iter().map(|line| ("x-forwarded-for", *line)));
        assert_eq!(gateway.asks("", &headers).await.status, status, "{forwarded:?}");
    }
    gateway.server.end().await;

    // Where nobody is trusted to say, it is not known: least of all is it the
    // gateway's own address.
    let gateway = start(backend, |settings| settings.http.trusted_proxies.clear()).await;
    let issued = gateway.admin.try_issue(bound(&["127.0.0.0/8", "192.0.2.0/24"])).await.unwrap();
    for forwarded in ["192.0.2.7", "127.0.0.1"] {
        let headers = [("x-api-key", issued.secret.as_str()), ("x-forwarded-for", forwarded)];
        assert_eq!(gateway.asks("", &headers).await.status, 401, "{forwarded}");
    }
    gateway.server.end().await;
}

async fn what_is_wrong_with_the_gateway_is_no_client_s_fault(backend: Backend) {
    let gateway = start(backend, |_| {}).await;
    let issued = gateway.admin.issue("ada", "laptop", &["read"]).await;
    let issuer = gateway.admin.create_service(service_request("issuer", &[ServiceRole::Issuer])).await.unwrap().secret;
    let good = bearer(&issued.secret);
    let own = basic(&gateway.credential);
    for (headers, code) in [
        (&[("authorization", good.as_str())][..], "GATEWAY_CREDENTIAL_REQUIRED"),
        (&[("authorization", &own), ("x-api-key", &issued.secret)], "GATEWAY_CREDENTIAL_REQUIRED"),
        (&[("authorization", &good), (CREDENTIAL, "junk")], "GATEWAY_CREDENTIAL_INVALID"),
        (&[("authorization", &good), (CREDENTIAL, &issuer)], "GATEWAY_NOT_PERMITTED"),
        (&[("authorization", &good), (CREDENTIAL, &issued.secret)], "GATEWAY_NOT_PERMITTED"),
        (
            &[("authorization", &good), (CREDENTIAL, &gateway.credential), (CREDENTIAL, &gateway.credential)],
            "GATEWAY_CREDENTIAL_REQUIRED",
        ),
    ] {
        let reply = gateway.http.get(PATH, headers).await;
        reply.assert_refused(500, "code", code);
        assert!(reply.challenges().is_empty(), "nobody is asked for a credential: {reply:?}");
    }
    for query in ["?scope=a&scope=b", "?scope=%22", "?scope=%C3%A9"] {
        let reply = gateway.asks(query, &[("authorization", &good)]).await;
        reply.assert_refused(500, "code", "GATEWAY_REQUEST_MALFORMED");
    }
    gateway.server.end().await;
}
