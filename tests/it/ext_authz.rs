//! Check, as Envoy asks it: the same judgement as Introspect's, and what becomes of
//! the request.

use std::{collections::BTreeMap, time::Duration};

use token_authority::{
    domain::credential::Kind,
    proto::v1::{Account, IssueTokenRequest, ServiceRole, issue_token_request::Expiry},
    settings::Settings,
};

use crate::support::{
    Backend, TestServer,
    calls::{service_request, span, texts},
    ext_authz::{Held, Outcome},
    forge, issue_request,
    legacy::{LegacyToken, take_over},
    sign_in::PASSWORD,
    wait::until,
};

on_both_databases!(
    a_good_credential_goes_on_without_itself,
    whatever_is_inactive_is_refused_alike,
    a_route_says_which_scopes_it_wants,
    a_route_that_makes_no_sense_lets_nobody_through,
    bound_tokens_come_from_their_networks,
    another_systems_tokens_go_on_too,
    a_revocation_is_seen_at_once,
);

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn sorted(outcome: &Outcome) -> Vec<&str> {
    let mut removed: Vec<_> = outcome.removed.iter().map(String::as_str).collect();
    removed.sort_unstable();
    removed
}

#[track_caller]
fn assert_denied(outcome: &Outcome, status: i32, challenge: &str, body: &str) {
    let headers = pairs(&[("content-type", "application/json"), ("www-authenticate", challenge)]);
    assert_eq!((outcome.status, &outcome.headers, outcome.body.as_str()), (status, &headers, body));
}

async fn a_good_credential_goes_on_without_itself(backend: Backend) {
    let policy = |settings: &mut Settings| {
        settings.policy = toml::from_str("version = 1\n[[plans]]\nname = 'PRO'").unwrap();
    };
    let server = TestServer::configured(backend, None, policy).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let account = Account {
        account_id: "ada".to_owned(),
        username: "AdaLöve100%".to_owned(),
        plan: "PRO".to_owned(),
        roles: texts(&["owner", "trader"]),
        permissions: texts(&["write"]),
        ..Account::default()
    };
    admin.put_account(account).await;
    admin.put_account(Account { account_id: "bare".to_owned(), plan: "PRO".to_owned(), ..Default::default() }).await;
    admin.set_password("ada", PASSWORD).await.unwrap();
    let issued = admin.issue("ada", "laptop", &["read", "b"]).await;
    let session = admin.sign_in("AdaLöve100%").await;

    for held in [
        Held::bearer(&issued.secret),
        Held::api_key(&issued.secret),
        Held::with(&[("authorization", &format!("bEARER  {}", issued.secret))]),
        Held::raw(&[("x-api-key", issued.secret.as_bytes())]),
        Held::raw(&[("Authorization", format!("Bearer {}", issued.secret).as_bytes())]),
        // What a client claims itself is replaced.
        Held::with(&[("x-api-key", &issued.secret), ("x-token-authority-account-id", "root")]),
    ] {
        let outcome = gateway.check(held).await;
        assert_eq!(outcome.status, 200);
        let told = [
            ("x-token-authority-account-id", "ada"),
            ("x-token-authority-kind", "personal"),
            ("x-token-authority-plan", "PRO"),
            ("x-token-authority-roles", "owner trader"),
            ("x-token-authority-scopes", "b read"),
            ("x-token-authority-token-id", &issued.token.token_id),
            ("x-token-authority-username", "AdaL%C3%B6ve100%25"),
        ];
        assert_eq!(outcome.headers, pairs(&told));
        assert_eq!(sorted(&outcome), ["authorization", "x-api-key"]);
        let logged = [
            ("account_id", "ada"),
            ("kind", "personal"),
            ("plan", "PRO"),
            ("token_id", &issued.token.token_id),
            ("verdict", "VERDICT_ALLOWED"),
        ];
        assert_eq!(outcome.metadata, pairs(&logged));
    }
    let outcome = gateway.check(Held::bearer(&session).wanting("write")).await;
    let [kind, scopes] = ["kind", "scopes"].map(|name| outcome.headers[&format!("x-token-authority-{name}")].as_str());
    assert_eq!((outcome.status, kind, scopes), (200, "web_session", "write"));

    // What there is nothing to tell of is removed, should the client have sent it.
    let bare = admin.issue("bare", "bare", &[]).await;
    let outcome = gateway.check(Held::bearer(&bare.secret)).await;
    let told = ["account-id", "kind", "plan", "token-id"].map(|name| format!("x-token-authority-{name}"));
    assert_eq!(outcome.headers.into_keys().collect::<Vec<_>>(), told);
    let removed = ["roles", "scopes", "username"].map(|name| format!("x-token-authority-{name}"));
    assert_eq!(outcome.removed[2..], [removed[2].clone(), removed[1].clone(), removed[0].clone()]);
    server.end().await;
}

async fn whatever_is_inactive_is_refused_alike(backend: Backend) {
    let server = TestServer::start(backend).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let live = admin.issue("ada", "live", &[]).await;
    let revoked = admin.issue("ada", "revoked", &[]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let expiry = Some(Expiry::Ttl(span(Duration::from_micros(1))));
    let expired = IssueTokenRequest { expiry, ..issue_request("ada", "expired", &[]) };
    let expired = admin.try_issue(expired).await.unwrap();
    let service = admin.create_service(service_request("subject", &[ServiceRole::Admin])).await.unwrap();
    let suspended = admin.issue("sam", "suspended", &[]).await;
    let sam = Account { account_id: "sam".to_owned(), suspended: true, ..Default::default() };
    admin.update_account(sam, &["suspended"]).await.unwrap();

    let (runs, auditor) = (server.server.bcrypt_runs(), server.gateway(&server.database.admin_token()).await);
    let bearer = r#"Bearer realm="token-authority""#;
    for (held, reason) in [
        (Held::bearer("dt_junk"), "MALFORMED"),
        (Held::bearer(""), "MALFORMED"),
        (Held::api_key(""), "MALFORMED"),
        (Held::api_key(&format!("Bearer {}", live.secret)), "MALFORMED"),
        (Held::api_key(&format!("{},{}", live.secret, live.secret)), "MALFORMED"),
        (Held::bearer(&format!("{0},Bearer {0}", live.secret)), "MALFORMED"),
        (Held::bearer(&"a".repeat(1 << 20)), "MALFORMED"),
        (Held::raw(&[("x-api-key", b"dt_\xff\0")]), "MALFORMED"),
        (Held::bearer(&forge::unknown(Kind::Personal)), "UNKNOWN"),
        (Held::bearer(&forge::wrong_secret(&live.secret)), "WRONG_SECRET"),
        (Held::bearer(&expired.secret), "EXPIRED"),
        (Held::api_key(&revoked.secret), "REVOKED"),
        (Held::api_key(&suspended.secret), "ACCOUNT_SUSPENDED"),
        (Held::bearer(&service.secret), "KIND_NOT_ACCEPTED"),
    ] {
        let outcome = gateway.check(held.clone().wanting("read")).await;
        let body = r#"{"error":"the credential is not good","code":"CREDENTIAL_INVALID"}"#;
        assert_denied(&outcome, 401, &format!(r#"{bearer}, error="invalid_token""#), body);
        let logged = [("code", "CREDENTIAL_INVALID"), ("verdict", "VERDICT_UNAUTHENTICATED")];
        assert_eq!(outcome.metadata, pairs(&logged), "{reason}");
        // The client sees no difference, whoever asks.
        let seen = auditor.check(held).await;
        assert_eq!(seen.metadata["inactive_reason"], format!("INACTIVE_REASON_{reason}"));
        assert_eq!((seen.headers, seen.body), (outcome.headers, outcome.body));
    }
    assert_eq!(server.server.bcrypt_runs(), runs);

    for nothing in [
        Held::with(&[]),
        Held::default(),
        Held::with(&[("authorization", "Basic eDp5")]),
        Held::with(&[("authorization", "Bearer")]),
        Held::with(&[("authorization", &live.secret)]),
        Held::with(&[("cookie", &format!("token={}", live.secret)), ("x-token", &live.secret)]),
    ] {
        let outcome = gateway.check(nothing).await;
        assert_denied(&outcome, 401, bearer, r#"{"error":"a credential is wanted","code":"CREDENTIAL_REQUIRED"}"#);
    }

    let bearer_header = format!("Bearer {}", live.secret);
    for two in [
        Held::with(&[("authorization", &bearer_header), ("x-api-key", &live.secret)]),
        Held::with(&[("authorization", "Basic eDp5"), ("x-api-key", &live.secret)]),
        Held::with(&[("authorization", &bearer_header), ("Authorization", &bearer_header)]),
        Held::raw(&[("x-api-key", live.secret.as_bytes()), ("x-api-key", live.secret.as_bytes())]),
    ] {
        let outcome = gateway.check(two).await;
        let body = r#"{"error":"one credential is wanted","code":"CREDENTIAL_AMBIGUOUS"}"#;
        assert_denied(&outcome, 401, &format!(r#"{bearer}, error="invalid_request""#), body);
    }
    // Each of the two alone is let through.
    assert_eq!(gateway.check(Held::bearer(&live.secret)).await.status, 200);
    assert_eq!(gateway.check(Held::api_key(&live.secret)).await.status, 200);
    server.end().await;
}

async fn a_route_says_which_scopes_it_wants(backend: Backend) {
    let server = TestServer::start(backend).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let issued = admin.issue("ada", "laptop", &["trading:read", "trading:write"]).await;
    for enough in ["", "trading:read", "trading:write trading:read", "  trading:read  trading:read "] {
        assert_eq!(gateway.check(Held::bearer(&issued.secret).wanting(enough)).await.status, 200, "{enough:?}");
    }
    for (wanted, missing) in [
        ("signals:write", "signals:write"),
        ("trading:read signals:write", "signals:write"),
        ("b a trading:read", "a b"),
        ("Trading:Read", "Trading:Read"),
        ("trading", "trading"),
    ] {
        let outcome = gateway.check(Held::api_key(&issued.secret).wanting(wanted)).await;
        let challenge = format!(r#"Bearer realm="token-authority", error="insufficient_scope", scope="{missing}""#);
        assert_denied(&outcome, 403, &challenge, r#"{"error":"Insufficient scope","code":"INSUFFICIENT_SCOPE"}"#);
        let logged = [
            ("account_id", "ada"),
            ("code", "INSUFFICIENT_SCOPE"),
            ("kind", "personal"),
            ("token_id", &issued.token.token_id),
            ("verdict", "VERDICT_INSUFFICIENT_SCOPE"),
        ];
        assert_eq!(outcome.metadata, pairs(&logged));
    }
    server.end().await;
}

async fn a_route_that_makes_no_sense_lets_nobody_through(backend: Backend) {
    let server = TestServer::start(backend).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    for held in [
        Held::bearer(&issued.secret).wanting("read\twrite"),
        Held::bearer(&issued.secret).wanting("\"read\""),
        Held::bearer(&issued.secret).wanting(&(0..201).map(|scope| format!("s{scope}")).collect::<Vec<_>>().join(" ")),
        // A misspelt name would leave the route open.
        Held::bearer(&issued.secret).extension("required_scope", "read"),
        Held::bearer(&issued.secret).extension("REQUIRED_SCOPES", "read"),
        Held::bearer(&issued.secret).wanting("read").extension("scopes", "write"),
        Held::with(&[]).wanting("\\"),
    ] {
        let outcome = gateway.check(held).await;
        assert_eq!((outcome.status, outcome.headers), (500, pairs(&[("content-type", "application/json")])));
        let body = r#"{"error":"the gateway asks what makes no sense","code":"GATEWAY_REQUEST_MALFORMED"}"#;
        assert_eq!(outcome.body, body);
    }
    server.end().await;
}

async fn bound_tokens_come_from_their_networks(backend: Backend) {
    let start = async |proxies: &[&str]| {
        let proxies = texts(proxies);
        let server = TestServer::configured(backend, None, |settings| settings.grpc.trusted_proxies = proxies).await;
        let request =
            IssueTokenRequest { allowed_cidrs: texts(&["192.0.2.0/24"]), ..issue_request("ada", "bound", &[]) };
        let bound = server.admin().await.try_issue(request).await.unwrap();
        let gateway = server.new_gateway().await;
        (server, gateway, bound)
    };
    let (server, gateway, bound) = start(&[]).await;
    for (held, status) in [
        (Held::bearer(&bound.secret).from("192.0.2.7"), 200),
        (Held::bearer(&bound.secret).from("::ffff:192.0.2.7"), 200),
        (Held::bearer(&bound.secret).from("198.51.100.7"), 401),
        (Held::bearer(&bound.secret).without_source(), 401),
        (Held::bearer(&bound.secret).from("/var/run/socket"), 401),
        // What a client says itself changes nothing.
        (Held::bearer(&bound.secret).from("198.51.100.7").forwarded("192.0.2.7"), 401),
        (Held::bearer(&bound.secret).from("127.0.0.1").forwarded("192.0.2.7"), 401),
        (Held::bearer(&bound.secret).from("192.0.2.7").forwarded("198.51.100.7"), 200),
        (Held::bearer(&bound.secret).without_source().forwarded("192.0.2.7"), 401),
    ] {
        assert_eq!(gateway.check(held).await.status, status);
    }
    server.end().await;

    let (server, gateway, bound) = start(&["10.0.0.0/8", "127.0.0.0/8"]).await;
    for (peer, forwarded, status) in [
        ("10.0.0.1", "192.0.2.7", 200),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.7, 10.0.0.2", 200),
        ("10.0.0.1", "198.51.100.7, 192.0.2.7", 200),
        ("10.0.0.1", "192.0.2.7, 198.51.100.7", 401),
        ("10.0.0.1", "192.0.2.7, 198.51.100.7, 10.0.0.2", 401),
        ("10.0.0.1", "192.0.2.7, unknown", 401),
        ("10.0.0.1", "", 401),
        ("198.51.100.7", "192.0.2.7", 401),
        ("192.0.2.7", "198.51.100.7", 200),
    ] {
        let outcome = gateway.check(Held::bearer(&bound.secret).from(peer).forwarded(forwarded)).await;
        assert_eq!(outcome.status, status, "{peer}: {forwarded}");
    }
    let raw = |lines: [&'static str; 2]| {
        let key = ("x-api-key", bound.secret.as_bytes());
        let [first, last] = lines.map(|line| ("X-Forwarded-For", line.as_bytes()));
        Held::raw(&[first, key, last]).from("10.0.0.1")
    };
    assert_eq!(gateway.check(raw(["198.51.100.7", "192.0.2.7"])).await.status, 200);
    assert_eq!(gateway.check(raw(["192.0.2.7", "198.51.100.7"])).await.status, 401);
    server.end().await;
}

async fn another_systems_tokens_go_on_too(backend: Backend) {
    let server = TestServer::configured(backend, None, take_over).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let legacy = LegacyToken::new(1);
    let id = admin.import_one("ada", &legacy).await;
    for held in [Held::api_key(&legacy.0), Held::bearer(&legacy.0), Held::api_key(&legacy.0)] {
        let outcome = gateway.check(held).await;
        assert_eq!((outcome.status, outcome.headers["x-token-authority-token-id"].as_str()), (200, id.as_str()));
    }
    assert_eq!(gateway.check(Held::api_key(&legacy.neighbour().0)).await.status, 401);
    admin.revoke(&id).await.unwrap();
    assert_eq!(gateway.check(Held::api_key(&legacy.0)).await.status, 401);
    server.end().await;
}

async fn a_revocation_is_seen_at_once(backend: Backend) {
    let server = TestServer::start(backend).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    // On PostgreSQL, another replica answers than the one that is told.
    let replica = match backend {
        Backend::Sqlite => None,
        Backend::Postgres => {
            let database = server.database.replica();
            let settings = database.settings(None);
            Some(TestServer::on(database, &settings).await)
        }
    };
    let other = match &replica {
        None => gateway.clone(),
        Some(replica) => {
            let request = service_request("other gateway", &[ServiceRole::Introspector]);
            replica.gateway(&admin.create_service(request).await.unwrap().secret).await
        }
    };
    for number in 0..20 {
        let issued = admin.issue("ada", &format!("token {number}"), &[]).await;
        for gateway in [&gateway, &other] {
            assert_eq!(gateway.check(Held::bearer(&issued.secret)).await.status, 200);
        }
        admin.revoke(&issued.token.token_id).await.unwrap();
        for gateway in [&other, &gateway] {
            assert_eq!(gateway.check(Held::bearer(&issued.secret)).await.status, 401);
        }
    }
    // So is that of the gateway's own credential.
    let request = service_request("short-lived", &[ServiceRole::Introspector]);
    let service = admin.create_service(request).await.unwrap();
    let own = server.gateway(&service.secret).await;
    let issued = admin.issue("ada", "kept", &[]).await;
    assert_eq!(own.check(Held::bearer(&issued.secret)).await.status, 200);
    admin.revoke_service(&service.credential.credential_id).await.unwrap();
    let refused = own.try_check(Held::bearer(&issued.secret).request()).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("CREDENTIAL_INVALID"));
    if let Some(replica) = replica {
        replica.end().await;
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_are_noted_with_the_clients_address() {
    let server = TestServer::configured(Backend::Sqlite, None, |settings| {
        settings.introspection.use_interval = token_authority::settings::Span(Duration::from_millis(10));
    })
    .await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let issued = admin.issue("ada", "laptop", &[]).await;
    let held = Held::bearer(&issued.secret).from("192.0.2.7").forwarded("198.51.100.7");
    assert_eq!(gateway.check(held).await.status, 200);
    until("the use is written down", async || {
        admin.get_token(&issued.token.token_id).await.unwrap().last_used_ip == "192.0.2.7"
    })
    .await;
    server.end().await;
}
