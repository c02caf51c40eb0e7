//! IssueToken: what may be asked for, and that a retry mints nothing twice.

use std::collections::BTreeSet;

use token_authority::proto::v1::{
    Account, CredentialKind, IssueTokenRequest, ListTokensRequest, ServiceRole, TokenState,
};
use tonic::Code;

use crate::support::{Backend, TestServer, assert_refused, calls::texts, issue_request, refusal::assert_field_refused};

on_both_databases!(
    a_record_says_what_was_granted,
    labels_with_what_cannot_be_seen_are_refused,
    labels_are_normalized,
    networks_and_scopes_must_be_well_formed,
    a_suspended_account_gets_no_token,
    services_name_the_account,
    a_repeated_request_mints_nothing,
    request_ids_are_each_callers_own,
    of_concurrent_repeats_one_mints,
    of_concurrent_repeats_for_several_accounts_one_mints,
);

async fn a_record_says_what_was_granted(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let who = admin.who_am_i().await.unwrap().credential_id;
    let request = IssueTokenRequest {
        allowed_cidrs: texts(&["10.0.0.1", "10.0.0.0/24"]),
        ..issue_request("ada", "first", &["write", "read", "read"])
    };
    let issued = admin.try_issue(request).await.unwrap();
    let token = &issued.token;
    assert_eq!((token.account_id.as_str(), token.label.as_str()), ("ada", "first"));
    assert_eq!((token.kind(), token.state()), (CredentialKind::Personal, TokenState::Active));
    assert_eq!(token.scopes, ["read", "write"]);
    assert_eq!(token.allowed_cidrs, ["10.0.0.0/24", "10.0.0.1/32"]);
    assert_eq!(token.created_by, format!("service:{who}"));
    assert_eq!((token.imported, token.use_count, token.revoke_time, token.rotate_time), (false, 0, None, None));
    assert_eq!(token.secrets.len(), 1);
    assert_eq!((token.secrets[0].create_time, token.secrets[0].end_time), (token.create_time, None));
    assert_eq!(admin.get_token(&token.token_id).await.unwrap(), *token);
    server.end().await;
}

async fn labels_with_what_cannot_be_seen_are_refused(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let too_long = "a".repeat(101);
    for bad in [
        "zero\u{200b}width",
        "zero\u{200d}joiner",
        "\u{feff}mark",
        "soft\u{ad}hyphen",
        "\u{202e}override",
        "iso\u{2066}late",
        "mark\u{200f}",
        "nul\0",
        "line\nfeed",
        "escape\u{1b}[31m",
        "delete\u{7f}",
        "next\u{85}line",
        "line\u{2028}separator",
        "tag\u{e0041}",
        "variation\u{fe0f}",
        "\u{3164}",
        "\u{e000}",
        "",
        "   ",
        &too_long,
    ] {
        let refused = admin.try_issue(issue_request("ada", bad, &["read"])).await;
        assert_field_refused(refused, "INVALID_LABEL", "label");
    }
    server.end().await;
}

async fn labels_are_normalized(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let decomposed = "Cafe\u{301}";
    assert_eq!(admin.issue("ada", decomposed, &[]).await.token.label, "Caf\u{e9}");
    let longest = "ä".repeat(100);
    assert_eq!(admin.issue("ada", &longest, &[]).await.token.label, longest);
    assert_eq!(admin.issue("ada", "Übersicht № 1 – 日本語", &[]).await.token.label, "Übersicht № 1 – 日本語");
    server.end().await;
}

async fn networks_and_scopes_must_be_well_formed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    for bad in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0", "010.0.0.1", "example.com", "::1/129", "", " 10.0.0.1"] {
        let allowed_cidrs = texts(&["10.0.0.0/8", bad]);
        let request = IssueTokenRequest { allowed_cidrs, ..issue_request("ada", "x", &[]) };
        assert_field_refused(admin.try_issue(request).await, "INVALID_CIDR", "allowed_cidrs[1]");
    }
    for bad in ["", "two words", "quo\"te", "back\\slash", "umläut", "line\n"] {
        let request = issue_request("ada", "x", &["read", bad]);
        assert_field_refused(admin.try_issue(request).await, "INVALID_SCOPE", "scopes[1]");
    }
    let both = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "x", &["read"]) };
    assert_field_refused(admin.try_issue(both).await, "INVALID_SCOPE", "scopes");
    let many = vec!["read".to_owned(); 201];
    let many = IssueTokenRequest { scopes: many, ..issue_request("ada", "x", &[]) };
    assert_field_refused(admin.try_issue(many).await, "INVALID_SCOPE", "scopes");
    for bad in ["spa ce", "a\u{e9}", &"a".repeat(129)] {
        let request = IssueTokenRequest { request_id: bad.to_owned(), ..issue_request("ada", "x", &[]) };
        assert_field_refused(admin.try_issue(request).await, "INVALID_REQUEST_ID", "request_id");
    }
    server.end().await;
}

async fn a_suspended_account_gets_no_token(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let before = admin.issue("ada", "before", &["read"]).await;
    let ada = |suspended| Account { account_id: "ada".to_owned(), suspended, ..Default::default() };
    admin.update_account(ada(true), &["suspended"]).await.unwrap();

    let refused = admin.try_issue(issue_request("ada", "during", &["read"])).await;
    assert_refused(refused, Code::PermissionDenied, "ACCOUNT_SUSPENDED");
    assert_eq!(admin.get_token(&before.token.token_id).await.unwrap().state(), TokenState::Suspended);
    let suspended = admin.tokens_of("ada", &[TokenState::Suspended]).await;
    assert_eq!(suspended.iter().map(|token| token.label.as_str()).collect::<Vec<_>>(), ["before"]);
    assert!(admin.tokens_of("ada", &[TokenState::Active]).await.is_empty());
    let as_holder = server.actor(&before.secret).await.who_am_i().await;
    assert_refused(as_holder, Code::Unauthenticated, "CREDENTIAL_INVALID");

    admin.update_account(ada(false), &["suspended"]).await.unwrap();
    assert!(admin.introspect(&before.secret).await.active);
    admin.issue("ada", "after", &["read"]).await;
    server.end().await;
}

async fn services_name_the_account(backend: Backend) {
    let server = TestServer::start(backend).await;
    let issuer = server.service("issuer", &[ServiceRole::Issuer]).await;
    let without = issuer.try_issue(issue_request("", "x", &[])).await;
    assert_field_refused(without, "INVALID_ACCOUNT_ID", "account_id");
    let listed = issuer.list_tokens(ListTokensRequest::default()).await;
    assert_field_refused(listed, "INVALID_ACCOUNT_ID", "account_id");
    for bad in ["a b", "a/b", "é", &"a".repeat(129)] {
        let refused = issuer.try_issue(issue_request(bad, "x", &[])).await;
        assert_field_refused(refused, "INVALID_ACCOUNT_ID", "account_id");
    }
    server.end().await;
}

fn repeated(account: &str, request_id: &str) -> IssueTokenRequest {
    IssueTokenRequest { request_id: request_id.to_owned(), ..issue_request(account, "retried", &["read"]) }
}

async fn a_repeated_request_mints_nothing(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let first = admin.try_issue(repeated("ada", "id-1")).await.unwrap();
    for _ in 0..2 {
        let again = admin.try_issue(repeated("ada", "id-1")).await;
        let error = assert_refused(again, Code::AlreadyExists, "REQUEST_ID_REUSED");
        assert_eq!(error.metadata["token_id"], first.token.token_id);
    }
    assert_eq!(admin.tokens_of("ada", &[]).await.len(), 1);
    admin.revoke(&first.token.token_id).await.unwrap();
    let after = admin.try_issue(repeated("ada", "id-1")).await;
    assert_refused(after, Code::AlreadyExists, "REQUEST_ID_REUSED");
    admin.try_issue(repeated("ada", "id-2")).await.unwrap();
    server.end().await;
}

async fn request_ids_are_each_callers_own(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issuer = server.service("issuer", &[ServiceRole::Issuer]).await;
    let one = admin.try_issue(repeated("ada", "id-1")).await.unwrap();
    let other = issuer.try_issue(repeated("ada", "id-1")).await.unwrap();
    assert_ne!(one.token.token_id, other.token.token_id);
    let error =
        assert_refused(issuer.try_issue(repeated("ada", "id-1")).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert_eq!(error.metadata["token_id"], other.token.token_id);
    server.end().await;
}

/// Sends a request once for each account, all at the same time: one mints, and
/// all others are told what it minted.
async fn assert_one_mints(server: &TestServer, accounts: &[&str]) {
    let admin = server.admin().await;
    let calls = accounts.iter().map(|account| {
        let (admin, request) = (admin.clone(), repeated(account, "id-1"));
        tokio::spawn(async move { admin.try_issue(request).await })
    });
    let calls: Vec<_> = calls.collect();
    let (mut minted, mut told) = (Vec::new(), BTreeSet::new());
    for call in calls {
        match call.await.unwrap() {
            Ok(issued) => minted.push(issued.token.token_id),
            refused => {
                let error = assert_refused(refused, Code::AlreadyExists, "REQUEST_ID_REUSED");
                told.insert(error.metadata["token_id"].clone());
            }
        }
    }
    assert_eq!(minted.len(), 1);
    assert_eq!(told.into_iter().collect::<Vec<_>>(), minted);
}

async fn of_concurrent_repeats_one_mints(backend: Backend) {
    let server = TestServer::start(backend).await;
    assert_one_mints(&server, &["ada"; 12]).await;
    assert_eq!(server.admin().await.tokens_of("ada", &[]).await.len(), 1);
    server.end().await;
}

async fn of_concurrent_repeats_for_several_accounts_one_mints(backend: Backend) {
    let server = TestServer::start(backend).await;
    let accounts: Vec<_> = (0..12).map(|number| format!("account-{number}")).collect();
    assert_one_mints(&server, &accounts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    server.end().await;
}
