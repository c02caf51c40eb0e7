//! A server starts only on a database that it can keep its promises on: its
//! own where it is embedded, migrated, durable.

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use migrations::{Migrator, MigratorTrait as _};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use crate::support::{
    Backend, Database, Process,
    gate::backends,
    postgres::Postgres,
    process::{command, run},
    wait::until,
    wire::http_get,
};

fn without_migrating(command: &mut Command) {
    command.env("TOKEN_AUTHORITY__DATABASE__MIGRATE_ON_START", "false");
}

fn refusal_of(database: &Database) -> String {
    Process::try_start_with(database, without_migrating).err().expect("it does not start")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_sqlite_is_refused() {
    let database = Backend::Sqlite.database();
    let first = Process::start(&database);
    let log = refusal_of(&database);
    assert!(log.contains("another process is using the database"), "{log}");
    assert!(log.contains("SQLite serves one at a time; stop it, or use PostgreSQL"), "{log}");

    let issued = first.admin().await.issue("ada", "laptop", &[]).await;
    assert!(first.admin().await.introspect(&issued.secret).await.active, "the first goes on");
    assert_eq!(http_get(first.http, "/readyz"), 200);
    assert!(first.terminate().success());
    assert!(Process::start(&database).admin().await.introspect(&issued.secret).await.active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_migrated_when_somebody_says_so() {
    let database = Backend::Postgres.database();
    let log = refusal_of(&database);
    assert!(log.contains("run `token-authority migrate`, or set database.migrate_on_start"), "{log}");
    assert!(database.find_admin_token().is_none(), "nothing is begun on a database without tables");

    let two_at_once: Vec<_> = (0..2)
        .map(|_| {
            let mut migrate = command(&database, &["migrate"]);
            std::thread::spawn(move || migrate.output().expect("it runs"))
        })
        .collect();
    let mut applied: Vec<_> = two_at_once
        .into_iter()
        .map(|migrate| {
            let output = migrate.join().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    applied.sort();
    let all = format!("{} migration(s) applied\n", Migrator::migrations().len());
    assert_eq!(applied, ["0 migration(s) applied\n", &all], "one of them applied all");

    let server = Process::start_with(&database, without_migrating);
    assert!(server.admin().await.who_am_i().await.is_ok());
    assert!(server.terminate().success());
}

on_both_databases!(a_newer_schema_is_served_as_it_is, a_server_goes_on_while_its_schema_becomes_newer);

/// What a newer version may do to the schema before the last server of this one has
/// gone: it adds.
async fn expand(database: &Database) {
    for statement in [
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_future', 0)",
        "CREATE TABLE future (id bigint PRIMARY KEY)",
        "ALTER TABLE credentials ADD COLUMN future text",
        "ALTER TABLE accounts ADD COLUMN future bigint NOT NULL DEFAULT 7",
        "ALTER TABLE audit_events ADD COLUMN future text",
        "CREATE INDEX credentials_by_future ON credentials (future)",
    ] {
        database.execute(statement).await;
    }
}

async fn a_newer_schema_is_served_as_it_is(backend: Backend) {
    let database = backend.database();
    let (migrated, said) = run(&database, &["migrate"]);
    assert!(migrated, "{said}");
    expand(&database).await;

    let server = Process::start_with(&database, without_migrating);
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    assert!(admin.introspect(&issued.secret).await.active);
    admin.revoke(&issued.token.token_id).await.unwrap();
    assert!(!admin.introspect(&issued.secret).await.active);
    assert!(server.terminate().success());
    assert_eq!(run(&database, &["migrate"]), (true, "0 migration(s) applied\n".to_owned()));
    assert!(Process::start(&database).terminate().success());
    database.assert_whole().await;
}

async fn a_server_goes_on_while_its_schema_becomes_newer(backend: Backend) {
    let database = backend.database();
    let server = Process::start(&database);
    let admin = server.admin().await;
    let before = admin.issue("ada", "before", &["read"]).await;
    assert!(admin.introspect(&before.secret).await.active);
    expand(&database).await;
    let after = admin.issue("ada", "after", &["read"]).await;
    for issued in [&before, &after] {
        assert!(admin.introspect(&issued.secret).await.active);
        admin.revoke(&issued.token.token_id).await.unwrap();
        assert!(!admin.introspect(&issued.secret).await.active);
    }
    assert!(server.terminate().success());
    database.assert_whole().await;
}

/// As the version before has left it.
async fn one_migration_back(database: &Database) {
    let connection = database.connect().await;
    Migrator::down(&connection, Some(1)).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_schema_is_refused_until_it_is_migrated() {
    let database = Backend::Postgres.database();
    let server = Process::start(&database);
    let issued = server.admin().await.issue("ada", "laptop", &[]).await;
    assert!(server.terminate().success());
    one_migration_back(&database).await;

    let log = refusal_of(&database);
    assert!(log.contains("the database lacks 1 migration(s) of this version"), "{log}");
    assert!(log.contains("run `token-authority migrate`, or set database.migrate_on_start"), "{log}");
    assert_eq!(run(&database, &["migrate"]), (true, "1 migration(s) applied\n".to_owned()));
    let server = Process::start_with(&database, without_migrating);
    assert!(server.admin().await.introspect(&issued.secret).await.active, "nothing is lost");
    assert!(server.terminate().success());

    // Or the server is told to.
    one_migration_back(&database).await;
    let server = Process::start(&database);
    assert!(server.admin().await.introspect(&issued.secret).await.active);
    assert!(server.terminate().success());
}

/// As a transaction that wrote and was left open does.
const USE_TABLES: &str = "LOCK TABLE accounts, credentials, secrets, changes, audit_events IN ROW EXCLUSIVE MODE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_waits_for_a_table_lets_others_through() {
    let database = Backend::Postgres.database();
    assert!(Process::start(&database).terminate().success());
    one_migration_back(&database).await;
    let [connection, other] = [database.connect().await, database.connect().await];
    let left_open = connection.begin().await.unwrap();
    left_open.execute_unprepared(USE_TABLES).await.unwrap();

    let mut migrate = command(&database, &["migrate"]);
    // It asks ten times, and four times as long as it waits it lets others go first.
    migrate.env("TOKEN_AUTHORITY__DATABASE__LOCK_TIMEOUT", "300ms").stderr(Stdio::piped());
    let mut migrating = migrate.spawn().unwrap();
    until("the migration waits", async || backends(&database, "wait_event_type = 'Lock'") == 1).await;
    let change = other.begin().await.unwrap();
    change.execute_unprepared(USE_TABLES).await.unwrap();
    assert!(migrating.try_wait().unwrap().is_none(), "it goes on trying");
    change.rollback().await.unwrap();
    let ended = tokio::task::spawn_blocking(move || migrating.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && said.contains("migrate again once that has ended"), "{said}");

    left_open.rollback().await.unwrap();
    assert_eq!(run(&database, &["migrate"]), (true, "1 migration(s) applied\n".to_owned()));
    for connection in [connection, other] {
        connection.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_embedded_database_is_migrated_by_its_server() {
    let database = Backend::Sqlite.database();
    let server = Process::start(&database);
    let issued = server.admin().await.issue("ada", "laptop", &[]).await;
    assert!(server.terminate().success());
    one_migration_back(&database).await;
    let server = Process::start_with(&database, without_migrating);
    assert!(server.admin().await.introspect(&issued.secret).await.active);
    assert!(server.terminate().success());
    database.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_when_it_serves_and_when_it_ends() {
    let database = Backend::Sqlite.database();
    let path = database.data_dir().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut bytes = [0; 100];
        let length = manager.recv(&mut bytes).expect("it is told");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let server = Process::start_with(&database, |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(told().trim(), "READY=1");
    assert!(server.admin().await.who_am_i().await.is_ok());
    assert!(server.terminate().success());
    assert_eq!(told().trim(), "STOPPING=1");

    // Nobody hears a server that cannot start.
    let refused = Process::try_start_with(&database, |command| {
        command.env("NOTIFY_SOCKET", &path).env("TOKEN_AUTHORITY__GRPC__LISTEN", "192.0.2.1:1");
    });
    assert!(refused.is_err());
    manager.set_nonblocking(true).unwrap();
    assert_eq!(manager.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_may_lose_what_it_acknowledged_is_refused() {
    let cluster = Arc::new(Postgres::start());
    let database = Database::on(&cluster);
    cluster.sql("postgres", "ALTER SYSTEM SET fsync = off");
    cluster.stop();
    cluster.start_again();
    let log = Process::try_start_with(&database, |_| {}).err().expect("it does not start");
    assert!(log.contains("fsync = off") && log.contains("turn it on"), "{log}");
}
