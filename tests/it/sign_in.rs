//! SignIn: a username and password for a signed token, which is introspected like
//! any credential, and ends at once with all that ends a session.

use std::time::Duration;

use token_authority::{
    proto::v1::{
        Account, CredentialKind, InactiveReason, ListDesktopSessionsRequest, RevocationReason, ServiceRole,
        SignInRequest, Verdict,
    },
    settings::{Settings, Span},
};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    calls::{assert_without, question, texts},
    issue_request,
    refusal::assert_field_refused,
    sign_in::PASSWORD,
    wait::until,
    web_session::{credentials, parts, read_part, with_part},
};

const MINUTES_15: i64 = 15 * 60;

on_both_databases!(
    a_password_opens_a_web_session,
    a_session_manages_its_account_s_tokens,
    what_ends_an_account_s_sessions_ends_it_at_once,
    it_expires_by_the_database_s_clock,
    whatever_differs_is_another_text,
    without_a_fingerprint_a_digest_proves_it,
    what_is_wrong_opens_nothing,
    a_password_that_is_changed_meanwhile_opens_nothing,
    a_setting_opens_it_to_all,
    who_is_not_known_is_counted_by_its_own_address,
);

/// A server with ada, who holds "read", and a login service.
async fn start(backend: Backend, change: impl FnOnce(&mut Settings)) -> (TestServer, Actor, Actor) {
    let server = TestServer::configured(backend, None, change).await;
    let admin = server.admin().await;
    let [account_id, username] = ["ada-1", "Ada"].map(ToOwned::to_owned);
    admin.put_account(Account { account_id, username, permissions: texts(&["read"]), ..Default::default() }).await;
    admin.set_password("ada-1", PASSWORD).await.unwrap();
    let login = server.service("login", &[ServiceRole::Login]).await;
    (server, admin, login)
}

async fn reason(admin: &Actor, token: &str) -> Option<InactiveReason> {
    let answer = admin.introspect(token).await;
    (!answer.active).then(|| answer.inactive_reason())
}

async fn a_password_opens_a_web_session(backend: Backend) {
    let (server, admin, login) = start(backend, |_| {}).await;
    let request = SignInRequest { client_ip: "192.0.2.7".to_owned(), ..credentials("aDA", PASSWORD) };
    let signed_in = login.try_sign_in(request).await.unwrap();
    let token = &signed_in.id_token;

    let (header, claims) = (read_part(token, 0), read_part(token, 1));
    assert_eq!((&header["typ"], &header["alg"]), (&"at+jwt".into(), &"EdDSA".into()));
    assert_eq!(admin.kids().await, [header["kid"].as_str().unwrap()]);
    assert_eq!((&claims["iss"], &claims["aud"]), (&"token-authority".into(), &"token-authority".into()));
    assert_eq!((&claims["sub"], &claims["preferred_username"]), (&"ada-1".into(), &"Ada".into()));
    let caller = login.who_am_i().await.unwrap().credential_id;
    assert_eq!(claims["client_id"], format!("service:{caller}"));
    let expire_time = signed_in.expire_time.unwrap();
    assert_eq!((expire_time.seconds, expire_time.nanos), (claims["exp"].as_i64().unwrap(), 0));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), MINUTES_15);
    assert!((MINUTES_15 - 1..=MINUTES_15).contains(&signed_in.expires_in.unwrap().seconds));
    assert_eq!(claims.as_object().unwrap().len(), 8, "no more is said: {claims}");

    let runs = server.server.bcrypt_runs();
    let answer = admin.try_introspect(question(token, &["read"])).await.unwrap();
    assert_eq!((answer.active, answer.verdict(), answer.kind()), (true, Verdict::Allowed, CredentialKind::WebSession));
    assert_eq!((answer.token_id.as_str(), answer.account_id.as_str()), (claims["jti"].as_str().unwrap(), "ada-1"));
    assert_eq!((answer.username.as_str(), answer.scopes.as_slice()), ("Ada", &["read".to_owned()][..]));
    assert_eq!(answer.expire_time, Some(expire_time));
    let mut tokens_alone = question(token, &[]);
    tokens_alone.accepted_kinds = vec![CredentialKind::Personal.into()];
    assert_eq!(admin.try_introspect(tokens_alone).await.unwrap().inactive_reason(), InactiveReason::KindNotAccepted);
    assert_eq!(server.server.bcrypt_runs(), runs, "nothing of it is hashed");

    let holder = server.actor(token).await;
    let me = holder.who_am_i().await.unwrap();
    assert_eq!((me.credential_id.as_str(), me.label.as_str()), (claims["jti"].as_str().unwrap(), "Web session"));
    assert_without(&me, token);
    assert!(admin.tokens_of("ada-1", &[]).await.is_empty(), "sessions are no tokens");
    let listed = admin.list_desktop_sessions(ListDesktopSessionsRequest {
        account_id: "ada-1".to_owned(),
        include_ended: true,
        ..Default::default()
    });
    assert!(listed.await.unwrap().sessions.is_empty(), "nor desktop sessions");
    let event = "audit_events WHERE action = 'session.sign-in' AND account_id = 'ada-1' AND detail LIKE '%192.0.2.7%'";
    assert_eq!(server.database.count(event).await, 1);
    server.database.assert_whole().await;
    server.end().await;
}

async fn a_session_manages_its_account_s_tokens(backend: Backend) {
    let (server, admin, login) = start(backend, |_| {}).await;
    let holder = server.actor(&login.sign_in("ada").await).await;
    let own = holder.issue("", "own", &["read"]).await;
    assert!(own.token.created_by.starts_with("session:"));
    let beyond = holder.try_issue(issue_request("", "more", &["read", "write"])).await;
    assert_refused(beyond, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    assert_eq!(holder.tokens_of("", &[]).await.len(), 1);
    assert!(holder.revoke(&own.token.token_id).await.unwrap().is_some());
    assert!(!admin.introspect(&own.secret).await.active);
    server.end().await;
}

async fn what_ends_an_account_s_sessions_ends_it_at_once(backend: Backend) {
    let (server, admin, login) = start(backend, |_| {}).await;
    let suspend = async |suspended| {
        let ada = Account { account_id: "ada-1".to_owned(), suspended, ..Default::default() };
        admin.update_account(ada, &["suspended"]).await.unwrap();
    };
    let token = login.sign_in("ada").await;
    suspend(true).await;
    assert_eq!(reason(&admin, &token).await, Some(InactiveReason::AccountSuspended));
    suspend(false).await;
    assert_eq!(reason(&admin, &token).await, None);

    admin.revoke_all("ada-1", RevocationReason::Administrative, false).await.unwrap();
    assert_eq!(reason(&admin, &token).await, None, "tokens alone were ended");
    admin.revoke_all("ada-1", RevocationReason::Compromised, true).await.unwrap();
    assert_eq!(reason(&admin, &token).await, Some(InactiveReason::SignedOut));

    let token = login.sign_in("ada").await;
    let holder = server.actor(&token).await;
    assert_eq!(reason(&admin, &token).await, None, "what is opened afterwards lives");
    admin.set_password("ada-1", PASSWORD).await.unwrap();
    assert_eq!(reason(&admin, &token).await, Some(InactiveReason::SignedOut));
    assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");

    let narrowed = login.sign_in("ada").await;
    let ada = Account { account_id: "ada-1".to_owned(), ..Default::default() };
    admin.update_account(ada, &["permissions"]).await.unwrap();
    assert!(admin.introspect(&narrowed).await.scopes.is_empty(), "it holds what its account holds");
    admin.delete_account("ada-1").await.unwrap();
    assert_eq!(reason(&admin, &narrowed).await, Some(InactiveReason::Unknown));
    server.end().await;
}

async fn it_expires_by_the_database_s_clock(backend: Backend) {
    let (server, admin, login) =
        start(backend, |settings| settings.sessions.web_lifetime = Span(Duration::from_secs(2))).await;
    let token = login.sign_in("ada").await;
    assert_eq!(reason(&admin, &token).await, None);
    let expired = async || reason(&admin, &token).await == Some(InactiveReason::Expired);
    until("it has expired", expired).await;
    server.end().await;
}

/// Nobody checks the signature: what is not the text that was handed out is
/// nobody's token.
async fn whatever_differs_is_another_text(backend: Backend) {
    let (server, admin, login) = start(backend, |_| {}).await;
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    let junk = gateway.introspect("junk").await;
    let (one, other) = (login.sign_in("ada").await, login.sign_in("ada").await);
    assert_ne!(one, other);

    let changed_header = |name: &str, value: &str| {
        let mut header = read_part(&one, 0);
        header[name] = value.into();
        with_part(&one, 0, &header)
    };
    let changed_claim = |name: &str, value: serde_json::Value| {
        let mut claims = read_part(&one, 1);
        claims[name] = value;
        with_part(&one, 1, &claims)
    };
    let [header, claims, signature] = parts(&one);
    let another_key = "A".repeat(43);
    let wrong = Some(InactiveReason::WrongSecret);
    let malformed = Some(InactiveReason::Malformed);
    for (forged, expected) in [
        (changed_header("alg", "none"), malformed),
        (changed_header("alg", "HS256"), malformed),
        (changed_header("typ", "JWT"), malformed),
        (changed_header("kid", &another_key), wrong),
        (changed_claim("sub", "ben".into()), wrong),
        (changed_claim("exp", i64::MAX.into()), wrong),
        (changed_claim("jti", "01890a5d-ac96-774b-bcce-b302099a8057".into()), Some(InactiveReason::Unknown)),
        (changed_claim("jti", read_part(&other, 1)["jti"].clone()), wrong),
        (format!("{header}.{claims}."), malformed),
        (format!("{header}.{claims}"), malformed),
        (format!("{header}.{claims}.{}", parts(&other)[2]), wrong),
        (format!("{}.{claims}.{signature}", parts(&other)[0].to_uppercase()), malformed),
        (format!("{header}.{}.{signature}", parts(&other)[1]), wrong),
        (format!("{one} "), malformed),
        (one.repeat(3), malformed),
        ("e".repeat(1 << 16), malformed),
    ] {
        assert_eq!(reason(&admin, &forged).await, expected, "{forged}");
        assert_eq!(gateway.introspect(&forged).await, junk, "it looks like any other");
    }
    let forged = changed_claim("sub", "ben".into());
    let caller = server.actor(&forged).await.who_am_i().await;
    assert_refused(caller, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_eq!((reason(&admin, &one).await, reason(&admin, &other).await), (None, None));
    server.end().await;
}

/// As after the ring of master keys was lost.
async fn without_a_fingerprint_a_digest_proves_it(backend: Backend) {
    let (server, _, login) = start(backend, |_| {}).await;
    let token = login.sign_in("ada").await;
    let id = read_part(&token, 1)["jti"].as_str().unwrap().to_owned();
    let database = server.database.clone();
    let id = if backend == Backend::Postgres { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) };
    server.end().await;
    let of_it = format!("secrets WHERE credential = {id}");
    assert_eq!(database.count(&format!("{of_it} AND bcrypt_hash LIKE '{{SHA256}}%'")).await, 1);
    database.execute(&format!("UPDATE secrets SET fingerprint = NULL, key_id = NULL WHERE credential = {id}")).await;

    let server = TestServer::on(database.clone(), &database.settings(None)).await;
    server.seen.secret(&token);
    let admin = server.admin().await;
    let mut claims = read_part(&token, 1);
    claims["sub"] = "ben".into();
    assert_eq!(reason(&admin, &with_part(&token, 1, &claims)).await, Some(InactiveReason::WrongSecret));
    assert_eq!(reason(&admin, &token).await, None);
    assert_eq!(server.server.bcrypt_runs(), 0);
    let renewed = async || database.count(&format!("{of_it} AND key_id = 'k1'")).await == 1;
    until("its fingerprint is stored", renewed).await;
    assert_eq!(reason(&admin, &token).await, None);
    server.end().await;
}

async fn what_is_wrong_opens_nothing(backend: Backend) {
    let (server, admin, login) = start(backend, |settings| {
        settings.sign_in.max_failures_per_user_and_address = 100;
    })
    .await;
    let mut told = Vec::new();
    for (username, password) in
        [("ada", "wrong horse"), ("ada", ""), ("ben", PASSWORD), ("", PASSWORD), ("ada-1", PASSWORD)]
    {
        let refused = login.try_sign_in(credentials(username, password)).await;
        let error = assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
        told.push((error.source.message().to_owned(), error.source.details().to_vec()));
    }
    let ada = Account { account_id: "ada-1".to_owned(), suspended: true, ..Default::default() };
    admin.update_account(ada, &["suspended"]).await.unwrap();
    let refused = login.try_sign_in(credentials("ada", PASSWORD)).await;
    let error = assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
    told.push((error.source.message().to_owned(), error.source.details().to_vec()));
    told.dedup();
    assert_eq!(told.len(), 1);

    let nobody = login.try_sign_in(SignInRequest::default()).await;
    assert_field_refused(nobody, "CREDENTIALS_REQUIRED", "credentials");
    let nowhere = SignInRequest { client_ip: "here".to_owned(), ..credentials("ada", PASSWORD) };
    assert_field_refused(login.try_sign_in(nowhere).await, "INVALID_CLIENT_IP", "client_ip");
    assert_eq!(server.database.count("credentials WHERE kind = 4").await, 0);
    server.end().await;
}

/// Whichever comes first, no token of the former password lives on.
async fn a_password_that_is_changed_meanwhile_opens_nothing(backend: Backend) {
    let (server, admin, login) = start(backend, |settings| {
        settings.sign_in.max_failures_per_user_and_address = 1_000;
        settings.sign_in.max_failures_per_address = 1_000;
    })
    .await;
    let passwords = [PASSWORD, "battery staple"];
    for round in 0..20 {
        let (former, new) = (passwords[round % 2], passwords[(round + 1) % 2]);
        let sign_ins = (0..4).map(|_| login.try_sign_in(credentials("ada", former)));
        let (signed_in, set) = tokio::join!(futures_util::future::join_all(sign_ins), admin.set_password("ada-1", new));
        set.unwrap();
        for result in signed_in {
            match result {
                Ok(response) => {
                    let reason = reason(&admin, &response.id_token).await;
                    assert_eq!(reason, Some(InactiveReason::SignedOut), "round {round}");
                }
                Err(error) => assert_eq!(error.reason.as_deref(), Some("BAD_CREDENTIALS"), "{error:?}"),
            }
        }
    }
    server.end().await;
}

async fn a_setting_opens_it_to_all(backend: Backend) {
    let (server, admin, _) = start(backend, |_| {}).await;
    let closed = server.anybody().await.try_sign_in(credentials("ada", PASSWORD)).await;
    assert_refused(closed, Code::Unauthenticated, "CREDENTIAL_REQUIRED");
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    let closed = gateway.try_sign_in(credentials("ada", PASSWORD)).await;
    assert_refused(closed, Code::PermissionDenied, "NOT_PERMITTED");
    drop(admin);
    server.end().await;

    let (server, admin, _) = start(backend, |settings| settings.sign_in.open = true).await;
    let anybody = server.anybody().await;
    let token = anybody.sign_in("ada").await;
    assert_eq!(reason(&admin, &token).await, None);
    assert_eq!(read_part(&token, 1)["client_id"], "anybody");
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    let by_others = gateway.sign_in("ada").await;
    assert_eq!(read_part(&by_others, 1)["client_id"], "anybody", "what is open is open to all");
    let event = "audit_events WHERE action = 'session.sign-in' AND actor = 'anybody'";
    assert_eq!(server.database.count(event).await, 2);

    let wrong = server.actor("junk").await.try_sign_in(credentials("ada", PASSWORD)).await;
    assert_refused(wrong, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_refused(anybody.sign_out(&token).await, Code::Unauthenticated, "CREDENTIAL_REQUIRED");
    assert_refused(anybody.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_REQUIRED");
    let wrong = anybody.try_sign_in(credentials("ada", "wrong horse")).await;
    assert_refused(wrong, Code::Unauthenticated, "BAD_CREDENTIALS");
    server.end().await;
}

async fn who_is_not_known_is_counted_by_its_own_address(backend: Backend) {
    let (server, _, login) = start(backend, |settings| {
        settings.sign_in.open = true;
        settings.sign_in.max_failures_per_user_and_address = 3;
    })
    .await;
    let anybody = server.anybody().await;
    let from = |number: usize, password| SignInRequest {
        client_ip: format!("192.0.2.{number}"),
        ..credentials("ada", password)
    };
    for number in 0..3 {
        let wrong = anybody.try_sign_in(from(number, "wrong horse")).await;
        assert_refused(wrong, Code::Unauthenticated, "BAD_CREDENTIALS");
    }
    let refused = anybody.try_sign_in(from(3, PASSWORD)).await;
    let error = assert_refused(refused, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
    assert!(error.retry_after.is_some());
    login.try_sign_in(from(4, PASSWORD)).await.expect("whom a login service vouches for is counted apart");
    server.end().await;
}
