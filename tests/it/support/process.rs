//! A server in a process of its own, to be paused, killed and started again.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, waitpid};

#[cfg(target_os = "linux")]
use super::small_disk;
use super::{Actor, Database, server::Seen};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_token-authority");

/// The most that a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server process; killed where the test does not end it.
pub(crate) struct Process {
    child: Child,
    database: Database,
    log: PathBuf,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) seen: Seen,
}

/// A `token-authority` command on this database: settings by environment, cheap
/// hashes, any port.
pub(crate) fn command(database: &Database, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env("TOKEN_AUTHORITY__DATA_DIR", database.data_dir())
        .env("TOKEN_AUTHORITY__GRPC__LISTEN", "127.0.0.1:0")
        .env("TOKEN_AUTHORITY__HTTP__LISTEN", "127.0.0.1:0")
        .env("TOKEN_AUTHORITY__CREDENTIALS__BCRYPT_COST", "4")
        .env("TOKEN_AUTHORITY__LOG__FORMAT", "json")
        .env("TOKEN_AUTHORITY__LOG__FILTER", "info,token_authority=debug")
        .stdin(Stdio::null());
    if let Some(url) = database.url() {
        command.env("TOKEN_AUTHORITY__DATABASE__URL", url).env("TOKEN_AUTHORITY__DATABASE__MIGRATE_ON_START", "true");
    }
    command
}

/// Runs a command to its end; whether it succeeded, and all that it said.
pub(crate) fn run(database: &Database, arguments: &[&str]) -> (bool, String) {
    let output = command(database, arguments).output().expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("it speaks UTF-8"))
}

impl Process {
    /// Starts a server and waits until it serves.
    pub(crate) fn start(database: &Database) -> Self {
        Self::start_with(database, |_| {})
    }

    /// Starts a server as `change` changes the command.
    pub(crate) fn start_with(database: &Database, change: impl FnOnce(&mut Command)) -> Self {
        Self::try_start_with(database, change).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// Starts a server to which a directory is a file system of its own, with so many
    /// MiB; the file system goes with the server.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_on_small_disk(
        database: &Database,
        directory: &Path,
        mib: u32,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut within = small_disk::within(directory, mib, None, &command(database, &["serve"]));
        within.stdin(Stdio::null());
        Self::try_run(database, within, change).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// Starts a server; where it ends before it serves, its log is the error.
    pub(crate) fn try_start_with(database: &Database, change: impl FnOnce(&mut Command)) -> Result<Self, String> {
        Self::try_run(database, command(database, &["serve"]), change)
    }

    fn try_run(database: &Database, mut command: Command, change: impl FnOnce(&mut Command)) -> Result<Self, String> {
        let log = database.data_dir().join(format!("server-{}.log", uuid::Uuid::new_v4()));
        let file = File::create(&log).expect("a log file");
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        change(&mut command);
        let mut child = command.spawn().expect("the binary runs");

        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&log).expect("the log can be read");
            if let Some((grpc, http)) = text.lines().find_map(addresses) {
                let seen = Seen::default();
                if let Some(token) = database.find_admin_token() {
                    seen.secret(&token);
                }
                return Ok(Self { child, database: database.clone(), log, grpc, http, seen });
            }
            let ended = child.try_wait().expect("the process can be asked").is_some();
            if ended || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(fs::read_to_string(&log).expect("the log can be read"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    pub(crate) async fn admin(&self) -> Actor {
        self.actor(&self.database.admin_token()).await
    }

    pub(crate) async fn actor(&self, credential: &str) -> Actor {
        Actor::connect(&self.url(), credential, self.seen.clone()).await
    }

    /// All that it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// What it logged so far as lines with this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<serde_json::Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// How many bytes of memory it has for itself now.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
    }

    /// A file as the process sees it, in its own mounts.
    #[cfg(target_os = "linux")]
    pub(crate) fn sees(&self, file: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.child.id(), file.display()))
    }

    /// Lets it open only so many more files than it has open now.
    #[cfg(target_os = "linux")]
    pub(crate) fn may_open(&self, more: u64) {
        use rustix::process::{Resource, Rlimit, prlimit};

        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process is there").count() as u64;
        let pid = Pid::from_child(&self.child);
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: Some(open + more), maximum };
        prlimit(Some(pid), Resource::Nofile, limit).expect("it is our own process");
    }

    /// Sends a signal: STOP, CONT, TERM, KILL. It has stopped when this returns.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &self.child.id().to_string()])
            .status()
            .expect("a shell");
        assert!(status.success(), "the process is there to be signalled");
        if name == "STOP" {
            let stopped = waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).expect("it is our child");
            assert!(stopped.is_some_and(|(_, status)| status.stopped()), "it goes on or has ended");
        }
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is reaped");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let status = self.end();
        self.seen.look_for_secrets(self.log().as_bytes(), &self.database.dump());
        status
    }

    /// The same, without a look at what it leaves behind.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses in the log's line that says that it serves.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line["message"] != "serving" {
        return None;
    }
    Some((line["grpc"].as_str()?.parse().ok()?, line["http"].as_str()?.parse().ok()?))
}
