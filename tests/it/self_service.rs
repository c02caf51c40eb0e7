//! Account holders by their own tokens: a narrow one reaches itself alone, and
//! one that manages others hands out no more than its own.

use std::time::Duration;

use prost_types::Timestamp;
use token_authority::{
    client::CallError,
    proto::v1::{
        Account, CredentialKind, IssueTokenRequest, ListDesktopSessionsRequest, ListTokensRequest, RevocationReason,
        RotateTokenRequest, TokenState, issue_token_request::Expiry,
    },
    settings::Settings,
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Issued, TestServer, assert_refused,
    calls::{span, texts},
    issue_request,
};

on_both_databases!(
    a_narrow_token_reaches_itself_alone,
    a_managing_token_manages_its_account_s_others,
    a_managing_token_hands_out_no_more_scopes_than_its_own,
    a_managing_token_hands_out_no_more_networks_than_its_own,
    a_managing_token_hands_out_no_longer_life_than_its_own,
    a_token_without_end_is_cut_to_the_caller_s,
    inheriting_comes_from_inheriting_alone,
    limited_permissions_bound_services_too,
    implications_count_on_both_sides,
    a_holder_calls_from_its_networks_alone,
);

const MANAGE: &str = "tokens:manage";

fn managed(settings: &mut Settings) {
    settings.self_service.manage_scope = Some(MANAGE.to_owned());
}

async fn start(backend: Backend) -> (TestServer, Actor) {
    let server = TestServer::configured(backend, None, managed).await;
    let admin = server.admin().await;
    let ada =
        Account { account_id: "ada".to_owned(), permissions: texts(&["read", "write", MANAGE]), ..Default::default() };
    admin.put_account(ada).await;
    (server, admin)
}

/// A token of ada's as `change` changes it, and the holder that calls with it.
async fn holder(
    server: &TestServer,
    admin: &Actor,
    scopes: &[&str],
    change: impl FnOnce(&mut IssueTokenRequest),
) -> (Issued, Actor) {
    let mut request = issue_request("ada", "holder", scopes);
    change(&mut request);
    let issued = admin.try_issue(request).await.unwrap();
    let actor = server.actor(&issued.secret).await;
    (issued, actor)
}

fn inherits(request: &mut IssueTokenRequest) {
    request.inherits_permissions = true;
}

#[track_caller]
fn assert_not_permitted<T: std::fmt::Debug>(result: Result<T, CallError>) {
    assert_refused(result, Code::PermissionDenied, "NOT_PERMITTED");
}

async fn a_narrow_token_reaches_itself_alone(backend: Backend) {
    let (server, admin) = start(backend).await;
    let (own, narrow) = holder(&server, &admin, &["read"], |_| {}).await;
    let (wider, _) = holder(&server, &admin, &["read", "write"], |_| {}).await;
    let (equal, _) = holder(&server, &admin, &["read"], |_| {}).await;

    for account in ["", "ada"] {
        let list = ListTokensRequest { account_id: account.to_owned(), ..Default::default() };
        assert_not_permitted(narrow.list_tokens(list).await);
        let list = ListDesktopSessionsRequest { account_id: account.to_owned(), ..Default::default() };
        assert_not_permitted(narrow.list_desktop_sessions(list).await);
        assert_not_permitted(narrow.try_issue(issue_request(account, "x", &["read"])).await);
        assert_not_permitted(narrow.revoke_all(account, RevocationReason::Unspecified, true).await);
    }
    for sibling in [&wider, &equal] {
        let id = &sibling.token.token_id;
        assert_refused(narrow.revoke(id).await, Code::NotFound, "TOKEN_NOT_FOUND");
        assert_refused(narrow.get_token(id).await, Code::NotFound, "TOKEN_NOT_FOUND");
        let rotate = RotateTokenRequest { token_id: id.clone(), ..Default::default() };
        assert_not_permitted(narrow.call(narrow.client.tokens().rotate_token(rotate)).await);
        assert!(admin.introspect(&sibling.secret).await.active);
    }

    assert_eq!(narrow.get_token(&own.token.token_id).await.unwrap(), own.token);
    assert_eq!(narrow.get_account("").await.unwrap(), narrow.get_account("ada").await.unwrap());
    assert_refused(narrow.get_account("ben").await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    narrow.catalog().await.unwrap();
    let revoked = narrow.revoke(&own.token.token_id).await.unwrap().unwrap();
    assert_eq!(revoked.state(), TokenState::Revoked);
    assert_refused(narrow.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}

async fn a_managing_token_manages_its_account_s_others(backend: Backend) {
    let (server, admin) = start(backend).await;
    let (own, managing) = holder(&server, &admin, &["read", MANAGE], |_| {}).await;
    let (wider, _) = holder(&server, &admin, &["read", "write"], |_| {}).await;
    let other = admin.issue("ben", "other", &["read"]).await;

    let issued = managing.issue("", "mine", &["read"]).await;
    assert_eq!(issued.token.account_id, "ada");
    assert_eq!(issued.token.created_by, format!("token:{}", own.token.token_id));
    assert_eq!(issued.token.kind(), CredentialKind::Personal);
    assert_eq!(managing.tokens_of("ada", &[]).await.len(), 3);
    managing.list_desktop_sessions(ListDesktopSessionsRequest::default()).await.unwrap();
    assert!(managing.revoke(&wider.token.token_id).await.unwrap().is_some(), "revoking yields nothing");
    assert!(!admin.introspect(&wider.secret).await.active);

    let for_other = managing.try_issue(issue_request("ben", "x", &["read"])).await;
    assert_refused(for_other, Code::NotFound, "ACCOUNT_NOT_FOUND");
    let list = ListTokensRequest { account_id: "ben".to_owned(), ..Default::default() };
    assert_refused(managing.list_tokens(list).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    assert_refused(managing.revoke(&other.token.token_id).await, Code::NotFound, "TOKEN_NOT_FOUND");
    let list = ListTokensRequest { account_id: "nobody".to_owned(), ..Default::default() };
    assert_refused(managing.list_tokens(list).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    server.end().await;
}

async fn a_managing_token_hands_out_no_more_scopes_than_its_own(backend: Backend) {
    let (server, admin) = start(backend).await;
    let (_, managing) = holder(&server, &admin, &["read", MANAGE], |_| {}).await;
    // The account holds "write", its token does not.
    let beyond = managing.try_issue(issue_request("", "x", &["read", "write"])).await;
    let error = assert_refused(beyond, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    assert_eq!(error.metadata["scopes"], "write");
    let inheriting = IssueTokenRequest { inherits_permissions: true, ..issue_request("", "x", &[]) };
    assert_refused(managing.try_issue(inheriting).await, Code::PermissionDenied, "SCOPE_NOT_GRANTED");

    let second = managing.issue("", "managing", &["read", MANAGE]).await;
    let second = server.actor(&second.secret).await;
    assert_eq!(second.issue("", "last", &["read"]).await.token.scopes, ["read"]);
    let none = second.issue("", "none", &[]).await;
    assert!(none.token.scopes.is_empty() && !none.token.inherits_permissions);
    server.end().await;
}

async fn a_managing_token_hands_out_no_more_networks_than_its_own(backend: Backend) {
    let (server, admin) = start(backend).await;
    let (_, managing) = holder(&server, &admin, &["read", MANAGE], |request| {
        request.allowed_cidrs = texts(&["127.0.0.0/8", "10.1.0.0/16"]);
    })
    .await;
    let issue = async |networks: &[&str]| {
        let request = IssueTokenRequest { allowed_cidrs: texts(networks), ..issue_request("", "x", &["read"]) };
        managing.try_issue(request).await.map(|issued| issued.token.allowed_cidrs)
    };
    assert_eq!(issue(&[]).await.unwrap(), ["10.1.0.0/16", "127.0.0.0/8"], "none asked for: its own");
    assert_eq!(issue(&["10.1.2.0/24", "127.0.0.1"]).await.unwrap(), ["10.1.2.0/24", "127.0.0.1/32"]);
    for beyond in [&["10.0.0.0/8"][..], &["0.0.0.0/0"], &["10.1.0.0/16", "192.0.2.1"], &["::/0"], &["::ffff:0:0/96"]] {
        assert_refused(issue(beyond).await, Code::PermissionDenied, "NETWORK_NOT_GRANTED");
    }
    server.end().await;
}

async fn a_managing_token_hands_out_no_longer_life_than_its_own(backend: Backend) {
    let (server, admin) = start(backend).await;
    let (own, managing) = holder(&server, &admin, &["read", MANAGE], |request| {
        request.expiry = Some(Expiry::Ttl(span(Duration::from_secs(3600))));
    })
    .await;
    let own_end = own.token.expire_time.unwrap();
    let issue = async |expiry| {
        let request = IssueTokenRequest { expiry, ..issue_request("", "x", &["read"]) };
        managing.try_issue(request).await.map(|issued| issued.token.expire_time.unwrap())
    };
    let at = |offset: i64| Timestamp { seconds: own_end.seconds + offset, ..own_end };
    assert_eq!(issue(None).await.unwrap(), own_end, "none asked for: its own");
    assert_eq!(issue(Some(Expiry::ExpireTime(own_end))).await.unwrap(), own_end);
    assert_eq!(issue(Some(Expiry::ExpireTime(at(-60)))).await.unwrap(), at(-60));
    for beyond in [Expiry::ExpireTime(at(1)), Expiry::Ttl(span(Duration::from_secs(7200)))] {
        assert_refused(issue(Some(beyond)).await, Code::PermissionDenied, "EXPIRY_NOT_GRANTED");
    }
    server.end().await;
}

async fn a_token_without_end_is_cut_to_the_caller_s(backend: Backend) {
    let server = TestServer::configured(backend, Some("examples/utho.toml"), |settings| {
        settings.self_service.manage_scope = Some("write".to_owned());
    })
    .await;
    let admin = server.admin().await;
    let (own, managing) = holder(&server, &admin, &["write"], |request| {
        request.expiry = Some(Expiry::Ttl(span(Duration::from_secs(3600))));
    })
    .await;
    assert_eq!(managing.issue("", "child", &["read"]).await.token.expire_time, own.token.expire_time);
    let (_, endless) = holder(&server, &admin, &["write"], |_| {}).await;
    assert_eq!(endless.issue("", "child", &["read"]).await.token.expire_time, None);
    server.end().await;
}

async fn inheriting_comes_from_inheriting_alone(backend: Backend) {
    let (server, admin) = start(backend).await;
    let (own, inheriting) = holder(&server, &admin, &[], inherits).await;
    assert!(own.token.inherits_permissions && own.token.scopes.is_empty());
    assert_eq!(inheriting.who_am_i().await.unwrap().scopes, ["read", MANAGE, "write"]);

    let child = IssueTokenRequest { inherits_permissions: true, ..issue_request("", "child", &[]) };
    let child = inheriting.try_issue(child).await.unwrap();
    assert!(child.token.inherits_permissions);
    let explicit = inheriting.issue("", "explicit", &["write"]).await;
    assert_eq!(explicit.token.scopes, ["write"]);
    let beyond = inheriting.try_issue(issue_request("", "x", &["delete"])).await;
    assert_refused(beyond, Code::PermissionDenied, "SCOPE_NOT_GRANTED");

    // What the account no longer holds, its inheriting token no longer grants.
    let ada = Account { account_id: "ada".to_owned(), permissions: texts(&["read"]), ..Default::default() };
    admin.update_account(ada, &["permissions"]).await.unwrap();
    assert_eq!(admin.introspect(&child.secret).await.scopes, ["read"]);
    let taken_away = inheriting.try_issue(issue_request("", "x", &["write"])).await;
    assert_refused(taken_away, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    server.end().await;
}

async fn limited_permissions_bound_services_too(backend: Backend) {
    let (server, admin) = start(backend).await;
    admin.issue("ada", "unlimited", &["delete"]).await;
    let ada = Account { account_id: "ada".to_owned(), limit_permissions: true, ..Default::default() };
    admin.update_account(ada, &["limit_permissions"]).await.unwrap();
    let beyond = admin.try_issue(issue_request("ada", "x", &["delete", "read", "purge"])).await;
    let error = assert_refused(beyond, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    assert_eq!(error.metadata["scopes"], "delete purge");
    admin.issue("ada", "within", &["read", "write"]).await;

    // A token manages by what it holds now, not by what it was given.
    let (_, managing) = holder(&server, &admin, &["read", MANAGE], |_| {}).await;
    managing.issue("", "child", &["read"]).await;
    let ada = Account { account_id: "ada".to_owned(), permissions: texts(&["read"]), ..Default::default() };
    admin.update_account(ada, &["permissions"]).await.unwrap();
    assert_not_permitted(managing.try_issue(issue_request("", "x", &["read"])).await);
    server.end().await;
}

async fn implications_count_on_both_sides(backend: Backend) {
    let server = TestServer::configured(backend, Some("examples/utm.toml"), |settings| {
        settings.self_service.manage_scope = Some("account:read".to_owned());
    })
    .await;
    let admin = server.admin().await;
    let ada = Account {
        account_id: "ada".to_owned(),
        plan: "PRO".to_owned(),
        permissions: texts(&["trading:write", "account:read"]),
        limit_permissions: true,
        ..Default::default()
    };
    admin.put_account(ada).await;
    // The account's trading:write includes trading:read.
    let (_, reader) = holder(&server, &admin, &["trading:read", "account:read"], |_| {}).await;
    let (_, writer) = holder(&server, &admin, &["trading:write", "account:read"], |_| {}).await;
    writer.issue("", "read", &["trading:read"]).await;
    writer.issue("", "write", &["trading:write"]).await;
    reader.issue("", "read", &["trading:read"]).await;
    let beyond = reader.try_issue(issue_request("", "x", &["trading:write"])).await;
    let error = assert_refused(beyond, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    assert_eq!(error.metadata["scopes"], "trading:write");
    server.end().await;
}

async fn a_holder_calls_from_its_networks_alone(backend: Backend) {
    let (server, admin) = start(backend).await;
    let bound_to =
        |network: &'static str| move |request: &mut IssueTokenRequest| request.allowed_cidrs = texts(&[network]);
    let (_, elsewhere) = holder(&server, &admin, &["read"], bound_to("192.0.2.0/24")).await;
    assert_refused(elsewhere.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    let (_, here) = holder(&server, &admin, &["read"], bound_to("::ffff:127.0.0.1")).await;
    assert_eq!(here.who_am_i().await.unwrap().account.unwrap().account_id, "ada");
    server.end().await;
}
