//! A disk that is full ends changes with a clear error, and nothing else: what was
//! acknowledged stays, nothing is half done, and once there is room it goes on.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::Path,
    sync::Arc,
};

use tonic::Code;

use crate::support::{Actor, Backend, Database, Issued, Process, assert_refused, issue_request, small_disk};

const DISK_MIB: u32 = 16;
/// What is written until nothing fits any more.
const MOST: usize = 3_000;

/// Takes all the room that there is.
fn fill(junk: &Path) {
    let mut file = File::create(junk).unwrap();
    for size in [1024 * 1024, 4096, 1] {
        let bytes = vec![b'x'; size];
        let error = loop {
            if let Err(error) = file.write_all(&bytes) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
}

/// Issues until the database takes no more; what came before that, and what was said.
async fn issue_until_refused(admin: &Actor) -> Vec<Issued> {
    let mut issued = Vec::new();
    loop {
        match admin.try_issue(issue_request("ada", &format!("token {}", issued.len()), &[])).await {
            Ok(token) => issued.push(token),
            refused => {
                assert_refused(refused, Code::Unavailable, "DATABASE_UNAVAILABLE");
                return issued;
            }
        }
        assert!(issued.len() < MOST, "there is no end of room");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_as_well() {
    let (cluster, disk) = small_disk::postgres();
    let database = Database::on(&Arc::new(cluster));
    let server = Process::start(&database);
    let admin = server.admin().await;
    let kept = admin.issue("ada", "kept", &["read"]).await;
    let (disk, junk) = (disk.display(), disk.join("junk"));
    database.sql(&format!("CREATE TABLESPACE small LOCATION '{disk}'"));
    database.sql("ALTER TABLE audit_events SET TABLESPACE small");
    let copy = |query: &str| format!("COPY ({query}) TO '{}'", junk.display());
    let full = copy("SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
    database.sql(&format!("DO $$ BEGIN {full}; EXCEPTION WHEN disk_full THEN NULL; END $$"));

    // What its last page has room for goes on.
    let issued = issue_until_refused(&admin).await;
    let revoked = admin.revoke(&kept.token.token_id).await;
    assert_refused(revoked, Code::Unavailable, "DATABASE_UNAVAILABLE");
    for token in issued.iter().chain([&kept]) {
        assert!(admin.introspect(&token.secret).await.active, "what was acknowledged holds");
    }
    let said = server.logged("the database failed");
    assert!(said.iter().any(|line| line.to_string().contains("No space left on device")), "it says why: {said:?}");
    let there = database.count("credentials WHERE label LIKE 'token %'").await;
    assert_eq!(there, issued.len() as u64, "nothing is there of what was refused");

    database.sql(&copy("SELECT 1 WHERE false"));
    admin.revoke(&kept.token.token_id).await.expect("it goes on by itself");
    assert!(!admin.introspect(&kept.secret).await.active);
    database.assert_whole().await;
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_end_and_go_on_when_there_is_room() {
    let database = Backend::Sqlite.database();
    let small = database.data_dir().join("small");
    fs::create_dir(&small).unwrap();
    let server = Process::start_on_small_disk(&database, &small, DISK_MIB, |command| {
        command.env("TOKEN_AUTHORITY__DATABASE__URL", format!("sqlite:{}/token-authority.db", small.display()));
    });
    let admin = server.admin().await;
    let kept = admin.issue("ada", "kept", &["read"]).await;
    let disk = server.sees(&small);
    let junk = disk.join("junk");
    fill(&junk);

    // What SQLite's log has room for goes on.
    let issued = issue_until_refused(&admin).await;
    // Who only asks is answered, and what was acknowledged holds.
    assert!(admin.introspect(&kept.secret).await.active);
    let mut refused = 0;
    for token in &issued {
        // A smaller change may still fit.
        let revoked = admin.revoke(&token.token.token_id).await;
        assert_eq!(admin.introspect(&token.secret).await.active, revoked.is_err());
        if revoked.is_err() {
            assert_refused(revoked, Code::Unavailable, "DATABASE_UNAVAILABLE");
            refused += 1;
        }
    }
    assert!(issued.is_empty() || refused > 0, "{} were issued, and all could be revoked", issued.len());
    let said = server.logged("the database failed");
    assert!(said.iter().any(|line| line.to_string().contains("disk is full")), "the log says why: {said:?}");

    fs::remove_file(&junk).unwrap();
    let after = admin.try_issue(issue_request("ada", "after", &[])).await.expect("it goes on by itself");
    assert!(admin.introspect(&after.secret).await.active);
    admin.revoke(&kept.token.token_id).await.unwrap();
    assert!(!admin.introspect(&kept.secret).await.active);

    for name in ["token-authority.db", "token-authority.db-wal"] {
        fs::copy(disk.join(name), database.data_dir().join(name)).unwrap();
    }
    database.assert_whole().await;
    let there = database.count("credentials WHERE label LIKE 'token %'").await;
    assert_eq!(there, issued.len() as u64, "nothing is there of what was refused");
    let revoked = database.count("credentials WHERE label LIKE 'token %' AND revoke_time IS NOT NULL").await;
    assert_eq!(revoked, (issued.len() - refused) as u64);
    assert!(server.terminate().success());
}
