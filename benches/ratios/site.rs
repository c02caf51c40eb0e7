//! What is measured: databases with tokens in them, and servers on these, each
//! in a process of its own.

use std::{
    fs::{self, File},
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use token_authority::{
    client::{BearerToken, Client, Timeouts},
    proto::v1::{CreateServiceCredentialRequest, ServiceRole},
};
use tokio::runtime::Runtime;

use crate::{
    postgres::Postgres,
    seed::{self, Seed, Target},
};

const BINARY: &str = env!("CARGO_BIN_EXE_token-authority");
/// The most that a start or an end may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Embedded,
    Postgres,
}

/// A database with its master key, an introspector's credential, and tokens.
pub(crate) struct Site {
    directory: TempDir,
    // None: the embedded database, in the directory.
    url: Option<String>,
    // Where its servers tell of themselves.
    collector: Option<SocketAddr>,
    /// The administrator's credential.
    pub(crate) admin: String,
    /// Credentials that may introspect: of one service, and of another.
    pub(crate) introspectors: [String; 2],
}

/// A running server. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Site {
    /// A new database, initialised by a server's first start.
    pub(crate) fn new(runtime: &Runtime, backend: Backend, collector: Option<SocketAddr>) -> Self {
        let url = match backend {
            Backend::Embedded => None,
            Backend::Postgres => Some(Postgres::shared().create_database()),
        };
        let directory = tempfile::Builder::new().prefix("token-authority-ratios-").tempdir();
        let directory = directory.expect("a temporary directory");
        let mut site = Self { directory, url, collector, admin: String::new(), introspectors: Default::default() };
        let server = site.serve(&[]);
        let admin = fs::read_to_string(site.path("admin.token")).expect("the first start writes it");
        admin.trim().clone_into(&mut site.admin);
        site.introspectors = runtime.block_on(async {
            let client = server.client(&site.admin).await;
            let create = async |name: &str| {
                let roles = vec![ServiceRole::Introspector.into()];
                let request = CreateServiceCredentialRequest { name: name.to_owned(), roles, ..Default::default() };
                client.call(client.services().create_service_credential(request)).await.expect("it is made").secret
            };
            [create("one").await, create("another").await]
        });
        server.stop();
        site
    }

    /// Adds tokens; no server may run meanwhile. The file of their texts.
    pub(crate) fn sow(&self, runtime: &Runtime, seed: Seed) -> PathBuf {
        let began = Instant::now();
        let credentials = self.path(&format!("{}.credentials", seed.name));
        let database = self.path("token-authority.db");
        let target = match &self.url {
            None => Target::Sqlite(&database),
            Some(url) => Target::Postgres(url),
        };
        runtime.block_on(seed::sow(seed, target, &self.path("master.key"), &credentials));
        if let Some(url) = &self.url {
            seed::settle(Postgres::shared(), url);
        }
        eprintln!("   {} tokens written in {:.1} s", seed.tokens, began.elapsed().as_secs_f64());
        credentials
    }

    /// A file of this site's directory.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Where PostgreSQL has it.
    pub(crate) fn url(&self) -> &str {
        self.url.as_deref().expect("this site is on PostgreSQL")
    }

    /// Starts a server with these settings (`SECTION__NAME`) beside the defaults.
    pub(crate) fn serve(&self, settings: &[(&str, &str)]) -> Server {
        let mut command = Command::new(BINARY);
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        self.start(command, settings)
    }

    /// Starts a server that is this program itself and tells how often bcrypt ran
    /// when it is asked to end.
    pub(crate) fn serve_counting(&self) -> Server {
        let mut command = Command::new(std::env::current_exe().expect("this program's own file"));
        command.arg(crate::SERVE).stdin(Stdio::piped()).stdout(Stdio::piped());
        self.start(command, &[])
    }

    /// Starts what serves as this command says.
    pub(crate) fn start(&self, mut command: Command, settings: &[(&str, &str)]) -> Server {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOKEN_AUTHORITY") {
                command.env_remove(name);
            }
        }
        let log = self.path(&format!("server-{}.log", uuid::Uuid::new_v4()));
        command
            .env("TOKEN_AUTHORITY__DATA_DIR", self.directory.path())
            .env("TOKEN_AUTHORITY__GRPC__LISTEN", "127.0.0.1:0")
            .env("TOKEN_AUTHORITY__HTTP__LISTEN", "127.0.0.1:0")
            .env("TOKEN_AUTHORITY__LOG__FORMAT", "json")
            .stderr(File::create(&log).expect("a log file"));
        if let Some(url) = &self.url {
            command
                .env("TOKEN_AUTHORITY__DATABASE__URL", url)
                .env("TOKEN_AUTHORITY__DATABASE__MIGRATE_ON_START", "true");
        }
        if let Some(collector) = self.collector {
            command
                .env("TOKEN_AUTHORITY__TELEMETRY__OTLP_ENDPOINT", format!("http://{collector}"))
                .env("TOKEN_AUTHORITY__TELEMETRY__METRICS_INTERVAL", "1s");
        }
        for (name, value) in settings {
            command.env(format!("TOKEN_AUTHORITY__{name}"), value);
        }
        let mut child = command.spawn().expect("the server's program runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&log).expect("the log can be read");
            if let Some([grpc, http]) = text.lines().find_map(addresses) {
                return Server { child, grpc, http };
            }
            let ended = child.try_wait().expect("the process can be asked").is_some();
            assert!(!ended && Instant::now() < deadline, "the server does not start:\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn client(&self, credential: &str) -> Client {
        let token = BearerToken::new(credential).expect("a credential can stand in a header");
        let timeouts = Timeouts { connect: Duration::from_secs(10), call: Duration::from_mins(1) };
        Client::connect(&format!("http://{}", self.grpc), token, timeouts).await.expect("the server answers")
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) {
        let kill = Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &self.pid().to_string()]).status();
        assert!(kill.expect("a shell").success(), "the server is there to be ended");
        let status = self.child.wait().expect("it is reaped");
        assert!(status.success(), "the server ended with {status}");
    }

    /// Ends a counting server; how often bcrypt ran.
    pub(crate) fn bcrypt_runs(mut self) -> u64 {
        drop(self.child.stdin.take());
        let mut told = String::new();
        let mut output = self.child.stdout.take().expect("a counting server's output is piped");
        output.read_to_string(&mut told).expect("it tells");
        self.child.wait().expect("it is reaped");
        told.trim().parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses in the log's line that says that it serves.
fn addresses(line: &str) -> Option<[SocketAddr; 2]> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |port: &str| line[port].as_str()?.parse().ok();
    if line["message"] == "serving" { Some([address("grpc")?, address("http")?]) } else { None }
}

/// Writes credentials, one a line, for a generator to ask about.
pub(crate) fn write_credentials(file: &Path, credentials: impl IntoIterator<Item = String>) {
    let lines: String = credentials.into_iter().map(|line| line + "\n").collect();
    fs::write(file, lines).expect("the credentials' file is written");
}
