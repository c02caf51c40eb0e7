//! Desktop sessions: listed, view-only here, and gone when all is revoked. They
//! are written straight into PostgreSQL, so these tests run on that alone.

use token_authority::proto::v1::{
    Account, CredentialKind, InactiveReason, ListDesktopSessionsRequest, RevocationReason, ServiceRole,
};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    calls::{assert_without, question, texts},
    issue_request,
};

fn sessions_of(account: &str) -> ListDesktopSessionsRequest {
    ListDesktopSessionsRequest { account_id: account.to_owned(), ..Default::default() }
}

async fn device_names(actor: &Actor, request: ListDesktopSessionsRequest) -> Vec<String> {
    let listed = actor.list_desktop_sessions(request).await.unwrap();
    listed.sessions.into_iter().map(|session| session.device_name).collect()
}

async fn start() -> (TestServer, Actor) {
    let server = TestServer::start(Backend::Postgres).await;
    let admin = server.admin().await;
    let ada = Account { account_id: "ada".to_owned(), permissions: texts(&["read"]), ..Default::default() };
    admin.put_account(ada).await;
    (server, admin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_s_sessions_are_listed_newest_first() {
    let (server, admin) = start().await;
    admin.put_account(Account { account_id: "ben".to_owned(), ..Default::default() }).await;
    let sessions: Vec<_> = (1..=4).map(|number| server.open_desktop_session("ada", number)).collect();
    server.open_desktop_session("ben", 9);
    server.end_desktop_session(&sessions[1], "revoke_time");
    server.end_desktop_session(&sessions[2], "expire_time");

    assert_eq!(device_names(&admin, sessions_of("ada")).await, ["Laptop 4", "Laptop 1"]);
    let all = ListDesktopSessionsRequest { include_ended: true, ..sessions_of("ada") };
    assert_eq!(device_names(&admin, all.clone()).await, ["Laptop 4", "Laptop 3", "Laptop 2", "Laptop 1"]);
    let listed = admin.list_desktop_sessions(all).await.unwrap();
    let session = &listed.sessions[2];
    assert_eq!((session.session_id.as_str(), session.account_id.as_str()), (sessions[1].id.as_str(), "ada"));
    assert_eq!((session.platform.as_str(), session.app_version.as_str()), ("linux", "1.2"));
    assert!(session.sign_out_time.is_some() && session.expire_time.is_none());
    assert!(listed.sessions[1].expire_time.is_some() && listed.sessions[1].sign_out_time.is_none());
    for session in &sessions {
        assert_without(&listed, &session.secret);
    }
    assert!(admin.tokens_of("ada", &[]).await.is_empty(), "sessions are no tokens");

    let unknown = admin.list_desktop_sessions(sessions_of("nobody")).await;
    assert_refused(unknown, Code::NotFound, "ACCOUNT_NOT_FOUND");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_view_only() {
    let (server, admin) = start().await;
    let session = server.open_desktop_session("ada", 1);
    let other = server.actor(&server.open_desktop_session("ada", 2).secret).await;
    for refused in
        [admin.revoke(&session.id).await, admin.revoke_secret(&session.secret).await, other.revoke(&session.id).await]
    {
        assert_refused(refused, Code::FailedPrecondition, "DESKTOP_SESSION_VIEW_ONLY");
    }
    assert_refused(admin.get_token(&session.id).await, Code::NotFound, "TOKEN_NOT_FOUND");
    assert!(admin.introspect(&session.secret).await.active);
    let stranger = admin.issue("ben", "narrow", &["read"]).await;
    let stranger = server.actor(&stranger.secret).await;
    assert_refused(stranger.revoke(&session.id).await, Code::NotFound, "TOKEN_NOT_FOUND");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_stands_for_its_account_and_manages_its_tokens() {
    let (server, admin) = start().await;
    let session = server.open_desktop_session("ada", 1);
    let answer = admin.introspect(&session.secret).await;
    assert_eq!((answer.active, answer.kind()), (true, CredentialKind::DesktopSession));
    assert_eq!(answer.scopes, ["read"]);
    let runs = server.server.bcrypt_runs();
    assert!(admin.introspect(&session.secret).await.active);
    assert_eq!(server.server.bcrypt_runs(), runs, "it is proved by bcrypt once");

    let holder = server.actor(&session.secret).await;
    let me = holder.who_am_i().await.unwrap();
    assert_eq!((me.credential_id.as_str(), me.account.unwrap().account_id.as_str()), (session.id.as_str(), "ada"));
    let issued = holder.issue("", "own", &["read"]).await;
    assert_eq!(issued.token.created_by, format!("session:{}", session.id));
    assert!(issued.token.expire_time.is_some(), "the default lifetime");
    let beyond = holder.try_issue(issue_request("", "more", &["read", "write"])).await;
    let error = assert_refused(beyond, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    assert_eq!(error.metadata["scopes"], "write");
    assert_eq!(holder.tokens_of("", &[]).await, [issued.token.clone()]);
    assert_eq!(device_names(&holder, sessions_of("")).await, ["Laptop 1"]);
    assert!(holder.revoke(&issued.token.token_id).await.unwrap().is_some());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_all_tokens_ends_sessions_where_asked_to() {
    let (server, admin) = start().await;
    let introspector = server.service("gateway", &[ServiceRole::Introspector]).await;
    let session = server.open_desktop_session("ada", 1);
    let token = admin.issue("ada", "token", &["read"]).await;
    assert_eq!(admin.revoke_all("ada", RevocationReason::Administrative, false).await.unwrap(), 1);
    assert!(!admin.introspect(&token.secret).await.active);
    assert!(admin.introspect(&session.secret).await.active);

    assert_eq!(admin.revoke_all("ada", RevocationReason::Compromised, true).await.unwrap(), 0);
    let answer = admin.introspect(&session.secret).await;
    assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::SignedOut));
    let asked = introspector.try_introspect(question(&session.secret, &[])).await.unwrap();
    assert_eq!(asked, introspector.introspect("junk").await);
    assert!(device_names(&admin, sessions_of("ada")).await.is_empty());
    let ended = ListDesktopSessionsRequest { include_ended: true, ..sessions_of("ada") };
    let listed = admin.list_desktop_sessions(ended).await.unwrap();
    assert!(listed.sessions[0].sign_out_time.is_some());

    let newer = server.open_desktop_session("ada", 2);
    assert!(admin.introspect(&newer.secret).await.active, "what is opened afterwards lives");
    let as_ended = server.actor(&session.secret).await.who_am_i().await;
    assert_refused(as_ended, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}
