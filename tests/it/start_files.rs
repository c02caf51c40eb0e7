//! The first start makes a master key and an administrator's token, or adopts
//! those that it is given; `admin reset` replaces a lost one.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tonic::Code;

use crate::support::{Backend, Process, assert_refused, process::run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// An administrator's token as another installation made it.
fn token_from_elsewhere() -> String {
    let elsewhere = Backend::Sqlite.database();
    let server = Process::start(&elsewhere);
    let token = elsewhere.admin_token();
    assert!(server.terminate().success());
    token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_writes_its_files_for_their_owner_alone() {
    let database = Backend::Sqlite.database();
    let server = Process::start(&database);
    let files = ["master.key", "admin.token"].map(|name| database.data_dir().join(name));
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
        assert!(server.log().contains(file.to_str().unwrap()), "it says where {} is", file.display());
    }
    let ring = fs::read_to_string(&files[0]).unwrap();
    let (_, key) = ring.trim().split_once(':').unwrap();
    assert!(!server.log().contains(key), "the key is in the log");
    assert!(server.terminate().success());

    let written = files.each_ref().map(|file| fs::read(file).unwrap());
    assert!(Process::start(&database).terminate().success());
    assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), written, "the second start leaves them alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_there_already_are_adopted() {
    let token = token_from_elsewhere();
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let database = backend.database();
        let key = "main:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
        for (name, text) in [("admin.token", &token), ("master.key", &key.to_owned())] {
            fs::write(database.data_dir().join(name), text).unwrap();
        }
        let server = Process::start(&database);
        let me = server.actor(&token).await.who_am_i().await.unwrap();
        assert_eq!(me.label, "admin");
        assert_eq!(database.admin_token(), token);
        assert_eq!(database.scalar("SELECT key_id FROM master_keys").await, "main");
        assert!(server.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_may_name_the_files() {
    let database = Backend::Sqlite.database();
    let secrets = tempfile::tempdir().unwrap();
    let (key, token) = (secrets.path().join("ring"), secrets.path().join("token"));
    let start = || {
        Process::start_with(&database, |command| {
            command
                .env("TOKEN_AUTHORITY__KEYS__MASTER_KEY_FILE", &key)
                .env("TOKEN_AUTHORITY__ADMIN__TOKEN_FILE", &token);
        })
    };
    assert!(start().terminate().success());
    assert_eq!((mode(&key), mode(&token)), (0o600, 0o600));
    assert!(database.find_admin_token().is_none());
    let server = start();
    let credential = fs::read_to_string(&token).unwrap();
    server.seen.secret(credential.trim());
    assert!(server.actor(credential.trim()).await.who_am_i().await.is_ok());
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_token_of_another_form_is_refused() {
    let good = token_from_elsewhere();
    let last = if good.ends_with('a') { "b" } else { "a" };
    let mistyped = format!("{}{last}", &good[..good.len() - 1]);
    for bad in ["", "secret", &mistyped, &format!("{good} {good}")] {
        let database = Backend::Sqlite.database();
        let file = database.data_dir().join("admin.token");
        fs::write(&file, bad).unwrap();
        let log = Process::try_start_with(&database, |_| {}).err().expect("it does not start");
        assert!(log.contains(file.to_str().unwrap()), "{log}");
        assert!(log.contains("no service credential in its canonical form"), "{log}");
        assert!(bad.is_empty() || !log.contains(bad), "the log shows what the file holds");
        assert_eq!(fs::read_to_string(&file).unwrap(), bad, "the file is left alone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_master_key_is_refused() {
    for (ring, line) in [("", "there is no key in it"), ("k1:short\n", "line 1"), ("# ours\nnonsense\n", "line 2")] {
        let database = Backend::Sqlite.database();
        let file = database.data_dir().join("master.key");
        fs::write(&file, ring).unwrap();
        let log = Process::try_start_with(&database, |_| {}).err().expect("it does not start");
        assert!(log.contains(file.to_str().unwrap()) && log.contains(line), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_admin_token_is_replaced_when_the_embedded_database_is_free() {
    let database = Backend::Sqlite.database();
    let server = Process::start(&database);
    let lost = database.admin_token();
    let (done, said) = run(&database, &["admin", "reset"]);
    assert!(!done && said.contains("another process is using the database"), "{said}");
    assert_eq!(database.admin_token(), lost, "the file is left alone");
    assert!(server.terminate().success());

    let (done, said) = run(&database, &["admin", "reset"]);
    let file = database.data_dir().join("admin.token");
    assert!(done && said.contains(file.to_str().unwrap()), "{said}");
    let new = database.admin_token();
    assert_ne!(new, lost);
    assert!(!said.contains(&new), "the secret is printed");
    assert_eq!(mode(&file), 0o600);

    let server = Process::start(&database);
    server.seen.secret(&lost);
    assert_refused(server.actor(&lost).await.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_eq!(server.actor(&new).await.who_am_i().await.unwrap().label, "admin");
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_a_reset_binds_the_servers_that_run() {
    let database = Backend::Postgres.database();
    let server = Process::start(&database);
    let lost = server.admin().await;
    let (done, said) = run(&database, &["admin", "reset"]);
    assert!(done, "{said}");
    assert_refused(lost.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_eq!(server.admin().await.who_am_i().await.unwrap().label, "admin");
    assert!(server.terminate().success());
}
