//! What was acknowledged outlives a crash, of a server or of PostgreSQL, and
//! what was not is there whole or not at all.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use token_authority::proto::v1::Account;
use tonic::Code;

use crate::support::{
    Actor, Backend, Database, Issued, Process, assert_refused, issue_request, postgres::Postgres, settings::set_plans,
    wait::until,
};

const CAP: u32 = 60;
/// How many calls were acknowledged when the crash comes.
const BEFORE_THE_CRASH: usize = 20;
const WORKERS: usize = 8;

/// What was acknowledged, whatever became of the caller.
type Acknowledged<T> = Arc<Mutex<Vec<T>>>;

fn start(database: &Database) -> Process {
    Process::start_with(database, |command| set_plans(command, 1, CAP))
}

async fn put_ada(admin: &Actor) {
    admin.put_account(Account { account_id: "ada".to_owned(), plan: "PRO".to_owned(), ..Default::default() }).await;
}

/// Issues tokens from several workers, each until a call of its own fails.
async fn issue_until_the_crash(admin: &Actor, acknowledged: &Acknowledged<Issued>) {
    let worker = async || {
        while let Ok(issued) = admin.try_issue(issue_request("ada", "laptop", &[])).await {
            acknowledged.lock().unwrap().push(issued);
        }
    };
    join_all((0..WORKERS).map(|_| worker())).await;
}

/// Crashes something while tokens are issued; returns those acknowledged.
async fn issue_into(crash: impl AsyncFnOnce(), admin: &Actor) -> Vec<Issued> {
    let acknowledged = Acknowledged::default();
    let crash = async {
        until("some are issued", async || acknowledged.lock().unwrap().len() >= BEFORE_THE_CRASH).await;
        crash().await;
    };
    tokio::join!(issue_until_the_crash(admin, &acknowledged), crash);
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert!(acknowledged.len() < CAP as usize, "the crash came after all was done");
    acknowledged
}

/// Every acknowledged token works, none is half there, and the plan's cap is
/// reached exactly.
async fn assert_sound(admin: &Actor, database: &Database, acknowledged: &[Issued]) {
    for issued in acknowledged {
        assert!(admin.introspect(&issued.secret).await.active, "an acknowledged token is lost");
    }
    database.assert_whole().await;
    assert_eq!(database.count("secrets").await, database.count("credentials").await, "one secret each");

    let survivors = u32::try_from(database.count("credentials WHERE kind = 1").await).unwrap();
    assert!(survivors >= u32::try_from(acknowledged.len()).unwrap() && survivors <= CAP, "{survivors}");
    for _ in survivors..CAP {
        admin.issue("ada", "later", &[]).await;
    }
    let one_more = admin.try_issue(issue_request("ada", "one more", &[])).await;
    assert_refused(one_more, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
}

on_both_databases!(a_server_killed_while_it_issues_leaves_no_half_token);

async fn a_server_killed_while_it_issues_leaves_no_half_token(backend: Backend) {
    let database = backend.database();
    let mut server = start(&database);
    let admin = server.admin().await;
    put_ada(&admin).await;
    let acknowledged = issue_into(async || server.kill(), &admin).await;

    let server = start(&database);
    assert_sound(&server.admin().await, &database, &acknowledged).await;
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_killed_while_tokens_are_issued_leaves_no_half_token() {
    let cluster = Arc::new(Postgres::start());
    let database = Database::on(&cluster);
    let server = start(&database);
    let admin = server.admin().await;
    put_ada(&admin).await;
    let crash = async || {
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || cluster.kill_hard()).await.unwrap();
    };
    let acknowledged = issue_into(crash, &admin).await;

    cluster.start_again();
    until("the server has found PostgreSQL again", async || admin.who_am_i().await.is_ok()).await;
    assert_sound(&admin, &database, &acknowledged).await;
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_that_sqlite_acknowledged_outlive_a_kill() {
    const TOKENS: usize = 200;

    let database = Backend::Sqlite.database();
    let mut server = Process::start(&database);
    let admin = server.admin().await;
    let issue = async |worker: usize| {
        let mut issued = Vec::new();
        for number in (worker..TOKENS).step_by(WORKERS) {
            issued.push(admin.issue("ada", &format!("token {number}"), &[]).await);
        }
        issued
    };
    let tokens = join_all((0..WORKERS).map(issue)).await;

    let acknowledged = Acknowledged::default();
    let revoke = async |tokens: &[Issued]| {
        for issued in tokens {
            if admin.revoke(&issued.token.token_id).await.is_err() {
                return;
            }
            acknowledged.lock().unwrap().push(issued.clone());
        }
    };
    let crash = async {
        until("half are revoked", async || acknowledged.lock().unwrap().len() >= TOKENS / 2).await;
        server.kill();
    };
    tokio::join!(join_all(tokens.iter().map(|tokens| revoke(tokens))), crash);
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert!(acknowledged.len() < TOKENS, "the crash came after all was done");

    let server = Process::start(&database);
    let admin = server.admin().await;
    for issued in &acknowledged {
        assert!(!admin.introspect(&issued.secret).await.active, "an acknowledged revocation is lost");
    }
    // Those in flight are revoked or not; the rest are not.
    let mut active = 0;
    for issued in tokens.iter().flatten() {
        active += usize::from(admin.introspect(&issued.secret).await.active);
    }
    let others = TOKENS - acknowledged.len();
    assert!(active <= others && active + WORKERS >= others, "{active} of {others} are active");
    database.assert_whole().await;
    assert!(server.terminate().success());
}
