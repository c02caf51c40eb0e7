//! Reading: one token's record, and pages of an account's tokens.

use super::{TokenView, reached_account, view, views};
use crate::{
    authority::{Authority, Error, PageRequest, is_token, reaches},
    domain::{
        account::{AccountId, Holder},
        caller::Permit,
        id::CredentialId,
        policy::{Policy, Room},
    },
    store::{OverCap, TokenFilter, TokenStates},
};

impl Authority {
    /// One token's record.
    pub async fn get_token(&self, permit: Permit, id: CredentialId) -> Result<TokenView, Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let snapshot = authority.store.snapshot().await?;
                let record = snapshot.credential(id).await?;
                let record = record
                    .filter(|record| is_token(record) && reaches(permit.caller(), permit.reach(), record))
                    .ok_or(Error::TokenNotFound)?;
                let view = view(&snapshot, record).await?;
                snapshot.end().await?;
                Ok(view)
            })
            .await
    }

    /// A page of an account's tokens, newest first, and the token of the next
    /// page.
    pub async fn list_tokens(
        &self,
        permit: Permit,
        account: Option<AccountId>,
        states: TokenStates,
        page: PageRequest,
    ) -> Result<(Vec<TokenView>, String), Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let filter = format!("{} {states:?}", account.as_ref().map(AccountId::as_str).unwrap_or_default());
                let page = authority.page(&page, &permit, &filter)?;
                let before = page.cursor.as_deref().map(str::parse).transpose().map_err(|_| Error::InvalidPageToken)?;

                let snapshot = authority.store.snapshot().await?;
                let account = reached_account(&snapshot, &permit, account.as_ref()).await?;
                let policy = snapshot.policy().await?;
                let now = snapshot.now().await?;
                let holder = snapshot.holder(account, &policy, now).await?;
                let filter = TokenFilter {
                    account: &holder.account,
                    states,
                    over_cap: over_cap(&holder, &policy),
                    counts_imported: policy.counts_imported(),
                    before,
                    limit: page.limit(),
                };
                let mut records = snapshot.list_tokens(&filter, now).await?;
                let next = authority.cut(&page, &mut records, |record| record.id.to_string())?;
                let views = views(&snapshot, &holder, &policy, records, now).await?;
                snapshot.end().await?;
                Ok((views, next))
            })
            .await
    }
}

fn over_cap(holder: &Holder, policy: &Policy) -> OverCap {
    let max_tokens = match policy.room(holder.account.plan.as_ref()) {
        Room::Unbounded => return OverCap::None,
        Room::UnknownPlan => return OverCap::UnknownPlan,
        Room::AtMost(0) => return OverCap::All,
        Room::AtMost(max_tokens) => usize::try_from(max_tokens).unwrap_or(usize::MAX),
    };
    holder.live_over_cap.get(max_tokens - 1).map_or(OverCap::None, |(last, _)| OverCap::After(*last))
}
