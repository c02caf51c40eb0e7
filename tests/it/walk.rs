//! The first walk: put an account, issue, list, introspect, revoke.

use token_authority::proto::v1::{Account, ListTokensRequest, RevocationReason, TokenState, Verdict};

use crate::support::{Backend, Database, Process, TestServer};

on_both_databases!(a_token_lives_and_ends);

async fn a_token_lives_and_ends(backend: Backend) {
    walk(TestServer::start(backend).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_need_not_outlive_their_transactions() {
    let server = TestServer::configured(Backend::Postgres, None, |settings| {
        settings.database.prepared_statements = false;
    })
    .await;
    walk(server).await;
}

async fn walk(server: TestServer) {
    let admin = server.admin().await;
    admin.put_account(Account { account_id: "ada".to_owned(), ..Default::default() }).await;

    let issued = admin.issue("ada", "first", &["read"]).await;
    let list = || ListTokensRequest { account_id: "ada".to_owned(), ..Default::default() };
    let listed = admin.call(admin.client.tokens().list_tokens(list())).await.unwrap();
    assert_eq!(listed.tokens.as_slice(), std::slice::from_ref(&issued.token));

    let answer = admin.introspect(&issued.secret).await;
    assert!(answer.active);
    assert_eq!(answer.verdict(), Verdict::Allowed);
    assert_eq!((answer.account_id.as_str(), answer.scopes.as_slice()), ("ada", &["read".to_owned()][..]));

    let revoked = admin.revoke(&issued.token.token_id).await.unwrap().unwrap();
    assert_eq!(revoked.state(), TokenState::Revoked);
    assert_eq!(revoked.revocation_reason(), RevocationReason::Unspecified);
    assert!(!admin.introspect(&issued.secret).await.active);
    let again = admin.revoke(&issued.token.token_id).await.unwrap().unwrap();
    assert_eq!(again.revoke_time, revoked.revoke_time);
    assert!(admin.call(admin.client.tokens().list_tokens(list())).await.unwrap().tokens.is_empty());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_serves_and_ends_in_good_order() {
    let database: Database = Backend::Sqlite.database();
    let process = Process::start(&database);
    let admin = process.admin().await;
    let issued = admin.issue("ada", "first", &["read"]).await;
    assert!(admin.introspect(&issued.secret).await.active);
    assert!(process.terminate().success());
}
