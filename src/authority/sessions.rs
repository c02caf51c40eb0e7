//! Sessions: opened for people who sign in, listed, and ended. In the list they
//! are view-only.

mod desktop;
mod end;
mod web;

pub use self::{
    desktop::{DesktopSignIn, WhoSignsIn},
    web::{SignedIn, WebTokens},
};
use super::{Authority, Error, PageRequest, tokens::reached_account};
use crate::{
    domain::{
        account::AccountId,
        caller::Permit,
        credential::Kind,
        record::{Record, Revocation},
        session::DesktopDevice,
    },
    store::{SessionFilter, Usage},
};

/// A desktop session, as its owner sees it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its record.
    pub record: Record,
    /// Where it was opened.
    pub device: DesktopDevice,
    /// Whose it is.
    pub account_id: AccountId,
    /// When it was signed out, by itself or with all of its account's.
    pub sign_out: Option<Revocation>,
    /// When it was last seen.
    pub usage: Option<Usage>,
}

impl Authority {
    /// A page of an account's desktop sessions, newest first, and the token of
    /// the next page.
    pub async fn list_desktop_sessions(
        &self,
        permit: Permit,
        account: Option<AccountId>,
        include_ended: bool,
        page: PageRequest,
    ) -> Result<(Vec<SessionView>, String), Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let filter = format!("{} {include_ended}", account.as_ref().map(AccountId::as_str).unwrap_or_default());
                let page = authority.page(&page, &permit, &filter)?;
                let before = page.cursor.as_deref().map(str::parse).transpose().map_err(|_| Error::InvalidPageToken)?;

                let snapshot = authority.store.snapshot().await?;
                let account = reached_account(&snapshot, &permit, account.as_ref()).await?;
                let now = snapshot.now().await?;
                let filter = SessionFilter { account: &account, include_ended, before, limit: page.limit() };
                let mut sessions = snapshot.list_desktop_sessions(&filter, now).await?;
                let next = authority.cut(&page, &mut sessions, |(record, _)| record.id.to_string())?;

                let (records, devices): (Vec<_>, Vec<_>) = sessions.into_iter().unzip();
                let usage = snapshot.usage(&records).await?;
                let ends = snapshot.generation_ends(account.key, Kind::DesktopSession, &records).await?;
                snapshot.end().await?;
                let views = records.into_iter().zip(devices).map(|(record, device)| SessionView {
                    sign_out: record.revocation.or_else(|| ends.get(&record.generation).copied()),
                    usage: record.secrets.first().and_then(|secret| usage.get(&secret.id).cloned()),
                    account_id: account.id.clone(),
                    device,
                    record,
                });
                Ok((views.collect(), next))
            })
            .await
    }
}
