//! A plan's cap is exact, however many want its last place at once.

use std::process::Command;

use futures_util::future::join_all;
use token_authority::{proto::v1::Account, settings::Settings};
use tonic::Code;

use crate::support::{
    Actor, Backend, Process, TestServer, assert_refused, issue_request,
    settings::{be_patient, plans, set_patience, set_plans},
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
    one_takes_the_last_place(&[one.admin().await, other.admin().await]).await;
    assert!(one.terminate().success());
    assert!(other.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_fifty_takes_the_last_place_on_sqlite() {
    let change = |settings: &mut Settings| {
        settings.policy = plans(1, CAP);
        be_patient(settings);
    };
    let server = TestServer::configured(Backend::Sqlite, None, change).await;
    one_takes_the_last_place(&[server.admin().await]).await;
    server.end().await;
}

async fn one_takes_the_last_place(doors: &[Actor]) {
    let door = &doors[0];
    door.put_account(Account { account_id: "ada".to_owned(), plan: "PRO".to_owned(), ..Default::default() }).await;
    for number in 1..CAP {
        door.issue("ada", &format!("token {number}"), &[]).await;
    }

    let calls = doors.iter().cycle().take(CALLS).map(|door| door.try_issue(issue_request("ada", "one more", &[])));
    let (issued, refused): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);

    assert_eq!((issued.len(), refused.len()), (1, CALLS - 1));
    for refusal in refused {
        assert_refused(refusal, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    }
    assert_eq!(door.tokens_of("ada", &[]).await.len(), CAP as usize);
}
