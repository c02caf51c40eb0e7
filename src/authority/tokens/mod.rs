//! Tokens, as their owners see them: issued within what the caller, the account
//! and the plan allow, listed, shown, and ended for good.

mod issue;
mod list;
mod revoke;
mod rotate;
mod update;

use std::collections::BTreeSet;

pub(super) use self::issue::make_account;
pub use self::{
    issue::{Expiry, IssueToken},
    revoke::RevokeTarget,
    update::{GrantChange, TokenChange},
};
use super::{Authority, Error, Opened, Targets, is_token, live_secrets, reaches};
use crate::{
    domain::{
        account::{Account, AccountId, Holder},
        caller::Permit,
        credential::Kind,
        delegation::{self, Rights},
        id::{CredentialId, SecretId},
        judgement,
        policy::Policy,
        record::{Record, Revocation},
        time::Timestamp,
    },
    store::{Change, Snapshot, Subject, Usage},
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

/// A token that is about to be changed: locked, as is its account.
struct OpenedToken {
    opened: Opened,
    record: Record,
    holder: Holder,
}

impl Authority {
    /// Locks a token that the caller reaches.
    async fn open_token(&self, permit: &Permit, id: CredentialId) -> Result<OpenedToken, Error> {
        let transaction = self.store.begin().await?;
        let known = transaction.credential(id).await?;
        let known = known.filter(|record| is_token(record) && reaches(permit.caller(), permit.reach(), record));
        let account = known.ok_or(Error::TokenNotFound)?.account;
        let targets = Targets { accounts: account.into_iter().collect(), credentials: BTreeSet::from([id]) };
        let opened = self.open(transaction, permit, targets).await?;
        let reached = |record: &&Record| reaches(&opened.caller, opened.reach, record);
        let record = opened.record(id).filter(reached).cloned().ok_or(Error::TokenNotFound)?;
        let account = record.account.and_then(|key| opened.account(key)).cloned().ok_or(Error::TokenNotFound)?;
        let holder = opened.transaction.holder(account, &opened.policy, opened.now).await?;
        Ok(OpenedToken { opened, record, holder })
    }
}

impl OpenedToken {
    fn has_ended(&self) -> bool {
        judgement::is_revoked(&self.record, Some(&self.holder)) || self.record.has_expired(self.opened.now)
    }

    /// Refuses to go on with a token that nobody could be issued now: one that
    /// has ended, whose account is suspended, or that holds more than the
    /// caller. What a token does to itself yields nothing but its own.
    fn refuse_unmanageable(&self) -> Result<(), Error> {
        let Self { opened, record, holder } = self;
        if self.has_ended() {
            return Err(Error::TokenEnded);
        }
        if holder.account.suspended {
            return Err(Error::AccountSuspended);
        }
        if Some(record.id) != opened.caller.identity.credential() {
            delegation::covers(&Rights::of(record), &holder.account, &opened.caller, &opened.policy)?;
        }
        Ok(())
    }

    async fn view(&self, record: Record) -> Result<TokenView, Error> {
        let Self { opened, record: _, holder } = self;
        view_of(&opened.transaction, holder, &opened.policy, record, opened.now).await
    }

    /// Commits what was done to the token.
    async fn commit(self, action: &'static str, detail: serde_json::Value) -> Result<(), Error> {
        let Self { opened, record, holder } = self;
        let mut event = opened.event(action, record.id, Some(&holder.account));
        event.detail = detail;
        let subjects = [Subject::Credential(record.id), Subject::Account(holder.account.key)];
        opened.transaction.commit(Change::new(subjects, event)).await?;
        Ok(())
    }
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
        let secrets = live_secrets(&record, &usage, now);
        TokenView { record, account_id: account.id.clone(), state, revocation, secrets, usage: of_all }
    });
    Ok(views.collect())
}
