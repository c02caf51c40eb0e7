//! `service`: which services may call this authority, and as what?

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::proto::v1;

use super::{
    Error,
    connection::Session,
    paging::{self, LimitArgs},
    rotate::RotationArgs,
    values::{Role, parse_duration, proto_duration},
    view::{Minted, ServiceCredentialShown, ServiceCredentialView, ServiceCredentialsListed},
};

#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Make a service credential; its secret is shown once
    Create(CreateArgs),
    /// List the service credentials
    List(ListArgs),
    /// Give a service credential a new secret, shown once
    Rotate(RotateArgs),
    /// End a service credential
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Which service it is for
    #[arg(long)]
    name: String,

    /// What it may do; may be repeated
    #[arg(long = "role", value_enum, value_name = "ROLE", required = true)]
    roles: Vec<Role>,

    /// A network or address that it may be used from; may be repeated
    #[arg(long = "cidr", value_name = "CIDR")]
    allowed_cidrs: Vec<String>,

    /// How long it lives, for example 90d; without it until it is revoked
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Those revoked or expired as well
    #[arg(long)]
    include_ended: bool,

    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    credential_id: String,

    #[command(flatten)]
    rotation: RotationArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    credential_id: String,
}

impl ServiceCommand {
    /// Whether a new secret is what comes back.
    pub(super) fn mints(&self) -> bool {
        match self {
            Self::Create(_) | Self::Rotate(_) => true,
            Self::List(_) | Self::Revoke(_) => false,
        }
    }
}

pub(super) async fn run(command: ServiceCommand, session: &Session) -> Result<(), Error> {
    match command {
        ServiceCommand::Create(args) => create(args, session).await,
        ServiceCommand::List(args) => list(args, session).await,
        ServiceCommand::Rotate(args) => rotate(args, session).await,
        ServiceCommand::Revoke(args) => revoke(args, session).await,
    }
}

async fn create(args: CreateArgs, session: &Session) -> Result<(), Error> {
    let CreateArgs { name, roles, allowed_cidrs, ttl } = args;
    let request = v1::CreateServiceCredentialRequest {
        name,
        roles: roles.into_iter().map(|role| v1::ServiceRole::from(role).into()).collect(),
        allowed_cidrs,
        ttl: ttl.map(proto_duration),
    };
    let response = session.call(session.client.services().create_service_credential(request)).await?;
    show_minted(response.credential, response.secret, session)
}

async fn list(args: ListArgs, session: &Session) -> Result<(), Error> {
    let ListArgs { include_ended, limit } = args;
    let credentials = paging::collect(limit, async |page| {
        let request =
            v1::ListServiceCredentialsRequest { page_size: page.page_size, page_token: page.page_token, include_ended };
        let response = session.call(session.client.services().list_service_credentials(request)).await?;
        Ok((response.credentials, response.next_page_token))
    })
    .await?;
    session.console.show(&ServiceCredentialsListed {
        credentials: credentials.into_iter().map(ServiceCredentialView::from).collect(),
    })
}

async fn rotate(args: RotateArgs, session: &Session) -> Result<(), Error> {
    let RotateArgs { credential_id, rotation } = args;
    let (overlap, request_id) = rotation.fields();
    let request = v1::RotateServiceCredentialRequest { credential_id, overlap, request_id };
    let response = session.call(session.client.services().rotate_service_credential(request)).await?;
    show_minted(response.credential, response.secret, session)
}

async fn revoke(args: RevokeArgs, session: &Session) -> Result<(), Error> {
    let RevokeArgs { credential_id } = args;
    let request = v1::RevokeServiceCredentialRequest { credential_id };
    let response = session.call(session.client.services().revoke_service_credential(request)).await?;
    session.console.show(&shown(response.credential)?)
}

fn show_minted(credential: Option<v1::ServiceCredential>, secret: String, session: &Session) -> Result<(), Error> {
    session.console.show_minted(&Minted::new(shown(credential)?, secret))
}

fn shown(credential: Option<v1::ServiceCredential>) -> Result<ServiceCredentialShown, Error> {
    let credential = credential.ok_or(Error::Reply("no service credential where one was asked for"))?;
    Ok(ServiceCredentialShown { credential: credential.into() })
}
