//! A caller that goes away in the middle of its call leaves nothing half done,
//! nothing locked, and no connection lost.

use std::time::Duration;

use futures_util::future::join_all;
use token_authority::proto::v1::IssueTokenRequest;
use tonic::{Code, Request};

use crate::support::{
    Actor, Backend, TestServer, assert_refused, gate::backends, issue_request, settings::be_patient, wait::until,
};

/// Calls are given up after 1, 2, … milliseconds.
const CALLS: u64 = 50;
/// So many at a time.
const AT_ONCE: u64 = 10;

fn request(number: u64) -> IssueTokenRequest {
    IssueTokenRequest { request_id: format!("call-{number}"), ..issue_request("ada", "given up", &[]) }
}

/// Makes a call that its caller gives up: every other one by hanging up, the
/// rest by a deadline that the server is told. Whether it came to that.
async fn give_up(admin: &Actor, number: u64) -> bool {
    let patience = Duration::from_millis(number);
    if number.is_multiple_of(2) {
        return tokio::time::timeout(patience, admin.try_issue(request(number))).await.is_err();
    }
    let mut request = Request::new(request(number));
    request.set_timeout(patience);
    admin.call(admin.client.tokens().issue_token(request)).await.is_err()
}

on_both_databases!(calls_that_are_given_up_are_done_whole_or_not_at_all);

async fn calls_that_are_given_up_are_done_whole_or_not_at_all(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    let kept = admin.issue("ada", "kept", &[]).await;
    let mut given_up = Vec::new();
    for first in (1..=CALLS).step_by(usize::try_from(AT_ONCE).unwrap()) {
        given_up.extend(join_all((first..first + AT_ONCE).map(|number| give_up(&admin, number))).await);
    }
    assert!(given_up.contains(&true), "every call was answered in time");

    // The pool is whole: as many calls as it has connections, and more.
    let calls = (0..40).map(|_| admin.introspect(&kept.secret));
    assert!(join_all(calls).await.iter().all(|answer| answer.active));

    for number in 1..=CALLS {
        match admin.try_issue(request(number)).await {
            Ok(_) => {}
            error => {
                let error = assert_refused(error, Code::AlreadyExists, "REQUEST_ID_REUSED");
                let token = admin.get_token(&error.metadata["token_id"]).await.unwrap();
                assert_eq!(token.secrets.len(), 1);
            }
        }
    }
    let tokens = server.database.count("credentials WHERE kind = 1").await;
    assert_eq!(tokens, CALLS + 1, "a call was done twice");
    server.database.assert_whole().await;
    if backend == Backend::Postgres {
        until("no transaction is open", async || backends(&server.database, "state <> 'idle'") == 0).await;
    }
    server.end().await;
}
