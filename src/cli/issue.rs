//! What can be said of a token that is to be issued?

use std::time::Duration;

use clap::Args;
use prost_types::Timestamp;

use crate::proto::v1::{self, issue_token_request::Expiry};

use super::{
    Error,
    connection::Session,
    values::{parse_duration, parse_time, proto_duration},
    view::{Minted, TokenShown},
};

/// The options that an operator's and a holder's `create` share.
#[derive(Debug, Args)]
pub(super) struct IssueArgs {
    /// What the token may do; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// Hold whatever permissions the account holds at the time of use
    #[arg(long, conflicts_with = "scopes")]
    inherit: bool,

    /// How long it lives, for example 12h or 30d; without it or --expire-time
    /// the server's default
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "expire_time")]
    ttl: Option<Duration>,

    /// When it ends, in RFC 3339, for example 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expire_time: Option<Timestamp>,

    /// A network or address that it may be used from; may be repeated
    #[arg(long = "cidr", value_name = "CIDR")]
    allowed_cidrs: Vec<String>,

    /// Makes a retry safe: with the same id again nothing is minted twice
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// The request for a token; an empty account is the caller's own.
pub(super) fn request(account_id: String, label: String, args: IssueArgs) -> v1::IssueTokenRequest {
    let IssueArgs { scopes, inherit, ttl, expire_time, allowed_cidrs, request_id } = args;
    let expiry = expire_time.map(Expiry::ExpireTime).or_else(|| ttl.map(|ttl| Expiry::Ttl(proto_duration(ttl))));
    v1::IssueTokenRequest {
        account_id,
        label,
        scopes,
        inherits_permissions: inherit,
        allowed_cidrs,
        request_id: request_id.unwrap_or_default(),
        expiry,
    }
}

/// Issues a token and shows its secret, this once.
pub(super) async fn issue(request: v1::IssueTokenRequest, session: &Session) -> Result<(), Error> {
    let v1::IssueTokenResponse { token, secret } = session.call(session.client.tokens().issue_token(request)).await?;
    let token = token.ok_or(Error::Reply("a new token without its record"))?;
    session.console.show_minted(&Minted::new(TokenShown { token: token.into() }, secret))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Issue {
        #[command(flatten)]
        args: IssueArgs,
    }

    fn asked(arguments: &[&str]) -> v1::IssueTokenRequest {
        let whole = [&["issue"], arguments].concat();
        let issue = Issue::try_parse_from(whole).unwrap_or_else(|error| panic!("{error}"));
        request("acme".to_owned(), "ci".to_owned(), issue.args)
    }

    #[test]
    fn what_is_not_given_is_left_to_the_server() {
        let expected = v1::IssueTokenRequest {
            account_id: "acme".to_owned(),
            label: "ci".to_owned(),
            ..v1::IssueTokenRequest::default()
        };
        assert_eq!(asked(&[]), expected);
    }

    #[test]
    fn a_lifetime_and_an_end_are_sent_as_what_they_are() {
        let ttl = asked(&["--ttl", "30d"]).expiry;
        let month = prost_types::Duration { seconds: 30 * 24 * 60 * 60, nanos: 0 };
        assert_eq!(ttl, Some(Expiry::Ttl(month)));

        let end = asked(&["--expire-time", "2030-01-01T00:00:00Z"]).expiry;
        let start_of_2030 = Timestamp { seconds: 1_893_456_000, nanos: 0 };
        assert_eq!(end, Some(Expiry::ExpireTime(start_of_2030)));
    }

    #[test]
    fn rights_networks_and_request_id_are_sent() {
        let line = "--scope a --scope b --cidr 10.0.0.0/8 --cidr ::1 --request-id 7";
        let request = asked(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(request.scopes, ["a", "b"]);
        assert_eq!(request.allowed_cidrs, ["10.0.0.0/8", "::1"]);
        assert_eq!(request.request_id, "7");
        assert!(!request.inherits_permissions);
        assert!(asked(&["--inherit"]).inherits_permissions);
    }
}
