//! `audit`: who changed what, and who was refused?

use clap::{Args, Subcommand};
use prost_types::Timestamp;

use crate::proto::v1;

use super::{
    Error,
    connection::Session,
    console::print_line,
    paging::{self, LimitArgs},
    values::parse_time,
    view::{AuditEventView, AuditEventsListed},
};

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List events, newest first
    List(ListArgs),
    /// Print events in the order of time, a JSON object a line
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
}

/// Which events; those that fit all that is said.
#[derive(Debug, Args)]
struct FilterArgs {
    /// Of this account
    #[arg(long, value_name = "ACCOUNT_ID")]
    account: Option<String>,

    /// By this caller, for example `service:` and the credential's id
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,

    /// What was done, for example token.issue
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,

    /// On what: the id of a token, session, service credential or account
    #[arg(long, value_name = "ID")]
    target: Option<String>,

    /// In this request
    #[arg(long, value_name = "REQUEST_ID")]
    request: Option<String>,

    /// From then on, for example 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,

    /// Before then
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,

    /// Only what was refused
    #[arg(long, conflicts_with = "done")]
    refused: bool,

    /// Only what was done
    #[arg(long)]
    done: bool,
}

impl FilterArgs {
    /// The request for the first page.
    fn request(self) -> v1::ListAuditEventsRequest {
        let Self { account, actor, action, target, request, since, until, refused, done } = self;
        let outcome = match (refused, done) {
            (true, _) => v1::AuditOutcome::Refused,
            (false, true) => v1::AuditOutcome::Done,
            (false, false) => v1::AuditOutcome::Unspecified,
        };
        v1::ListAuditEventsRequest {
            account_id: account.unwrap_or_default(),
            actor: actor.unwrap_or_default(),
            action: action.unwrap_or_default(),
            target: target.unwrap_or_default(),
            request_id: request.unwrap_or_default(),
            outcome: outcome.into(),
            start_time: since,
            end_time: until,
            ..v1::ListAuditEventsRequest::default()
        }
    }
}

pub(super) async fn run(command: AuditCommand, session: &Session) -> Result<(), Error> {
    match command {
        AuditCommand::List(args) => list(args, session).await,
        AuditCommand::Export(args) => export(args, session).await,
    }
}

async fn list(ListArgs { filter, limit }: ListArgs, session: &Session) -> Result<(), Error> {
    let request = filter.request();
    let events = paging::collect(limit, async |page| {
        let request =
            v1::ListAuditEventsRequest { page_size: page.page_size, page_token: page.page_token, ..request.clone() };
        let response = session.call(session.client.audit().list_audit_events(request)).await?;
        Ok((response.events, response.next_page_token))
    })
    .await?;
    session.console.show(&AuditEventsListed { events: events.into_iter().map(AuditEventView::from).collect() })
}

/// Prints each page as it comes: the trail may be longer than memory.
async fn export(ExportArgs { filter }: ExportArgs, session: &Session) -> Result<(), Error> {
    let request = v1::ListAuditEventsRequest { oldest_first: true, ..filter.request() };
    paging::each(async |page| {
        let request =
            v1::ListAuditEventsRequest { page_size: page.page_size, page_token: page.page_token, ..request.clone() };
        let response = session.call(session.client.audit().list_audit_events(request)).await?;
        for event in response.events {
            print_line(&AuditEventView::from(event))?;
        }
        Ok(response.next_page_token)
    })
    .await
}
