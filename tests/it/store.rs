//! The log of changes tells every write, in order, without a gap, each with its
//! audit trail; and the tables go and come again.

use futures_util::future::join_all;
use migrations::{Migrator, MigratorTrait as _};
use token_authority::proto::v1::{Account, RevocationReason, ServiceRole};

use crate::support::{
    Actor, Backend, Database, Process, calls::service_request, issue_request, settings::set_patience,
};

/// How many mixes of writes run at once.
const MIXES: usize = 6;
/// How many changes one mix makes.
const CHANGES: u64 = 12;

/// Writes of every kind, some of which change nothing.
async fn write(actor: Actor, number: usize) {
    let account = format!("account-{number}");
    actor.put_account(Account { account_id: account.clone(), ..Default::default() }).await;
    let suspended = Account { account_id: account.clone(), suspended: true, ..Default::default() };
    actor.update_account(suspended, &["suspended"]).await.unwrap();
    actor.try_issue(issue_request(&account, "refused", &[])).await.unwrap_err();
    let good = Account { account_id: account.clone(), ..Default::default() };
    actor.update_account(good, &["suspended"]).await.unwrap();

    let first = actor.issue(&account, "first", &[]).await;
    actor.issue(&account, "second", &[]).await;
    // Everybody wants this account's lock.
    actor.issue("shared", &account, &[]).await;
    for _ in 0..2 {
        actor.revoke(&first.token.token_id).await.unwrap();
    }
    for include_sessions in [false, true] {
        actor.revoke_all(&account, RevocationReason::Compromised, include_sessions).await.unwrap();
    }

    let service = actor.create_service(service_request(&account, &[ServiceRole::Auditor])).await.unwrap();
    actor.rotate_service(&service.credential.credential_id, std::time::Duration::ZERO).await.unwrap();
    for _ in 0..2 {
        actor.revoke_service(&service.credential.credential_id).await.unwrap();
    }
}

async fn revision(database: &Database) -> u64 {
    database.scalar("SELECT revision FROM head").await.parse().unwrap()
}

on_both_databases!(every_change_is_in_the_log_with_its_trail, the_tables_go_and_come_again);

async fn every_change_is_in_the_log_with_its_trail(backend: Backend) {
    let database = backend.database();
    let mut servers = vec![Process::start_with(&database, set_patience)];
    if backend == Backend::Postgres {
        servers.push(Process::start_with(&database.replica(), set_patience));
    }
    let admin = servers[0].admin().await;
    admin.put_account(Account { account_id: "shared".to_owned(), ..Default::default() }).await;
    let before = revision(&database).await;
    let events = database.count("audit_events").await;

    let actors = join_all(servers.iter().map(Process::admin)).await;
    join_all((0..MIXES).map(|number| write(actors[number % actors.len()].clone(), number))).await;

    let written = CHANGES * u64::try_from(MIXES).unwrap();
    database.assert_whole().await;
    assert_eq!(revision(&database).await, before + written);
    assert_eq!(database.count("audit_events").await, events + written);
    assert_eq!(database.count("changes WHERE subjects = ''").await, 0, "a change concerns nobody");
    if backend == Backend::Postgres {
        // xmin is the transaction that wrote the row.
        let lonely = "changes c WHERE NOT EXISTS (SELECT 1 FROM audit_events a WHERE a.xmin = c.xmin)";
        assert_eq!(database.count(lonely).await, 0, "a change has no trail of its own transaction");
        let lonely = "audit_events a WHERE NOT EXISTS (SELECT 1 FROM changes c WHERE c.xmin = a.xmin)";
        assert_eq!(database.count(lonely).await, 0, "the trail tells what was no change");
    }

    // Two raises of tokens and one of sessions for each account, each numbered.
    let mixes = u64::try_from(MIXES).unwrap();
    for (series, generation) in [(1, 1), (1, 2), (2, 1)] {
        let raises = format!(
            "generation_raises r JOIN accounts a ON a.id = r.account \
             WHERE r.series = {series} AND r.generation = {generation} \
               AND a.token_generation = 2 AND a.session_generation = 1 AND r.raise_time > 0"
        );
        assert_eq!(database.count(&raises).await, mixes, "{raises}");
    }

    admin.delete_account("account-0").await.unwrap();
    assert_eq!(revision(&database).await, before + written + 1);
    database.assert_whole().await;
    assert_eq!(database.count("generation_raises").await, 3 * (mixes - 1), "an erased account leaves nothing");
    for server in servers {
        assert!(server.terminate().success());
    }
}

async fn the_tables_go_and_come_again(backend: Backend) {
    let database = backend.database();
    assert!(Process::start(&database).terminate().success());
    let tables = match backend {
        Backend::Sqlite => "sqlite_master WHERE type = 'table' AND name NOT IN ('seaql_migrations', 'sqlite_sequence')",
        Backend::Postgres => "pg_tables WHERE schemaname = 'public' AND tablename <> 'seaql_migrations'",
    };
    let before = database.count(tables).await;
    assert!(before > 0);

    let connection = database.connect().await;
    Migrator::down(&connection, None).await.unwrap();
    assert_eq!(database.count(tables).await, 0, "a table is left behind");
    Migrator::up(&connection, None).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(database.count(tables).await, before);
    assert_eq!(revision(&database).await, 0, "a new history");

    // An administrator is made anew, of the token that is there.
    let server = Process::start(&database);
    assert!(server.admin().await.who_am_i().await.is_ok());
    database.assert_whole().await;
    assert!(server.terminate().success());
}
