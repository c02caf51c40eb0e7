//! Uptrakit's API tokens, by examples/uptrakit.toml alone: at the command line as
//! its handbook has it, and under load on two replicas.

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use token_authority::proto::v1::{Account, InactiveReason, Verdict};
use tokio::task::{JoinHandle, block_in_place};

use crate::support::{
    Actor, Backend, Database, Process, Terminal,
    calls::{question, texts},
    rounds::rounds,
    wait::until,
};

const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/uptrakit.toml");
const DENIED: i32 = 3;

on_both_databases!(
    the_handbook_s_commands,
    a_token_inherits_its_account_s_permissions,
    a_token_is_rotated_at_the_command_line,
    an_operator_changes_a_token_at_the_command_line,
);

fn configured(command: &mut Command) {
    command.args(["--config", SETTINGS]);
}

fn start(backend: Backend) -> (Database, Process) {
    let database = backend.database();
    let process = Process::start_with(&database, configured);
    (database, process)
}

fn operator<'a>(database: &'a Database, process: &'a Process) -> Terminal<'a> {
    Terminal::new(database, process, &database.admin_token())
}

/// What the system that knows users does, and the token that the web page made
/// for ada.
fn ada<'a>(database: &'a Database, process: &'a Process) -> Terminal<'a> {
    let operator = operator(database, process);
    operator.json(&[
        "account",
        "put",
        "ada",
        "--username",
        "ada",
        "--email",
        "ada@example.com",
        "--role",
        "operator",
        "--permission",
        "hosts:read",
        "--permission",
        "hosts:write",
    ]);
    let secret = operator.secret(&["token", "create", "--account", "ada", "--label", "profile page"]);
    Terminal::new(database, process, &secret)
}

fn each<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|record| record[key].as_str().unwrap()).collect()
}

async fn the_handbook_s_commands(backend: Backend) {
    let (database, process) = start(backend);
    let ada = ada(&database, &process);
    let admin = process.admin().await;

    let status = ada.run(&["auth", "status"]);
    assert_eq!((status.code, status.stderr.as_str()), (0, ""));
    for shown in ["ada", "ada@example.com", "hosts:read hosts:write", "profile page", "never"] {
        assert!(status.stdout.contains(shown), "{}", status.stdout);
    }

    let created = ada.run(&["auth", "token", "create", "--name", "ci-pipeline"]);
    assert_eq!((created.code, created.stderr.as_str()), (0, ""));
    let secret = created.stdout.lines().find(|line| line.starts_with("upk_")).expect("it is printed").to_owned();
    process.seen.secret(&secret);
    assert!(created.stdout.contains("This secret is not shown again"), "{}", created.stdout);

    let listed = ada.run(&["auth", "token", "list"]);
    assert!(listed.stdout.contains("ci-pipeline") && !listed.stdout.contains(&secret), "{}", listed.stdout);
    let listed = ada.json(&["auth", "token", "list"]);
    assert_eq!(each(&listed["tokens"], "label"), ["ci-pipeline", "profile page"]);
    let token = &listed["tokens"][0];
    assert!(token["createTime"].is_string() && token.get("expireTime").is_none(), "{token}");
    let answer = admin.try_introspect(question(&secret, &["hosts:write"])).await.unwrap();
    assert_eq!((answer.verdict(), answer.account_id.as_str()), (Verdict::Allowed, "ada"));

    let id = token["tokenId"].as_str().unwrap();
    let revoked = ada.run(&["auth", "token", "revoke", id]);
    assert_eq!((revoked.code, revoked.stderr.as_str()), (0, ""));
    assert_eq!(admin.introspect(&secret).await.verdict(), Verdict::Unauthenticated, "there is no waiting period");
    assert_eq!(each(&ada.json(&["auth", "token", "list"])["tokens"], "label"), ["profile page"]);
    let with_it = Terminal::new(&database, &process, &secret).run(&["auth", "status"]);
    assert_eq!(with_it.code, DENIED);
    assert!(process.terminate().success());
}

async fn a_token_inherits_its_account_s_permissions(backend: Backend) {
    let (database, process) = start(backend);
    let ada = ada(&database, &process);
    let admin = process.admin().await;
    let secret = ada.secret(&["auth", "token", "create", "--name", "home-server-scripts"]);
    let put = async |permissions: &[&str]| {
        let ada = Account { account_id: "ada".to_owned(), permissions: texts(permissions), ..Account::default() };
        admin.update_account(ada, &["permissions"]).await.unwrap();
        admin.introspect(&secret).await.scopes
    };
    assert_eq!(put(&["hosts:read"]).await, ["hosts:read"]);
    assert_eq!(put(&["hosts:read", "users:read"]).await, ["hosts:read", "users:read"]);
    assert_eq!(put(&[]).await, Vec::<String>::new());

    // One with scopes of its own manages nothing, and no account is made by a
    // mistake in its name.
    let narrow = ada.run(&["auth", "token", "create", "--name", "x", "--scope", "hosts:read"]);
    assert!(narrow.stderr.contains("SCOPE_NOT_GRANTED"), "it holds nothing now: {}", narrow.stderr);
    put(&["hosts:read"]).await;
    let narrow = ada.secret(&["auth", "token", "create", "--name", "x", "--scope", "hosts:read"]);
    assert_eq!(Terminal::new(&database, &process, &narrow).run(&["auth", "token", "list"]).code, DENIED);
    let unknown = operator(&database, &process).run(&["token", "create", "--account", "adda", "--label", "x"]);
    assert!(unknown.stderr.contains("ACCOUNT_NOT_FOUND"), "{}", unknown.stderr);
    assert!(process.terminate().success());
}

async fn a_token_is_rotated_at_the_command_line(backend: Backend) {
    let (database, process) = start(backend);
    let ada = ada(&database, &process);
    let operator = operator(&database, &process);
    let admin = process.admin().await;
    let old = ada.secret(&["auth", "token", "create", "--name", "ci-pipeline"]);
    let id = ada.json(&["auth", "token", "list"])["tokens"][0]["tokenId"].as_str().unwrap().to_owned();

    let rotated = ada.json(&["auth", "token", "rotate", &id, "--overlap", "1h", "--request-id", "r1"]);
    let lost = rotated["secret"].as_str().unwrap().to_owned();
    process.seen.secret(&lost);
    assert_eq!(rotated["token"]["label"], json!("ci-pipeline"));
    let new = ada.secret(&["auth", "token", "rotate", &id, "--overlap", "1h", "--request-id", "r1"]);
    for (secret, is_active) in [(&old, true), (&lost, false), (&new, true)] {
        assert_eq!(admin.introspect(secret).await.active, is_active);
    }
    let third = ada.run(&["auth", "token", "rotate", &id, "--overlap", "1h"]);
    assert!(third.code == 5 && third.stderr.contains("TWO_SECRETS_LIVE"), "{}", third.stderr);

    let shown = operator.run(&["token", "show", &id]).stdout;
    assert_eq!(shown.lines().filter(|line| line.starts_with("Secret ")).count(), 2, "{shown}");
    assert!(shown.contains("  ends"), "{shown}");
    let shown = operator.json(&["token", "show", &id]);
    let secrets = each(&shown["token"]["secrets"], "secretId");
    let ended = operator.json(&["token", "end-secret", &id, secrets[1]]);
    assert_eq!(each(&ended["token"]["secrets"], "secretId"), [secrets[0]]);
    assert!(!admin.introspect(&old).await.active && admin.introspect(&new).await.active);
    let last = operator.run(&["token", "end-secret", &id, secrets[0]]);
    assert!(last.code == 5 && last.stderr.contains("LAST_SECRET"), "{}", last.stderr);

    let table = operator.run(&["token", "rotate", &id]);
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    let newest = table.stdout.lines().find(|line| line.starts_with("upk_")).expect("it is printed");
    process.seen.secret(newest);
    assert!(!admin.introspect(&new).await.active && admin.introspect(newest).await.active);
    assert!(process.terminate().success());
}

async fn an_operator_changes_a_token_at_the_command_line(backend: Backend) {
    let (database, process) = start(backend);
    let ada = ada(&database, &process);
    let operator = operator(&database, &process);
    let secret = ada.secret(&["auth", "token", "create", "--name", "ci-pipeline"]);
    let id = ada.json(&["auth", "token", "list"])["tokens"][0]["tokenId"].as_str().unwrap().to_owned();
    let update = |options: &[&str]| operator.json(&[&["token", "update", &id], options].concat())["token"].take();

    let token = update(&["--label", "ci-github-actions", "--scope", "hosts:read", "--cidr", "10.0.0.0/8"]);
    assert_eq!(token["label"], json!("ci-github-actions"));
    assert_eq!((&token["scopes"], &token["inheritsPermissions"]), (&json!(["hosts:read"]), &json!(false)));
    assert_eq!(token["allowedCidrs"], json!(["10.0.0.0/8"]));
    let admin = process.admin().await;
    assert_eq!(admin.introspect(&secret).await.inactive_reason(), InactiveReason::AddressNotAllowed);
    let token = update(&["--expires", "2099-01-01T00:00:00Z", "--any-network"]);
    assert_eq!(token["expireTime"], json!("2099-01-01T00:00:00Z"));
    assert_eq!(token["label"], json!("ci-github-actions"), "what is not named stays");
    let token = update(&["--never", "--inherit"]);
    assert!(token.get("expireTime").is_none() && token["inheritsPermissions"] == json!(true), "{token}");
    assert_eq!(admin.introspect(&secret).await.scopes, ["hosts:read", "hosts:write"]);
    assert_eq!(operator.run(&["token", "update", &id]).code, 2, "something is wanted");
    assert!(process.terminate().success());
}

/// Two servers on one PostgreSQL.
struct Pair {
    database: Database,
    processes: [Process; 2],
}

impl Pair {
    fn start() -> Self {
        let (database, first) = start(Backend::Postgres);
        let second = Process::start_with(&database.replica(), configured);
        Self { database, processes: [first, second] }
    }

    async fn admins(&self) -> [Actor; 2] {
        let admin = self.database.admin_token();
        [self.processes[0].actor(&admin).await, self.processes[1].actor(&admin).await]
    }

    fn end(self) {
        for process in self.processes {
            assert!(process.terminate().success());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn narrowed_permissions_bind_the_next_introspect_on_every_replica() {
    let pair = Pair::start();
    let admins = pair.admins().await;
    let page = ada(&pair.database, &pair.processes[0]);
    let secret = page.secret(&["auth", "token", "create", "--name", "ci-pipeline"]);
    for round in 0..rounds(40) {
        let writer = &admins[round % 2];
        for permissions in [&["hosts:read"][..], &["hosts:read", "hosts:write"]] {
            let ada = Account { account_id: "ada".to_owned(), permissions: texts(permissions), ..Account::default() };
            writer.update_account(ada, &["permissions"]).await.unwrap();
            for admin in &admins {
                assert_eq!(admin.introspect(&secret).await.scopes, permissions, "round {round}");
            }
        }
    }
    pair.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_overlap_the_old_secret_ends_at_once_on_the_other_replica() {
    let pair = Pair::start();
    let admins = pair.admins().await;
    let page = ada(&pair.database, &pair.processes[0]);
    let mut secret = page.secret(&["auth", "token", "create", "--name", "ci-pipeline"]);
    let id = admins[0].introspect(&secret).await.token_id;
    for round in 0..rounds(40) {
        let (here, there) = (&admins[round % 2], &admins[(round + 1) % 2]);
        assert!(there.introspect(&secret).await.active, "it is held in memory");
        let new = here.rotate(&id, Duration::ZERO).await.secret;
        assert!(!there.introspect(&secret).await.active, "round {round}");
        assert!(!here.introspect(&secret).await.active, "round {round}");
        assert!(there.introspect(&new).await.active, "round {round}");
        secret = new;
    }
    pair.end();
}

/// Clients of a resource server that present a secret, and take up a new one when
/// they are told.
struct Load {
    secret: Mutex<String>,
    /// How many of the calls that began since the last change of the secret were
    /// answered, by each client.
    since: Vec<AtomicUsize>,
    generation: AtomicUsize,
    answered: AtomicUsize,
    inactive: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Begins `clients` of them at each of these doors.
    fn begin(secret: String, doors: &[Actor], clients: usize) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let load = Arc::new(Self {
            secret: Mutex::new(secret),
            since: (0..doors.len() * clients).map(|_| AtomicUsize::new(0)).collect(),
            generation: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            inactive: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let doors = doors.iter().cycle().take(doors.len() * clients);
        let calls = doors.enumerate().map(|(client, door)| tokio::spawn(load.clone().present(client, door.clone())));
        let calls = calls.collect();
        (load, calls)
    }

    async fn present(self: Arc<Self>, client: usize, door: Actor) {
        while !self.is_over.load(Ordering::SeqCst) {
            let generation = self.generation.load(Ordering::SeqCst);
            let secret = self.secret.lock().unwrap().clone();
            let answer = door.try_introspect(question(&secret, &["hosts:read"])).await.unwrap();
            self.answered.fetch_add(1, Ordering::SeqCst);
            if answer.verdict() != Verdict::Allowed {
                self.inactive.fetch_add(1, Ordering::SeqCst);
            }
            if generation == self.generation.load(Ordering::SeqCst) {
                self.since[client].fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Tells the clients of a new secret; returns once none presents another, and
    /// each was answered a few times with it.
    async fn take_up(&self, secret: String) {
        *self.secret.lock().unwrap() = secret;
        self.generation.fetch_add(1, Ordering::SeqCst);
        for since in &self.since {
            since.store(0, Ordering::SeqCst);
        }
        let all = async || self.since.iter().all(|since| since.load(Ordering::SeqCst) > 3);
        until("all present the new secret", all).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_with_overlap_loses_no_request() {
    const CLIENTS: usize = 8;

    let pair = Pair::start();
    let admins = pair.admins().await;
    let page = ada(&pair.database, &pair.processes[0]);
    let secret = page.secret(&["auth", "token", "create", "--name", "ci-pipeline"]);
    let id = admins[0].introspect(&secret).await.token_id;
    let (load, clients) = Load::begin(secret, &admins, CLIENTS);

    let mut retired = Vec::new();
    for round in 0..rounds(6) {
        let old = load.secret.lock().unwrap().clone();
        let new = block_in_place(|| page.secret(&["auth", "token", "rotate", &id, "--overlap", "1h"]));
        load.take_up(new).await;
        // Nobody presents the old one any more: its owner need not wait.
        let secrets = admins[1].get_token(&id).await.unwrap().secrets;
        admins[round % 2].end_secret(&id, &secrets[1].secret_id).await.unwrap();
        assert!(!admins[(round + 1) % 2].introspect(&old).await.active);
        retired.push(old);
    }
    load.is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let (answered, inactive) = (load.answered.load(Ordering::SeqCst), load.inactive.load(Ordering::SeqCst));
    println!("{answered} requests during {} rotations, {inactive} of them lost", retired.len());
    assert_eq!(inactive, 0, "of {answered}");
    assert!(answered >= retired.len() * CLIENTS * 2 * 4, "{answered}");
    for old in &retired {
        assert!(!admins[0].introspect(old).await.active);
    }
    pair.end();
}
