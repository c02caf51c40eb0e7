//! `doctor` says what is wrong on a host and what to do about it, beside a server that
//! runs, and changes nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, sync::Arc};

use serde_json::Value;

use crate::support::{
    Backend, Database, Process,
    pki::{Authority, Files},
    postgres::Postgres,
    process::command,
    terminal::ran,
    wait::until,
};

const DATABASE: &str = "token-authority.db";

/// What it found: of each check its worst level, and all that was said.
struct Diagnosis {
    code: i32,
    findings: Vec<Value>,
    text: String,
}

impl Diagnosis {
    fn of(database: &Database, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let arguments = [&["doctor", "--output", "json"], arguments].concat();
        let mut doctor = command(database, &arguments);
        change(&mut doctor);
        Self::by(database, doctor)
    }

    fn by(database: &Database, doctor: Command) -> Self {
        let ran = ran(doctor);
        assert_eq!(ran.stderr, "", "what it finds is its output");
        let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        database.look_for_keys(ran.stdout.as_bytes());
        let findings = told["findings"].as_array().expect("a list").clone();
        for finding in &findings {
            let is_ok = finding["level"] == "ok";
            assert_eq!(is_ok, finding.get("advice").is_none(), "it says what to do where there is anything: {finding}");
        }
        Self { code: ran.code, findings, text: ran.stdout }
    }

    #[track_caller]
    fn assert(&self, check: &str, level: &str, says: &str) {
        let found = |finding: &Value| {
            finding["check"] == check && finding["level"] == level && finding.to_string().contains(says)
        };
        assert!(self.findings.iter().any(found), "no {level} of {check} that says {says:?}: {}", self.text);
    }

    fn worst(&self) -> &str {
        let of = |level: &str| self.findings.iter().any(|finding| finding["level"] == level);
        if of("failure") {
            "failure"
        } else if of("warning") {
            "warning"
        } else {
            "ok"
        }
    }
}

fn look(database: &Database) -> Diagnosis {
    Diagnosis::of(database, &[], |_| {})
}

/// All files of a data directory but logs, with what they hold.
fn files(database: &Database) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(database.data_dir()).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let mut files: Vec<_> = named
        .filter(|(name, _)| Path::new(name).extension().is_none_or(|extension| extension != "log"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

on_both_databases!(a_host_in_order_is_found_so_beside_its_server_and_without, keys_are_held_against_the_database);

async fn a_host_in_order_is_found_so_beside_its_server_and_without(backend: Backend) {
    let database = backend.database();
    let before = look(&database);
    assert_eq!((before.code, before.worst() == "failure"), (0, false), "{}", before.text);

    let server = Process::start(&database);
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let found = look(&database);
    assert_eq!((found.code, found.worst()), (0, "ok"), "{}", found.text);
    for check in ["settings", "database", "database.schema", "keys", "keys.signing", "policy", "clock", "tls.grpc"] {
        found.assert(check, "ok", "");
    }
    assert!(!found.text.contains(database.admin_token().as_str()));
    assert!(admin.introspect(&issued.secret).await.active);
    admin.issue("ada", "another", &[]).await;
    assert!(server.terminate().success());

    let left = files(&database);
    let found = look(&database);
    assert_eq!((found.code, found.worst()), (0, "ok"), "{}", found.text);
    assert_eq!(files(&database), left, "nothing is changed, and nothing left behind");
    let mut table = command(&database, &["doctor", "--strict"]);
    table.env_remove("TOKEN_AUTHORITY__LOG__FILTER");
    let shown = ran(table);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    assert!(shown.stdout.lines().all(|line| line.starts_with("ok ")), "{}", shown.stdout);
}

async fn keys_are_held_against_the_database(backend: Backend) {
    let database = backend.database();
    assert!(Process::start(&database).terminate().success());
    let ring = database.ring();

    database.put_ring("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    let found = look(&database);
    assert_eq!(found.code, 1);
    found.assert("keys", "failure", "the key k1");
    database.put_ring("other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    look(&database).assert("keys", "failure", "lacks the database's current key k1");
    database.put_ring("nonsense\n");
    look(&database).assert("keys", "failure", "line 1");
    fs::remove_file(database.ring_file()).unwrap();
    look(&database).assert("keys", "failure", "there is no");

    database.put_ring(&ring);
    fs::set_permissions(database.ring_file(), fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = look(&database);
    assert_eq!((exposed.code, exposed.worst()), (0, "warning"), "{}", exposed.text);
    exposed.assert("keys.file", "warning", "chmod 600");
    assert_eq!(Diagnosis::of(&database, &["--strict"], |_| {}).code, 1, "warnings count where that is asked for");
    fs::set_permissions(database.ring_file(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(look(&database).worst(), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_and_policy_are_looked_at_first() {
    let database = Backend::Sqlite.database();
    let policy = |command: &mut Command, version: &str, plan: &str| {
        command
            .env("TOKEN_AUTHORITY__POLICY__VERSION", version)
            .env("TOKEN_AUTHORITY__POLICY__PLANS", format!("[{{ name = '{plan}' }}]"));
    };
    let server = Process::start_with(&database, |command| policy(command, "2", "PRO"));
    assert!(server.terminate().success());
    for (version, plan, level, says) in [
        ("2", "PRO", "ok", "in force"),
        ("2", "FREE", "failure", "raise policy.version"),
        ("1", "PRO", "warning", "older"),
        ("3", "FREE", "warning", "newer"),
    ] {
        let found = Diagnosis::of(&database, &[], |command| policy(command, version, plan));
        found.assert("policy", level, says);
        assert_eq!(found.code, i32::from(level == "failure"));
    }

    let refused = Diagnosis::of(&database, &[], |command| {
        command.env("TOKEN_AUTHORITY__CREDENTIALS__BCRYPT_COST", "3");
    });
    assert_eq!((refused.code, refused.findings.len()), (1, 1), "nothing else can be looked at");
    refused.assert("settings", "failure", "bcrypt_cost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_asked_what_it_can_keep() {
    let database = Backend::Postgres.database();
    let unreachable = database.at("postgres://nobody:hunter2@127.0.0.1:1/tokens".to_owned());
    let found = look(&unreachable);
    assert_eq!(found.code, 1);
    found.assert("database", "failure", "");
    assert!(!found.text.contains("hunter2"), "{}", found.text);

    let without_migrating = |command: &mut Command| {
        command.env("TOKEN_AUTHORITY__DATABASE__MIGRATE_ON_START", "false");
    };
    let empty = Diagnosis::of(&database, &[], without_migrating);
    assert_eq!(empty.code, 1);
    empty.assert("database.schema", "failure", "token-authority migrate");
    assert!(Process::start(&database).terminate().success());
    let found = look(&database);
    for (check, says) in [
        ("database", "PostgreSQL"),
        ("database.role", "a primary"),
        ("database.durability", "fsync is on"),
        ("database.connections", "room for"),
        ("database.transport", "within this machine"),
    ] {
        found.assert(check, "ok", says);
    }

    let greedy = Diagnosis::of(&database, &[], |command| {
        command.env("TOKEN_AUTHORITY__DATABASE__MAX_CONNECTIONS", "1000");
    });
    greedy.assert("database.connections", "failure", "database.max_connections");
    database.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_future', 0)");
    look(&database).assert("database.schema", "warning", "a newer version applied 1 migration(s)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_cannot_keep_the_promise_is_told_of() {
    let cluster = Arc::new(Postgres::start());
    let database = Database::on(&cluster);
    assert!(Process::start(&database).terminate().success());
    let standby = cluster.standby();
    until("the standby has it all", async || cluster.is_replicated()).await;
    let found = look(&database.at(standby.url(database.url().unwrap())));
    assert_eq!(found.code, 1);
    found.assert("database.role", "failure", "lead database.url to the primary");

    cluster.sql("postgres", "ALTER SYSTEM SET full_page_writes = off");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    until("it is told", async || look(&database).worst() == "warning").await;
    look(&database).assert("database.durability", "warning", "set full_page_writes = on");

    cluster.sql("postgres", "ALTER SYSTEM SET fsync = off");
    cluster.stop();
    cluster.start_again();
    let found = look(&database);
    assert_eq!(found.code, 1);
    found.assert("database.durability", "failure", "set fsync = on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_others_may_read_and_a_service_without_administrators_are_told_of() {
    let database = Backend::Sqlite.database();
    assert!(Process::start(&database).terminate().success());
    for (name, check) in [(DATABASE, "database.file"), ("admin.token", "admin.file")] {
        let file = database.data_dir().join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let found = look(&database);
        assert_eq!((found.code, found.worst()), (0, "warning"), "{}", found.text);
        found.assert(check, "warning", "chmod 600");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let open = Diagnosis::of(&database, &[], |command| {
        command.env("TOKEN_AUTHORITY__GRPC__LISTEN", "0.0.0.0:0").env("TOKEN_AUTHORITY__GRPC__ALLOW_PLAINTEXT", "true");
    });
    open.assert("tls.grpc", "ok", "something else has to protect it");

    database.execute("UPDATE credentials SET revoke_time = create_time WHERE roles LIKE '%admin%'").await;
    look(&database).assert("administrators", "warning", "admin reset");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_with_little_room_is_told_of() {
    use crate::support::small_disk;

    let database = Backend::Sqlite.database();
    assert!(Process::start(&database).terminate().success());
    let file = database.data_dir().join(DATABASE);
    for (mib, level) in [(15, "failure"), (200, "warning")] {
        let small = database.data_dir().join(format!("{mib}-mib"));
        fs::create_dir(&small).unwrap();
        let mut doctor = command(&database, &["doctor", "--output", "json"]);
        doctor.env("TOKEN_AUTHORITY__DATABASE__URL", format!("sqlite:{}", small.join(DATABASE).display()));
        let mut there = Command::new("sh");
        there.args(["-c", r#"cp -p "$0" "$1" && shift && exec "$@""#]).args([&file, &small]);
        there.arg(doctor.get_program()).args(doctor.get_args());
        there.envs(doctor.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let found = Diagnosis::by(&database, small_disk::within(&small, mib, None, &there));
        found.assert("disk", level, "make room");
        assert_eq!(found.code, i32::from(level == "failure"), "{}", found.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_read_as_clients_read_them() {
    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    assert!(Process::start(&database).terminate().success());
    let look = |files: &Files, within: &str| {
        Diagnosis::of(&database, &["--expires-within", within], |command| {
            for (name, file) in [("CERTIFICATE", "tls.crt"), ("PRIVATE_KEY", "tls.key")] {
                command.env(format!("TOKEN_AUTHORITY__GRPC__TLS__{name}_FILE"), files.0.join(file));
            }
        })
    };
    // Good for an hour.
    let files = Files::new(database.data_dir(), &authority.server(), None);
    let mode = |mode: u32| fs::set_permissions(files.0.join("tls.key"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    look(&files, "1m").assert("tls.grpc", "warning", "others than its owner may read it");
    mode(0o600);
    look(&files, "1m").assert("tls.grpc", "ok", "localhost, 127.0.0.1");
    look(&files, "2h").assert("tls.grpc", "warning", "renew it");

    let pair = authority.server();
    files.write(&pair);
    fs::write(files.0.join("tls.crt"), format!("{}{}", pair.certificate, Authority::new("another").pem())).unwrap();
    look(&files, "1m").assert("tls.grpc", "warning", "do not vouch for each other");
    fs::write(files.0.join("tls.crt"), format!("{}{}", pair.certificate, authority.pem())).unwrap();
    mode(0o600);
    assert_eq!(look(&files, "1m").findings.iter().filter(|finding| finding["check"] == "tls.grpc").count(), 1);

    files.write(&authority.expired_server());
    let expired = look(&files, "1m");
    assert_eq!(expired.code, 1);
    expired.assert("tls.grpc", "failure", "has expired");
    fs::write(files.0.join("tls.key"), &authority.server().key).unwrap();
    look(&files, "1m").assert("tls.grpc", "failure", "");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_apart_are_told_of() {
    use crate::support::clock::WallClock;

    const HOUR: i64 = 3_600;

    let shared = Backend::Postgres.database();
    let embedded = Backend::Sqlite.database();
    for database in [&shared, &embedded] {
        assert!(Process::start(database).terminate().success());
    }
    let clock = WallClock::off_by(5);
    Diagnosis::of(&shared, &[], |command| clock.give_to(command)).assert("clock", "warning", "NTP");
    clock.put_off_by(-HOUR);
    let found = Diagnosis::of(&shared, &[], |command| clock.give_to(command));
    assert_eq!(found.code, 1);
    found.assert("clock", "failure", "apart");
    // The embedded database's clock is the host's: that it went back shows all the same.
    Diagnosis::of(&embedded, &[], |command| clock.give_to(command)).assert("clock.history", "failure", "to come");
}
