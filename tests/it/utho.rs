//! Utho's API tokens, by examples/utho.toml alone.

use token_authority::proto::v1::{IssueTokenRequest, TokenState, Verdict, issue_token_request::Expiry};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused,
    calls::{question, span},
    issue_request,
    refusal::assert_field_refused,
};

on_both_databases!(
    read_and_write_are_levels,
    a_name_and_a_scope_are_wanted,
    tokens_live_until_deleted,
    deleting_a_token_takes_it_off_the_list,
);

async fn start(backend: Backend) -> TestServer {
    TestServer::configured(backend, Some("examples/utho.toml"), |_| {}).await
}

async fn read_and_write_are_levels(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    // No account was put: the first token makes it.
    let read = admin.issue("customer", "monitoring", &["read"]).await;
    let write = admin.issue("customer", "terraform", &["write"]).await;

    let verdict = async |secret: &str, scope: &str| {
        let answer = admin.try_introspect(question(secret, &[scope])).await.unwrap();
        assert!(answer.active);
        answer.verdict()
    };
    assert_eq!(verdict(&read.secret, "read").await, Verdict::Allowed);
    assert_eq!(verdict(&read.secret, "write").await, Verdict::InsufficientScope);
    assert_eq!(verdict(&write.secret, "write").await, Verdict::Allowed);
    assert_eq!(verdict(&write.secret, "read").await, Verdict::Allowed);
    assert_eq!(
        (&read.token.scopes[..], &write.token.scopes[..]),
        (&["read".to_owned()][..], &["write".to_owned()][..])
    );

    let other = admin.try_issue(issue_request("customer", "x", &["delete"])).await;
    assert_refused(other, Code::InvalidArgument, "UNKNOWN_SCOPE");
    let account = admin.get_account("customer").await.unwrap();
    assert!(account.token_limit_unbounded, "there are no plans");
    assert_eq!(account.token_count, 2);
    server.end().await;
}

async fn a_name_and_a_scope_are_wanted(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    for blank in ["", " ", "\u{2003}"] {
        let unnamed = admin.try_issue(issue_request("customer", blank, &["read"])).await;
        assert_field_refused(unnamed, "INVALID_LABEL", "label");
    }
    let without_scope = admin.try_issue(issue_request("customer", "monitoring", &[])).await;
    assert_field_refused(without_scope, "SCOPES_REQUIRED", "scopes");
    let account = admin.get_account("customer").await;
    assert_refused(account, Code::NotFound, "ACCOUNT_NOT_FOUND");
    server.end().await;
}

async fn tokens_live_until_deleted(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("customer", "monitoring", &["read"]).await;
    assert_eq!(issued.token.expire_time, None);
    assert_eq!(admin.introspect(&issued.secret).await.expire_time, None);

    let thousand_years = span(std::time::Duration::from_secs(1_000 * 365 * 24 * 60 * 60));
    let long =
        IssueTokenRequest { expiry: Some(Expiry::Ttl(thousand_years)), ..issue_request("customer", "long", &["read"]) };
    assert!(admin.try_issue(long).await.unwrap().token.expire_time.is_some());
    server.end().await;
}

async fn deleting_a_token_takes_it_off_the_list(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let kept = admin.issue("customer", "kept", &["read"]).await;
    let deleted = admin.issue("customer", "deleted", &["write"]).await;
    admin.revoke(&deleted.token.token_id).await.unwrap();

    assert_eq!(admin.tokens_of("customer", &[]).await, [kept.token]);
    assert!(!admin.introspect(&deleted.secret).await.active);
    let revoked = admin.tokens_of("customer", &[TokenState::Revoked]).await;
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].label, "deleted");
    server.end().await;
}
