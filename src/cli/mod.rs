//! What can be asked for on the command line?
//!
//! One file per group of commands; this one holds the tree of them, the options
//! that all share, and [`main`]. Three kinds of command:
//!
//! - those that call a server (`token`, `account`, `auth`, `service`, `session`, `audit`,
//!   `healthcheck`):
//!   clients like any other, they use [`crate::client`] and no other layer;
//! - those that need nothing (`inspect`, `completions`, `man`);
//! - those for the server's own host (`server`).
//!
//! What comes from a server is shown through `view` alone, which lets nothing
//! through that a terminal would obey.
//!
//! # Exit codes
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | another failure |
//! | 2 | wrong usage |
//! | 3 | no credential, a wrong one, or one that may not do this |
//! | 4 | not found |
//! | 5 | refused by a rule: invalid, already there, over a limit, in the wrong state |
//! | 6 | unreachable, too slow or too busy: try again later |

mod account;
mod audit;
mod auth;
mod completions;
mod connection;
mod console;
mod doctor;
mod error;
mod exit;
mod healthcheck;
mod import;
mod input;
mod inspect;
mod issue;
mod keys;
mod man;
mod paging;
mod report;
mod rotate;
mod server;
mod service;
mod session;
mod sign_in;
mod token;
mod update;
mod values;
mod view;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use self::{
    connection::ConnectionArgs,
    console::{Console, OutputFormat},
};
pub use self::{
    doctor::DoctorArgs,
    error::Error,
    exit::Exit,
    keys::KeysCommand,
    server::{AdminCommand, ServerArgs, ServerCommand, SettingsCommand},
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  another failure
  2  wrong usage
  3  no credential, a wrong one, or one that may not do this
  4  not found
  5  refused by a rule: invalid, already there, over a limit, in the wrong state
  6  unreachable, too slow or too busy: try again later";

/// Mints access tokens, keeps only their hashes, and answers for them.
#[derive(Debug, Parser)]
#[command(name = "token-authority", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    /// How to show what comes back; `secret` prints a new secret alone
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: OutputFormat,

    #[command(flatten)]
    connection: ConnectionArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tokens of any account
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Accounts, as identity and billing know them
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Who the credential in use is, and its account's own tokens
    #[command(subcommand)]
    Auth(auth::AuthCommand),
    /// Credentials that services call this authority with
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Where people are signed in
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Who changed what, and who was refused
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    #[command(flatten)]
    Server(ServerCommand),
    /// Ask a server whether it answers
    Healthcheck,
    /// Print a shell's completion script
    Completions(completions::CompletionsArgs),
    /// Write the manual's pages
    Man(man::ManArgs),
}

impl Command {
    /// Whether a new secret is what comes back.
    fn mints(&self) -> bool {
        match self {
            Self::Token(command) => command.mints(),
            Self::Auth(command) => command.mints(),
            Self::Service(command) => command.mints(),
            Self::Account(_)
            | Self::Session(_)
            | Self::Audit(_)
            | Self::Server(_)
            | Self::Healthcheck
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

/// Runs one command; `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(asked_or_wrong) => {
            // Nowhere left to complain to if this fails.
            let _ = asked_or_wrong.print();
            return if asked_or_wrong.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let console = Console::new(cli.output);
    match dispatch(cli, console) {
        Ok(exit) => exit,
        Err(error) => {
            console.report(&error);
            error.exit()
        }
    }
}

fn dispatch(cli: Cli, console: Console) -> Result<Exit, Error> {
    if cli.output == OutputFormat::Secret && !cli.command.mints() {
        return Err(Error::Usage(
            "--output secret is for commands that make a new secret: create, rotate and sign-in".to_owned(),
        ));
    }
    let connection = cli.connection;
    match cli.command {
        Command::Token(token::TokenCommand::Inspect(args)) => inspect::run(&args, console),
        Command::Token(token::TokenCommand::Remote(command)) => {
            command.forbid_reading_stdin_twice(&connection)?;
            connection.call(console, async |session| token::run(command, session).await)
        }
        Command::Account(command) => {
            command.forbid_reading_stdin_twice(&connection)?;
            connection.call(console, async |session| account::run(command, session).await)
        }
        Command::Session(command) => connection.call(console, async |session| session::run(command, session).await),
        Command::Auth(auth::AuthCommand::SignIn(args)) => {
            args.forbid_reading_stdin_twice(&connection)?;
            let command = auth::AuthCommand::SignIn(args);
            connection.call_as_anybody(console, async |session| auth::run(command, session).await)
        }
        Command::Auth(command) => connection.call(console, async |session| auth::run(command, session).await),
        Command::Service(command) => connection.call(console, async |session| service::run(command, session).await),
        Command::Audit(command) => connection.call(console, async |session| audit::run(command, session).await),
        Command::Server(command) => server::run(&command, console),
        Command::Healthcheck => connection.call_as_nobody(console, healthcheck::run),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

#[cfg(test)]
mod tests;
