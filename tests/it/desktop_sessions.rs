//! Desktop sessions: listed, view-only there, ended by who holds their secret or
//! by their id, and gone when all is revoked. They go on for as long as they are
//! used. Some are written straight into PostgreSQL, and those tests run on that
//! alone.

use std::time::Duration;

use token_authority::{
    domain::{id::CredentialId, session::Sliding, time::Lifetime},
    proto::v1::{
        Account, CredentialKind, DesktopSession, InactiveReason, IntrospectRequest, ListDesktopSessionsRequest,
        RevocationReason, ServiceRole,
    },
    settings::Span,
};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    calls::{assert_without, question, texts},
    issue_request,
    refusal::assert_field_refused,
    sign_in::{PASSWORD, SignedIn, by_account, by_password},
    wait::until,
};

on_both_databases!(
    a_session_ends_by_its_own_sign_out,
    what_is_no_session_signs_nothing_out,
    a_session_is_ended_by_its_id,
    what_ends_all_ends_sessions,
    it_is_told_when_a_session_was_last_seen,
    a_use_in_the_second_half_moves_the_end,
    what_ended_is_not_revived,
);

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
    assert_eq!(holder.tokens_of("", &[]).await.as_slice(), std::slice::from_ref(&issued.token));
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

const DAY: Duration = Duration::from_hours(24);

async fn start_on(backend: Backend) -> (TestServer, Actor) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.introspection.use_interval = Span(Duration::from_millis(20));
    })
    .await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    (server, admin)
}

async fn open(actor: &Actor) -> SignedIn {
    actor.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap()
}

async fn assert_signed_out(admin: &Actor, session: &SignedIn) {
    let answer = admin.introspect(&session.secret).await;
    assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::SignedOut));
}

/// A session as it is listed, whether it goes on or not.
async fn listed(admin: &Actor, session: &SignedIn) -> DesktopSession {
    let all = ListDesktopSessionsRequest { include_ended: true, ..sessions_of("ada") };
    let sessions = admin.list_desktop_sessions(all).await.unwrap().sessions;
    sessions.into_iter().find(|listed| listed.session_id == session.session.session_id).unwrap()
}

async fn revision(server: &TestServer) -> String {
    server.database.scalar("SELECT revision FROM head").await
}

async fn a_session_ends_by_its_own_sign_out(backend: Backend) {
    let (server, admin) = start_on(backend).await;
    let login = server.service("login", &[ServiceRole::Login]).await;
    let [own, other, by_login] = [open(&admin).await, open(&admin).await, open(&admin).await];
    for session in [&own, &other, &by_login] {
        assert!(admin.introspect(&session.secret).await.active);
        for refused in [
            admin.revoke(&session.session.session_id).await,
            admin.revoke_secret(&session.secret).await,
            server.actor(&session.secret).await.revoke(&session.session.session_id).await,
        ] {
            assert_refused(refused, Code::FailedPrecondition, "DESKTOP_SESSION_VIEW_ONLY");
        }
    }
    let application = server.actor(&own.secret).await;
    application.sign_out_desktop(&own.secret).await.unwrap();
    assert_signed_out(&admin, &own).await;
    assert_refused(application.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert!(admin.introspect(&other.secret).await.active);
    login.sign_out_desktop(&by_login.secret).await.unwrap();
    assert_signed_out(&admin, &by_login).await;

    let signed_out = listed(&admin, &own).await.sign_out_time;
    assert!(signed_out.is_some());
    let before = revision(&server).await;
    login.sign_out_desktop(&own.secret).await.unwrap();
    assert_eq!(revision(&server).await, before, "once is enough");
    assert_eq!(listed(&admin, &own).await.sign_out_time, signed_out);
    assert_eq!(server.database.count("audit_events WHERE action = 'session.sign-out'").await, 2);
    server.database.assert_whole().await;
    server.end().await;
}

async fn what_is_no_session_signs_nothing_out(backend: Backend) {
    let (server, admin) = start_on(backend).await;
    let session = open(&admin).await;
    let token = admin.issue("ada", "token", &[]).await;
    let wrong = crate::support::forge::wrong_secret(&session.secret);
    let before = revision(&server).await;
    for nothing in [token.secret.as_str(), &server.database.admin_token(), &wrong, "junk", ""] {
        admin.sign_out_desktop(nothing).await.unwrap();
    }
    assert_eq!(revision(&server).await, before);
    for secret in [&session.secret, &token.secret] {
        assert!(admin.introspect(secret).await.active);
    }
    server.end().await;
}

async fn a_session_is_ended_by_its_id(backend: Backend) {
    let (server, admin) = start_on(backend).await;
    let sso = server.service("sso", &[ServiceRole::TrustedLogin]).await;
    let session = open(&admin).await;
    assert!(admin.introspect(&session.secret).await.active);
    sso.end_session(&session.session.session_id).await.unwrap();
    assert_signed_out(&admin, &session).await;
    let before = revision(&server).await;
    sso.end_session(&session.session.session_id).await.unwrap();
    assert_eq!(revision(&server).await, before, "it has ended already");
    assert_eq!(server.database.count("audit_events WHERE action = 'session.end' AND account_id = 'ada'").await, 1);

    let token = admin.issue("ada", "token", &[]).await.token.token_id;
    let service = sso.who_am_i().await.unwrap().credential_id;
    for missing in [token.as_str(), &service, "01890a5d-ac96-774b-bcce-b302099a8057"] {
        assert_refused(sso.end_session(missing).await, Code::NotFound, "SESSION_NOT_FOUND");
    }
    assert_field_refused(sso.end_session("junk").await, "INVALID_SESSION_ID", "session_id");
    sso.who_am_i().await.unwrap();
    server.end().await;
}

async fn what_ends_all_ends_sessions(backend: Backend) {
    let (server, admin) = start_on(backend).await;
    let token = admin.issue("ada", "token", &[]).await;
    let session = open(&admin).await;
    assert_eq!(admin.revoke_all("ada", RevocationReason::Compromised, false).await.unwrap(), 1);
    assert!(admin.introspect(&session.secret).await.active);
    assert!(!admin.introspect(&token.secret).await.active);
    admin.revoke_all("ada", RevocationReason::Compromised, true).await.unwrap();
    assert_signed_out(&admin, &session).await;
    assert!(listed(&admin, &session).await.sign_out_time.is_some());
    let newer = open(&admin).await;
    assert!(admin.introspect(&newer.secret).await.active, "the password goes on");
    admin.delete_account("ada").await.unwrap();
    assert!(!admin.introspect(&newer.secret).await.active);
    server.end().await;
}

async fn it_is_told_when_a_session_was_last_seen(backend: Backend) {
    let (server, admin) = start_on(backend).await;
    let (seen, unseen) = (open(&admin).await, open(&admin).await);
    let token = seen.secret.clone();
    let request = IntrospectRequest { token, client_ip: "203.0.113.7".to_owned(), ..Default::default() };
    assert!(admin.try_introspect(request).await.unwrap().active);
    until("it was seen", async || listed(&admin, &seen).await.last_seen_time.is_some()).await;
    assert_eq!(listed(&admin, &seen).await.last_seen_ip, "203.0.113.7");
    assert_eq!(listed(&admin, &unseen).await.last_seen_time, None);
    server.actor(&unseen.secret).await.who_am_i().await.unwrap();
    until("it was seen", async || listed(&admin, &unseen).await.last_seen_ip == "127.0.0.1").await;
    server.end().await;
}

/// Lets time pass for sessions that nothing is held of yet.
async fn pass(server: &TestServer, days: u32) {
    let micros = i64::from(days) * 86_400_000_000;
    let earlier = format!("create_time = create_time - {micros}, expire_time = expire_time - {micros}");
    server.database.execute(&format!("UPDATE credentials SET {earlier} WHERE kind = 3")).await;
}

fn seconds_left(session: &DesktopSession, before: &DesktopSession, days: i64) -> i64 {
    session.expire_time.unwrap().seconds - before.expire_time.unwrap().seconds - days * 86_400
}

async fn a_use_in_the_second_half_moves_the_end(backend: Backend) {
    let (server, admin) = start_on(backend).await;
    let (asked_for, calling, early) = (open(&admin).await, open(&admin).await, open(&admin).await);
    pass(&server, 14).await;
    assert!(admin.introspect(&early.secret).await.active);
    pass(&server, 2).await;
    let used = [&asked_for, &calling];
    let before = [listed(&admin, &asked_for).await, listed(&admin, &calling).await];
    let early_before = listed(&admin, &early).await;
    let revision_before: u64 = revision(&server).await.parse().unwrap();
    for _ in 0..5 {
        assert!(admin.introspect(&asked_for.secret).await.active);
        server.actor(&calling.secret).await.who_am_i().await.unwrap();
    }
    for (session, before) in used.into_iter().zip(&before) {
        until("its end was moved", async || listed(&admin, session).await.expire_time != before.expire_time).await;
        let late = seconds_left(&listed(&admin, session).await, before, 16);
        assert!((0..60).contains(&late), "{late} s");
        let answer = admin.introspect(&session.secret).await;
        assert_eq!(answer.expire_time, listed(&admin, session).await.expire_time, "it is a change");
    }
    assert_eq!(listed(&admin, &early).await.expire_time, early_before.expire_time);
    let revision_after: u64 = revision(&server).await.parse().unwrap();
    assert_eq!(revision_after - revision_before, 2, "once for each, however often it is used");
    assert_eq!(server.database.count("audit_events WHERE action = 'session.extend' AND account_id = 'ada'").await, 2);
    server.database.assert_whole().await;
    server.end().await;
}

async fn what_ended_is_not_revived(backend: Backend) {
    let (server, admin) = start_on(backend).await;
    let database = server.database.clone();
    let [live, signed_out, expired, with_all] =
        [open(&admin).await, open(&admin).await, open(&admin).await, open(&admin).await];
    let id = |session: &SignedIn| session.session.session_id.parse::<CredentialId>().unwrap();
    let [live, signed_out, expired, with_all] = [&live, &signed_out, &expired, &with_all].map(id);
    admin.end_session(&signed_out.to_string()).await.unwrap();
    pass(&server, 20).await;
    database
        .execute(&format!("UPDATE credentials SET expire_time = create_time WHERE id = {}", literal(backend, expired)))
        .await;
    database
        .execute(&format!(
            "UPDATE credentials SET generation = generation - 1 WHERE id = {}",
            literal(backend, with_all)
        ))
        .await;
    server.end().await;

    let store = crate::retention::open(&database).await;
    let sliding = Sliding { window: 30 * DAY, max: Lifetime::For(365 * DAY) };
    for ended in [signed_out, expired, with_all] {
        assert!(!store.extend_session(ended, sliding).await.unwrap(), "{ended}");
    }
    assert!(store.extend_session(live, sliding).await.unwrap());
    assert!(!store.extend_session(live, sliding).await.unwrap(), "it is in the first half again");
    drop(store);
    database.execute("UPDATE accounts SET suspended = TRUE").await;
    let store = crate::retention::open(&database).await;
    let wider = Sliding { window: 200 * DAY, ..sliding };
    assert!(!store.extend_session(live, wider).await.unwrap());
    drop(store);
    database.assert_whole().await;
}

/// On PostgreSQL alone, which alone has replicas.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_a_session_ends_it_on_every_replica() {
    let (server, admin) = start_on(Backend::Postgres).await;
    let replica = server.database.replica();
    let settings = replica.settings(None);
    let other = TestServer::on(replica, &settings).await;
    let there = other.admin().await;
    let suspend = async |suspended| {
        let ada = Account { account_id: "ada".to_owned(), suspended, ..Default::default() };
        admin.update_account(ada, &["suspended"]).await.unwrap();
    };
    for way in ["sign-out", "end", "password", "suspend", "revoke all", "delete"] {
        for _ in 0..10 {
            let session = admin.sign_in_desktop(by_account("ada")).await.unwrap();
            for replica in [&admin, &there] {
                assert!(replica.introspect(&session.secret).await.active, "{way}");
            }
            match way {
                "sign-out" => admin.sign_out_desktop(&session.secret).await.unwrap(),
                "end" => admin.end_session(&session.session.session_id).await.unwrap(),
                "password" => admin.set_password("ada", "battery staple").await.unwrap(),
                "suspend" => suspend(true).await,
                "revoke all" => {
                    admin.revoke_all("ada", RevocationReason::Compromised, true).await.unwrap();
                }
                _ => admin.delete_account("ada").await.unwrap(),
            }
            assert!(!there.introspect(&session.secret).await.active, "{way}");
            match way {
                "suspend" => {
                    suspend(false).await;
                    assert!(there.introspect(&session.secret).await.active, "it is restored");
                }
                "delete" => admin.put_user("ada", PASSWORD).await,
                _ => {}
            }
        }
    }
    other.end().await;
    server.end().await;
}

/// An id as SQL has it.
fn literal(backend: Backend, id: CredentialId) -> String {
    match backend {
        Backend::Sqlite => format!("x'{}'", id.uuid().simple()),
        Backend::Postgres => format!("'{id}'"),
    }
}
