//! Where the tests' PostgreSQL comes from, and that nothing of it stays behind.
//!
//! A cluster lives in a temporary directory, listens on loopback alone, and is
//! durable as the service demands (fsync on). Beside it runs a watchdog, a shell
//! that waits for the end of a pipe whose other end this process holds: however
//! this process ends, by panic, SIGKILL or Ctrl-C, and although statics are
//! never dropped, the watchdog then stops the cluster and removes its directory.
//!
//! Everything here blocks its thread, and panics with what to do about it.
#![allow(dead_code, reason = "fixtures: not every one has a test at all times")]

use std::{
    env, fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// The role of the URLs handed out: as in production, not a superuser.
const ROLE: &str = "token_authority";
const SUPERUSER: &str = "postgres";

/// The ports to choose from lie below those that systems give to outgoing
/// connections. Else a client that reconnects to a stopped cluster could take
/// its port, or even connect to itself.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// How long a start may wait for a port that another process has for a moment.
const PORT_PATIENCE: Duration = Duration::from_secs(20);

/// Run as `sh -c WATCHDOG watchdog DIRECTORY`, in a process group of its own
/// and deaf to what a terminal sends. Nobody wants the data, so the shutdown is
/// an immediate one; after 10 s it is SIGKILL. A process id is digits alone: an
/// initdb under way writes another form.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
read -r _
pid_file=$1/data/postmaster.pid
read -r pid 2>/dev/null <"$pid_file"
case $pid in
'' | *[!0-9]*) ;;
*)
    kill -QUIT "$pid"
    tries=100
    while [ -e "$pid_file" ] && [ "$tries" -gt 0 ]; do
        sleep 0.1
        tries=$((tries - 1))
    done
    [ ! -e "$pid_file" ] || kill -KILL "$pid"
    ;;
esac
tries=50
until rm -rf "$1" || [ "$tries" -eq 0 ]; do
    sleep 0.1
    tries=$((tries - 1))
done
"#;

/// What is put around the command that starts a server, in its directory and, where
/// the tests run as root, as this user and group.
type Around = fn(&Path, Option<(u32, u32)>, Command) -> Command;

/// A running cluster of its own. Dropped, it is stopped and removed.
pub(crate) struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    server_user: Option<User>,
    port: u16,
    password: String,
    around: Around,
    watchdog: Child,
}

impl Postgres {
    /// The cluster that all tests share which do not disturb it: each takes a
    /// database of its own by [`Postgres::create_database`].
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new cluster, for tests that stop it.
    pub(crate) fn start() -> Self {
        Self::start_around(|_, _, pg_ctl| pg_ctl)
    }

    /// The same, its server started as `around` has it.
    pub(crate) fn start_around(around: Around) -> Self {
        let directory = new_directory();
        let mut postgres = Self {
            around,
            programs: programs().to_owned(),
            watchdog: watch_over(&directory),
            server_user: User::for_server(&directory),
            directory,
            port: 0,
            password: random_hex(),
        };
        postgres.initialise();
        postgres.start_on_a_free_port();
        postgres.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{}'", postgres.password));
        postgres
    }

    /// Where a client finds a database of this cluster, with its password.
    pub(crate) fn url(&self, database: &str) -> String {
        let Self { port, password, .. } = self;
        format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{}", name_of(database))
    }

    /// The URL of a new, empty database. The other methods take it as well.
    pub(crate) fn create_database(&self) -> String {
        let database = format!("test_{}", random_hex());
        self.sql("postgres", &format!("CREATE DATABASE {database} OWNER {ROLE} TEMPLATE template0"));
        self.url(&database)
    }

    /// The URL of a copy of a database as it is now. Whoever is connected to it is
    /// cut off, and may connect again when this returns.
    pub(crate) fn copy_database(&self, database: &str) -> String {
        let (name, copy) = (name_of(database), format!("test_{}", random_hex()));
        self.close_database(name);
        self.sql("postgres", &format!("CREATE DATABASE {copy} OWNER {ROLE} TEMPLATE {name}"));
        self.sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
        self.url(&copy)
    }

    /// Puts a database in the place of another one. Whoever is connected to either
    /// is cut off.
    pub(crate) fn rename_database(&self, database: &str, place: &str) {
        let (name, place) = (name_of(database), name_of(place));
        self.close_database(place);
        self.close_database(name);
        self.sql("postgres", &format!("ALTER DATABASE {place} RENAME TO {place}_old"));
        self.sql("postgres", &format!("ALTER DATABASE {name} RENAME TO {place}"));
        self.sql("postgres", &format!("ALTER DATABASE {place} ALLOW_CONNECTIONS true"));
    }

    /// Ends all sessions of a database, and lets nobody begin another.
    fn close_database(&self, name: &str) {
        self.sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
        let end = format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'");
        self.sql("postgres", &end);
    }

    /// A standby of this cluster, a cluster of its own.
    pub(crate) fn standby(&self) -> Self {
        let directory = new_directory();
        let mut standby = Self {
            around: self.around,
            programs: self.programs.clone(),
            watchdog: watch_over(&directory),
            server_user: User::for_server(&directory),
            directory,
            port: 0,
            password: self.password.clone(),
        };
        standby.hand_over(&standby.directory);
        let mut backup = standby.server_program("pg_basebackup");
        backup
            .args(["--host=127.0.0.1", "--username", SUPERUSER, "--write-recovery-conf", "--checkpoint=fast"])
            .args(["--no-sync".to_owned(), format!("--port={}", self.port)])
            .arg(as_option("--pgdata=", &standby.data()))
            .env("PGPASSWORD", &self.password);
        stdout_of(backup);
        // What stands last in the file counts.
        let mut settings = fs::File::options().append(true).open(standby.settings()).expect("PostgreSQL's settings");
        let sockets = standby.directory.display();
        writeln!(settings, "unix_socket_directories = '{sockets}'").expect("write PostgreSQL's settings");
        standby.start_on_a_free_port();
        standby
    }

    /// Whether every standby has all that was committed here.
    pub(crate) fn is_replicated(&self) -> bool {
        let query = "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication";
        self.sql("postgres", query) == "t"
    }

    /// Takes the place of a cluster that was stopped: its address.
    pub(crate) fn take_place_of(&mut self, stopped: &Self) {
        self.stop();
        self.port = stopped.port;
        self.start_again();
    }

    /// Makes a standby a primary.
    pub(crate) fn promote(&self) {
        let mut pg_ctl = self.server_program("pg_ctl");
        pg_ctl.args(["promote", "--wait", "--timeout=60", "--silent"]).arg(as_option("--pgdata=", &self.data()));
        stdout_of(pg_ctl);
    }

    /// Runs SQL as the superuser; the rows, their columns parted by `|`.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql", database);
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]).args([
            "--set=ON_ERROR_STOP=1",
            "--command",
            sql,
        ]);
        stdout_of(psql).trim_end().to_owned()
    }

    /// Schema and data of a database, as SQL.
    pub(crate) fn dump(&self, database: &str) -> String {
        stdout_of(self.client("pg_dump", database))
    }

    /// What the server has logged since this cluster was made.
    pub(crate) fn log(&self) -> String {
        self.log_since(0).expect("PostgreSQL's log")
    }

    /// Stops the server as an administrator would; its clients are cut off.
    pub(crate) fn stop(&self) {
        self.stop_with("fast");
    }

    /// Stops the server as a crash would: nothing is written back, and the next
    /// start recovers from the log.
    pub(crate) fn kill_hard(&self) {
        self.stop_with("immediate");
    }

    /// Starts a stopped server on the port that it had, and waits until it
    /// answers.
    pub(crate) fn start_again(&self) {
        let deadline = Instant::now() + PORT_PATIENCE;
        while let Err(failure) = self.start_server(self.port) {
            assert!(
                failure.port_taken && Instant::now() < deadline,
                "PostgreSQL does not start again on port {}: {}",
                self.port,
                failure.message
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn initialise(&self) {
        let password_file = self.directory.join("password");
        fs::write(&password_file, &self.password).expect("write PostgreSQL's password");
        self.hand_over(&self.directory);
        self.hand_over(&password_file);

        let mut initdb = self.server_program("initdb");
        initdb
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=password"])
            .args(["--username", SUPERUSER])
            .args([as_option("--pwfile=", &password_file), as_option("--pgdata=", &self.data())]);
        stdout_of(initdb);
        fs::remove_file(&password_file).expect("remove PostgreSQL's password file");

        let settings = format!(
            "listen_addresses = '127.0.0.1'\n\
             unix_socket_directories = '{}'\n\
             fsync = on\n\
             max_connections = 200\n\
             shared_buffers = 32MB\n",
            self.directory.display()
        );
        fs::write(self.settings(), settings).expect("write PostgreSQL's settings");
    }

    /// Where all of it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives what this process made to whom the server runs as.
    fn hand_over(&self, path: &Path) {
        if let Some(user) = &self.server_user {
            chown(path, Some(user.uid), Some(user.gid)).expect("hand PostgreSQL its directory");
        }
    }

    fn start_on_a_free_port(&mut self) {
        let deadline = Instant::now() + PORT_PATIENCE;
        loop {
            self.port = free_port();
            // Between the two, another process may have taken it.
            match self.start_server(self.port) {
                Ok(()) => return,
                Err(failure) => assert!(
                    failure.port_taken && Instant::now() < deadline,
                    "PostgreSQL does not start: {}",
                    failure.message
                ),
            }
        }
    }

    /// Starts the server and waits until it answers.
    fn start_server(&self, port: u16) -> Result<(), StartFailure> {
        // What failed before is not what fails now.
        let logged_before = fs::metadata(self.log_file()).map_or(0, |log| log.len());
        let mut pg_ctl = self.server_program("pg_ctl");
        pg_ctl
            .args(["start", "--wait", "--timeout=60", "--silent"])
            .arg(as_option("--pgdata=", &self.data()))
            .arg(as_option("--log=", &self.log_file()))
            .arg(format!("--options=-p {port}"));
        let user = self.server_user.as_ref().map(|user| (user.uid, user.gid));
        let mut pg_ctl = (self.around)(&self.directory, user, pg_ctl);
        pg_ctl.process_group(0);
        let output = output_of(&mut pg_ctl);
        if output.status.success() {
            return Ok(());
        }
        let log = self.log_since(logged_before).unwrap_or_default();
        Err(StartFailure {
            port_taken: log.contains("Address already in use") || log.contains("could not bind"),
            message: format!("{}\nIts log:\n{log}", told_by(&pg_ctl, &output)),
        })
    }

    fn stop_with(&self, mode: &str) {
        let mut pg_ctl = self.server_program("pg_ctl");
        pg_ctl
            .args(["stop", "--wait", "--timeout=60", "--silent", "--mode", mode])
            .arg(as_option("--pgdata=", &self.data()));
        stdout_of(pg_ctl);
    }

    fn log_since(&self, offset: u64) -> io::Result<String> {
        let mut file = fs::File::open(self.log_file())?;
        file.seek(SeekFrom::Start(offset))?;
        let mut log = Vec::new();
        file.read_to_end(&mut log)?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn settings(&self) -> PathBuf {
        self.data().join("postgresql.auto.conf")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// One that runs or makes the server, which PostgreSQL refuses to root. In a
    /// process group of its own, so that Ctrl-C leaves the rest to the watchdog.
    fn server_program(&self, program: &str) -> Command {
        let mut command = self.program(program);
        command.current_dir(&self.directory).process_group(0);
        if let Some(user) = &self.server_user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// One that connects to the server, as the superuser.
    fn client(&self, program: &str, database: &str) -> Command {
        let mut command = self.program(program);
        command
            .args(["--host=127.0.0.1", "--username", SUPERUSER])
            .arg(format!("--port={}", self.port))
            .arg(format!("--dbname={}", name_of(database)))
            .env("PGPASSWORD", &self.password);
        command
    }

    /// Without what the environment says to PostgreSQL's programs, and in English.
    fn program(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // A failure here would only hide the test's own.
        let _ = self.watchdog.wait();
    }
}

struct StartFailure {
    port_taken: bool,
    message: String,
}

/// Whom the server runs as where the tests run as root.
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// `directory` is one that this process made: its owner tells who we are.
    fn for_server(directory: &Path) -> Option<Self> {
        let owner = fs::metadata(directory).expect("the temporary directory's owner").uid();
        if owner != 0 {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let user = [SUPERUSER, "nobody"].into_iter().find_map(|name| Self::find(&passwd, name));
        Some(user.expect(
            "PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody' to run it as: \
             run the tests as another user",
        ))
    }

    fn find(passwd: &str, name: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        let uid = ids.next()?.parse().ok()?;
        let gid = ids.next()?.parse().ok()?;
        Some(Self { uid, gid })
    }
}

/// The directory of PostgreSQL's programs: scripts/install-postgres finds or
/// installs them, once a process.
pub(crate) fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-postgres");
        let mut command = Command::new(&script);
        // It says what it installs, and what to do where it cannot.
        command.stderr(Stdio::inherit());
        let output = output_of(&mut command);
        assert!(
            output.status.success(),
            "{} found no PostgreSQL and could not install it: see what it printed",
            script.display()
        );
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
    })
}

fn new_directory() -> PathBuf {
    let directory = tempfile::Builder::new().prefix("token-authority-postgres-").tempdir();
    directory.expect("a temporary directory for PostgreSQL").keep()
}

fn watch_over(directory: &Path) -> Child {
    Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(directory)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh, to watch over PostgreSQL")
}

/// A port that was free when it was looked at.
pub(crate) fn free_port() -> u16 {
    let deadline = Instant::now() + PORT_PATIENCE;
    loop {
        let port = PORTS.start + u16::from_le_bytes(random()) % (PORTS.end - PORTS.start);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return port,
            Err(error) => assert!(Instant::now() < deadline, "no free port on 127.0.0.1: {error}"),
        }
    }
}

fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).expect("/dev/urandom");
    bytes
}

fn random_hex() -> String {
    format!("{:032x}", u128::from_le_bytes(random()))
}

/// A database's name, from that or from its URL.
fn name_of(database: &str) -> &str {
    database.rsplit('/').next().unwrap_or(database)
}

fn as_option(option: &str, path: &Path) -> String {
    format!("{option}{}", path.display())
}

fn output_of(command: &mut Command) -> Output {
    let result = command.stdin(Stdio::null()).output();
    result.unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("{program} cannot be run: {error}{}", hint(&error))
    })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; as root, PostgreSQL is run as the user 'postgres' or 'nobody': let that user read its programs and the \
             directory for temporary files"
        }
        _ => "",
    }
}

fn stdout_of(mut command: Command) -> String {
    let output = output_of(&mut command);
    assert!(output.status.success(), "{}", told_by(&command, &output));
    String::from_utf8(output.stdout).expect("PostgreSQL's programs print UTF-8")
}

/// Not the command's own form for debugging, which shows the password.
fn told_by(command: &Command, output: &Output) -> String {
    let mut told = command.get_program().display().to_string();
    for argument in command.get_args() {
        told.push(' ');
        told.push_str(&argument.to_string_lossy());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{told}\n{}\n{out}{err}", output.status)
}
