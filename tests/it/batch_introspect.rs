//! BatchIntrospect: many answers in one call, in order.

use token_authority::{
    domain::credential::Kind,
    proto::v1::{InactiveReason, IntrospectFailureReason, IntrospectRequest, batch_introspect_result::Result as Item},
};

use crate::support::{
    Backend, Issued, TestServer, calls::question, forge, refusal::assert_field_refused, settings::be_patient,
};

on_both_databases!(
    answers_come_in_order,
    one_to_five_hundred_are_taken,
    a_malformed_item_is_named,
    one_that_cannot_be_proved_now_does_not_stop_the_others,
);

async fn answers_come_in_order(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let one = admin.issue("ada", "one", &["read"]).await;
    let two = admin.issue("ben", "two", &["write"]).await;
    let forged = forge::wrong_secret(&one.secret);

    let presented = [&two.secret, "junk", &one.secret, &forged, &two.secret, &one.secret];
    let questions = presented.iter().map(|secret| question(secret, &["read"])).collect();
    let answers = admin.batch_introspect(questions).await.unwrap();
    let labels: Vec<_> = answers.iter().map(|answer| answer.label.as_str()).collect();
    assert_eq!(labels, ["two", "", "one", "", "two", "one"]);
    let reasons = [answers[1].inactive_reason(), answers[3].inactive_reason()];
    assert_eq!(reasons, [InactiveReason::Malformed, InactiveReason::WrongSecret]);
    for (answer, secret) in answers.iter().zip(presented) {
        let alone = admin.try_introspect(question(secret, &["read"])).await.unwrap();
        assert_eq!(*answer, alone, "a batch answers as a single call does");
    }
    server.end().await;
}

async fn one_to_five_hundred_are_taken(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "one", &["read"]).await;
    let batch = |size: usize| admin.batch_introspect(vec![question(&issued.secret, &[]); size]);
    for bad in [0, 501] {
        assert_field_refused(batch(bad).await, "INVALID_BATCH_SIZE", "requests");
    }
    for good in [1, 500] {
        let answers = batch(good).await.unwrap();
        assert_eq!(answers.len(), good);
        assert!(answers.iter().all(|answer| answer.active));
    }
    server.end().await;
}

async fn a_malformed_item_is_named(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let good = question("dt_x", &[]);
    let bad_address = IntrospectRequest { client_ip: "nowhere".to_owned(), ..good.clone() };
    let batch = vec![good.clone(), good.clone(), bad_address];
    assert_field_refused(admin.batch_introspect(batch).await, "INVALID_CLIENT_IP", "requests[2].client_ip");
    let batch = vec![good, question("dt_x", &["read", ""])];
    assert_field_refused(admin.batch_introspect(batch).await, "INVALID_SCOPE", "requests[1].required_scopes[1]");
    server.end().await;
}

/// What an item of a batch is about.
enum About {
    Active(Issued),
    Inactive(InactiveReason, String),
    /// It has no fingerprint: bcrypt is to prove it.
    Unproved(Issued),
}

async fn one_that_cannot_be_proved_now_does_not_stop_the_others(backend: Backend) {
    const ROUNDS: usize = 10;

    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let mut issued = Vec::new();
    for round in 0..ROUNDS {
        let active = admin.issue("ada", &format!("active {round}"), &["read"]).await;
        let revoked = admin.issue("ada", &format!("revoked {round}"), &["read"]).await;
        admin.revoke(&revoked.token.token_id).await.unwrap();
        issued.push((active, revoked));
    }
    let database = server.database.clone();
    let mut settings = database.settings(None);
    server.end().await;
    be_patient(&mut settings);
    // Slow enough, and little room.
    settings.credentials.bcrypt_cost = 8;
    settings.credentials.bcrypt_threads = 1;
    settings.credentials.bcrypt_queue = 1;
    let server = TestServer::on(database.clone(), &settings).await;
    let admin = server.admin().await;
    let mut items = Vec::new();
    // Ten kinds of items in turn, a hundred in all.
    for (round, (active, revoked)) in issued.into_iter().enumerate() {
        let unproved = admin.issue("ben", &format!("unproved {round}"), &["read"]).await;
        items.extend([
            About::Active(active.clone()),
            About::Inactive(InactiveReason::Malformed, format!("junk {round}")),
            About::Inactive(InactiveReason::Unknown, forge::unknown(Kind::Personal)),
            About::Inactive(InactiveReason::WrongSecret, forge::wrong_secret(&active.secret)),
            About::Inactive(InactiveReason::Revoked, revoked.secret.clone()),
            About::Inactive(InactiveReason::WrongSecret, forge::wrong_secret(&revoked.secret)),
            About::Unproved(unproved.clone()),
            About::Inactive(InactiveReason::Malformed, active.secret[1..].to_owned()),
            About::Unproved(unproved),
            About::Active(active),
        ]);
    }
    server.end().await;
    let unproved = "credential IN (SELECT id FROM credentials WHERE label LIKE 'unproved%')";
    database.execute(&format!("UPDATE secrets SET fingerprint = NULL, key_id = NULL WHERE {unproved}")).await;

    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    let presented = items.iter().map(|item| match item {
        About::Active(issued) | About::Unproved(issued) => &issued.secret,
        About::Inactive(_, secret) => secret,
    });
    let questions: Vec<_> = presented.map(|secret| question(secret, &[])).collect();
    let (mut proved, mut busy) = (0, 0);
    let results = admin.batch_results(questions.clone()).await.unwrap();
    assert_eq!(results.len(), items.len());
    for (number, (item, result)) in items.iter().zip(&results).enumerate() {
        match (item, result) {
            (About::Active(issued), Item::Response(answer)) => {
                assert_eq!((answer.active, &answer.label), (true, &issued.token.label), "item {number}");
            }
            (About::Inactive(reason, _), Item::Response(answer)) => {
                assert_eq!((answer.active, answer.inactive_reason()), (false, *reason), "item {number}");
            }
            (About::Unproved(issued), Item::Response(answer)) => {
                assert_eq!((answer.active, &answer.label), (true, &issued.token.label), "item {number}");
                proved += 1;
            }
            (About::Unproved(_), Item::Failure(failure)) => {
                assert_eq!(failure.reason(), IntrospectFailureReason::Busy, "item {number}");
                assert!(failure.retry_after.is_some(), "it says when to try again");
                busy += 1;
            }
            (_, Item::Failure(failure)) => panic!("item {number} needs no bcrypt: {failure:?}"),
        }
    }
    assert!(proved > 0 && busy > 0, "{proved} were proved, {busy} were not");
    // The same secret twice is proved once, and both have what comes of it.
    for pair in results.chunks(items.len() / ROUNDS).map(|round| [&round[6], &round[8]]) {
        assert_eq!(pair[0], pair[1]);
    }
    assert_eq!(usize::try_from(server.server.bcrypt_runs()).unwrap() * 2, proved);

    // Some at a time.
    while busy > 0 {
        let results = admin.batch_results(questions.clone()).await.unwrap();
        let left = results.iter().filter(|result| matches!(result, Item::Failure(_))).count();
        assert!(left < busy, "none of {busy} was proved");
        busy = left;
    }
    server.end().await;
}
