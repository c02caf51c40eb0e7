//! Backups of a server that runs, and what it means to go back to one.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{
    Backend, Database, Process, TestServer,
    process::{command, run},
};

async fn epoch(database: &Database) -> String {
    let column = if database.url().is_some() { "epoch" } else { "hex(epoch)" };
    database.scalar(&format!("SELECT {column} FROM head")).await
}

/// Puts a copy in the place of the embedded database, as the command says.
fn restore(database: &Database, copy: &std::path::Path) {
    let path = |name: &str| database.data_dir().join(name);
    for name in ["token-authority.db-wal", "token-authority.db-shm"] {
        let _ = fs::remove_file(path(name));
    }
    fs::copy(copy, path("token-authority.db")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_is_backed_up_and_its_copy_begins_another_history() {
    let database = Backend::Sqlite.database();
    let process = Process::start(&database);
    let admin = process.admin().await;
    let kept = admin.issue("ada", "before", &["read"]).await;
    let revoked_later = admin.issue("ada", "revoked after the backup", &[]).await;

    let copy = database.data_dir().join("backup.db");
    let to = copy.to_str().unwrap();
    // Tokens go on being issued meanwhile.
    let busy = tokio::spawn({
        let admin = admin.clone();
        async move {
            for number in 0..50 {
                admin.issue("ben", &format!("{number}"), &[]).await;
            }
        }
    });
    let (done, said) = run(&database, &["admin", "backup", "--to", to]);
    assert!(done, "{said}");
    busy.await.unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let (done, said) = run(&database, &["admin", "backup", "--to", to]);
    assert!(!done && said.contains("backup.db"), "an existing file is kept: {said}");
    // Where no file could be fetched from, by its output.
    let passing = tempfile::tempdir().unwrap();
    let output = command(&database, &["admin", "backup", "--to", "-"]).env("TMPDIR", passing.path()).output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"SQLite format 3\0"), "{:?}", output.status);
    assert_eq!(fs::read_dir(passing.path()).unwrap().count(), 0, "nothing is left behind");
    fs::write(&copy, output.stdout).unwrap();

    admin.revoke(&revoked_later.token.token_id).await.unwrap();
    let lost = admin.issue("ada", "after", &[]).await;
    let former = epoch(&database).await;
    assert!(process.terminate().success());

    restore(&database, &copy);
    let process = Process::start(&database);
    assert_ne!(epoch(&database).await, former);
    let admin = process.admin().await;
    assert!(admin.introspect(&kept.secret).await.active);
    assert!(!admin.introspect(&lost.secret).await.active, "it is not known any more");
    // As old as its backup: README.md says what to do.
    assert!(admin.introspect(&revoked_later.secret).await.active);
    admin.revoke(&revoked_later.token.token_id).await.unwrap();
    assert!(!admin.introspect(&revoked_later.secret).await.active);
    assert!(process.terminate().success());
    database.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_start_over_where_another_history_begins() {
    let server = TestServer::start(Backend::Postgres).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert!(admin.introspect(&issued.secret).await.active);
    let former = epoch(&database).await;

    let (done, said) = run(&database, &["admin", "new-epoch"]);
    assert!(done, "{said}");
    let now = epoch(&database).await;
    assert_ne!(now, former);
    assert!(said.contains(&now), "it says which: {said}");
    // Behind the servers' backs, as a restored database has it: no change tells of it.
    let id = &issued.token.token_id;
    database.execute(&format!("UPDATE credentials SET revoke_time = 1 WHERE id = '{id}'")).await;
    let (done, said) = run(&database, &["admin", "new-epoch"]);
    assert!(done, "{said}");
    assert!(!admin.introspect(&issued.secret).await.active, "nothing that was known is believed");
    assert_eq!(database.count("audit_events WHERE action = 'history.begin'").await, 2);
    server.end().await;
}

#[test]
fn what_is_no_file_of_this_service_is_not_backed_up() {
    let postgres = Backend::Postgres.database();
    let (done, said) = run(&postgres, &["admin", "backup", "--to", "/nowhere/backup.db"]);
    assert!(!done && said.contains("its own tools"), "{said}");
    let empty = Backend::Sqlite.database();
    let to = empty.data_dir().join("backup.db");
    let (done, said) = run(&empty, &["admin", "backup", "--to", to.to_str().unwrap()]);
    assert!(!done && said.contains("there is no database"), "{said}");
    assert!(!to.exists());
    let process = Process::start(&empty);
    let (done, said) = run(&empty, &["admin", "new-epoch"]);
    assert!(!done && said.contains("another process"), "{said}");
    assert!(process.terminate().success());
}
