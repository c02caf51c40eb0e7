//! Tokens, as their owners see them: issued within what the caller, the account
//! and the plan allow, listed, shown, and ended for good.

mod issue;
mod list;
mod revoke;

pub(super) use self::issue::make_account;
pub use self::{
    issue::{Expiry, IssueToken},
    revoke::RevokeTarget,
};
use super::Error;
use crate::{
    domain::{
        account::{Account, AccountId, Holder},
        caller::Permit,
        credential::Kind,
        id::SecretId,
        judgement,
        policy::Policy,
        record::{Record, Revocation},
        time::Timestamp,
    },
    store::{Snapshot, Usage},
};

/// The state of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// In use.
    Active,
    /// Its time is over.
    Expired,
    /// It was ended.
    Revoked,
    /// Its account is suspended, or its plan has no room for it.
    Suspended,
}

/// A token, as its owner sees it.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// Its record.
    pub record: Record,
    /// Whose it is.
    pub account_id: AccountId,
    /// Its state.
    pub state: TokenState,
    /// When and why it was ended, by itself or with all of its account's.
    pub revocation: Option<Revocation>,
    /// Its live secrets, newest first, and when each was last used.
    pub secrets: Vec<(SecretId, Option<Usage>)>,
    /// When it was last used, by whichever secret, ended ones among them.
    pub usage: Option<Usage>,
}

/// The account that a caller means, if it reaches that; none means its own.
pub(super) async fn reached_account(
    snapshot: &Snapshot,
    permit: &Permit,
    asked: Option<&AccountId>,
) -> Result<Account, Error> {
    let account = match (asked, permit.reach().account()) {
        (None, None) => return Err(Error::AccountWanted),
        (None, Some(own)) => snapshot.account_by_key(own).await?,
        (Some(asked), None) => snapshot.account(asked).await?,
        (Some(asked), Some(own)) => snapshot.account(asked).await?.filter(|account| account.key == own),
    };
    account.ok_or(Error::AccountNotFound)
}

async fn view(snapshot: &Snapshot, record: Record) -> Result<TokenView, Error> {
    let account = match record.account {
        Some(key) => snapshot.account_by_key(key).await?,
        None => None,
    };
    let account = account.ok_or(Error::TokenNotFound)?;
    let policy = snapshot.policy().await?;
    let now = snapshot.now().await?;
    let holder = snapshot.holder(account, &policy, now).await?;
    view_of(snapshot, &holder, &policy, record, now).await
}

/// The same where its account is at hand.
async fn view_of(
    snapshot: &Snapshot,
    holder: &Holder,
    policy: &Policy,
    record: Record,
    now: Timestamp,
) -> Result<TokenView, Error> {
    let mut views = views(snapshot, holder, policy, vec![record], now).await?;
    views.pop().ok_or(Error::TokenNotFound)
}

async fn views(
    snapshot: &Snapshot,
    holder: &Holder,
    policy: &Policy,
    records: Vec<Record>,
    now: Timestamp,
) -> Result<Vec<TokenView>, Error> {
    let account = &holder.account;
    let ends = snapshot.generation_ends(account.key, Kind::Personal, &records).await?;
    let usage = snapshot.usage(&records).await?;
    let views = records.into_iter().map(|record| {
        let revocation = record.revocation.or_else(|| ends.get(&record.generation).copied());
        let state = if revocation.is_some() {
            TokenState::Revoked
        } else if record.has_expired(now) {
            TokenState::Expired
        } else if account.suspended || judgement::is_over_plan_limit(&record, holder, policy, now) {
            TokenState::Suspended
        } else {
            TokenState::Active
        };
        let of_all = Usage::of_all(record.secrets.iter().filter_map(|secret| usage.get(&secret.id)));
        let secrets = record
            .secrets
            .iter()
            .filter(|secret| !secret.has_ended(now))
            .map(|secret| (secret.id, usage.get(&secret.id).cloned()))
            .collect();
        TokenView { record, account_id: account.id.clone(), state, revocation, secrets, usage: of_all }
    });
    Ok(views.collect())
}
