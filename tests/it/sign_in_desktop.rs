//! SignInDesktop: by password, where what is wrong is not to be told apart, or on
//! the word of a trusted login service.

use std::time::Duration;

use token_authority::{
    client::CallError,
    proto::v1::{Account, CredentialKind, ListDesktopSessionsRequest, ServiceRole, SignInDesktopRequest},
    settings::{Span, SpanOrNever},
};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused,
    calls::{assert_without, texts},
    refusal::assert_field_refused,
    sign_in::{PASSWORD, SignedIn, by_account, by_password, from},
};

const DAY: i64 = 86_400;

on_both_databases!(
    a_password_opens_a_session,
    what_is_wrong_is_not_to_be_told_apart,
    a_suspended_account_signs_in_nowhere,
    a_trusted_login_opens_sessions_for_accounts,
    fields_must_be_well_formed,
    a_lifetime_is_a_setting,
);

async fn a_password_opens_a_session(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let login = server.service("login", &[ServiceRole::Login]).await;
    let id = "ada-1".to_owned();
    let ada =
        Account { account_id: id, username: "Ada".to_owned(), permissions: texts(&["read"]), ..Default::default() };
    admin.put_account(ada).await;
    admin.set_password("ada-1", PASSWORD).await.unwrap();

    let mut opened = Vec::new();
    for username in ["Ada", "aDA", "\u{ff21}da"] {
        opened.push(login.sign_in_desktop(from("192.0.2.7", by_password(username, PASSWORD))).await.unwrap());
    }
    let SignedIn { session, secret } = &opened[0];
    assert!(secret.starts_with("ds_"));
    assert_eq!((session.account_id.as_str(), session.device_name.as_str()), ("ada-1", "Laptop"));
    assert_eq!((session.platform.as_str(), session.app_version.as_str()), ("linux", "1.0"));
    assert!(session.last_seen_time.is_none() && session.sign_out_time.is_none());
    let lives = session.expire_time.unwrap().seconds - session.create_time.unwrap().seconds;
    assert_eq!(lives, 30 * DAY);

    let runs = server.server.bcrypt_runs();
    let answer = admin.introspect(secret).await;
    assert_eq!((answer.active, answer.kind()), (true, CredentialKind::DesktopSession));
    assert_eq!((answer.token_id.as_str(), answer.label.as_str()), (session.session_id.as_str(), "Laptop"));
    assert_eq!(answer.scopes, ["read"]);
    assert_eq!(server.server.bcrypt_runs(), runs, "it has its fingerprint from the start");

    let holder = server.actor(secret).await;
    let own = holder.list_desktop_sessions(ListDesktopSessionsRequest::default()).await.unwrap();
    let listed: Vec<_> = own.sessions.iter().map(|session| session.session_id.as_str()).collect();
    let expected: Vec<_> = opened.iter().rev().map(|opened| opened.session.session_id.as_str()).collect();
    assert_eq!(listed, expected);
    assert_without(&own, secret);
    let event = "audit_events WHERE action = 'session.sign-in-desktop' AND account_id = 'ada-1' \
                 AND detail LIKE '%192.0.2.7%'";
    assert_eq!(server.database.count(event).await, 3);
    server.database.assert_whole().await;
    server.end().await;
}

async fn what_is_wrong_is_not_to_be_told_apart(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.sign_in.max_failures_per_user_and_address = 100;
    })
    .await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let id = "ben".to_owned();
    admin.put_account(Account { account_id: id.clone(), username: id, ..Default::default() }).await;
    let long = "a".repeat(100);
    let mut told = Vec::new();
    for (username, password) in [
        ("ada", "wrong horse"),
        ("ada", ""),
        ("ada", "short"),
        ("ada", "correct horse\0"),
        ("ada", long.as_str()),
        ("ben", PASSWORD),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("two words", PASSWORD),
        ("\0", PASSWORD),
        (&"a".repeat(300), PASSWORD),
    ] {
        let runs = server.server.bcrypt_runs();
        let refused = admin.sign_in_desktop(by_password(username, password)).await;
        let error = assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
        assert_eq!(server.server.bcrypt_runs(), runs + 1, "{username:?} {password:?}");
        told.push(as_told(&error));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(server.database.count("desktop_sessions").await, 0);
    server.end().await;
}

/// All that a caller can tell refusals apart by.
fn as_told(error: &CallError) -> (Code, String, Vec<u8>) {
    (error.source.code(), error.source.message().to_owned(), error.source.details().to_vec())
}

async fn a_suspended_account_signs_in_nowhere(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let suspend = async |suspended| {
        let ada = Account { account_id: "ada".to_owned(), suspended, ..Default::default() };
        admin.update_account(ada, &["suspended"]).await.unwrap();
    };
    let before = admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    suspend(true).await;
    assert!(!admin.introspect(&before.secret).await.active);
    let wrong = admin.sign_in_desktop(by_password("ada", "wrong horse")).await.unwrap_err();
    let right = admin.sign_in_desktop(by_password("ada", PASSWORD)).await;
    let right = assert_refused(right, Code::Unauthenticated, "BAD_CREDENTIALS");
    assert_eq!(as_told(&right), as_told(&wrong));
    let trusted = admin.sign_in_desktop(by_account("ada")).await;
    assert_refused(trusted, Code::PermissionDenied, "ACCOUNT_SUSPENDED");
    suspend(false).await;
    assert!(admin.introspect(&before.secret).await.active, "it goes on");
    admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    server.end().await;
}

async fn a_trusted_login_opens_sessions_for_accounts(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let trusted = server.service("sso", &[ServiceRole::TrustedLogin]).await;
    let login = server.service("login", &[ServiceRole::Login]).await;
    admin.put_account(Account { account_id: "ada".to_owned(), ..Default::default() }).await;
    let opened = trusted.sign_in_desktop(by_account("ada")).await.unwrap();
    assert!(admin.introspect(&opened.secret).await.active);
    for missing in ["nobody", "Ada"] {
        let refused = trusted.sign_in_desktop(by_account(missing)).await;
        assert_refused(refused, Code::NotFound, "ACCOUNT_NOT_FOUND");
    }
    assert_refused(login.sign_in_desktop(by_account("ada")).await, Code::PermissionDenied, "NOT_PERMITTED");
    server.end().await;
}

async fn fields_must_be_well_formed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let good = || by_password("ada", PASSWORD);
    let refuse = async |bad: SignInDesktopRequest, reason: &str, field: &str| {
        let runs = server.server.bcrypt_runs();
        assert_field_refused(admin.sign_in_desktop(bad).await, reason, field);
        assert_eq!(server.server.bcrypt_runs(), runs);
    };
    refuse(SignInDesktopRequest { who: None, ..good() }, "WHO_REQUIRED", "who").await;
    refuse(by_account("no body"), "INVALID_ACCOUNT_ID", "account_id").await;
    for bad in [" ", "a\nb", "\u{202e}x", &"a".repeat(101)].map(ToOwned::to_owned) {
        refuse(SignInDesktopRequest { device_name: bad.clone(), ..good() }, "INVALID_DEVICE_NAME", "device_name").await;
        refuse(SignInDesktopRequest { platform: bad.clone(), ..good() }, "INVALID_PLATFORM", "platform").await;
        refuse(SignInDesktopRequest { app_version: bad, ..good() }, "INVALID_APP_VERSION", "app_version").await;
    }
    for bad in ["localhost", "10.0.0.1:80", "10.0.0.0/8", "fe80::1%1"] {
        refuse(from(bad, good()), "INVALID_CLIENT_IP", "client_ip").await;
    }
    let bare = SignInDesktopRequest { who: good().who, ..Default::default() };
    let opened = admin.sign_in_desktop(bare).await.unwrap();
    assert_eq!((opened.session.device_name.as_str(), opened.session.platform.as_str()), ("", ""));
    let charged = server.database.scalar("SELECT coalesce(sum(charged), 0) FROM sign_in_attempts").await;
    assert_eq!(charged, "0", "what is malformed is no failure");
    server.end().await;
}

async fn a_lifetime_is_a_setting(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.sessions.desktop_lifetime = Span(Duration::from_hours(1));
        settings.sessions.desktop_max_lifetime = SpanOrNever::Never;
    })
    .await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let session = admin.sign_in_desktop(by_account("ada")).await.unwrap().session;
    assert_eq!(session.expire_time.unwrap().seconds - session.create_time.unwrap().seconds, 3_600);
    server.end().await;
}
