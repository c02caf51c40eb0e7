//! `auth`: who is the credential in use, and what of its own account's tokens
//! can it manage?

use clap::{Args, Subcommand};

use crate::proto::v1::{self, revoke_token_request::Target};

use super::{
    Error,
    connection::Session,
    issue::{self, IssueArgs},
    rotate::{self, RotateTokenArgs},
    sign_in::{self, SignInArgs},
    token::{self, FilterArgs},
    values::{Reason, reason_field},
    view::Identity,
};

/// How the contract names the caller's own account.
const OWN: String = String::new();

#[derive(Debug, Subcommand)]
pub(super) enum AuthCommand {
    /// Show whose credential is in use, and what it holds
    Status,
    /// Exchange a username and password for a session's token, which is shown once
    SignIn(SignInArgs),
    /// End the session whose token is in use
    SignOut,
    /// The tokens of its own account
    #[command(subcommand)]
    Token(OwnTokenCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum OwnTokenCommand {
    /// Issue a token; its secret is shown once
    Create(CreateArgs),
    /// List the tokens, newest first
    List(FilterArgs),
    /// Give a token a new secret, shown once
    Rotate(RotateTokenArgs),
    /// End a token
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What it is for, for example "ci-pipeline"
    #[arg(long)]
    name: String,

    #[command(flatten)]
    issue: IssueArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    token_id: String,

    /// Why, for the record
    #[arg(long, value_enum)]
    reason: Option<Reason>,
}

impl AuthCommand {
    /// Whether a new secret is what comes back.
    pub(super) fn mints(&self) -> bool {
        match self {
            Self::SignIn(_) | Self::Token(OwnTokenCommand::Create(_) | OwnTokenCommand::Rotate(_)) => true,
            Self::Status | Self::SignOut | Self::Token(OwnTokenCommand::List(_) | OwnTokenCommand::Revoke(_)) => false,
        }
    }
}

pub(super) async fn run(command: AuthCommand, session: &Session) -> Result<(), Error> {
    match command {
        AuthCommand::Status => status(session).await,
        AuthCommand::SignIn(args) => sign_in::sign_in(args, session).await,
        AuthCommand::SignOut => sign_in::sign_out(session).await,
        AuthCommand::Token(OwnTokenCommand::Create(CreateArgs { name, issue })) => {
            issue::issue(issue::request(OWN, name, issue), session).await
        }
        AuthCommand::Token(OwnTokenCommand::List(filter)) => token::list(OWN, filter, session).await,
        AuthCommand::Token(OwnTokenCommand::Rotate(args)) => rotate::rotate(args, session).await,
        AuthCommand::Token(OwnTokenCommand::Revoke(RevokeArgs { token_id, reason })) => {
            let request =
                v1::RevokeTokenRequest { target: Some(Target::TokenId(token_id)), reason: reason_field(reason) };
            token::revoke(request, session).await
        }
    }
}

async fn status(session: &Session) -> Result<(), Error> {
    let response = session.call(session.client.accounts().who_am_i(v1::WhoAmIRequest {})).await?;
    session.console.show(&Identity::from(response))
}
