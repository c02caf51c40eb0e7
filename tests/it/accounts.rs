//! AccountService: accounts as the systems of record write them, and what
//! callers are told of themselves.

use token_authority::proto::v1::{Account, IssueTokenRequest, PutAccountRequest, ServiceRole, Verdict};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused,
    calls::{question, texts},
    issue_request,
    refusal::assert_field_refused,
};

on_both_databases!(
    a_mask_says_what_is_written,
    an_existing_account_is_changed_with_a_mask_alone,
    an_etag_guards_against_lost_writes,
    usernames_are_unique_without_regard_to_case,
    fields_must_be_well_formed,
    a_deleted_account_s_credentials_never_come_back,
    what_an_account_loses_its_tokens_lose,
    a_service_is_told_who_it_is,
    a_holder_is_told_who_it_is,
    without_a_policy_the_catalogue_is_empty,
    of_concurrent_creations_one_is_made,
);

fn account(id: &str) -> Account {
    Account { account_id: id.to_owned(), ..Default::default() }
}

fn ada() -> Account {
    Account {
        username: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
        plan: "ANY".to_owned(),
        roles: texts(&["owner", "trader"]),
        permissions: texts(&["write", "read", "read"]),
        limit_permissions: true,
        ..account("ada")
    }
}

/// What of an account others write.
fn writable(account: Account) -> Account {
    Account { create_time: None, update_time: None, etag: String::new(), token_limit_unbounded: false, ..account }
}

async fn a_mask_says_what_is_written(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let made = admin.put_account(ada()).await;
    let expected = Account { permissions: texts(&["read", "write"]), ..ada() };
    assert_eq!(writable(made.clone()), expected);
    assert_eq!(made.create_time, made.update_time);
    assert_eq!(admin.get_account("ada").await.unwrap(), made);

    let other = Account { email: "new@example.com".to_owned(), suspended: true, ..account("ada") };
    let changed = admin.update_account(other.clone(), &["email"]).await.unwrap();
    assert_eq!(writable(changed.clone()), Account { email: "new@example.com".to_owned(), ..expected });
    assert_eq!(changed.create_time, made.create_time);
    assert_ne!(changed.etag, made.etag);
    let replaced = admin.update_account(other.clone(), &["*"]).await.unwrap();
    assert_eq!(writable(replaced), other, "a star replaces every writable field");

    let new = admin.update_account(ada_as("bo"), &["email", "roles"]).await.unwrap();
    let expected = Account { email: ada().email, roles: ada().roles, ..account("bo") };
    assert_eq!(writable(new), expected, "a new account is what the mask names");
    server.end().await;
}

fn ada_as(id: &str) -> Account {
    Account { account_id: id.to_owned(), username: String::new(), ..ada() }
}

async fn an_existing_account_is_changed_with_a_mask_alone(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let made = admin.put_account(ada()).await;
    let put = async |update_mask| {
        let request = PutAccountRequest { account: Some(account("ada")), update_mask };
        admin.call(admin.client.accounts().put_account(request)).await
    };
    assert_field_refused(put(None).await, "UPDATE_MASK_REQUIRED", "update_mask");
    assert_field_refused(put(Some(prost_types::FieldMask::default())).await, "UPDATE_MASK_REQUIRED", "update_mask");
    for path in ["etag", "account_id", "token_count", "create_time", "account.email", "emails", ""] {
        let refused = admin.update_account(account("ada"), &["email", path]).await;
        assert_field_refused(refused, "INVALID_UPDATE_MASK", "update_mask");
    }
    assert_eq!(admin.get_account("ada").await.unwrap(), made);
    let nothing = admin.call(admin.client.accounts().put_account(PutAccountRequest::default())).await;
    assert_field_refused(nothing, "ACCOUNT_REQUIRED", "account");
    server.end().await;
}

async fn an_etag_guards_against_lost_writes(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let made = admin.put_account(ada()).await;
    let with_etag = |etag: &str| Account { etag: etag.to_owned(), email: "x@example.com".to_owned(), ..account("ada") };
    let changed = admin.update_account(with_etag(&made.etag), &["email"]).await.unwrap();
    for stale in [made.etag.as_str(), "", "x"] {
        let result = admin.update_account(with_etag(stale), &["email"]).await;
        if stale.is_empty() {
            result.unwrap();
        } else {
            assert_refused(result, Code::Aborted, "ETAG_MISMATCH");
        }
    }
    let missing = admin.update_account(Account { etag: changed.etag, ..account("new") }, &["*"]).await;
    assert_refused(missing, Code::Aborted, "ETAG_MISMATCH");
    assert_refused(admin.get_account("new").await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    server.end().await;
}

async fn usernames_are_unique_without_regard_to_case(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_account(ada()).await;
    admin.put_account(account("ben")).await;
    let named = |id: &str, username: &str| Account { username: username.to_owned(), ..account(id) };
    for taken in ["Ada", "ADA", "aDa", "\u{ff21}da"] {
        let other = admin.update_account(named("ben", taken), &["username"]).await;
        assert_refused(other, Code::AlreadyExists, "USERNAME_TAKEN");
        let new = admin.update_account(named("cem", taken), &["username"]).await;
        assert_refused(new, Code::AlreadyExists, "USERNAME_TAKEN");
    }
    let own = admin.update_account(named("ada", "ADA"), &["username"]).await.unwrap();
    assert_eq!(own.username, "ADA", "its own name may change its look");
    admin.update_account(named("ada", ""), &["username"]).await.unwrap();
    assert_eq!(admin.update_account(named("ben", "Ada"), &["username"]).await.unwrap().username, "Ada");
    server.end().await;
}

async fn fields_must_be_well_formed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let refuse = async |bad: Account, reason: &str, field: &str| {
        assert_field_refused(admin.update_account(bad, &["*"]).await, reason, field);
    };
    for id in ["", "a b", "a\0", "é", "a/b", &"a".repeat(129)] {
        refuse(account(id), "INVALID_ACCOUNT_ID", "account.account_id").await;
        assert_refused(admin.delete_account(id).await, Code::InvalidArgument, "INVALID_ACCOUNT_ID");
    }
    for username in ["two words", "zero\u{200b}width", "\u{202e}x", &"a".repeat(256)] {
        refuse(Account { username: username.to_owned(), ..account("a") }, "INVALID_USERNAME", "account.username").await;
    }
    for email in ["two words", "a\u{200b}@example.com", "a\0", &"a".repeat(321)] {
        refuse(Account { email: email.to_owned(), ..account("a") }, "INVALID_EMAIL", "account.email").await;
    }
    refuse(Account { plan: "two words".to_owned(), ..account("a") }, "UNKNOWN_PLAN", "account.plan").await;
    refuse(Account { roles: texts(&["a", "b c"]), ..account("a") }, "INVALID_ROLE", "account.roles[1]").await;
    let permissions = texts(&["read", "read all"]);
    refuse(Account { permissions, ..account("a") }, "INVALID_SCOPE", "account.permissions[1]").await;
    server.end().await;
}

async fn a_deleted_account_s_credentials_never_come_back(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_account(ada()).await;
    let issued = admin.issue("ada", "before", &["read"]).await;
    let holder = server.actor(&issued.secret).await;
    holder.who_am_i().await.unwrap();
    admin.delete_account("ada").await.unwrap();

    let assert_gone = async || {
        assert!(!admin.introspect(&issued.secret).await.active);
        assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
        assert_refused(admin.get_token(&issued.token.token_id).await, Code::NotFound, "TOKEN_NOT_FOUND");
        assert_eq!(admin.revoke_secret(&issued.secret).await.unwrap(), None);
    };
    assert_gone().await;
    assert_refused(admin.get_account("ada").await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    assert_refused(admin.delete_account("ada").await, Code::NotFound, "ACCOUNT_NOT_FOUND");

    let anew = admin.put_account(ada()).await;
    assert_eq!((anew.username.as_str(), anew.token_count), ("Ada", 0));
    assert!(admin.tokens_of("ada", &[]).await.is_empty());
    assert_gone().await;
    let second = admin.issue("ada", "after", &["read"]).await;
    assert!(admin.introspect(&second.secret).await.active);
    server.end().await;
}

async fn what_an_account_loses_its_tokens_lose(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_account(ada()).await;
    let request = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "inherits", &[]) };
    let issued = admin.try_issue(request).await.unwrap();
    let answer = async || admin.try_introspect(question(&issued.secret, &["write"])).await.unwrap();
    let before = answer().await;
    assert_eq!(before.verdict(), Verdict::Allowed);
    assert_eq!((before.username.as_str(), before.plan.as_str()), ("Ada", "ANY"));
    assert_eq!(before.roles, ["owner", "trader"]);

    let less = Account { permissions: texts(&["read"]), ..ada() };
    admin.update_account(less, &["permissions"]).await.unwrap();
    assert_eq!(answer().await.missing_scopes, ["write"]);
    admin.update_account(Account { suspended: true, ..ada() }, &["suspended"]).await.unwrap();
    assert!(!answer().await.active);
    server.end().await;
}

async fn a_service_is_told_who_it_is(backend: Backend) {
    let server = TestServer::start(backend).await;
    let service = server.service("gateway", &[ServiceRole::Introspector, ServiceRole::Auditor]).await;
    let me = service.who_am_i().await.unwrap();
    assert_eq!((me.label.as_str(), me.account, me.expire_time), ("gateway", None, None));
    assert_eq!(me.service_roles, [ServiceRole::Introspector as i32, ServiceRole::Auditor as i32]);
    assert!(me.scopes.is_empty());
    let listed = server.admin().await.list_services(Default::default()).await.unwrap().credentials;
    assert!(listed.iter().any(|credential| credential.credential_id == me.credential_id));
    server.end().await;
}

async fn a_holder_is_told_who_it_is(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_account(ada()).await;
    let issued = admin.issue("ada", "ci", &["read"]).await;
    let me = server.actor(&issued.secret).await.who_am_i().await.unwrap();
    assert_eq!((&me.credential_id, me.label.as_str()), (&issued.token.token_id, "ci"));
    assert_eq!(me.scopes, ["read"]);
    assert!(me.service_roles.is_empty());
    assert_eq!(me.expire_time, issued.token.expire_time);
    assert_eq!(me.account, Some(admin.get_account("ada").await.unwrap()));
    server.end().await;
}

async fn without_a_policy_the_catalogue_is_empty(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.credentials.token_prefix = "upk".to_owned();
    })
    .await;
    let admin = server.admin().await;
    let catalog = admin.catalog().await.unwrap();
    assert!(catalog.categories.is_empty() && catalog.plans.is_empty());
    assert_eq!(catalog.token_prefix, "upk");
    assert!(admin.issue("ada", "any", &["any:scope"]).await.secret.starts_with("upk_"));
    server.end().await;
}

async fn of_concurrent_creations_one_is_made(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let puts = (0..8).map(|_| {
        let admin = admin.clone();
        let request = PutAccountRequest { account: Some(account("ada")), update_mask: None };
        tokio::spawn(async move { admin.call(admin.client.accounts().put_account(request)).await })
    });
    let puts: Vec<_> = puts.collect();
    let mut made = 0;
    for put in puts {
        match put.await.unwrap() {
            Ok(_) => made += 1,
            refused => assert_field_refused(refused, "UPDATE_MASK_REQUIRED", "update_mask"),
        }
    }
    assert_eq!(made, 1);
    server.end().await;
}
