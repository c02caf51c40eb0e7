//! EndTokenSecret: one of a token's two live secrets ends early.

use std::time::Duration;

use token_authority::{
    domain::{credential::Kind, id::SecretId},
    proto::v1::{Account, IssueTokenRequest, Token, TokenState},
};
use tonic::Code;
use uuid::Uuid;

use crate::support::{
    Actor, Backend, Issued, TestServer, assert_refused, changes::HOUR, forge, issue_request,
    refusal::assert_field_refused, rounds::rounds, settings::be_patient,
};

on_both_databases!(
    the_old_secret_ends_early,
    where_the_new_one_ends_the_old_one_s_end_stays,
    the_last_live_secret_stays,
    what_has_ended_is_ended_already,
    the_secret_must_be_the_token_s_own,
    what_is_not_the_caller_s_looks_missing,
    a_holder_ends_the_secret_that_it_calls_with,
    of_two_that_end_each_other_one_stays,
    a_suspended_account_s_secrets_can_be_ended,
);

async fn rotated(admin: &Actor) -> (Issued, Issued) {
    let old = admin.issue("ada", "laptop", &["read"]).await;
    let new = admin.rotate(&old.token.token_id, HOUR).await;
    (old, new)
}

fn secrets(token: &Token) -> Vec<&str> {
    token.secrets.iter().map(|secret| secret.secret_id.as_str()).collect()
}

async fn the_old_secret_ends_early(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let (old, new) = rotated(&admin).await;
    assert!(admin.introspect(&old.secret).await.active);
    let [newer, older] = secrets(&new.token)[..] else { panic!("two are live") };
    let token = admin.end_secret(&old.token.token_id, older).await.unwrap();
    assert_eq!(secrets(&token), [newer]);
    assert_eq!(token, admin.get_token(&old.token.token_id).await.unwrap());
    assert_eq!((token.state(), token.rotate_time), (TokenState::Active, new.token.rotate_time));
    assert!(!admin.introspect(&old.secret).await.active);
    assert!(admin.introspect(&new.secret).await.active);
    admin.rotate(&old.token.token_id, HOUR).await;
    server.end().await;
}

async fn where_the_new_one_ends_the_old_one_s_end_stays(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let (old, new) = rotated(&admin).await;
    let [newer, older] = &new.token.secrets[..] else { panic!("two are live") };
    let token = admin.end_secret(&old.token.token_id, &newer.secret_id).await.unwrap();
    assert_eq!(token.secrets, std::slice::from_ref(older), "no life is given back");
    assert!(!admin.introspect(&new.secret).await.active);
    assert!(admin.introspect(&old.secret).await.active);
    let again = admin.rotate(&old.token.token_id, HOUR).await;
    let [_, kept] = &again.token.secrets[..] else { panic!("two are live") };
    assert_eq!(kept, older, "nor by another rotation");
    server.end().await;
}

async fn the_last_live_secret_stays(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let id = &issued.token.token_id;
    let only = secrets(&issued.token)[0];
    assert_refused(admin.end_secret(id, only).await, Code::FailedPrecondition, "LAST_SECRET");
    let new = admin.rotate(id, Duration::ZERO).await;
    assert_refused(admin.end_secret(id, secrets(&new.token)[0]).await, Code::FailedPrecondition, "LAST_SECRET");
    assert!(admin.introspect(&new.secret).await.active);
    server.end().await;
}

async fn what_has_ended_is_ended_already(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let (old, new) = rotated(&admin).await;
    let id = &old.token.token_id;
    let [newer, older] = secrets(&new.token)[..] else { panic!("two are live") };
    let token = admin.end_secret(id, older).await.unwrap();
    let revision = async || server.database.scalar("SELECT revision FROM head").await;
    let before = revision().await;
    assert_eq!(admin.end_secret(id, older).await.unwrap(), token);
    assert_eq!(revision().await, before, "nothing was changed");

    let revoked = admin.revoke(id).await.unwrap().unwrap();
    let before = revision().await;
    for secret in [older, newer] {
        assert_eq!(admin.end_secret(id, secret).await.unwrap(), revoked);
    }
    assert_eq!(revision().await, before);
    server.end().await;
}

async fn the_secret_must_be_the_token_s_own(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let (old, new) = rotated(&admin).await;
    let (_, other) = rotated(&admin).await;
    let id = &old.token.token_id;
    let unknown = SecretId::from_uuid(Uuid::max()).to_string();
    for secret in [unknown.as_str(), id, secrets(&other.token)[0], secrets(&other.token)[1]] {
        assert_refused(admin.end_secret(id, secret).await, Code::NotFound, "SECRET_NOT_FOUND");
    }
    for bad in ["", "x", &unknown.to_ascii_uppercase(), &old.secret] {
        assert_field_refused(admin.end_secret(id, bad).await, "INVALID_SECRET_ID", "secret_id");
    }
    assert_field_refused(admin.end_secret("x", &unknown).await, "INVALID_TOKEN_ID", "token_id");
    for secret in [&old.secret, &new.secret, &other.secret] {
        assert!(admin.introspect(secret).await.active);
    }
    server.end().await;
}

async fn what_is_not_the_caller_s_looks_missing(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let (old, new) = rotated(&admin).await;
    let secret = secrets(&new.token)[1];
    let missing = forge::forms().parse(&forge::unknown(Kind::Personal)).unwrap().id.to_string();
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ben", "managing", &[]) };
    let stranger = server.actor(&admin.try_issue(inherits).await.unwrap().secret).await;
    for (caller, id) in [(&stranger, &old.token.token_id), (&stranger, &missing), (&admin, &missing)] {
        assert_refused(caller.end_secret(id, secret).await, Code::NotFound, "TOKEN_NOT_FOUND");
    }
    let service = admin.who_am_i().await.unwrap().credential_id;
    assert_refused(admin.end_secret(&service, secret).await, Code::NotFound, "TOKEN_NOT_FOUND");
    // A token that manages nothing does not manage itself either.
    let narrow = server.actor(&old.secret).await;
    assert_refused(narrow.end_secret(&old.token.token_id, secret).await, Code::PermissionDenied, "NOT_PERMITTED");
    assert!(admin.introspect(&old.secret).await.active);
    server.end().await;
}

async fn a_holder_ends_the_secret_that_it_calls_with(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "managing", &[]) };
    let old = admin.try_issue(inherits).await.unwrap();
    let holder = server.actor(&old.secret).await;
    let id = &old.token.token_id;
    let new = holder.rotate(id, HOUR).await;
    holder.end_secret(id, &old.token.secrets[0].secret_id).await.unwrap();
    assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.actor(&new.secret).await.who_am_i().await.unwrap();
    server.end().await;
}

async fn of_two_that_end_each_other_one_stays(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    for _ in 0..rounds(5) {
        let (old, new) = rotated(&admin).await;
        let id = &old.token.token_id;
        let [newer, older] = secrets(&new.token)[..] else { panic!("two are live") };
        let (one, other) = tokio::join!(admin.end_secret(id, newer), admin.end_secret(id, older));
        let ended = [one.is_ok(), other.is_ok()];
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1, "{one:?} {other:?}");
        for refused in [one, other].into_iter().filter(Result::is_err) {
            assert_refused(refused, Code::FailedPrecondition, "LAST_SECRET");
        }
        let active = [admin.introspect(&new.secret).await.active, admin.introspect(&old.secret).await.active];
        assert_eq!(active, [!ended[0], !ended[1]]);
    }
    server.end().await;
}

async fn a_suspended_account_s_secrets_can_be_ended(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let (old, new) = rotated(&admin).await;
    let ada = |suspended| Account { account_id: "ada".to_owned(), suspended, ..Default::default() };
    admin.update_account(ada(true), &["suspended"]).await.unwrap();
    admin.end_secret(&old.token.token_id, secrets(&new.token)[1]).await.unwrap();
    admin.update_account(ada(false), &["suspended"]).await.unwrap();
    assert!(!admin.introspect(&old.secret).await.active);
    assert!(admin.introspect(&new.secret).await.active);
    server.end().await;
}
