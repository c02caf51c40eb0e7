//! `max_staleness`: an answer may rest on knowledge of that age and no older,
//! and then no database is in its way.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future::join_all, stream};
use token_authority::{
    proto::v1::IntrospectRequest,
    settings::{Settings, Span},
};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    calls::{question, span},
    gate::Gate,
    refusal::assert_field_refused,
    replicas::Replicas,
    rounds::rounds,
    settings::be_patient,
};

/// With the other tests; see `rounds`.
const TOKENS: usize = 60;
/// Tokens that are asked about without a pause side by side.
const AT_ONCE: usize = 24;
const HOUR: Duration = Duration::from_hours(1);

/// A question whose answer may be so stale; none: as the settings have it.
fn stale(secret: &str, staleness: Option<Duration>) -> IntrospectRequest {
    IntrospectRequest { max_staleness: staleness.map(span), ..question(secret, &[]) }
}

/// Asks without a pause from the reply to a revocation on: what is asked later
/// than `staleness` after it must show it. Gives how many answers did not before
/// that.
async fn assert_seen_within(staleness: Duration, actors: &[&Actor], question: &IntrospectRequest) -> usize {
    let replied = Instant::now();
    let mut earlier = 0;
    loop {
        let asked_after = replied.elapsed();
        let answers = join_all(actors.iter().map(|actor| actor.try_introspect(question.clone()))).await;
        let active = answers.into_iter().filter(|answer| answer.as_ref().expect("there is an answer").active).count();
        if asked_after > staleness {
            assert_eq!(active, 0, "asked {asked_after:?} after the reply");
            return earlier;
        }
        earlier += active;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_is_seen_within_the_staleness_every_time() {
    const STALENESS: Duration = Duration::from_secs(1);

    let tokens = rounds(TOKENS);
    let replicas = Replicas::start(|command| {
        command.env("TOKEN_AUTHORITY__INTROSPECTION__MAX_STALENESS", "1s");
    })
    .await;
    let revoke = async |number: usize| {
        let (here, elsewhere) = (&replicas.admins[number % 3], replicas.others(number % 3));
        let issued = here.issue(&format!("account-{}", number % 10), "revoked", &[]).await;
        // By the setting, and by the request.
        let question = stale(&issued.secret, number.is_multiple_of(2).then_some(STALENESS));
        for actor in elsewhere {
            assert!(actor.try_introspect(question.clone()).await.unwrap().active);
        }
        here.revoke(&issued.token.token_id).await.unwrap();
        assert_seen_within(STALENESS, &elsewhere, &question).await
    };
    let earlier: Vec<_> = stream::iter((0..tokens).map(revoke)).buffer_unordered(AT_ONCE).collect().await;
    let earlier: usize = earlier.into_iter().sum();
    eprintln!("{tokens} revocations, each seen by two other replicas within {STALENESS:?}; {earlier} stale answers");

    // Who asks for it knows everything all the same.
    for round in 0..30 {
        let (here, elsewhere) = (&replicas.admins[round % 3], replicas.others(round % 3));
        let issued = here.issue("ada", "revoked", &[]).await;
        for actor in elsewhere {
            assert!(actor.introspect(&issued.secret).await.active);
        }
        here.revoke(&issued.token.token_id).await.unwrap();
        for actor in elsewhere {
            let answer = actor.try_introspect(stale(&issued.secret, Some(Duration::ZERO))).await.unwrap();
            assert!(!answer.active, "round {round}");
        }
    }
    replicas.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_cut_to_the_ceiling() {
    const CEILING: Duration = Duration::from_millis(200);

    let database = Backend::Postgres.database();
    let mut settings = database.settings(None);
    settings.introspection.max_staleness_ceiling = Span(CEILING);
    let here = TestServer::on(database.clone(), &settings).await;
    let replica = database.replica();
    let settings = Settings { introspection: settings.introspection.clone(), ..replica.settings(None) };
    let elsewhere = TestServer::on(replica, &settings).await;
    let (admin, other) = (here.admin().await, elsewhere.admin().await);
    for asked in [HOUR, 10_000 * 365 * 24 * HOUR] {
        let issued = admin.issue("ada", "revoked", &[]).await;
        let question = stale(&issued.secret, Some(asked));
        assert!(other.try_introspect(question.clone()).await.unwrap().active);
        admin.revoke(&issued.token.token_id).await.unwrap();
        assert_seen_within(CEILING, &[&other], &question).await;
    }
    elsewhere.end().await;
    here.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_held_stale_answers_go_on_and_others_wait() {
    let server = TestServer::configured(Backend::Postgres, None, |settings| {
        be_patient(settings);
        settings.introspection.max_staleness_ceiling = Span(HOUR);
    })
    .await;
    let admin = server.admin().await;
    let (kept, revoked) = (admin.issue("ada", "kept", &[]).await, admin.issue("ada", "revoked", &[]).await);
    let cold = admin.issue("ada", "not in memory", &[]).await;
    for secret in [&kept.secret, &revoked.secret, &kept.secret, &revoked.secret] {
        assert!(admin.introspect(secret).await.active);
    }

    let gate = Gate::closed(&server.database);
    let held = gate.hold_head();
    gate.is_reached().await;
    let begin = |question: IntrospectRequest| {
        let admin = admin.clone();
        tokio::spawn(async move { admin.try_introspect(question).await })
    };
    let waiting = [
        begin(stale(&kept.secret, None)),
        begin(stale(&kept.secret, Some(Duration::ZERO))),
        begin(stale(&cold.secret, Some(HOUR))),
        tokio::spawn({
            // As fresh as the freshest that it asks for.
            let admin = admin.clone();
            let batch = vec![stale(&kept.secret, Some(HOUR)), stale(&revoked.secret, None)];
            async move { admin.batch_introspect(batch).await.map(|mut answers| answers.swap_remove(0)) }
        }),
    ];
    let revocation = tokio::spawn({
        let (admin, id) = (admin.clone(), revoked.token.token_id.clone());
        async move { admin.revoke(&id).await }
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        for secret in [&kept.secret, &revoked.secret] {
            assert!(admin.try_introspect(stale(secret, Some(HOUR))).await.expect("nothing is in its way").active);
        }
        let batch = vec![stale(&kept.secret, Some(HOUR)); 3];
        assert!(admin.batch_introspect(batch).await.unwrap().iter().all(|answer| answer.active));
    }
    for strict in &waiting {
        assert!(!strict.is_finished(), "nobody can know");
    }
    assert!(!revocation.is_finished());

    gate.open();
    held.join().unwrap();
    for strict in waiting {
        assert!(strict.await.unwrap().expect("it waited").active);
    }
    revocation.await.unwrap().expect("it waited");
    assert!(!admin.introspect(&revoked.secret).await.active);
    assert!(admin.introspect(&kept.secret).await.active);
    server.end().await;
}

on_both_databases!(spans_that_are_none_are_refused_and_long_ones_taken, staleness_is_for_introspect_alone);

async fn spans_that_are_none_are_refused_and_long_ones_taken(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let question = |seconds, nanos| IntrospectRequest {
        max_staleness: Some(prost_types::Duration { seconds, nanos }),
        ..question(&issued.secret, &[])
    };
    for (seconds, nanos) in
        [(-1, 0), (0, -1), (-1, -1), (i64::MIN, i32::MIN), (i64::MIN, i32::MAX), (1, -1), (0, 1_000_000_000)]
    {
        let bad = question(seconds, nanos);
        assert_field_refused(admin.try_introspect(bad.clone()).await, "INVALID_MAX_STALENESS", "max_staleness");
        let batch = vec![question(1, 0), bad];
        assert_field_refused(admin.batch_introspect(batch).await, "INVALID_MAX_STALENESS", "requests[1].max_staleness");
    }
    for (seconds, nanos) in [(0, 0), (0, 1), (1, 999_999_999), (i64::MAX, 0), (i64::MAX, 999_999_999)] {
        assert!(admin.try_introspect(question(seconds, nanos)).await.unwrap().active, "{seconds} s, {nanos} ns");
    }
    server.end().await;
}

async fn staleness_is_for_introspect_alone(backend: Backend) {
    const STALENESS: Duration = Duration::from_millis(300);

    let server = TestServer::configured(backend, None, |settings| {
        settings.introspection.max_staleness = Span(STALENESS);
    })
    .await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let holder = server.actor(&issued.secret).await;
    holder.who_am_i().await.unwrap();
    assert!(admin.introspect(&issued.secret).await.active);
    admin.revoke(&issued.token.token_id).await.unwrap();
    assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_seen_within(STALENESS, &[&admin], &question(&issued.secret, &[])).await;
    server.end().await;
}
