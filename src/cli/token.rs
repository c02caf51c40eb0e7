//! `token`: what can an operator do with any account's tokens?

use clap::{ArgGroup, Args, Subcommand};

use crate::proto::v1::{self, revoke_token_request::Target};

use super::{
    Error,
    connection::{ConnectionArgs, Session},
    import::{self, ImportArgs},
    input::SecretFile,
    inspect::InspectArgs,
    issue::{self, IssueArgs},
    paging::{self, LimitArgs},
    rotate::{self, RotateTokenArgs},
    update::{self, UpdateArgs},
    values::{Reason, State, reason_field},
    view::{TokenRevoked, TokenShown, TokenView, TokensListed, TokensRevoked},
};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    #[command(flatten)]
    Remote(RemoteTokenCommand),
    /// Check a credential's form and checksum, without a server
    Inspect(InspectArgs),
}

/// Those that call a server.
#[derive(Debug, Subcommand)]
pub(super) enum RemoteTokenCommand {
    /// Issue a token; its secret is shown once
    Create(CreateArgs),
    /// List an account's tokens, newest first
    List(ListArgs),
    /// Show one token's record
    Show(ShowArgs),
    /// Change a token's label, scopes, networks or expiry
    Update(UpdateArgs),
    /// Give a token a new secret, shown once
    Rotate(RotateTokenArgs),
    /// End one of a token's two live secrets
    EndSecret(EndSecretArgs),
    /// End a token by its id or by its secret, or all tokens of an account
    Revoke(RevokeArgs),
    /// Take over tokens that another system issued, by their hashes
    Import(ImportArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Whom it belongs to
    #[arg(long, value_name = "ACCOUNT_ID")]
    account: String,

    /// What it is for, in words that its owner recognises
    #[arg(long)]
    label: String,

    #[command(flatten)]
    issue: IssueArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Whose tokens
    #[arg(long, value_name = "ACCOUNT_ID")]
    account: String,

    #[command(flatten)]
    filter: FilterArgs,
}

/// Which tokens, and how many.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Only those in this state; may be repeated. Without it those neither
    /// revoked nor expired
    #[arg(long = "state", value_enum, value_name = "STATE")]
    states: Vec<State>,

    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    token_id: String,
}

#[derive(Debug, Args)]
pub(super) struct EndSecretArgs {
    token_id: String,
    secret_id: String,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["token_id", "secret_file", "all"])))]
pub(super) struct RevokeArgs {
    token_id: Option<String>,

    /// A file with the credential to end (- for standard input), for whoever
    /// finds one that leaked
    #[arg(long, value_name = "FILE")]
    secret_file: Option<SecretFile>,

    /// End every token of --account
    #[arg(long, requires = "account")]
    all: bool,

    // Conflicts besides `requires`, which the parser waives where what is
    // required conflicts with what is there.
    /// Whose tokens, with --all
    #[arg(long, value_name = "ACCOUNT_ID", requires = "all", conflicts_with_all = ["token_id", "secret_file"])]
    account: Option<String>,

    /// With --all: end the account's desktop and web sessions too
    #[arg(long, requires = "all", conflicts_with_all = ["token_id", "secret_file"])]
    include_sessions: bool,

    /// Why, for the record
    #[arg(long, value_enum)]
    reason: Option<Reason>,
}

impl TokenCommand {
    /// Whether a new secret is what comes back.
    pub(super) fn mints(&self) -> bool {
        match self {
            Self::Remote(RemoteTokenCommand::Create(_) | RemoteTokenCommand::Rotate(_)) => true,
            Self::Remote(
                RemoteTokenCommand::List(_)
                | RemoteTokenCommand::Show(_)
                | RemoteTokenCommand::Update(_)
                | RemoteTokenCommand::EndSecret(_)
                | RemoteTokenCommand::Revoke(_)
                | RemoteTokenCommand::Import(_),
            )
            | Self::Inspect(_) => false,
        }
    }
}

impl RemoteTokenCommand {
    /// Two things cannot both come from standard input: which is which?
    pub(super) fn forbid_reading_stdin_twice(&self, connection: &ConnectionArgs) -> Result<(), Error> {
        match self {
            Self::Revoke(RevokeArgs { secret_file: Some(SecretFile::Stdin), .. })
                if connection.token_file == Some(SecretFile::Stdin) =>
            {
                Err(Error::Usage("--token-file and --secret-file cannot both be standard input".to_owned()))
            }
            Self::Import(args) if args.reads_stdin() && connection.token_file == Some(SecretFile::Stdin) => {
                Err(Error::Usage("--token-file and --file cannot both be standard input".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

pub(super) async fn run(command: RemoteTokenCommand, session: &Session) -> Result<(), Error> {
    match command {
        RemoteTokenCommand::Create(CreateArgs { account, label, issue }) => {
            issue::issue(issue::request(account, label, issue), session).await
        }
        RemoteTokenCommand::List(ListArgs { account, filter }) => list(account, filter, session).await,
        RemoteTokenCommand::Show(ShowArgs { token_id }) => show(token_id, session).await,
        RemoteTokenCommand::Update(args) => update::update(args, session).await,
        RemoteTokenCommand::Rotate(args) => rotate::rotate(args, session).await,
        RemoteTokenCommand::EndSecret(args) => end_secret(args, session).await,
        RemoteTokenCommand::Revoke(args) => match revocation(args)? {
            Revocation::One(request) => revoke(request, session).await,
            Revocation::All(request) => revoke_all(request, session).await,
        },
        RemoteTokenCommand::Import(args) => import::run(args, session).await,
    }
}

/// Lists the tokens of an account; an empty one is the caller's own.
pub(super) async fn list(
    account_id: String,
    FilterArgs { states, limit }: FilterArgs,
    session: &Session,
) -> Result<(), Error> {
    let states: Vec<i32> = states.into_iter().map(|state| v1::TokenState::from(state).into()).collect();
    let tokens = paging::collect(limit, async |page| {
        let request = v1::ListTokensRequest {
            account_id: account_id.clone(),
            page_size: page.page_size,
            page_token: page.page_token,
            states: states.clone(),
        };
        let response = session.call(session.client.tokens().list_tokens(request)).await?;
        Ok((response.tokens, response.next_page_token))
    })
    .await?;
    session.console.show(&TokensListed { tokens: tokens.into_iter().map(TokenView::from).collect() })
}

async fn show(token_id: String, session: &Session) -> Result<(), Error> {
    let request = v1::GetTokenRequest { token_id };
    let response = session.call(session.client.tokens().get_token(request)).await?;
    let token = response.token.ok_or(Error::Reply("no token where one was asked for"))?;
    session.console.show(&TokenShown { token: token.into() })
}

async fn end_secret(args: EndSecretArgs, session: &Session) -> Result<(), Error> {
    let EndSecretArgs { token_id, secret_id } = args;
    let request = v1::EndTokenSecretRequest { token_id, secret_id };
    let response = session.call(session.client.tokens().end_token_secret(request)).await?;
    let token = response.token.ok_or(Error::Reply("no token where one was changed"))?;
    session.console.show(&TokenShown { token: token.into() })
}

/// Ends one token.
pub(super) async fn revoke(request: v1::RevokeTokenRequest, session: &Session) -> Result<(), Error> {
    let response = session.call(session.client.tokens().revoke_token(request)).await?;
    session.console.show(&TokenRevoked { token: response.token.map(TokenView::from) })
}

async fn revoke_all(request: v1::RevokeAllTokensRequest, session: &Session) -> Result<(), Error> {
    let v1::RevokeAllTokensResponse { revoked_count } =
        session.call(session.client.tokens().revoke_all_tokens(request)).await?;
    session.console.show(&TokensRevoked { revoked_count })
}

/// What `token revoke` asks for.
enum Revocation {
    One(v1::RevokeTokenRequest),
    All(v1::RevokeAllTokensRequest),
}

fn revocation(args: RevokeArgs) -> Result<Revocation, Error> {
    let RevokeArgs { token_id, secret_file, all: _, account, include_sessions, reason } = args;
    // The parser lets exactly one of the three through.
    let target = match (token_id, secret_file) {
        (Some(token_id), _) => Target::TokenId(token_id),
        (None, Some(file)) => Target::Secret(file.read()?.to_string()),
        (None, None) => {
            return Ok(Revocation::All(v1::RevokeAllTokensRequest {
                account_id: account.unwrap_or_default(),
                reason: reason_field(reason),
                include_sessions,
            }));
        }
    };
    Ok(Revocation::One(v1::RevokeTokenRequest { target: Some(target), reason: reason_field(reason) }))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Revoke {
        #[command(flatten)]
        args: RevokeArgs,
    }

    fn asked(arguments: &[&str]) -> Revocation {
        let whole = [&["revoke"], arguments].concat();
        let revoke = Revoke::try_parse_from(whole).unwrap_or_else(|error| panic!("{error}"));
        revocation(revoke.args).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn one_token_is_named_by_its_id() {
        let Revocation::One(request) = asked(&["ID", "--reason", "superseded"]) else {
            panic!("one token was named");
        };
        assert_eq!(request.target, Some(Target::TokenId("ID".to_owned())));
        assert_eq!(request.reason(), v1::RevocationReason::Superseded);
    }

    #[test]
    fn a_leaked_secret_comes_from_a_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"dt_leaked\n").expect("written");
        let path = file.path().to_str().expect("text");
        let Revocation::One(request) = asked(&["--secret-file", path]) else {
            panic!("one token was named");
        };
        assert_eq!(request.target, Some(Target::Secret("dt_leaked".to_owned())));
        assert_eq!(request.reason(), v1::RevocationReason::Unspecified);
    }

    #[test]
    fn all_tokens_of_an_account_are_named_by_the_account() {
        let line = ["--all", "--account", "acme", "--include-sessions"];
        let Revocation::All(request) = asked(&line) else {
            panic!("all tokens were named");
        };
        assert_eq!(request.account_id, "acme");
        assert!(request.include_sessions);
    }
}
