//! A replica: a process of the real binary, and its own way to the database.

use std::{
    process::Command,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::{
    calls::Door,
    model,
    proxy::{Mode, Proxy},
    support::{Database, Process},
};

/// How often a start is tried that others may disturb.
const STARTS: usize = 20;

/// Times that a run of seconds meets; and a log of changes so short that who was
/// away for a while has to start over.
const SETTINGS: [(&str, &str); 10] = [
    ("DATABASE__ACQUIRE_TIMEOUT", "1s"),
    ("DATABASE__LOCK_TIMEOUT", "1s"),
    ("DATABASE__STATEMENT_TIMEOUT", "2s"),
    ("DATABASE__CALL_TIMEOUT", "3s"),
    ("DATABASE__IDLE_IN_TRANSACTION_TIMEOUT", "1s"),
    ("DATABASE__MAX_CONNECTIONS", "8"),
    ("INTROSPECTION__CACHE_MIB", "1"),
    ("RETENTION__CHANGES", "1500ms"),
    ("RETENTION__INTERVAL", "500ms"),
    ("LOG__FILTER", "info"),
];

pub(crate) struct Replica {
    pub(crate) name: String,
    database: Database,
    way: Option<(Proxy, String)>,
    running: Mutex<Option<(Process, Door)>>,
}

impl Replica {
    /// One that does not run yet.
    pub(crate) async fn new(name: &str, database: Database) -> Self {
        let way = match database.url() {
            Some(url) => Some(detour(url).await),
            None => None,
        };
        Self { name: name.to_owned(), database, way, running: Mutex::new(None) }
    }

    /// The same database from another host.
    pub(crate) async fn another(&self, name: &str) -> Self {
        Self::new(name, self.database.replica()).await
    }

    pub(crate) fn admin_token(&self) -> String {
        self.database.admin_token()
    }

    pub(crate) fn has_way(&self) -> bool {
        self.way.is_some()
    }

    /// What its way to the database does from now on.
    pub(crate) fn set_way(&self, mode: Mode) {
        if let Some((proxy, _)) = &self.way {
            proxy.set(mode);
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<(Process, Door)>> {
        self.running.lock().unwrap()
    }

    /// None while it does not run.
    pub(crate) fn door(&self) -> Option<Door> {
        self.running().as_ref().map(|(_, door)| door.clone())
    }

    /// Starts it with this version of the policy, and waits until it serves.
    pub(crate) async fn start(&self, policy: u64) {
        let mut log = String::new();
        for _ in 0..STARTS {
            let (database, url) = (self.database.clone(), self.way.as_ref().map(|(_, url)| url.clone()));
            let start = move || Process::try_start_with(&database, |command| set(command, policy, url));
            match tokio::task::spawn_blocking(start).await.expect("the start does not panic") {
                Ok(process) => {
                    let door = Door::open(format!("replica {}", self.name), process.url(), process.http);
                    *self.running() = Some((process, door));
                    return;
                }
                Err(failed) => log = failed,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("replica {} does not start:\n{log}", self.name);
    }

    /// STOP or CONT.
    pub(crate) fn signal(&self, name: &str) {
        if let Some((process, _)) = &*self.running() {
            process.signal(name);
        }
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&self) {
        if let Some((mut process, door)) = self.running().take() {
            door.close();
            process.kill();
        }
    }

    /// Ends it in good order.
    pub(crate) async fn end(&self) {
        let running = self.running().take();
        if let Some((mut process, door)) = running {
            door.close();
            let end = tokio::task::spawn_blocking(move || process.end());
            end.await.expect("it ends");
        }
    }
}

fn set(command: &mut Command, policy: u64, url: Option<String>) {
    for (name, value) in SETTINGS {
        command.env(format!("TOKEN_AUTHORITY__{name}"), value);
    }
    for (name, value) in model::policy(policy) {
        command.env(format!("TOKEN_AUTHORITY__POLICY__{name}"), value);
    }
    if let Some(url) = url {
        command.env("TOKEN_AUTHORITY__DATABASE__URL", url);
    }
}

/// A proxy before this URL's server, and the URL that leads through it.
async fn detour(url: &str) -> (Proxy, String) {
    let at = url.rfind('@').expect("it names a user");
    let colon = at + url[at..].find(':').expect("it names a port") + 1;
    let slash = colon + url[colon..].find('/').expect("it names a database");
    let proxy = Proxy::before(url[colon..slash].parse().expect("a number")).await;
    let through = format!("{}{}{}", &url[..colon], proxy.port(), &url[slash..]);
    (proxy, through)
}
