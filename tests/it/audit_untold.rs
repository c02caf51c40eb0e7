//! What the audit trail cannot be told is not done: not one of the contract's changes
//! takes effect, and none hands out a secret.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use token_authority::{
    client::CallError,
    proto::v1::{Account, ImportTokensRequest, IssueTokenRequest, RevocationReason, ServiceRole, Token},
    settings::Span,
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Issued, TestServer, assert_refused,
    calls::{NewService, service_request},
    changes::{HOUR, rotate_request},
    contract::rpcs,
    issue_request,
    legacy::LegacyToken,
    sign_in::{PASSWORD, SignedIn, by_account},
    web_session::credentials,
};

on_both_databases!(a_trail_without_room_takes_no_change);

/// Those that change nothing.
const QUESTIONS: [&str; 12] = [
    "GetToken",
    "ListTokens",
    "Introspect",
    "BatchIntrospect",
    "ListDesktopSessions",
    "GetAccount",
    "ListAccounts",
    "WhoAmI",
    "GetCatalog",
    "GetJwks",
    "ListServiceCredentials",
    "ListAuditEvents",
];

/// What each change has for itself.
struct Targets {
    issued: Issued,
    rotated: Issued,
    old_secret_id: String,
    web_session: String,
    desktop: [SignedIn; 2],
    services: [NewService; 2],
    imported: LegacyToken,
}

async fn targets(admin: &Actor) -> Targets {
    admin.put_user("ada", PASSWORD).await;
    admin.put_account(Account { account_id: "ben".to_owned(), ..Default::default() }).await;
    let rotated = admin.issue("ada", "rotated", &["read"]).await;
    let old_secret_id = rotated.token.secrets[0].secret_id.clone();
    let desktop = async || admin.sign_in_desktop(by_account("ada")).await.unwrap();
    let service = async |name| admin.create_service(service_request(name, &[ServiceRole::Login])).await.unwrap();
    Targets {
        issued: admin.issue("ada", "issued", &["read"]).await,
        rotated: admin.rotate(&rotated.token.token_id, HOUR).await,
        old_secret_id,
        web_session: admin.sign_in("ada").await,
        desktop: [desktop().await, desktop().await],
        services: [service("rotated").await, service("revoked").await],
        imported: LegacyToken::new(0),
    }
}

/// Makes every change of the contract, in an order in which each can be made.
async fn change_all(admin: &Actor, targets: &Targets) -> Vec<(&'static str, Result<(), CallError>)> {
    let Targets { issued, rotated, old_secret_id, web_session, desktop, services, imported } = targets;
    let [issued, rotated] = [issued, rotated].map(|issued| issued.token.token_id.as_str());
    let [rotated_service, revoked_service] = services.each_ref().map(|new| new.credential.credential_id.as_str());
    let account = Account { account_id: "ada".to_owned(), email: "ada@example.com".to_owned(), ..Default::default() };
    let renamed = Token { token_id: issued.to_owned(), label: "renamed".to_owned(), ..Default::default() };
    let once = IssueTokenRequest { request_id: "once".to_owned(), ..issue_request("ada", "new", &["read"]) };
    let tokens = vec![imported.by_sha256("ada")];
    let import = ImportTokensRequest { tokens, ..Default::default() };
    vec![
        ("PutAccount", admin.update_account(account, &["email"]).await.map(drop)),
        ("IssueToken", admin.try_issue(once).await.map(drop)),
        ("UpdateToken", admin.update_token(renamed, &["label"]).await.map(drop)),
        ("EndTokenSecret", admin.end_secret(rotated, old_secret_id).await.map(drop)),
        ("RotateToken", admin.try_rotate(rotate_request(issued, HOUR)).await.map(drop)),
        ("RevokeToken", admin.revoke(issued).await.map(drop)),
        ("ImportTokens", admin.call(admin.client.tokens().import_tokens(import)).await.map(drop)),
        ("RevokeAllTokens", admin.revoke_all("ada", RevocationReason::Compromised, false).await.map(drop)),
        ("SignIn", admin.try_sign_in(credentials("ada", PASSWORD)).await.map(drop)),
        ("SignOut", admin.sign_out(web_session).await),
        ("SignInDesktop", admin.sign_in_desktop(by_account("ada")).await.map(drop)),
        ("SignOutDesktop", admin.sign_out_desktop(&desktop[0].secret).await),
        ("EndSession", admin.end_session(&desktop[1].session.session_id).await),
        ("SetPassword", admin.set_password("ada", "another horse").await),
        (
            "CreateServiceCredential",
            admin.create_service(service_request("new", &[ServiceRole::Login])).await.map(drop),
        ),
        ("RotateServiceCredential", admin.rotate_service(rotated_service, Duration::ZERO).await.map(drop)),
        ("RevokeServiceCredential", admin.revoke_service(revoked_service).await.map(drop)),
        ("DeleteAccount", admin.delete_account("ben").await),
    ]
}

/// How far the history has come, and how many rows there are.
async fn state(server: &TestServer) -> Vec<String> {
    let mut state = vec![server.database.scalar("SELECT revision FROM head").await];
    for table in ["accounts", "credentials", "secrets", "changes", "audit_events"] {
        state.push(server.database.count(table).await.to_string());
    }
    state
}

/// Each change is refused.
async fn assert_none_is_made(admin: &Actor, targets: &Targets) {
    let changes = change_all(admin, targets).await;
    let mut all: Vec<_> = changes.iter().map(|(name, _)| *name).chain(QUESTIONS).collect();
    let mut rpcs: Vec<_> = rpcs().into_iter().map(|rpc| rpc.name).collect();
    all.sort_unstable();
    rpcs.sort_unstable();
    assert_eq!(all, rpcs, "a new RPC is a question, or a change to be tried here");
    for (name, result) in changes {
        println!("{name}");
        assert_refused(result, Code::Unavailable, "DATABASE_UNAVAILABLE");
    }
    let secrets = [&targets.issued.secret, &targets.rotated.secret, &targets.web_session];
    let sessions = targets.desktop.each_ref().map(|signed_in| &signed_in.secret);
    for secret in secrets.into_iter().chain(sessions) {
        assert!(admin.introspect(secret).await.active, "who only asks is answered");
    }
}

/// Nothing was done so far; each change can be made now.
async fn assert_all_are_made(server: TestServer, admin: &Actor, targets: &Targets, before: &[String]) {
    assert_eq!(state(&server).await, before, "nothing was done");
    for (name, result) in change_all(admin, targets).await {
        result.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    assert!(!admin.introspect(&targets.issued.secret).await.active);
    server.database.assert_whole().await;
    server.end().await;
}

async fn a_trail_without_room_takes_no_change(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let targets = targets(&admin).await;
    let before = state(&server).await;
    let (full, room) = match backend {
        Backend::Sqlite => (
            "CREATE TRIGGER full BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
            "DROP TRIGGER full",
        ),
        Backend::Postgres => (
            "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$; \
             CREATE TRIGGER disk_full BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION disk_full()",
            "DROP TRIGGER disk_full ON audit_events; DROP FUNCTION disk_full()",
        ),
    };
    server.database.execute(full).await;
    assert_none_is_made(&admin, &targets).await;
    server.database.execute(room).await;
    assert_all_are_made(server, &admin, &targets, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_trail_holds_changes_up_and_no_questions() {
    let server = TestServer::configured(Backend::Postgres, None, |settings| {
        settings.database.lock_timeout = Span(Duration::from_millis(100));
    })
    .await;
    let admin = server.admin().await;
    let targets = targets(&admin).await;
    let before = state(&server).await;
    let connection = server.database.connect().await;
    let locking = connection.begin().await.unwrap();
    locking.execute_unprepared("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert_none_is_made(&admin, &targets).await;
    locking.rollback().await.unwrap();
    connection.close().await.unwrap();
    assert_all_are_made(server, &admin, &targets, &before).await;
}
