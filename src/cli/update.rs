//! What can be changed of a token that is there?

use clap::{ArgGroup, Args};
use prost_types::{FieldMask, Timestamp};

use crate::proto::v1;

use super::{Error, connection::Session, values::parse_time, view::TokenShown};

/// Each option names a field; what is not named stays as it is.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args([
    "label", "scopes", "inherit", "allowed_cidrs", "any_network", "expire_time", "never",
])))]
pub(super) struct UpdateArgs {
    token_id: String,

    /// What it is for, in words that its owner recognises
    #[arg(long)]
    label: Option<String>,

    /// What it may do from now on, instead of what it could; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// Hold whatever permissions the account holds at the time of use, instead
    /// of scopes of its own
    #[arg(long, conflicts_with = "scopes")]
    inherit: bool,

    /// A network or address that it may be used from, instead of those it could
    /// be; may be repeated
    #[arg(long = "cidr", value_name = "CIDR")]
    allowed_cidrs: Vec<String>,

    /// Let it be used from any network
    #[arg(long, conflicts_with = "allowed_cidrs")]
    any_network: bool,

    /// When it ends, in RFC 3339, for example 2030-01-31T12:00:00Z
    #[arg(long, visible_alias = "expires", value_name = "TIME", value_parser = parse_time)]
    expire_time: Option<Timestamp>,

    /// Let it live until it is revoked
    #[arg(long, conflicts_with = "expire_time")]
    never: bool,
}

/// Changes a token.
pub(super) async fn update(args: UpdateArgs, session: &Session) -> Result<(), Error> {
    let response = session.call(session.client.tokens().update_token(request(args))).await?;
    let token = response.token.ok_or(Error::Reply("no token where one was changed"))?;
    session.console.show(&TokenShown { token: token.into() })
}

fn request(args: UpdateArgs) -> v1::UpdateTokenRequest {
    let UpdateArgs { token_id, label, scopes, inherit, allowed_cidrs, any_network, expire_time, never } = args;
    let fields = [
        ("label", label.is_some()),
        ("scopes", !scopes.is_empty() || inherit),
        ("inherits_permissions", !scopes.is_empty() || inherit),
        ("allowed_cidrs", !allowed_cidrs.is_empty() || any_network),
        ("expire_time", expire_time.is_some() || never),
    ];
    let paths = fields.into_iter().filter(|(_, is_meant)| *is_meant).map(|(name, _)| name.to_owned()).collect();
    let token = v1::Token {
        token_id,
        label: label.unwrap_or_default(),
        scopes,
        inherits_permissions: inherit,
        allowed_cidrs,
        expire_time,
        ..v1::Token::default()
    };
    v1::UpdateTokenRequest { token: Some(token), update_mask: Some(FieldMask { paths }) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Update {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn parsed(arguments: &str) -> Result<UpdateArgs, clap::Error> {
        let whole = format!("update ID {arguments}");
        Update::try_parse_from(whole.split_whitespace()).map(|update| update.args)
    }

    fn asked(arguments: &str) -> (v1::Token, Vec<String>) {
        let request = request(parsed(arguments).unwrap_or_else(|error| panic!("{error}")));
        (request.token.expect("it says which"), request.update_mask.expect("it says what").paths)
    }

    #[test]
    fn what_is_not_named_is_not_in_the_mask() {
        let (token, paths) = asked("--label laptop");
        assert_eq!((token.token_id.as_str(), token.label.as_str()), ("ID", "laptop"));
        assert_eq!(paths, ["label"]);
        assert_eq!(asked("--scope a --scope b").1, ["scopes", "inherits_permissions"]);
        assert_eq!(asked("--cidr ::1 --never").1, ["allowed_cidrs", "expire_time"]);
    }

    #[test]
    fn there_is_a_word_for_what_is_empty() {
        let (token, paths) = asked("--inherit --any-network --never");
        assert!(token.inherits_permissions && token.scopes.is_empty() && token.allowed_cidrs.is_empty());
        assert_eq!(token.expire_time, None);
        assert_eq!(paths, ["scopes", "inherits_permissions", "allowed_cidrs", "expire_time"]);
    }

    #[test]
    fn nothing_and_contradictions_are_refused() {
        for line in ["", "--scope a --inherit", "--cidr ::1 --any-network", "--never --expires 2030-01-01T00:00:00Z"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
