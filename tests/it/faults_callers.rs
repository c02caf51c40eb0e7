//! A caller whose credential ends while its call waits gets nothing done.

use futures_util::future::join_all;
use token_authority::{
    client::CallError,
    proto::v1::{ListAccountsRequest, ServiceRole, Token},
};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused, calls::service_request, gate::Gate, issue_request, settings::be_patient,
    wait::until,
};

const CALLS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_revoked_while_it_waits_for_a_lock_mints_nothing() {
    let server = TestServer::start(Backend::Postgres).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("billing", &[ServiceRole::Issuer])).await.unwrap();
    let issuer = server.actor(&service.secret).await;
    let kept = issuer.issue("ada", "before", &[]).await;

    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let waiting = [
        tokio::spawn({
            let issuer = issuer.clone();
            async move { issuer.try_issue(issue_request("ada", "too late", &[])).await.map(|_| ()) }
        }),
        tokio::spawn({
            let (issuer, id) = (issuer.clone(), kept.token.token_id.clone());
            async move { issuer.revoke(&id).await.map(|_| ()) }
        }),
    ];
    until("both wait for the lock", async || gate.backends("wait_event_type = 'Lock'") == 2).await;
    admin.revoke_service(&service.credential.credential_id).await.unwrap();
    gate.open();

    for call in waiting {
        assert_refused(call.await.unwrap(), Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
    lock.join().expect("the lock was held");
    assert_eq!(labels(&admin.tokens_of("ada", &[]).await), ["before"]);
    assert!(admin.introspect(&kept.secret).await.active);
    server.end().await;
}

on_both_databases!(nothing_is_minted_after_its_caller_was_revoked, a_caller_that_never_rests_can_be_ended);

/// Every call holds its caller's credential; whoever is to end that must get it
/// all the same.
async fn a_caller_that_never_rests_can_be_ended(backend: Backend) {
    const ACCOUNTS: usize = 8;

    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("stolen", &[ServiceRole::Issuer])).await.unwrap();
    let thief = server.actor(&service.secret).await;
    // Bounded, should nobody be able to end it.
    let never_resting = (0..ACCOUNTS).map(|account| {
        let thief = thief.clone();
        tokio::spawn(async move {
            for number in 0..2_000 {
                thief.try_issue(issue_request(&format!("account-{account}"), &number.to_string(), &[])).await?;
            }
            Ok::<_, CallError>(())
        })
    });
    let never_resting: Vec<_> = never_resting.collect();
    until("all are at it", async || {
        let accounts = admin.list_accounts(ListAccountsRequest::default()).await.unwrap().accounts;
        accounts.len() == ACCOUNTS
    })
    .await;
    admin.revoke_service(&service.credential.credential_id).await.unwrap();
    for calls in never_resting {
        assert_refused(calls.await.unwrap(), Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
    server.end().await;
}

async fn nothing_is_minted_after_its_caller_was_revoked(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("billing", &[ServiceRole::Issuer])).await.unwrap();
    let issuer = server.actor(&service.secret).await;

    let issue = async |number: usize| issuer.try_issue(issue_request("ada", &number.to_string(), &[])).await;
    let revoke = async {
        until("some are minted", async || !admin.tokens_of("ada", &[]).await.is_empty()).await;
        admin.revoke_service(&service.credential.credential_id).await.unwrap()
    };
    issue(0).await.unwrap();
    let (calls, revoked) = tokio::join!(join_all((1..CALLS).map(issue)), revoke);

    let mut minted = 1;
    for call in calls {
        match call {
            Ok(_) => minted += 1,
            error => drop(assert_refused(error, Code::Unauthenticated, "CREDENTIAL_INVALID")),
        }
    }
    let tokens = admin.tokens_of("ada", &[]).await;
    assert_eq!(tokens.len(), minted, "what was refused was minted all the same");
    let time = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos)).unwrap();
    for token in tokens {
        assert!(time(token.create_time) <= time(revoked.revoke_time), "minted for a caller that was revoked");
    }
    assert_refused(issue(CALLS).await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}

fn labels(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.label.as_str()).collect()
}
