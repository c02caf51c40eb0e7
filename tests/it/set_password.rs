//! SetPassword: in one form, however it is typed; and whoever sets another ends
//! what was opened by the one before.

use token_authority::proto::v1::{Account, InactiveReason, ListDesktopSessionsRequest};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused,
    refusal::assert_field_refused,
    sign_in::{PASSWORD, by_account, by_password},
};

on_both_databases!(
    a_password_is_checked,
    a_password_counts_however_it_is_typed,
    the_last_one_counts_and_an_empty_one_removes_it,
    one_that_is_used_is_hashed_anew_at_another_cost,
    sessions_end_and_tokens_do_not,
    a_deleted_account_s_password_and_sessions_never_come_back,
    the_audit_trail_tells_of_it_without_the_hash,
);

async fn a_password_is_checked(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let bad = ["1234567", "with a \0 inside", "two\nlines of it", &"a".repeat(72), &"ä".repeat(36), &"a".repeat(9_999)];
    for bad in bad {
        assert_field_refused(admin.set_password("ada", bad).await, "INVALID_PASSWORD", "password");
    }
    admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    for good in ["12345678", &"b".repeat(71), &"ä".repeat(35), &"ä".repeat(8), "with spaces  "] {
        admin.set_password("ada", good).await.unwrap();
        admin.sign_in_desktop(by_password("ada", good)).await.unwrap();
    }
    let unknown = admin.set_password("nobody", PASSWORD).await;
    assert_refused(unknown, Code::NotFound, "ACCOUNT_NOT_FOUND");
    assert_field_refused(admin.set_password("no body", PASSWORD).await, "INVALID_ACCOUNT_ID", "account_id");
    server.end().await;
}

async fn a_password_counts_however_it_is_typed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", "Cafe\u{301} au\u{a0}lait").await;
    for same in ["Caf\u{e9} au lait", "Cafe\u{301} au lait", "Caf\u{e9} au\u{3000}lait"] {
        admin.sign_in_desktop(by_password("ada", same)).await.unwrap();
    }
    for other in ["caf\u{e9} au lait", "Cafe au lait", "Caf\u{e9} au lait "] {
        let refused = admin.sign_in_desktop(by_password("ada", other)).await;
        assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
    }
    server.end().await;
}

async fn the_last_one_counts_and_an_empty_one_removes_it(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let before = admin.get_account("ada").await.unwrap();
    admin.set_password("ada", "battery staple").await.unwrap();
    assert_eq!(admin.get_account("ada").await.unwrap(), before, "it is no part of what systems of record write");
    assert_refused(admin.sign_in_desktop(by_password("ada", PASSWORD)).await, Code::Unauthenticated, "BAD_CREDENTIALS");
    admin.sign_in_desktop(by_password("ada", "battery staple")).await.unwrap();

    let email = Account { email: "ada@example.com".to_owned(), ..before };
    admin.update_account(Account { etag: String::new(), ..email }, &["*"]).await.unwrap();
    admin.sign_in_desktop(by_password("ada", "battery staple")).await.unwrap();

    admin.set_password("ada", "").await.unwrap();
    for none in ["battery staple", PASSWORD, ""] {
        let refused = admin.sign_in_desktop(by_password("ada", none)).await;
        assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
    }
    assert_eq!(server.database.count("accounts WHERE password_hash IS NOT NULL").await, 0);
    server.end().await;
}

async fn one_that_is_used_is_hashed_anew_at_another_cost(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    for name in ["ada", "ben"] {
        admin.put_user(name, PASSWORD).await;
    }
    let before = admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    let database = server.database.clone();
    server.end().await;

    let mut settings = database.settings(None);
    settings.credentials.bcrypt_cost = 5;
    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    let costs = async || {
        let costs = ["ada", "ben"]
            .map(|name| format!("SELECT substr(password_hash, 5, 2) FROM accounts WHERE account_id = '{name}'"));
        [server.database.scalar(&costs[0]).await, server.database.scalar(&costs[1]).await]
    };
    let refused = admin.sign_in_desktop(by_password("ada", "battery staple")).await;
    assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
    assert_eq!(costs().await, ["04", "04"]);
    for _ in 0..2 {
        admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
        assert_eq!(costs().await, ["05", "04"]);
    }
    admin.sign_in("ben").await;
    assert_eq!(costs().await, ["05", "05"]);
    assert!(admin.introspect(&before.secret).await.active, "it is the same password");
    server.end().await;
}

async fn sessions_end_and_tokens_do_not(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    admin.put_user("ben", PASSWORD).await;
    let token = admin.issue("ada", "token", &[]).await;
    let bens = admin.sign_in_desktop(by_account("ben")).await.unwrap();
    for password in ["battery staple", "battery staple", ""] {
        let sessions = [
            admin.sign_in_desktop(by_account("ada")).await.unwrap(),
            admin.sign_in_desktop(by_account("ada")).await.unwrap(),
        ];
        for session in &sessions {
            assert!(admin.introspect(&session.secret).await.active);
        }
        admin.set_password("ada", password).await.unwrap();
        for session in &sessions {
            let answer = admin.introspect(&session.secret).await;
            assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::SignedOut));
            let as_ended = server.actor(&session.secret).await.who_am_i().await;
            assert_refused(as_ended, Code::Unauthenticated, "CREDENTIAL_INVALID");
        }
    }
    assert!(admin.introspect(&token.secret).await.active);
    assert!(admin.introspect(&bens.secret).await.active);
    let request =
        ListDesktopSessionsRequest { account_id: "ada".to_owned(), include_ended: true, ..Default::default() };
    let listed = admin.list_desktop_sessions(request.clone()).await.unwrap().sessions;
    assert_eq!(listed.len(), 6);
    assert!(listed.iter().all(|session| session.sign_out_time.is_some()));
    let live = ListDesktopSessionsRequest { include_ended: false, ..request };
    assert!(admin.list_desktop_sessions(live).await.unwrap().sessions.is_empty());
    server.database.assert_whole().await;
    server.end().await;
}

async fn a_deleted_account_s_password_and_sessions_never_come_back(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let session = admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    assert!(admin.introspect(&session.secret).await.active);
    admin.delete_account("ada").await.unwrap();
    let assert_gone = async || {
        assert!(!admin.introspect(&session.secret).await.active);
        let refused = admin.sign_in_desktop(by_password("ada", PASSWORD)).await;
        assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
        admin.sign_out_desktop(&session.secret).await.unwrap();
        let ended = admin.end_session(&session.session.session_id).await;
        assert_refused(ended, Code::NotFound, "SESSION_NOT_FOUND");
    };
    assert_gone().await;
    let id = "ada".to_owned();
    admin.put_account(Account { account_id: id.clone(), username: id, ..Default::default() }).await;
    assert_gone().await;
    admin.set_password("ada", PASSWORD).await.unwrap();
    assert!(!admin.introspect(&session.secret).await.active);
    let anew = admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    assert!(admin.introspect(&anew.secret).await.active);
    let request =
        ListDesktopSessionsRequest { account_id: "ada".to_owned(), include_ended: true, ..Default::default() };
    assert_eq!(admin.list_desktop_sessions(request).await.unwrap().sessions.len(), 1);
    server.end().await;
}

async fn the_audit_trail_tells_of_it_without_the_hash(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    admin.set_password("ada", "").await.unwrap();
    for action in ["account.set-password", "account.remove-password"] {
        let event = format!("audit_events WHERE action = '{action}' AND target = 'ada' AND account_id = 'ada'");
        assert_eq!(server.database.count(&event).await, 1, "{action}");
    }
    assert_eq!(server.database.count("audit_events WHERE detail LIKE '%$2b$%'").await, 0);
    let raised =
        "generation_raises r JOIN accounts a ON a.id = r.account WHERE r.series = 2 AND a.session_generation = 2";
    assert_eq!(server.database.count(raised).await, 2);
    server.end().await;
}
