//! `session`: where is somebody signed in, and how is that ended from here?

use clap::{Args, Subcommand};

use crate::proto::v1;

use super::{
    Error,
    connection::Session,
    paging::{self, LimitArgs},
    view::{SessionEnded, SessionView, SessionsListed},
};

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List an account's desktop sessions, newest first
    List(ListArgs),
    /// End a session, for whoever cannot sign out of it: a laptop was stolen
    End(EndArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Whose sessions; without it the caller's own
    #[arg(long, value_name = "ACCOUNT_ID")]
    account: Option<String>,

    /// Those signed out or expired as well
    #[arg(long)]
    include_ended: bool,

    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct EndArgs {
    session_id: String,
}

pub(super) async fn run(command: SessionCommand, session: &Session) -> Result<(), Error> {
    match command {
        SessionCommand::List(args) => list(args, session).await,
        SessionCommand::End(EndArgs { session_id }) => end(session_id, session).await,
    }
}

async fn list(args: ListArgs, session: &Session) -> Result<(), Error> {
    let ListArgs { account, include_ended, limit } = args;
    let account_id = account.unwrap_or_default();
    let sessions = paging::collect(limit, async |page| {
        let request = v1::ListDesktopSessionsRequest {
            account_id: account_id.clone(),
            page_size: page.page_size,
            page_token: page.page_token,
            include_ended,
        };
        let response = session.call(session.client.tokens().list_desktop_sessions(request)).await?;
        Ok((response.sessions, response.next_page_token))
    })
    .await?;
    session.console.show(&SessionsListed { sessions: sessions.into_iter().map(SessionView::from).collect() })
}

async fn end(session_id: String, session: &Session) -> Result<(), Error> {
    let request = v1::EndSessionRequest { session_id: session_id.clone() };
    let v1::EndSessionResponse {} = session.call(session.client.sessions().end_session(request)).await?;
    session.console.show(&SessionEnded { session_id })
}
