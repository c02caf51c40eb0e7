//! RevokeAllTokens: one write ends them all, and nothing that comes after.

use std::time::Duration;

use token_authority::proto::v1::{
    Account, IssueTokenRequest, RevocationReason, TokenState, issue_token_request::Expiry,
};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused,
    calls::{span, texts},
    issue_request,
};

on_both_databases!(
    all_that_are_live_end_and_are_counted,
    each_keeps_the_reason_that_ended_it,
    what_is_issued_afterwards_lives,
    it_makes_room_under_a_plan,
    a_managing_token_ends_its_own_account_s_alone,
);

async fn all_that_are_live_end_and_are_counted(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let live = [admin.issue("ada", "one", &["read"]).await, admin.issue("ada", "two", &["read"]).await];
    let revoked = admin.issue("ada", "revoked", &["read"]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let expired = IssueTokenRequest {
        expiry: Some(Expiry::Ttl(span(Duration::from_micros(1)))),
        ..issue_request("ada", "expired", &["read"])
    };
    admin.try_issue(expired).await.unwrap();
    let other = admin.issue("ben", "other", &["read"]).await;

    let revoke_all = async || admin.revoke_all("ada", RevocationReason::Compromised, false).await.unwrap();
    assert_eq!(revoke_all().await, 2, "those revoked or expired do not count");
    for issued in &live {
        assert!(!admin.introspect(&issued.secret).await.active);
        let token = admin.get_token(&issued.token.token_id).await.unwrap();
        assert_eq!((token.state(), token.revocation_reason()), (TokenState::Revoked, RevocationReason::Compromised));
        assert!(token.revoke_time.is_some());
        assert_eq!(admin.revoke(&issued.token.token_id).await.unwrap(), Some(token), "revoked already");
        let holder = server.actor(&issued.secret).await;
        assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
    assert!(admin.tokens_of("ada", &[]).await.is_empty());
    assert_eq!(admin.tokens_of("ada", &[TokenState::Revoked]).await.len(), 4);
    assert_eq!(admin.get_account("ada").await.unwrap().token_count, 0);
    assert!(admin.introspect(&other.secret).await.active);
    assert_eq!(revoke_all().await, 0);
    let nobody = admin.revoke_all("nobody", RevocationReason::Unspecified, false).await;
    assert_refused(nobody, Code::NotFound, "ACCOUNT_NOT_FOUND");
    server.end().await;
}

async fn each_keeps_the_reason_that_ended_it(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let one = admin.issue("ada", "one", &[]).await;
    let by_itself = admin.revoke(&one.token.token_id).await.unwrap().unwrap();
    let two = admin.issue("ada", "two", &[]).await;
    admin.revoke_all("ada", RevocationReason::OwnerRequest, false).await.unwrap();
    let second = admin.get_token(&two.token.token_id).await.unwrap();
    let three = admin.issue("ada", "three", &[]).await;
    admin.revoke_all("ada", RevocationReason::CeasedOperation, false).await.unwrap();

    assert_eq!(admin.get_token(&one.token.token_id).await.unwrap(), by_itself);
    assert_eq!(admin.get_token(&two.token.token_id).await.unwrap(), second);
    assert_eq!(second.revocation_reason(), RevocationReason::OwnerRequest);
    let third = admin.get_token(&three.token.token_id).await.unwrap();
    assert_eq!(third.revocation_reason(), RevocationReason::CeasedOperation);
    let at = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos));
    assert!(at(second.revoke_time) < at(third.revoke_time));
    server.end().await;
}

async fn what_is_issued_afterwards_lives(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    for round in 0..3 {
        let issued = admin.issue("ada", &format!("round {round}"), &["read"]).await;
        assert!(admin.introspect(&issued.secret).await.active);
        assert_eq!(admin.revoke_all("ada", RevocationReason::Unspecified, true).await.unwrap(), 1);
        assert!(!admin.introspect(&issued.secret).await.active);
    }
    server.end().await;
}

async fn it_makes_room_under_a_plan(backend: Backend) {
    let server = TestServer::configured(backend, Some("examples/utm.toml"), |_| {}).await;
    let admin = server.admin().await;
    admin.put_account(Account { account_id: "ada".to_owned(), plan: "PRO".to_owned(), ..Default::default() }).await;
    for number in 0..10 {
        admin.issue("ada", &format!("app {number}"), &[]).await;
    }
    assert_eq!(admin.revoke_all("ada", RevocationReason::Unspecified, false).await.unwrap(), 10);
    let next = admin.issue("ada", "next", &[]).await;
    assert_eq!(next.token.state(), TokenState::Active);
    assert!(admin.introspect(&next.secret).await.active);
    server.end().await;
}

async fn a_managing_token_ends_its_own_account_s_alone(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let ada = Account { account_id: "ada".to_owned(), permissions: texts(&["read"]), ..Default::default() };
    admin.put_account(ada).await;
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "managing", &[]) };
    let holder = server.actor(&admin.try_issue(inherits).await.unwrap().secret).await;
    let other = admin.issue("ben", "other", &[]).await;

    let others = holder.revoke_all("ben", RevocationReason::Unspecified, false).await;
    assert_refused(others, Code::NotFound, "ACCOUNT_NOT_FOUND");
    assert!(admin.introspect(&other.secret).await.active);
    assert_eq!(holder.revoke_all("", RevocationReason::OwnerRequest, false).await.unwrap(), 1);
    assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}
