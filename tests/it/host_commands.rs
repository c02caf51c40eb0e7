//! What is done on the server's own host: the schema, the settings, a lost
//! administrator.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{
    Backend, Database, Process, Terminal,
    process::command,
    terminal::{Ran, ran},
};

const FAILURE: i32 = 1;

fn run(database: &Database, arguments: &[&str]) -> Ran {
    ran(command(database, arguments))
}

#[track_caller]
fn assert_done(ran: &Ran) {
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
}

#[test]
fn a_lost_administrator_is_replaced_while_no_server_runs() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let database = backend.database();
        let process = Process::start(&database);
        let lost = database.admin_token();
        let file = database.data_dir().join("admin.token");
        assert!(process.terminate().success());
        fs::remove_file(&file).unwrap();

        let reset = run(&database, &["admin", "reset"]);
        assert_done(&reset);
        assert!(reset.stdout.contains(file.to_str().unwrap()), "it says where");
        let new = database.admin_token();
        assert!(!reset.stdout.contains(&new), "it does not say what");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let process = Process::start(&database);
        process.seen.secret(&lost);
        let replaced = Terminal::new(&database, &process, &new);
        let names = replaced.json(&["service", "list", "--include-ended"]);
        assert_eq!(names["credentials"].as_array().unwrap().len(), 2, "the lost one has ended");
        assert_eq!(Terminal::new(&database, &process, &lost).run(&["auth", "status"]).code, 3);
        assert!(process.terminate().success());
    }
}

#[test]
fn what_writes_the_embedded_database_is_refused_beside_a_server() {
    let database = Backend::Sqlite.database();
    let process = Process::start(&database);
    let before = database.admin_token();
    for arguments in [&["admin", "reset"][..], &["migrate"]] {
        let refused = run(&database, arguments);
        assert_eq!((refused.code, refused.stdout.as_str()), (FAILURE, ""), "{refused:?}");
        assert!(refused.stderr.contains("token-authority.db"), "it says what is taken: {}", refused.stderr);
    }
    assert_eq!(database.admin_token(), before);
    assert!(process.terminate().success());
}

#[test]
fn migrating_again_changes_nothing() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let database = backend.database();
        let first = run(&database, &["migrate"]);
        assert_done(&first);
        assert_ne!(first.stdout, "0 migration(s) applied\n");
        let second = run(&database, &["migrate"]);
        assert_done(&second);
        assert_eq!(second.stdout, "0 migration(s) applied\n");
        assert!(!database.data_dir().join("admin.token").exists(), "that is the first start's");
    }
}

#[test]
fn settings_are_shown_as_they_are_in_effect_without_secrets() {
    let database = Backend::Sqlite.database();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/utm.toml");
    let mut show = command(&database, &["settings", "show", "--config", file, "--http-listen", "127.0.0.1:7"]);
    show.env("TOKEN_AUTHORITY__DATABASE__URL", "postgres://authority:hunter2@db/tokens?sslpassword=hunter2");
    let shown = ran(show);
    assert_done(&shown);
    let settings: toml::Table = shown.stdout.parse().unwrap();
    assert_eq!(settings["policy"]["limit"]["code"].as_str(), Some("CONNECTED_APP_LIMIT_REACHED"), "from the file");
    assert_eq!(settings["credentials"]["bcrypt_cost"].as_integer(), Some(4), "from the environment");
    assert_eq!(settings["http"]["listen"].as_str(), Some("127.0.0.1:7"), "from the flag");
    assert_eq!(settings["log"]["filter"].as_str(), Some("info,token_authority=debug"));
    assert!(!shown.stdout.contains("hunter2"), "{}", shown.stdout);
    assert!(shown.stdout.contains("authority:…@db/tokens"), "{}", shown.stdout);

    let mut misspelt = command(&database, &["settings", "show"]);
    misspelt.env("TOKEN_AUTHORITY__GRPC__LISEN", "127.0.0.1:1");
    let refused = ran(misspelt);
    assert_eq!((refused.code, refused.stdout.as_str()), (FAILURE, ""));
    assert!(refused.stderr.contains("lisen"), "{}", refused.stderr);
}
