//! BatchIntrospect: many answers in one call, in order.

use token_authority::proto::v1::{InactiveReason, IntrospectRequest};

use crate::support::{Backend, TestServer, calls::question, forge, refusal::assert_field_refused};

on_both_databases!(answers_come_in_order, one_to_five_hundred_are_taken, a_malformed_item_is_named);

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
