//! UTMStack's sign-in and API keys, by examples/utmstack.toml alone.

use std::time::Duration;

use token_authority::{
    proto::v1::{Account, CredentialKind, InactiveReason, IntrospectRequest, IntrospectResponse, IssueTokenRequest},
    settings::Span,
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::{question, texts},
    issue_request,
    sign_in::PASSWORD,
    wait::until,
    web_session::{read_part, verify},
};

const FILE: &str = "examples/utmstack.toml";
const ISSUER: &str = "https://utmstack.example.com";

on_both_databases!(
    a_user_signs_in_and_a_key_is_used_exactly_like_the_token,
    a_key_is_bound_to_its_networks,
    the_last_use_shows,
    a_standard_library_verifies_the_token,
);

/// UTMStack itself, and a user of it.
async fn start(backend: Backend) -> (TestServer, Actor, Actor) {
    let server = TestServer::configured(backend, Some(FILE), |settings| {
        settings.introspection.use_interval = Span(Duration::from_millis(10));
    })
    .await;
    let utmstack = server.admin().await;
    let id = "soc-analyst".to_owned();
    let permissions = texts(&["alerts:read", "logs:read"]);
    let analyst = Account { account_id: id.clone(), username: id, permissions, ..Default::default() };
    utmstack.put_account(analyst).await;
    utmstack.set_password("soc-analyst", PASSWORD).await.unwrap();
    let user = server.anybody().await;
    (server, utmstack, user)
}

/// "Allowed IPs: Add IP addresses or CIDR ranges".
fn key_request() -> IssueTokenRequest {
    IssueTokenRequest { allowed_cidrs: texts(&["10.0.0.0/8"]), ..issue_request("", "Integration", &[]) }
}

async fn from(utmstack: &Actor, key: &str, client_ip: &str) -> IntrospectResponse {
    let request = IntrospectRequest { client_ip: client_ip.to_owned(), ..question(key, &["alerts:read"]) };
    utmstack.try_introspect(request).await.unwrap()
}

/// What a resource server goes by.
fn as_used(answer: &IntrospectResponse) -> (bool, i32, &str, &str, &[String], &[String], &str) {
    let IntrospectResponse { active, verdict, account_id, username, scopes, roles, plan, .. } = answer;
    (*active, *verdict, account_id, username, scopes, roles, plan)
}

async fn a_user_signs_in_and_a_key_is_used_exactly_like_the_token(backend: Backend) {
    let (server, utmstack, user) = start(backend).await;
    let id_token = user.sign_in("soc-analyst").await;
    let signed_in = server.actor(&id_token).await;
    assert_eq!(signed_in.who_am_i().await.unwrap().account.unwrap().account_id, "soc-analyst");
    let key = signed_in.try_issue(key_request()).await.unwrap();
    assert!(key.secret.starts_with("utmstack_") && key.token.inherits_permissions);

    let by_token = from(&utmstack, &id_token, "10.1.2.3").await;
    let by_key = from(&utmstack, &key.secret, "10.1.2.3").await;
    assert!(by_token.active && as_used(&by_token) == as_used(&by_key), "{by_token:?} {by_key:?}");
    assert_eq!((by_token.kind(), by_key.kind()), (CredentialKind::WebSession, CredentialKind::Personal));

    user_signs_out(&signed_in).await;
    assert_eq!(from(&utmstack, &id_token, "10.1.2.3").await.inactive_reason(), InactiveReason::SignedOut);
    assert!(from(&utmstack, &key.secret, "10.1.2.3").await.active, "the key lives on");
    server.end().await;
}

async fn user_signs_out(signed_in: &Actor) {
    signed_in.sign_out("").await.unwrap();
}

async fn a_key_is_bound_to_its_networks(backend: Backend) {
    let (server, utmstack, user) = start(backend).await;
    let signed_in = server.actor(&user.sign_in("soc-analyst").await).await;
    let key = signed_in.try_issue(key_request()).await.unwrap().secret;
    for address in ["10.1.2.3", "::ffff:10.1.2.3", "10.255.255.255"] {
        assert!(from(&utmstack, &key, address).await.active, "{address}");
    }
    for address in ["11.0.0.1", "", "::1", "2001:db8::10.1.2.3"] {
        let answer = from(&utmstack, &key, address).await;
        assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::AddressNotAllowed), "{address}");
    }
    server.end().await;
}

async fn the_last_use_shows(backend: Backend) {
    let (server, utmstack, user) = start(backend).await;
    let signed_in = server.actor(&user.sign_in("soc-analyst").await).await;
    let key = signed_in.try_issue(key_request()).await.unwrap();
    assert!(key.token.last_used_time.is_none());
    assert!(from(&utmstack, &key.secret, "10.1.2.3").await.active);
    let shown = async || signed_in.get_token(&key.token.token_id).await.unwrap();
    until("the last use shows", async || shown().await.last_used_time.is_some()).await;
    assert_eq!(shown().await.last_used_ip, "10.1.2.3");
    server.end().await;
}

async fn a_standard_library_verifies_the_token(backend: Backend) {
    let (server, _, user) = start(backend).await;
    let id_token = user.sign_in("soc-analyst").await;
    let claims = verify(&id_token, &user.jwks().await, ISSUER, "utmstack").unwrap();
    assert_eq!((claims["sub"].as_str(), &claims), (Some("soc-analyst"), &read_part(&id_token, 1)));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_out_ends_the_token_at_once_on_another_replica() {
    let (server, _, user) = start(Backend::Postgres).await;
    let database = server.database.replica();
    let replica = TestServer::on(database.clone(), &database.settings(Some(FILE))).await;
    let there = replica.admin().await;
    for _ in 0..50 {
        let id_token = user.sign_in("soc-analyst").await;
        replica.seen.secret(&id_token);
        assert!(there.introspect(&id_token).await.active);
        user_signs_out(&server.actor(&id_token).await).await;
        assert_eq!(there.introspect(&id_token).await.inactive_reason(), InactiveReason::SignedOut);
    }
    replica.end().await;
    server.end().await;
}
