//! What can be done on the server's own host?
//!
//! These commands reach the database and the keys, not a server; they all take
//! the same options, which override the settings' file and the environment.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{
    Args, Subcommand,
    builder::{StringValueParser, TypedValueParser as _},
};
use sd_notify::NotifyState;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use uuid::Uuid;

use super::{
    Error, Exit,
    console::Console,
    doctor::{self, DoctorArgs},
    keys::{self, KeysCommand},
};
use crate::{
    server::{self, Server},
    settings::{DatabaseUrl, Flags, Settings},
    telemetry::{self, told_of},
};

/// How long a collector may take for the last spans.
const LAST_WORD: Duration = Duration::from_secs(5);

/// The commands of the server's host.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Serve gRPC and HTTP until told to stop
    Serve(ServerArgs),
    /// Bring the database's schema up to date
    Migrate(ServerArgs),
    /// Say whether settings, database, keys, clocks and certificates are in order;
    /// beside a server that runs, nothing is changed
    Doctor(DoctorArgs),
    /// The settings in effect
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// What an administrator does without a credential, by right of the host
    #[command(subcommand)]
    Admin(AdminCommand),
    /// The master keys, which fingerprints are made with
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// `settings …`.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Print the settings in effect, secrets redacted
    Show(ServerArgs),
}

/// `admin …`.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Replace a lost admin credential
    Reset(ServerArgs),
    /// Copy the embedded database into a new file, beside a server that runs
    Backup(BackupArgs),
    /// Begin another history: after PostgreSQL was restored from a backup, or
    /// failed over to a server that lacked what had been acknowledged
    NewEpoch(ServerArgs),
}

/// The options of `admin backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to be made, which is for its owner alone; it holds hashes. `-` is
    /// standard output, by way of TMPDIR, which needs room for it
    #[arg(long, value_name = "FILE")]
    to: PathBuf,

    #[command(flatten)]
    server: ServerArgs,
}

/// The flags that override file and environment.
#[derive(Clone, Debug, Default, Args)]
pub struct ServerArgs {
    /// The settings' file, in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where the embedded database, the master key and the first admin
    /// credential are
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// A database to use instead of the embedded one
    #[arg(long, value_name = "URL", value_parser = StringValueParser::new().map(DatabaseUrl::new))]
    pub database_url: Option<DatabaseUrl>,

    /// Where to serve gRPC, for example 127.0.0.1:50051
    #[arg(long, value_name = "ADDR")]
    pub grpc_listen: Option<SocketAddr>,

    /// Where to serve HTTP, for example 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    pub http_listen: Option<SocketAddr>,
}

/// Runs one of them.
pub(super) fn run(command: &ServerCommand, console: Console) -> Result<Exit, Error> {
    match command {
        ServerCommand::Serve(args) => {
            let settings = args.load()?;
            runtime()?.block_on(serve(&settings))
        }
        ServerCommand::Migrate(args) => {
            let applied = runtime()?.block_on(server::migrate(&args.load()?)).map_err(failed)?;
            say(&format!("{applied} migration(s) applied\n"))
        }
        ServerCommand::Settings(SettingsCommand::Show(args)) => say(&args.load()?.to_toml().map_err(failed)?),
        ServerCommand::Admin(AdminCommand::Reset(args)) => {
            let settings = args.load()?;
            runtime()?.block_on(server::reset_admin(&settings)).map_err(failed)?;
            say(&format!("a new admin credential is in {}\n", settings.admin_token_file().display()))
        }
        ServerCommand::Admin(AdminCommand::Backup(BackupArgs { to, server })) if to.as_os_str() == "-" => {
            pass_backup_on(&server.load()?)
        }
        ServerCommand::Admin(AdminCommand::Backup(BackupArgs { to, server })) => {
            runtime()?.block_on(server::back_up(&server.load()?, to)).map_err(failed)?;
            say(&format!(
                "the database is copied into {}; keep master.key with it, and apart\nto restore: put it in the place \
                 of token-authority.db while no server runs, without the -wal and -shm files of the former one\n",
                to.display()
            ))
        }
        ServerCommand::Admin(AdminCommand::NewEpoch(args)) => {
            let epoch = runtime()?.block_on(server::begin_epoch(&args.load()?)).map_err(failed)?;
            say(&format!("the database begins another history, {epoch}: every server drops what it knew\n"))
        }
        ServerCommand::Keys(command) => keys::run(command, console),
        ServerCommand::Doctor(args) => doctor::run(args, console),
    }
}

impl ServerArgs {
    pub(super) fn load(&self) -> Result<Settings, Error> {
        let Self { config, data_dir, database_url, grpc_listen, http_listen } = self.clone();
        let flags = Flags { data_dir, database_url, grpc_listen, http_listen };
        Settings::load(config.as_deref(), &flags).map_err(failed)
    }
}

async fn serve(settings: &Settings) -> Result<Exit, Error> {
    let telemetry = telemetry::init(settings).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let server = Server::start(settings).await.map_err(failed)?;
    tell_service_manager(NotifyState::Ready);
    let told_to_stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell_service_manager(NotifyState::Stopping);
    };
    let ended = server.run_until(told_to_stop).await.map_err(failed);
    telemetry.end(LAST_WORD).await;
    ended?;
    Ok(Exit::Done)
}

/// Copies the database to standard output, through a file that has no name by then:
/// SQLite wants to go back and forth in what it writes.
fn pass_backup_on(settings: &Settings) -> Result<Exit, Error> {
    let path = env::temp_dir().join(format!("token-authority-{}.db", Uuid::new_v4()));
    runtime()?.block_on(server::back_up(settings, &path)).map_err(failed)?;
    let copy = File::open(&path);
    fs::remove_file(&path).map_err(failed)?;
    let mut output = io::stdout().lock();
    io::copy(&mut copy.map_err(failed)?, &mut output).and_then(|_| output.flush()).map_err(failed)?;
    Ok(Exit::Done)
}

/// Tells systemd, where it started this process and wants to know (`Type=notify`).
fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = told_of(&error), "the service manager could not be told");
    }
}

pub(super) fn runtime() -> Result<Runtime, Error> {
    Runtime::new().map_err(failed)
}

pub(super) fn say(text: &str) -> Result<Exit, Error> {
    io::stdout().write_all(text.as_bytes()).map_err(failed)?;
    Ok(Exit::Done)
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Server(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_databases_password() {
        let args = ServerArgs {
            database_url: Some(DatabaseUrl::new("postgres://user:verysecret@localhost/tokens")),
            ..ServerArgs::default()
        };
        let shown = format!("{args:?}");
        assert!(!shown.contains("verysecret"), "{shown}");
        assert!(shown.contains("user:…@localhost"), "{shown}");
    }
}
