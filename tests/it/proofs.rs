//! bcrypt runs as seldom as can be, never for more at once than the settings
//! allow, and never in the way of those who do not need it.

use futures_util::future::join_all;
use token_authority::{client::CallError, proto::v1::IntrospectRequest, settings::Settings};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused, calls::question, forge::wrong_secret, issue_request, seed::many,
    settings::be_patient, wait::until,
};

const CALLS: usize = 50;
const MINTERS: usize = 16;

on_both_databases!(
    minted_tokens_need_no_bcrypt_after_a_restart,
    a_secret_without_a_fingerprint_is_proved_once,
    two_that_want_to_hash_wait_and_the_rest_come_back,
);

/// A hundred thousand with `TOKEN_AUTHORITY_TEST_TOKENS=100000`.
async fn minted_tokens_need_no_bcrypt_after_a_restart(backend: Backend) {
    let tokens = many(400);
    let server = TestServer::configured(backend, None, be_patient).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let mint = async |minter: u64| {
        let mut secrets = Vec::new();
        for number in (minter..tokens).step_by(MINTERS) {
            // Beside the actor, which would look for each of them at the end.
            let request = issue_request(&format!("account-{minter}"), &number.to_string(), &[]);
            let issued = admin.call(admin.client.tokens().issue_token(request)).await.expect("the token is issued");
            secrets.push(issued.secret);
        }
        secrets
    };
    let secrets = join_all((0..MINTERS as u64).map(mint)).await.concat();
    assert!(server.server.bcrypt_runs() >= tokens, "each was hashed");
    server.end().await;

    let server = TestServer::on(database.clone(), &database.settings(None)).await;
    let admin = server.admin().await;
    for secrets in secrets.chunks(500) {
        let questions = secrets.iter().map(|secret| question(secret, &[])).collect();
        assert!(admin.batch_introspect(questions).await.unwrap().iter().all(|answer| answer.active));
    }
    assert_eq!(server.server.bcrypt_runs(), 0);
    println!("{backend:?}: {} tokens were introspected after a restart, and bcrypt never ran", secrets.len());
    server.end().await;
}

/// As an imported token has none yet, or one whose key was lost.
async fn a_secret_without_a_fingerprint_is_proved_once(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let settings = database.settings(None);
    let issued = server.admin().await.issue("ada", "laptop", &[]).await;
    server.end().await;
    let of_the_token = "credential IN (SELECT id FROM credentials WHERE kind = 1)";
    database.execute(&format!("UPDATE secrets SET fingerprint = NULL, key_id = NULL WHERE {of_the_token}")).await;

    let server = TestServer::on(database.clone(), &settings).await;
    let admin = server.admin().await;
    let other_secret = wrong_secret(&issued.secret);
    assert_eq!(server.server.bcrypt_runs(), 0);
    let answers = join_all((0..CALLS).map(|_| admin.introspect(&other_secret))).await;
    assert!(answers.iter().all(|answer| !answer.active), "a wrong secret is let in");
    assert_eq!(server.server.bcrypt_runs(), 1);
    let answers = join_all((0..CALLS).map(|_| admin.introspect(&issued.secret))).await;
    assert!(answers.iter().all(|answer| answer.active));
    assert_eq!(server.server.bcrypt_runs(), 2);
    // Nobody waited for it to be stored.
    until("the fingerprint is stored", async || {
        database.count("secrets WHERE fingerprint IS NULL OR key_id IS NULL").await == 0
    })
    .await;
    server.end().await;

    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    assert!(admin.introspect(&issued.secret).await.active);
    assert!(!admin.introspect(&other_secret).await.active);
    assert_eq!(server.server.bcrypt_runs(), 0, "the fingerprint was stored");
    server.end().await;
}

async fn two_that_want_to_hash_wait_and_the_rest_come_back(backend: Backend) {
    let change = |settings: &mut Settings| {
        be_patient(settings);
        settings.credentials.bcrypt_cost = 10;
        settings.credentials.bcrypt_threads = 1;
        settings.credentials.bcrypt_queue = 1;
    };
    let server = TestServer::configured(backend, None, change).await;
    let admin = server.admin().await;
    let warm = admin.issue("ada", "warm", &[]).await;

    let issues = join_all((0..CALLS).map(|_| admin.try_issue(issue_request("ada", "laptop", &[]))));
    let question = || IntrospectRequest { token: warm.secret.clone(), ..Default::default() };
    let introspections = join_all((0..CALLS).map(|_| admin.try_introspect(question())));
    let (issues, introspections) = tokio::join!(issues, introspections);

    for answer in introspections {
        assert!(answer.expect("it needs no bcrypt").active);
    }
    let (issued, refused): (Vec<_>, Vec<_>) = issues.into_iter().partition(Result::is_ok);
    assert!(!issued.is_empty() && !refused.is_empty(), "{} were issued, {} refused", issued.len(), refused.len());
    for refusal in refused {
        let CallError { retry_after, .. } = assert_refused(refusal, Code::ResourceExhausted, "TOO_BUSY");
        assert!(retry_after.is_some(), "it says when to try again");
    }
    assert!(admin.try_issue(issue_request("ada", "afterwards", &[])).await.is_ok());
    server.end().await;
}
