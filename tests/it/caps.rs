//! A plan's cap is exact, however many want its last place at once.

use std::{process::Command, time::Duration};

use futures_util::future::join_all;
use token_authority::{
    proto::v1::{Account, IssueTokenRequest, RevocationReason, TokenState, issue_token_request::Expiry},
    settings::Settings,
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Process, TestServer, assert_refused,
    calls::span,
    gate::Gate,
    issue_request,
    settings::{be_patient, plans, set_patience, set_plans},
    wait::until,
};

const CAP: u32 = 10;
const CALLS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_fifty_takes_the_last_place_on_two_servers() {
    let database = Backend::Postgres.database();
    let change = |command: &mut Command| {
        set_plans(command, 1, CAP);
        set_patience(command);
    };
    let one = Process::start_with(&database, change);
    let other = Process::start_with(&database.replica(), change);
    let doors = [one.admin().await, other.admin().await];
    fill_but_one(&doors[0]).await;

    // As many as may change something stand before the count when it begins.
    let gate = Gate::closed(&database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let at_once = u64::from(database.settings(None).database.max_connections / 2) * 2;
    let begin = async {
        until("they wait for the lock", async || gate.backends("wait_event_type = 'Lock'") == at_once).await;
        gate.open();
    };
    tokio::join!(one_takes_the_last_place(&doors), begin);
    lock.join().unwrap();
    assert!(one.terminate().success());
    assert!(other.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_fifty_takes_the_last_place_on_sqlite() {
    let server = with_plans(Backend::Sqlite).await;
    let admin = server.admin().await;
    fill_but_one(&admin).await;
    one_takes_the_last_place(&[admin]).await;
    server.end().await;
}

on_both_databases!(what_ended_makes_room);

async fn what_ended_makes_room(backend: Backend) {
    let server = with_plans(backend).await;
    let admin = server.admin().await;
    fill_but_one(&admin).await;
    let last = admin.issue("ada", "last", &[]).await;
    assert_full(&admin).await;

    admin.revoke(&last.token.token_id).await.unwrap();
    let short = IssueTokenRequest {
        expiry: Some(Expiry::Ttl(span(Duration::from_millis(1)))),
        ..issue_request("ada", "short", &[])
    };
    admin.try_issue(short).await.unwrap();
    until("it has expired", async || admin.tokens_of("ada", &[TokenState::Expired]).await.len() == 1).await;
    admin.issue("ada", "last", &[]).await;
    assert_full(&admin).await;

    admin.revoke_all("ada", RevocationReason::Compromised, false).await.unwrap();
    for _ in 0..CAP {
        admin.issue("ada", "anew", &[]).await;
    }
    assert_full(&admin).await;
    server.end().await;
}

async fn with_plans(backend: Backend) -> TestServer {
    let change = |settings: &mut Settings| {
        settings.policy = plans(1, CAP);
        be_patient(settings);
    };
    TestServer::configured(backend, None, change).await
}

async fn fill_but_one(admin: &Actor) {
    admin.put_account(Account { account_id: "ada".to_owned(), plan: "PRO".to_owned(), ..Default::default() }).await;
    for number in 1..CAP {
        admin.issue("ada", &format!("token {number}"), &[]).await;
    }
}

async fn assert_full(admin: &Actor) {
    let one_more = admin.try_issue(issue_request("ada", "one more", &[])).await;
    assert_refused(one_more, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
}

async fn one_takes_the_last_place(doors: &[Actor]) {
    let calls = doors.iter().cycle().take(CALLS).map(|door| door.try_issue(issue_request("ada", "one more", &[])));
    let (issued, refused): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);

    assert_eq!((issued.len(), refused.len()), (1, CALLS - 1));
    for refusal in refused {
        assert_refused(refusal, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    }
    assert_eq!(doors[0].tokens_of("ada", &[]).await.len(), CAP as usize);
}
