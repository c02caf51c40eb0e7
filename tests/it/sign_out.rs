//! SignOut: who holds a web session's token ends it, at once and for good.

use token_authority::proto::v1::{InactiveReason, RevocationReason, ServiceRole};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    refusal::assert_field_refused,
    sign_in::{PASSWORD, by_password},
    web_session::{read_part, with_part},
};

on_both_databases!(
    whoever_presents_a_token_ends_it,
    a_caller_ends_its_own_session,
    what_is_no_session_changes_nothing,
    a_token_that_leaked_is_revoked_by_whoever_finds_it,
    a_session_ends_by_its_id,
);

async fn start(backend: Backend) -> (TestServer, Actor, Actor) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let login = server.service("login", &[ServiceRole::Login]).await;
    (server, admin, login)
}

async fn is_signed_out(admin: &Actor, token: &str) -> bool {
    let answer = admin.introspect(token).await;
    assert!(answer.active || answer.inactive_reason() == InactiveReason::SignedOut);
    !answer.active
}

fn id_of(token: &str) -> String {
    read_part(token, 1)["jti"].as_str().unwrap().to_owned()
}

async fn whoever_presents_a_token_ends_it(backend: Backend) {
    let (server, admin, login) = start(backend).await;
    let [one, other] = [login.sign_in("ada").await, login.sign_in("ada").await];
    login.sign_out(&one).await.unwrap();
    assert!(is_signed_out(&admin, &one).await && !is_signed_out(&admin, &other).await);
    let revision = server.database.scalar("SELECT revision FROM head").await;
    login.sign_out(&one).await.unwrap();
    assert_eq!(server.database.scalar("SELECT revision FROM head").await, revision, "once is enough");

    // By the holder of another session, or of a token.
    let ben = admin.issue("ben", "narrow", &["read"]).await;
    server.actor(&ben.secret).await.sign_out(&other).await.unwrap();
    assert!(is_signed_out(&admin, &other).await);
    let event = format!("audit_events WHERE action = 'session.sign-out' AND target = '{}'", id_of(&one));
    assert_eq!(server.database.count(&event).await, 1);
    server.end().await;
}

async fn a_caller_ends_its_own_session(backend: Backend) {
    let (server, admin, login) = start(backend).await;
    let token = login.sign_in("ada").await;
    let holder = server.actor(&token).await;
    holder.sign_out("").await.unwrap();
    assert!(is_signed_out(&admin, &token).await);
    assert_refused(holder.sign_out("").await, Code::Unauthenticated, "CREDENTIAL_INVALID");

    let desktop = login.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    server.actor(&desktop.secret).await.sign_out("").await.unwrap();
    assert!(is_signed_out(&admin, &desktop.secret).await);

    assert_field_refused(login.sign_out("").await, "ID_TOKEN_REQUIRED", "id_token");
    let own = server.actor(&admin.issue("ada", "narrow", &["read"]).await.secret).await;
    assert_field_refused(own.sign_out("").await, "ID_TOKEN_REQUIRED", "id_token");
    own.who_am_i().await.expect("it is not ended");
    server.end().await;
}

async fn what_is_no_session_changes_nothing(backend: Backend) {
    let (server, admin, login) = start(backend).await;
    let token = login.sign_in("ada").await;
    let mut claims = read_part(&token, 1);
    claims["sub"] = "ben".into();
    let forged = with_part(&token, 1, &claims);
    let desktop = login.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap().secret;
    let issued = admin.issue("ada", "token", &["read"]).await.secret;
    let revision = server.database.scalar("SELECT revision FROM head").await;
    for presented in ["junk", "a.b.c", &forged, &desktop, &issued, &server.database.admin_token()] {
        login.sign_out(presented).await.unwrap();
    }
    login.sign_out_desktop(&token).await.unwrap();
    assert_eq!(server.database.scalar("SELECT revision FROM head").await, revision);
    for lives in [&token, &desktop, &issued] {
        assert!(admin.introspect(lives).await.active);
    }
    server.end().await;
}

async fn a_token_that_leaked_is_revoked_by_whoever_finds_it(backend: Backend) {
    let (server, admin, login) = start(backend).await;
    let token = login.sign_in("ada").await;
    assert_refused(admin.revoke(&id_of(&token)).await, Code::NotFound, "TOKEN_NOT_FOUND");
    let stranger = server.actor(&admin.issue("ben", "narrow", &["read"]).await.secret).await;
    let mut claims = read_part(&token, 1);
    claims["sub"] = "ben".into();
    assert_eq!(stranger.revoke_secret(&with_part(&token, 1, &claims)).await.unwrap(), None);
    assert!(!is_signed_out(&admin, &token).await, "that was another");
    assert_eq!(stranger.revoke_secret(&token).await.unwrap(), None, "it is told of no token");
    assert!(is_signed_out(&admin, &token).await);
    assert_eq!(stranger.revoke_secret(&token).await.unwrap(), None);

    let later = login.sign_in("ada").await;
    admin.revoke_all("ada", RevocationReason::Compromised, true).await.unwrap();
    assert!(is_signed_out(&admin, &later).await);
    server.end().await;
}

async fn a_session_ends_by_its_id(backend: Backend) {
    let (server, admin, login) = start(backend).await;
    let token = login.sign_in("ada").await;
    admin.end_session(&id_of(&token)).await.unwrap();
    assert!(is_signed_out(&admin, &token).await);
    server.end().await;
}
