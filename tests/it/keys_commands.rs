//! `keys list`, `add` and `promote`, on the server's own host.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{Backend, Database, Process};

const FAILURE: i32 = 1;
const USAGE: i32 = 2;

/// A database that a server has started on.
fn started(backend: Backend) -> Database {
    let database = backend.database();
    assert!(Process::start(&database).terminate().success());
    database
}

fn mode(database: &Database) -> u32 {
    fs::metadata(database.ring_file()).unwrap().permissions().mode() & 0o777
}

on_both_databases!(a_key_is_added_and_promoted_once, what_makes_no_sense_is_refused);

async fn a_key_is_added_and_promoted_once(backend: Backend) {
    let database = started(backend);
    let ring = format!("# ours\n{}", database.ring().trim_end());
    database.put_ring(&ring);
    fs::set_permissions(database.ring_file(), fs::Permissions::from_mode(0o600)).unwrap();

    let said = database.keys_done(&["add"]);
    let id = said.split(' ').nth(2).unwrap().to_owned();
    assert!(said.contains(database.ring_file().to_str().unwrap()) && said.contains("every replica"), "{said}");
    assert!(said.contains(&format!("token-authority keys promote {id}")), "{said}");
    assert!(database.ring().starts_with(&format!("{ring}\n{id}:")), "what was there is left as it was");
    assert_eq!(mode(&database), 0o600);
    let names: Vec<_> = database.keys_listed().into_iter().map(|(key, current, ..)| (key, current)).collect();
    assert_eq!(names, [(id.clone(), false), ("k1".to_owned(), true)]);

    // The service may read it as one of a group.
    fs::set_permissions(database.ring_file(), fs::Permissions::from_mode(0o640)).unwrap();
    let second = database.keys(&["add"]);
    assert!(second.code == 0 && !second.stdout.contains(&format!("key {id} ")), "{second:?}");
    assert_eq!((mode(&database), database.ring().lines().count()), (0o640, 4));
    fs::set_permissions(database.ring_file(), fs::Permissions::from_mode(0o600)).unwrap();

    let before = database.scalar("SELECT revision FROM head").await;
    assert!(database.keys_done(&["promote", &id]).contains("is current now"));
    let after = database.scalar("SELECT revision FROM head").await;
    assert!(database.keys_done(&["promote", &id]).contains("is current already"));
    assert_eq!(database.scalar("SELECT revision FROM head").await, after, "that is no change");
    assert_ne!(before, after);
    assert_eq!(database.count(&format!("changes WHERE subjects = 'keys' AND revision = {after}")).await, 1);
    let event = format!("audit_events WHERE action = 'key.promote' AND target = '{id}' AND detail LIKE '%k1%'");
    assert_eq!(database.count(&event).await, 1);
    assert_eq!(database.count("master_keys WHERE is_current").await, 1);
    assert!(database.keys_done(&["promote", "k1"]).contains("is current now"), "back to the former");
    assert!(database.keys_done(&["list"]).contains("KEY"));
    database.assert_whole().await;
    database.look_for_keys(&database.dump());
    assert!(Process::start(&database).terminate().success());

    let files = fs::read_dir(database.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = files.filter(|name| name.to_string_lossy().starts_with("master.key")).collect();
    assert_eq!(left, ["master.key"], "nothing is left beside it");
}

async fn what_makes_no_sense_is_refused(backend: Backend) {
    let database = started(backend);
    let (ring, revision) = (database.ring(), database.scalar("SELECT revision FROM head").await);
    for (arguments, code, complaint) in [
        (&["promote", "k9"][..], FAILURE, "there is no key \"k9\""),
        (&["promote", "K9"], USAGE, "a key's name is"),
        (&["promote"], USAGE, "ID"),
        (&["add", "--id", "k1"], FAILURE, "is or was another master key's"),
        (&["add", "--id", "a:b"], USAGE, "a key's name is"),
    ] {
        let refused = database.keys(arguments);
        assert_eq!((refused.code, refused.stdout.as_str()), (code, ""), "{refused:?}");
        assert!(refused.stderr.contains(complaint), "{refused:?}");
    }
    assert_eq!((database.ring(), database.scalar("SELECT revision FROM head").await), (ring, revision));
    database.keys_done(&["add", "--id", "k2"]);
    database.keys_done(&["promote", "k2"]);
    database.put_ring(&database.ring_without("k1"));
    let refused = database.keys(&["add", "--id", "k1"]);
    assert!(refused.code == FAILURE && refused.stderr.contains("is or was"), "a former key's name is not used again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_server_on_sqlite_they_are_refused() {
    let database = Backend::Sqlite.database();
    let server = Process::start(&database);
    let ring = database.ring();
    for arguments in [&["list"][..], &["add"], &["promote", "k1"]] {
        let refused = database.keys(arguments);
        assert_eq!((refused.code, refused.stdout.as_str()), (FAILURE, ""), "{refused:?}");
        assert!(refused.stderr.contains("another process is using the database"), "{refused:?}");
        assert!(refused.stderr.contains("stop it"), "{refused:?}");
    }
    assert_eq!(database.ring(), ring, "the file is left alone");
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_can_be_made_before_the_first_start() {
    let database = Backend::Sqlite.database();
    database.keys_done(&["add", "--id", "first"]);
    assert_eq!(mode(&database), 0o600);
    assert_eq!(database.keys_listed(), [("first".to_owned(), false, "yes".to_owned(), 0)]);
    assert!(Process::start(&database).terminate().success());
    assert_eq!(database.keys_listed(), [("first".to_owned(), true, "yes".to_owned(), 1)]);
}
