//! `POST /oauth2/revoke`, as RFC 7009 has it; and what others have to know first:
//! the metadata and the public keys.

use std::time::Duration;

use serde_json::json;
use token_authority::{
    proto::v1::{AuditEvent, AuditOutcome, ListAuditEventsRequest, ServiceRole},
    settings::Span,
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::service_request,
    http::{Http, Reply, basic, bearer},
    sign_in::{PASSWORD, by_account},
    wait::until,
};

const PATH: &str = "/oauth2/revoke";

on_both_databases!(
    whoever_holds_a_secret_ends_it_at_once,
    what_nobody_holds_is_revoked_already,
    what_cannot_be_revoked_here_is_said,
    what_is_refused_is_told_to_the_audit_trail,
);

async fn start(backend: Backend) -> (TestServer, Actor, Http, String) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.audit.refusal_interval = Span(Duration::from_millis(20));
    })
    .await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let caller = admin.create_service(service_request("scanner", &[ServiceRole::Login])).await.unwrap();
    let http = server.http();
    (server, admin, http, basic(&caller.secret))
}

async fn revoke(http: &Http, caller: &str, token: &str) -> Reply {
    http.post_form(PATH, caller, &format!("token={token}&token_type_hint=access_token")).await
}

async fn events(admin: &Actor, action: &str) -> Vec<AuditEvent> {
    let request = ListAuditEventsRequest { action: action.to_owned(), ..Default::default() };
    admin.call(admin.client.audit().list_audit_events(request)).await.unwrap().events
}

async fn whoever_holds_a_secret_ends_it_at_once(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    let issued = admin.issue("ada", "leaked", &[]).await;
    assert!(admin.introspect(&issued.secret).await.active);
    revoke(&http, &caller, &issued.secret).await.assert_done();
    assert!(!admin.introspect(&issued.secret).await.active);
    revoke(&http, &caller, &issued.secret).await.assert_done();
    let [event] = &events(&admin, "token.revoke").await[..] else { panic!("one change") };
    assert!(event.actor.starts_with("service:") && event.target == issued.token.token_id, "{event:?}");

    let own = admin.issue("ada", "own", &[]).await;
    revoke(&http, &bearer(&own.secret), &own.secret).await.assert_done();
    assert!(!admin.introspect(&own.secret).await.active);
    let id_token = admin.sign_in("ada").await;
    revoke(&http, &caller, &id_token).await.assert_done();
    assert!(!admin.introspect(&id_token).await.active);
    server.end().await;
}

async fn what_nobody_holds_is_revoked_already(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    let issued = admin.issue("ada", "good", &[]).await;
    let wrong = crate::support::forge::wrong_secret(&issued.secret);
    for token in ["junk", "dt_x", &wrong, &issued.token.token_id] {
        revoke(&http, &caller, token).await.assert_done();
    }
    assert!(admin.introspect(&issued.secret).await.active);
    server.end().await;
}

async fn what_cannot_be_revoked_here_is_said(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    let session = admin.sign_in_desktop(by_account("ada")).await.unwrap();
    revoke(&http, &caller, &session.secret).await.assert_refused(400, "error", "unsupported_token_type");
    assert!(admin.introspect(&session.secret).await.active);
    let last = server.database.admin_token();
    revoke(&http, &caller, &last).await.assert_refused(400, "error", "invalid_request");
    assert!(admin.who_am_i().await.is_ok(), "somebody has to administer");
    server.end().await;
}

async fn what_is_refused_is_told_to_the_audit_trail(backend: Backend) {
    let (server, admin, http, caller) = start(backend).await;
    revoke(&http, &basic("junk"), "x").await.assert_refused(401, "error", "invalid_client");
    http.post_form(PATH, &caller, "").await.assert_refused(400, "error", "invalid_request");
    let refused = async || {
        let mut events = events(&admin, "token.revoke").await;
        events.retain(|event| event.outcome() == AuditOutcome::Refused);
        events
    };
    until("both are told", async || refused().await.len() == 2).await;
    let told = refused().await;
    let by =
        |reason: &str| told.iter().find(|event| event.refusal_reason == reason).unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(by("CREDENTIAL_INVALID").actor, "unknown");
    assert!(by("MALFORMED_REQUEST").actor.starts_with("service:"));
    assert_eq!(by("MALFORMED_REQUEST").actor_address, "127.0.0.1");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_says_where_to_go() {
    let issuer = "https://auth.example.org";
    let server =
        TestServer::configured(Backend::Sqlite, None, |settings| issuer.clone_into(&mut settings.sessions.issuer))
            .await;
    let told = server.http().get("/.well-known/oauth-authorization-server", &[]).await.ok();
    let expected = json!({
        "issuer": issuer,
        "jwks_uri": "https://auth.example.org/.well-known/jwks.json",
        "response_types_supported": [],
        "grant_types_supported": [],
        "introspection_endpoint": "https://auth.example.org/oauth2/introspect",
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "Bearer"],
        "revocation_endpoint": "https://auth.example.org/oauth2/revoke",
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic"],
    });
    assert_eq!(told, expected);
    server.end().await;

    let nameless = TestServer::start(Backend::Sqlite).await;
    let reply = nameless.http().get("/.well-known/oauth-authorization-server", &[]).await;
    reply.assert_refused(404, "code", "NO_METADATA");
    nameless.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_keys_verify_what_is_signed() {
    let (server, admin, http, _) = start(Backend::Sqlite).await;
    let id_token = admin.sign_in("ada").await;
    let reply = http.get("/.well-known/jwks.json", &[]).await;
    assert_eq!(reply.header("content-type"), "application/jwk-set+json");
    let claims =
        crate::support::web_session::verify(&id_token, &reply.ok(), "token-authority", "token-authority").unwrap();
    assert_eq!(claims["sub"], "ada");
    server.end().await;
}
