//! What can be done on the server's own host?
//!
//! These commands reach the database and the keys, not a server; they all take
//! the same options, which override the settings' file and the environment.

use std::{fmt, net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Error, Exit};

/// The commands of the server's host.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Serve gRPC and HTTP until told to stop
    Serve(ServerArgs),
    /// Bring the database's schema up to date
    Migrate(ServerArgs),
    /// The settings in effect
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// What an administrator does without a credential, by right of the host
    #[command(subcommand)]
    Admin(AdminCommand),
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
}

/// The flags that override file and environment.
#[derive(Clone, Default, Args)]
pub struct ServerArgs {
    /// The settings' file, in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where the embedded database, the master key and the first admin
    /// credential are
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// A database to use instead of the embedded one
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,

    /// Where to serve gRPC, for example 127.0.0.1:50051
    #[arg(long, value_name = "ADDR")]
    pub grpc_listen: Option<SocketAddr>,

    /// Where to serve HTTP, for example 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    pub http_listen: Option<SocketAddr>,
}

impl fmt::Debug for ServerArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            config,
            data_dir,
            database_url,
            grpc_listen,
            http_listen,
        } = self;
        // A database's URL holds its password.
        let database_url = database_url.as_ref().map(|_| "[redacted]");
        f.debug_struct("ServerArgs")
            .field("config", config)
            .field("data_dir", data_dir)
            .field("database_url", &database_url)
            .field("grpc_listen", grpc_listen)
            .field("http_listen", http_listen)
            .finish()
    }
}

/// Runs one of them.
pub(super) fn run(command: &ServerCommand) -> Result<Exit, Error> {
    // CONNECT: each arm calls the server's side (settings, server, store) and
    // wraps what fails in `Error::Server`.
    match command {
        ServerCommand::Serve(_)
        | ServerCommand::Migrate(_)
        | ServerCommand::Settings(SettingsCommand::Show(_))
        | ServerCommand::Admin(AdminCommand::Reset(_)) => {
            Err(Error::Server("this build holds no server".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_databases_password() {
        let args = ServerArgs {
            database_url: Some("postgres://user:verysecret@localhost/tokens".to_owned()),
            ..ServerArgs::default()
        };
        let shown = format!("{args:?}");
        assert!(!shown.contains("verysecret"), "{shown}");
        assert!(shown.contains("[redacted]"), "{shown}");
    }
}
