//! PostgreSQL keeps everybody waiting: nobody is told anything about a token
//! that is not known, each caller hears so within its deadline, and answers
//! come at once when they can.

use std::time::Duration;

use prost::Message as _;
use token_authority::{
    client::CallError,
    domain::credential::Kind,
    proto::v1::{BatchIntrospectRequest, IntrospectRequest, ServiceRole},
    settings::Span,
};
use tonic::Code;

use crate::support::{
    Backend, TestServer,
    calls::{question, service_request},
    forge,
    gate::Gate,
    settings::be_patient,
    wait::until,
    wire::{Wire, framed},
};

const INTROSPECT: &str = "/token_authority.v1.TokenAuthorityService/Introspect";
const BATCH_INTROSPECT: &str = "/token_authority.v1.TokenAuthorityService/BatchIntrospect";

#[track_caller]
fn assert_unavailable(error: &CallError, reasons: &[&str]) {
    assert_eq!(error.code, Code::Unavailable, "{error:?}");
    assert!(error.reason.as_deref().is_some_and(|reason| reasons.contains(&reason)), "{error:?}");
    assert!(error.retry_after.is_some(), "it says when to try again: {error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_answered_hears_so_within_the_deadline() {
    let server = TestServer::configured(Backend::Postgres, None, |settings| {
        settings.introspection.timeout = Span(Duration::from_secs(1));
    })
    .await;
    let admin = server.admin().await;
    let warm = admin.issue("ada", "in memory", &[]).await;
    let cold = admin.issue("ada", "not in memory", &[]).await;
    let new_caller = admin.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap();
    server.seen.secret(&new_caller.secret);
    for _ in 0..2 {
        assert!(admin.introspect(&warm.secret).await.active);
    }

    let gate = Gate::closed(&server.database);
    let held = gate.hold_head();
    gate.is_reached().await;
    // One that does not count the time by itself.
    let wire = Wire::connect(server.server.grpc_address()).await;
    let unknown = forge::unknown(Kind::Personal);
    let questions = [&warm.secret, &cold.secret, &unknown, "junk"].map(|token| question(token, &[]));
    let batch = framed(&BatchIntrospectRequest { requests: questions.to_vec() }.encode_to_vec());
    let mut calls: Vec<_> = questions.map(|question| (INTROSPECT, framed(&question.encode_to_vec()))).into();
    calls.push((BATCH_INTROSPECT, batch));
    let in_time = |credential: &str, within: Option<&str>| {
        let authorization = format!("Bearer {credential}");
        let mut headers = vec![("authorization".to_owned(), authorization)];
        headers.extend(within.map(|within| ("grpc-timeout".to_owned(), within.to_owned())));
        headers
    };
    for credential in [&server.database.admin_token(), &new_caller.secret] {
        for (path, body) in &calls {
            let headers = in_time(credential, Some("150m"));
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let refusal = wire.call(path, &headers, body.clone()).await.unwrap().refusal();
            assert_unavailable(&refusal, &["NOT_ANSWERED_IN_TIME", "DATABASE_UNAVAILABLE"]);
        }
    }
    // The server's own bound, for those who have none.
    for token in [&warm.secret, &cold.secret] {
        let request = IntrospectRequest { token: token.clone(), ..Default::default() };
        assert_unavailable(&admin.try_introspect(request).await.expect_err("nobody knows"), &["DATABASE_UNAVAILABLE"]);
    }

    gate.open();
    held.join().unwrap();
    for token in [&warm.secret, &cold.secret] {
        assert!(admin.introspect(token).await.active, "the first to ask is answered");
    }
    assert!(!admin.introspect(&unknown).await.active);
    assert!(server.actor(&new_caller.secret).await.introspect(&warm.secret).await.active);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_give_up_take_nothing_from_the_others() {
    const CALLS: usize = 40;

    let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
    let admin = server.admin().await;
    let warm = admin.issue("ada", "in memory", &[]).await;
    let cold = admin.issue("ada", "not in memory", &[]).await;
    for _ in 0..2 {
        assert!(admin.introspect(&warm.secret).await.active);
    }

    let gate = Gate::closed(&server.database);
    let held = gate.hold_head();
    gate.is_reached().await;
    let mut calls: Vec<_> = (0..CALLS)
        .map(|number| {
            let secret = if number % 4 < 2 { &warm.secret } else { &cold.secret };
            let (admin, request) = (admin.clone(), question(secret, &[]));
            tokio::spawn(async move { admin.try_introspect(request).await })
        })
        .collect();
    // A round and a load.
    until("both kinds wait", async || gate.backends("wait_event_type = 'Lock'") >= 2).await;
    // The first of each kind among them.
    let (gone, kept): (Vec<_>, Vec<_>) = calls.drain(..).enumerate().partition(|(number, _)| number % 2 == 0);
    for (_, call) in gone {
        call.abort();
        assert!(call.await.is_err_and(|ended| ended.is_cancelled()), "it was answered while the database was held");
    }

    gate.open();
    held.join().unwrap();
    for (number, call) in kept {
        assert!(call.await.unwrap().expect("it waited").active, "call {number}");
    }
    server.end().await;
}
