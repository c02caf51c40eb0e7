//! Tokens: issued within what the caller, the account and the plan allow,
//! listed, shown, and ended for good.

use std::{collections::BTreeSet, time::Duration};

use uuid::Uuid;

use super::{Authority, EmptyScopes, Error, Minted, Opened, PageRequest, Targets, is_token, reaches};
use crate::{
    domain::{
        account::{Account, AccountId, Generations},
        caller::{Permit, Principal, Reach},
        credential::Kind,
        delegation::{self, Rights},
        id::{AccountKey, CredentialId, SecretId},
        judgement,
        network::Networks,
        policy::{Policy, Room},
        record::{Grant, Record, Revocation, RevocationReason},
        role::Roles,
        scope::Scopes,
        text::Label,
        time::{Lifetime, Timestamp},
    },
    random,
    store::{self, Change, OverCap, Snapshot, Subject, TokenFilter, TokenStates, Transaction, Usage, detached},
};

/// A token to be issued.
#[derive(Clone, Debug)]
pub struct IssueToken {
    /// Whose; none means the caller's own.
    pub account: Option<AccountId>,
    /// What it is for.
    pub label: Label,
    /// What it may do.
    pub scopes: Scopes,
    /// Whether it holds whatever its account holds.
    pub inherits_permissions: bool,
    /// When it ends by itself.
    pub expiry: Expiry,
    /// Where it may be used from.
    pub networks: Networks,
    /// What makes a retry safe.
    pub request_id: Option<String>,
}

/// When a token is to end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After the default lifetime.
    Default,
    /// At a time.
    At(Timestamp),
    /// After a span.
    After(Duration),
}

/// What is to be revoked.
#[derive(Clone, Copy, Debug)]
pub enum RevokeTarget {
    /// The token of that id.
    Token(CredentialId),
    /// The credential whose secret the caller presented, if it was one.
    Presented(Option<CredentialId>),
}

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
}

impl Authority {
    /// Mints a token.
    pub async fn issue_token(&self, permit: Permit, request: IssueToken) -> Result<Minted<TokenView>, Error> {
        let authority = self.clone();
        detached(async move {
            // Before the transaction begins: nobody waits for bcrypt.
            let hashed = authority.hash_new_secret().await?;

            let (opened, account, made) = authority.open_for_issue(&permit, request.account.as_ref()).await?;
            if let Some(request_id) = &request.request_id {
                let created_by = opened.caller.name();
                if let Some(first) = opened.transaction.credential_by_request(&created_by, request_id).await? {
                    return Err(Error::RequestIdReused(first));
                }
            }
            let rights = authority.rights(&opened, &account, &request)?;
            check_room(&opened, &account).await?;

            let now = opened.now;
            let id = CredentialId::at(now, random::bytes());
            let forms = &authority.rules.forms;
            let (plaintext, secret) = hashed.mint(forms, authority.keys.current(), Kind::Personal, id, now);
            let record = Record {
                id,
                kind: Kind::Personal,
                account: Some(account.key),
                label: request.label.as_str().to_owned(),
                grant: rights.grant,
                roles: Roles::NONE,
                networks: rights.networks,
                hint: plaintext.hint(),
                generation: account.generations.tokens,
                created_by: opened.caller.name(),
                imported: false,
                create_time: now,
                expire_time: rights.expire_time,
                rotate_time: None,
                revocation: None,
                secrets: vec![secret],
            };
            let inserted = opened.transaction.insert_credential(&record, request.request_id.as_deref()).await;
            if let Err(error @ store::Error::Duplicate(_)) = inserted {
                // The same request for another account came in between.
                return Err(authority
                    .request_id_reused(&record.created_by, request.request_id.as_deref(), error)
                    .await);
            }
            inserted?;

            let subjects = [Subject::Credential(id), Subject::Account(account.key)];
            let mut change = Change::new(subjects, opened.event("token.issue", id, Some(&account)));
            if made {
                let event = opened.event("account.create", &account.id, Some(&account));
                change = Change::new([Subject::Account(account.key)], event).and(change);
            }
            opened.transaction.commit(change).await?;

            let secrets = vec![(record.secrets[0].id, None)];
            let view =
                TokenView { record, account_id: account.id, state: TokenState::Active, revocation: None, secrets };
            Ok(Minted { view, plaintext })
        })
        .await
    }

    async fn request_id_reused(&self, created_by: &str, request_id: Option<&str>, error: store::Error) -> Error {
        let first = async {
            let snapshot = self.store.snapshot().await?;
            let first = snapshot.credential_by_request(created_by, request_id.unwrap_or_default()).await?;
            snapshot.end().await?;
            Ok::<_, store::Error>(first)
        };
        match first.await {
            Ok(Some(first)) => Error::RequestIdReused(first),
            Ok(None) => error.into(),
            Err(error) => error.into(),
        }
    }

    /// Locks the account that a token is issued for, and makes it where the
    /// policy lets first use do so. Tells whether it was made.
    async fn open_for_issue(
        &self,
        permit: &Permit,
        asked: Option<&AccountId>,
    ) -> Result<(Opened, Account, bool), Error> {
        let transaction = self.store.begin().await?;
        let policy = transaction.lock_policy().await?;
        let mut made = false;
        let key = match (permit.reach(), asked) {
            (Reach::Account(own) | Reach::Itself(own), None) => own,
            (Reach::Account(own) | Reach::Itself(own), Some(asked)) => {
                let account = transaction.account(asked).await?.filter(|account| account.key == own);
                account.ok_or(Error::AccountNotFound)?.key
            }
            (Reach::Everything, None) => return Err(Error::AccountWanted),
            (Reach::Everything, Some(asked)) => match transaction.account(asked).await? {
                Some(account) => account.key,
                None if policy.makes_accounts() => {
                    made = make_account(&transaction, asked).await?;
                    transaction.account(asked).await?.ok_or(Error::AccountNotFound)?.key
                }
                None => return Err(Error::AccountNotFound),
            },
        };
        let targets = Targets { accounts: BTreeSet::from([key]), ..Targets::default() };
        let opened = self.open_under(transaction, policy, permit, targets).await?;
        let account = opened.account(key).cloned().ok_or(Error::AccountNotFound)?;
        if account.suspended {
            return Err(Error::AccountSuspended);
        }
        Ok((opened, account, made))
    }

    /// What the token is given: what was asked for, within what the catalogue,
    /// the settings, the account and the caller allow.
    fn rights(&self, opened: &Opened, account: &Account, request: &IssueToken) -> Result<Rights, Error> {
        let unknown: Scopes = request.scopes.iter().filter(|scope| !opened.policy.knows(scope)).cloned().collect();
        if !unknown.is_empty() {
            return Err(Error::UnknownScopes(unknown));
        }
        let grant = match (request.inherits_permissions, request.scopes.is_empty(), self.rules.empty_scopes) {
            (true, _, _) | (false, true, EmptyScopes::Inherit) => Grant::Inherits,
            (false, true, EmptyScopes::Refuse) => return Err(Error::ScopesWanted),
            (false, true, EmptyScopes::None) | (false, false, _) => Grant::Explicit(request.scopes.clone()),
        };
        let asked = Rights {
            grant,
            networks: request.networks.clone(),
            expire_time: self.expire_time(request.expiry, opened.now)?,
        };
        let by = match &opened.caller.principal {
            Principal::Service(_) => None,
            Principal::Holder(rights) => Some((rights, opened.caller.expire_time)),
        };
        let explicit_expiry = request.expiry != Expiry::Default;
        Ok(delegation::bound(asked, account, by, explicit_expiry, &opened.policy)?)
    }

    fn expire_time(&self, expiry: Expiry, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        const TOO_FAR: Error = Error::InvalidExpiry("the expiry is beyond the maximum lifetime");

        let latest = match self.rules.max_lifetime {
            Lifetime::Never => Timestamp::MAX,
            Lifetime::For(span) => now.checked_add(span).unwrap_or(Timestamp::MAX),
        };
        let expire_time = match (expiry, self.rules.default_lifetime) {
            (Expiry::Default, Lifetime::Never) => return Ok(None),
            (Expiry::Default, Lifetime::For(span)) | (Expiry::After(span), _) => {
                now.checked_add(span).map_err(|_| TOO_FAR)?
            }
            (Expiry::At(time), _) => time,
        };
        if expire_time <= now {
            return Err(Error::InvalidExpiry("the expiry is not in the future"));
        }
        if expire_time > latest {
            return Err(TOO_FAR);
        }
        Ok(Some(expire_time))
    }

    /// One token's record.
    pub async fn get_token(&self, permit: Permit, id: CredentialId) -> Result<TokenView, Error> {
        let authority = self.clone();
        detached(async move {
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
        detached(async move {
            let filter = format!("{} {states:?}", account.as_ref().map(AccountId::as_str).unwrap_or_default());
            let page = authority.page(&page, &permit, &filter)?;
            let before = page.cursor.as_deref().map(str::parse).transpose().map_err(|_| Error::InvalidPageToken)?;

            let snapshot = authority.store.snapshot().await?;
            let account = reached_account(&snapshot, &permit, account.as_ref()).await?;
            let policy = snapshot.policy().await?;
            let now = snapshot.now().await?;
            let filter = TokenFilter {
                account: &account,
                states,
                over_cap: over_cap(&snapshot, &account, &policy, now).await?,
                counts_imported: policy.counts_imported(),
                before,
                limit: page.limit(),
            };
            let mut records = snapshot.list_tokens(&filter, now).await?;
            let next = authority.cut(&page, &mut records, |record| record.id.to_string());
            let views = views(&snapshot, &account, &policy, records, now).await?;
            snapshot.end().await?;
            Ok((views, next))
        })
        .await
    }

    /// Ends a token for good; none where an unknown secret was presented, or
    /// one that is not a token's. Ending one that has ended changes nothing.
    pub async fn revoke_token(
        &self,
        permit: Permit,
        target: RevokeTarget,
        reason: RevocationReason,
    ) -> Result<Option<TokenView>, Error> {
        let authority = self.clone();
        detached(async move {
            let (id, by_secret) = match target {
                RevokeTarget::Token(id) => (id, false),
                RevokeTarget::Presented(Some(id)) => (id, true),
                RevokeTarget::Presented(None) => return Ok(None),
            };
            authority.revoke(&permit, id, by_secret, reason).await
        })
        .await
    }

    async fn revoke(
        &self,
        permit: &Permit,
        id: CredentialId,
        by_secret: bool,
        reason: RevocationReason,
    ) -> Result<Option<TokenView>, Error> {
        let transaction = self.store.begin().await?;
        let Some(known) = transaction.credential(id).await? else {
            return if by_secret { Ok(None) } else { Err(Error::TokenNotFound) };
        };
        if !by_secret && !reaches(permit.caller(), permit.reach(), &known) {
            return Err(Error::TokenNotFound);
        }
        match known.kind {
            Kind::Personal => {}
            Kind::DesktopSession => return Err(Error::DesktopSessionViewOnly),
            Kind::Service if by_secret => {
                self.revoke_service_in(transaction, permit, id, reason).await?;
                return Ok(None);
            }
            Kind::Service | Kind::WebSession => return Err(Error::TokenNotFound),
        }

        let targets = Targets { accounts: known.account.into_iter().collect(), credentials: BTreeSet::from([id]) };
        let opened = self.open(transaction, permit, targets).await?;
        let reached = |record: &&Record| by_secret || reaches(&opened.caller, opened.reach, record);
        let record = opened.record(id).filter(reached).cloned().ok_or(Error::TokenNotFound)?;
        let account = record.account.and_then(|key| opened.account(key)).cloned().ok_or(Error::TokenNotFound)?;
        let holder = opened.transaction.holder(account.clone(), &opened.policy, opened.now).await?;
        if judgement::is_revoked(&record, Some(&holder)) {
            let view = view(&opened.transaction, record).await?;
            opened.transaction.abandon().await?;
            return Ok(Some(view));
        }

        let revocation = Revocation { time: opened.now, reason };
        opened.transaction.revoke_credential(id, revocation).await?;
        let view = view(&opened.transaction, Record { revocation: Some(revocation), ..record }).await?;
        let mut event = opened.event("token.revoke", id, Some(&account));
        event.detail = serde_json::json!({ "reason": format!("{reason:?}"), "by_secret": by_secret });
        let subjects = [Subject::Credential(id), Subject::Account(account.key)];
        opened.transaction.commit(Change::new(subjects, event)).await?;
        Ok(Some(view))
    }

    /// Ends every token of an account in one write, and its sessions if asked.
    /// Tells how many tokens that ended.
    pub async fn revoke_all_tokens(
        &self,
        permit: Permit,
        account: Option<AccountId>,
        reason: RevocationReason,
        include_sessions: bool,
    ) -> Result<u64, Error> {
        let authority = self.clone();
        detached(async move {
            let transaction = authority.store.begin().await?;
            let key = reached_account(&transaction, &permit, account.as_ref()).await?.key;
            let targets = Targets { accounts: BTreeSet::from([key]), ..Targets::default() };
            let opened = authority.open(transaction, &permit, targets).await?;
            let account = opened.account(key).ok_or(Error::AccountNotFound)?;

            let ended = opened.transaction.count_live(account, Kind::Personal, opened.now).await?;
            opened.transaction.raise_token_generation(account, opened.now, reason).await?;
            if include_sessions {
                opened.transaction.raise_session_generation(account, opened.now, reason).await?;
            }
            let mut event = opened.event("token.revoke-all", &account.id, Some(account));
            event.detail = serde_json::json!({
                "reason": format!("{reason:?}"),
                "include_sessions": include_sessions,
                "ended": ended,
            });
            opened.transaction.commit(Change::new([Subject::Account(key)], event)).await?;
            Ok(ended)
        })
        .await
    }
}

/// Counts under the account's lock, and so never lets one too many in.
async fn check_room(opened: &Opened, account: &Account) -> Result<(), Error> {
    let limit = match opened.policy.room(account.plan.as_ref()) {
        Room::Unbounded => return Ok(()),
        Room::UnknownPlan => return Err(Error::PlanGone),
        Room::AtMost(limit) => limit,
    };
    let counts_imported = opened.policy.counts_imported();
    let count = opened.transaction.count_live_tokens(account, counts_imported, opened.now).await?;
    if count < u64::from(limit) {
        return Ok(());
    }
    let plan = opened.policy.plan_of(account.plan.as_ref()).unwrap_or_default();
    Err(Error::TokenLimitReached {
        limit,
        plan: plan.to_owned(),
        code: opened.policy.document().limit.code.clone(),
        message: opened.policy.limit_message(limit, plan),
    })
}

async fn make_account(transaction: &Transaction, id: &AccountId) -> Result<bool, Error> {
    let now = transaction.now().await?;
    let account = Account {
        key: AccountKey::at(now, random::bytes()),
        id: id.clone(),
        username: None,
        email: String::new(),
        plan: None,
        roles: Vec::new(),
        permissions: Scopes::NONE,
        limit_permissions: false,
        suspended: false,
        generations: Generations { tokens: 0, sessions: 0 },
        create_time: now,
        update_time: now,
        etag: Uuid::new_v4(),
    };
    Ok(transaction.insert_account_unless_known(&account).await?)
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

async fn over_cap(snapshot: &Snapshot, account: &Account, policy: &Policy, now: Timestamp) -> Result<OverCap, Error> {
    let max_tokens = match policy.room(account.plan.as_ref()) {
        Room::Unbounded => return Ok(OverCap::None),
        Room::UnknownPlan => return Ok(OverCap::UnknownPlan),
        Room::AtMost(0) => return Ok(OverCap::All),
        Room::AtMost(max_tokens) => usize::try_from(max_tokens).unwrap_or(usize::MAX),
    };
    let holder = snapshot.holder(account.clone(), policy, now).await?;
    Ok(holder.live_over_cap.get(max_tokens - 1).map_or(OverCap::None, |(last, _)| OverCap::After(*last)))
}

async fn view(snapshot: &Snapshot, record: Record) -> Result<TokenView, Error> {
    let account = match record.account {
        Some(key) => snapshot.account_by_key(key).await?,
        None => None,
    };
    let account = account.ok_or(Error::TokenNotFound)?;
    let policy = snapshot.policy().await?;
    let now = snapshot.now().await?;
    let mut views = views(snapshot, &account, &policy, vec![record], now).await?;
    views.pop().ok_or(Error::TokenNotFound)
}

async fn views(
    snapshot: &Snapshot,
    account: &Account,
    policy: &Policy,
    records: Vec<Record>,
    now: Timestamp,
) -> Result<Vec<TokenView>, Error> {
    let holder = snapshot.holder(account.clone(), policy, now).await?;
    let ends = snapshot.generation_ends(account.key, Kind::Personal).await?;
    let usage = snapshot.usage(&records).await?;
    let views = records.into_iter().map(|record| {
        let with_all = ends.iter().find(|(generation, _)| *generation >= record.generation);
        let revocation = record.revocation.or(with_all.map(|(_, revocation)| *revocation));
        let state = if revocation.is_some() {
            TokenState::Revoked
        } else if record.has_expired(now) {
            TokenState::Expired
        } else if account.suspended || judgement::is_over_plan_limit(&record, &holder, policy, now) {
            TokenState::Suspended
        } else {
            TokenState::Active
        };
        let secrets = record
            .secrets
            .iter()
            .filter(|secret| !secret.has_ended(now))
            .map(|secret| (secret.id, usage.get(&secret.id).cloned()))
            .collect();
        TokenView { record, account_id: account.id.clone(), state, revocation, secrets }
    });
    Ok(views.collect())
}
