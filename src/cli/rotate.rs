//! How is a new secret asked for, of a token or of a service credential?

use std::time::Duration;

use clap::Args;

use crate::proto::v1;

use super::{
    Error,
    connection::Session,
    values::{parse_duration, proto_duration},
    view::{Minted, TokenShown},
};

/// The options that every `rotate` has.
#[derive(Debug, Args)]
pub(super) struct RotationArgs {
    /// How long the old secret goes on working; without it, it ends at once
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    overlap: Option<Duration>,

    /// Makes a retry safe: with the same id again the secret that was not seen
    /// is replaced, and the old one goes on as it would have
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl RotationArgs {
    /// As the contract has them: `overlap` and `request_id`.
    pub(super) fn fields(self) -> (Option<prost_types::Duration>, String) {
        let Self { overlap, request_id } = self;
        (overlap.map(proto_duration), request_id.unwrap_or_default())
    }
}

/// `rotate` of a token.
#[derive(Debug, Args)]
pub(super) struct RotateTokenArgs {
    token_id: String,

    #[command(flatten)]
    rotation: RotationArgs,
}

/// Gives a token a new secret and shows it, this once.
pub(super) async fn rotate(args: RotateTokenArgs, session: &Session) -> Result<(), Error> {
    let RotateTokenArgs { token_id, rotation } = args;
    let (overlap, request_id) = rotation.fields();
    let request = v1::RotateTokenRequest { token_id, overlap, request_id };
    let v1::RotateTokenResponse { token, secret } = session.call(session.client.tokens().rotate_token(request)).await?;
    let token = token.ok_or(Error::Reply("a new secret without its token"))?;
    session.console.show_minted(&Minted::new(TokenShown { token: token.into() }, secret))
}
