//! One caller that has all of its calls in flight is told so, and keeps nobody
//! else waiting; and so are all together where too much waits for the database.

use token_authority::{client::CallError, proto::v1::ServiceRole, settings::Settings};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused, calls::question, gate::Gate, issue_request, settings::be_patient,
    wait::until,
};

const MAX_CALLS: usize = 10;
const CALLS: usize = 25;

fn bounded(settings: &mut Settings) {
    be_patient(settings);
    settings.grpc.max_calls_per_caller = MAX_CALLS;
    // So many changes may wait, and another one is made beside them.
    settings.database.max_connections = 4 * u32::try_from(MAX_CALLS).expect("a small number");
}

#[track_caller]
fn assert_too_many<T: std::fmt::Debug>(result: Result<T, CallError>) {
    let error = assert_refused(result, Code::ResourceExhausted, "TOO_MANY_CALLS");
    assert!(error.retry_after.is_some(), "it says when to try again: {error:?}");
}

/// Has more calls begun than it may have in flight; gives those that are, and
/// asserts how the others were refused.
async fn take_all_places(callers: &[&Actor], account: &str) -> Vec<JoinHandle<Result<(), CallError>>> {
    let calls: Vec<_> = callers
        .iter()
        .cycle()
        .take(CALLS)
        .map(|caller| {
            let (caller, account) = ((*caller).clone(), account.to_owned());
            tokio::spawn(async move { caller.try_issue(issue_request(&account, "in flight", &[])).await.map(drop) })
        })
        .collect();
    let over = || calls.iter().filter(|call| call.is_finished()).count();
    until("the surplus is refused", async || over() >= CALLS - MAX_CALLS).await;
    let (over, in_flight): (Vec<_>, Vec<_>) = calls.into_iter().partition(JoinHandle::is_finished);
    assert_eq!(in_flight.len(), MAX_CALLS);
    for call in over {
        assert_too_many(call.await.unwrap());
    }
    in_flight
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_all_its_calls_in_flight_keeps_nobody_waiting() {
    let server = TestServer::configured(Backend::Postgres, None, bounded).await;
    let admin = server.admin().await;
    let kept = admin.issue("ada", "kept", &[]).await;
    let greedy = server.service("greedy", &[ServiceRole::Issuer, ServiceRole::Introspector]).await;
    let modest = server.service("modest", &[ServiceRole::Issuer, ServiceRole::Introspector]).await;

    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let in_flight = take_all_places(&[&greedy], "ada").await;
    assert_too_many(greedy.try_introspect(question(&kept.secret, &[])).await);
    assert_too_many(greedy.batch_introspect(vec![question(&kept.secret, &[])]).await);
    assert_too_many(greedy.who_am_i().await);

    for _ in 0..2 * MAX_CALLS {
        assert!(modest.introspect(&kept.secret).await.active);
    }
    modest.issue("grace", "another account's", &[]).await;

    // Who gives calls up has their places back, whatever becomes of the calls.
    let (given_up, in_flight): (Vec<_>, Vec<_>) =
        in_flight.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    for (_, call) in given_up {
        call.abort();
    }
    let answers = async || greedy.try_introspect(question(&kept.secret, &[])).await.is_ok_and(|answer| answer.active);
    until("a place is free again", answers).await;

    gate.open();
    lock.join().unwrap();
    for (_, call) in in_flight {
        call.await.unwrap().expect("it waited");
    }
    assert!(greedy.introspect(&kept.secret).await.active);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_s_tokens_share_its_places() {
    let server = TestServer::configured(Backend::Postgres, None, |settings| {
        bounded(settings);
        settings.self_service.manage_scope = Some("manage".to_owned());
    })
    .await;
    let admin = server.admin().await;
    let (one, other) = (admin.issue("ada", "one", &["manage"]).await, admin.issue("ada", "other", &["manage"]).await);
    let stranger = admin.issue("grace", "another's", &["manage"]).await;
    let (one, other, stranger) =
        (server.actor(&one.secret).await, server.actor(&other.secret).await, server.actor(&stranger.secret).await);

    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let in_flight = take_all_places(&[&one, &other], "").await;
    for holder in [&one, &other] {
        assert_too_many(holder.who_am_i().await);
    }
    stranger.issue("", "beside them", &[]).await;
    stranger.who_am_i().await.unwrap();
    gate.open();
    lock.join().unwrap();
    for call in in_flight {
        call.await.unwrap().expect("it waited");
    }
    one.who_am_i().await.unwrap();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_changes_than_may_wait_are_refused_at_once() {
    const MAY_WAIT: usize = 1_024;
    const CALLS: usize = MAY_WAIT + 50;

    let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
    let admin = server.admin().await;
    let held = admin.issue("ada", "held", &[]).await;
    let actors = [admin.clone(), server.admin().await];
    let work = async |series: &str| server.told().await.count(&format!("token_authority_database_work_{series}"));

    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let calls: Vec<_> = (0..CALLS)
        .map(|number| {
            let (actor, id) = (actors[number % actors.len()].clone(), held.token.token_id.clone());
            tokio::spawn(async move { actor.revoke(&id).await })
        })
        .collect();
    // The server's own work may take a place among them.
    let surplus = (CALLS - MAY_WAIT) as u64;
    let over = || calls.iter().filter(|call| call.is_finished()).count() as u64;
    until("the surplus is refused", async || over() >= surplus).await;
    assert!(work(r#"total{kind="change",outcome="overloaded"}"#).await >= surplus);
    assert_eq!(work(r#"limit{kind="change"}"#).await, MAY_WAIT as u64);
    assert!(work(r#"in_flight{kind="change"}"#).await > MAY_WAIT as u64 / 2);
    assert!(admin.introspect(&held.secret).await.active, "who only asks is answered");

    gate.open();
    lock.join().unwrap();
    let mut refused = 0;
    for call in calls {
        let result = call.await.unwrap();
        if result.is_err() {
            refused += 1;
            let error = assert_refused(result, Code::ResourceExhausted, "TOO_BUSY");
            assert!(error.retry_after.is_some(), "it says when to try again: {error:?}");
        }
    }
    assert!(refused >= surplus && refused < CALLS as u64, "{refused}");
    assert!(!admin.introspect(&held.secret).await.active);
    server.end().await;
}
