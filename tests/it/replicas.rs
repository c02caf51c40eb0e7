//! Replicas agree: on one administrator, one master key, one policy, whoever
//! starts first, or they refuse to start and say what to do.

use std::{fs, process::Command};

use crate::support::{Backend, Database, Process, settings::set_plans};

/// How often what depends on who is first is tried.
const ROUNDS: usize = 3;
const WHAT_TO_DO: &str = "copy the file from a server that has it";

/// Starts two servers at the same moment.
async fn start_both(one: &Database, other: &Database) -> [Result<Process, String>; 2] {
    start_both_with([(one, |_| {}), (other, |_| {})]).await
}

/// Where a server is to start, and how its command is changed.
type Start<'a> = (&'a Database, fn(&mut Command));

/// The same, as their commands are changed.
async fn start_both_with(servers: [Start<'_>; 2]) -> [Result<Process, String>; 2] {
    let [one, other] = servers.map(|(database, change)| {
        let database = database.clone();
        tokio::task::spawn_blocking(move || Process::try_start_with(&database, change))
    });
    [one.await.unwrap(), other.await.unwrap()]
}

async fn assert_one_admin_and_one_key(database: &Database) {
    assert_eq!(database.count("credentials").await, 1);
    assert_eq!(database.count("master_keys").await, 1);
}

/// Replaces this data directory's master key by another one under that name.
fn put_another_key(database: &Database, id: &str) {
    let key = format!("{id}:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    fs::write(database.data_dir().join("master.key"), key).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_start_at_once_in_one_data_directory_share_it() {
    for _ in 0..ROUNDS {
        let database = Backend::Postgres.database();
        let [one, other] = start_both(&database, &database).await.map(Result::unwrap);
        assert_one_admin_and_one_key(&database).await;
        let issued = one.admin().await.issue("ada", "laptop", &[]).await;
        assert!(other.admin().await.introspect(&issued.secret).await.active);

        let files = fs::read_dir(database.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = files.filter(|name| !name.to_string_lossy().ends_with(".log")).collect();
        files.sort();
        assert_eq!(files, ["admin.token", "master.key"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_start_at_once_on_two_hosts_one_waits_for_the_key() {
    for _ in 0..ROUNDS {
        let one = Backend::Postgres.database();
        let other = one.with_other_data_dir();
        let (process, here, log, there) = match start_both(&one, &other).await {
            [Ok(process), Err(log)] => (process, &one, log, &other),
            [Err(log), Ok(process)] => (process, &other, log, &one),
            [Ok(_), Ok(_)] => panic!("both start, with a key each"),
            [Err(one), Err(other)] => panic!("neither starts:\n{one}\n{other}"),
        };
        assert_one_admin_and_one_key(here).await;
        assert!(log.contains(WHAT_TO_DO) && log.contains("master.key"), "{log}");

        fs::copy(here.data_dir().join("master.key"), there.data_dir().join("master.key")).unwrap();
        let replica = Process::start(there);
        assert_one_admin_and_one_key(here).await;
        assert!(there.find_admin_token().is_none(), "there is an administrator already");
        let issued = process.admin().await.issue("ada", "laptop", &[]).await;
        let admin = replica.actor(&here.admin_token()).await;
        assert!(admin.introspect(&issued.secret).await.active);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_the_master_key_refuses_to_start() {
    let database = Backend::Postgres.database();
    let first = Process::start(&database);
    let refusal_of = |replica: &Database| Process::try_start_with(replica, |_| {}).err().expect("it does not start");

    let replica = database.replica();
    put_another_key(&replica, "k1");
    let log = refusal_of(&replica);
    assert!(log.contains("is not the database's master key of that name") && log.contains(WHAT_TO_DO), "{log}");

    put_another_key(&replica, "k2");
    let log = refusal_of(&replica);
    assert!(log.contains(r"lacks the database's master key") && log.contains(WHAT_TO_DO), "{log}");

    fs::remove_file(replica.data_dir().join("master.key")).unwrap();
    let log = refusal_of(&replica);
    assert!(log.contains("there is no") && log.contains("master.key") && log.contains(WHAT_TO_DO), "{log}");
    assert!(!replica.data_dir().join("master.key").exists(), "no key is made where the database has one");

    // A ring may hold more than the current key.
    put_another_key(&replica, "k2");
    let path = replica.data_dir().join("master.key");
    let ring =
        fs::read_to_string(&path).unwrap() + &fs::read_to_string(database.data_dir().join("master.key")).unwrap();
    fs::write(&path, ring).unwrap();
    assert!(Process::start(&replica).terminate().success());
    assert!(first.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_version_of_the_policy_is_in_force_everywhere() {
    let database = Backend::Postgres.database();
    let start = |database: &Database, version, max_tokens| {
        Process::try_start_with(database, |command| set_plans(command, version, max_tokens))
    };
    let limit = async |process: &Process| {
        let catalog = process.actor(&database.admin_token()).await.catalog().await.unwrap();
        catalog.plans[0].max_tokens
    };

    let first = start(&database, 2, 5).unwrap();
    let replica = database.replica();
    assert_eq!(limit(&first).await, 5);

    let log = start(&replica, 2, 6).err().expect("the same version with other plans is refused");
    assert!(log.contains("raise policy.version"), "{log}");

    let lower = start(&replica, 1, 7).unwrap();
    assert_eq!(limit(&lower).await, 5);
    assert!(lower.log().contains("the database's is in force"));
    assert!(lower.terminate().success());

    let higher = start(&replica, 3, 8).unwrap();
    assert_eq!((limit(&higher).await, limit(&first).await), (8, 8));
    assert!(higher.terminate().success());
    assert!(first.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_policies_applied_at_once_the_higher_version_wins() {
    for _ in 0..ROUNDS {
        let database = Backend::Postgres.database();
        assert!(Process::start(&database).terminate().success());
        let replica = database.replica();

        let lower: fn(&mut Command) = |command| set_plans(command, 1, 5);
        let higher: fn(&mut Command) = |command| set_plans(command, 2, 6);
        let servers = start_both_with([(&database, lower), (&replica, higher)]).await.map(Result::unwrap);
        assert_eq!(database.scalar("SELECT version FROM policy").await, "2");
        drop(servers);

        let one: fn(&mut Command) = |command| set_plans(command, 3, 7);
        let another: fn(&mut Command) = |command| set_plans(command, 3, 8);
        let starts = start_both_with([(&database, one), (&replica, another)]).await;
        let refusals: Vec<_> = starts.iter().filter_map(|start| start.as_ref().err()).collect();
        assert!(refusals.len() == 1 && refusals[0].contains("raise policy.version"), "{refusals:?}");
    }
}
