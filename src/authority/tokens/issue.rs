//! Issuing: a new token, within what the catalogue, the settings, the account,
//! its plan and the caller allow.

use std::{collections::BTreeSet, time::Duration};

use smallvec::smallvec;
use uuid::Uuid;

use super::{TokenState, TokenView};
use crate::{
    authority::{Authority, EmptyScopes, Error, Minted, Opened, Targets},
    domain::{
        account::{Account, AccountId},
        caller::{Permit, Reach},
        credential::Kind,
        delegation::{self, Rights},
        id::{AccountKey, CredentialId},
        network::Networks,
        policy::{Policy, Room},
        record::{Grant, Record},
        role::Roles,
        scope::Scopes,
        text::Label,
        time::{Lifetime, Timestamp},
    },
    random,
    store::{self, Change, Lock, Subject, Transaction},
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
    /// Never: it lives until it is revoked.
    Never,
}

impl Authority {
    /// Mints a token.
    pub async fn issue_token(&self, permit: Permit, request: IssueToken) -> Result<Minted<TokenView>, Error> {
        // Before anything is begun: nobody waits for bcrypt, and a call that is
        // given up in its queue mints nothing.
        let hashed = self.hash_new_secret().await?;
        let authority = self.clone();
        self.store
            .change(async move {
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
                let (plaintext, secret) = hashed.mint(forms, authority.keys.now().current()?, Kind::Personal, id, now);
                let record = Record {
                    id,
                    kind: Kind::Personal,
                    account: Some(account.key),
                    label: request.label.as_str().into(),
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
                    secrets: smallvec![secret],
                };
                let inserted = opened.transaction.insert_credential(&record, request.request_id.as_deref()).await;
                if let Err(error @ store::Error::Duplicate(_)) = inserted {
                    // The same request for another account came in between. Its
                    // locks and its connection go first: another is taken.
                    opened.transaction.abandon().await?;
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
                let view = TokenView {
                    record,
                    account_id: account.id,
                    state: TokenState::Active,
                    revocation: None,
                    secrets,
                    usage: None,
                };
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
        let policy = transaction.lock_policy(Lock::Shared).await?;
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
        refuse_unknown(&request.scopes, &opened.policy)?;
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
        let explicit_expiry = request.expiry != Expiry::Default;
        Ok(delegation::bound(asked, account, &opened.caller, explicit_expiry, &opened.policy)?)
    }

    /// When a token ends that is given this expiry now.
    pub(super) fn expire_time(&self, expiry: Expiry, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let invalid = |problem| {
            let field = match expiry {
                Expiry::At(_) | Expiry::Never => "expire_time",
                Expiry::Default | Expiry::After(_) => "ttl",
            };
            Error::InvalidExpiry { field, problem }
        };
        let too_far = "the expiry is beyond the maximum lifetime";
        let latest = match self.rules.max_lifetime {
            Lifetime::Never => Timestamp::MAX,
            Lifetime::For(span) => now.checked_add(span).unwrap_or(Timestamp::MAX),
        };
        let expire_time = match (expiry, self.rules.default_lifetime) {
            (Expiry::Default, Lifetime::Never) => return Ok(None),
            (Expiry::Default, Lifetime::For(span)) | (Expiry::After(span), _) => {
                now.checked_add(span).map_err(|_| invalid(too_far))?
            }
            (Expiry::At(time), _) => time,
            (Expiry::Never, _) if self.rules.max_lifetime == Lifetime::Never => return Ok(None),
            (Expiry::Never, _) => return Err(invalid(too_far)),
        };
        if expire_time <= now {
            return Err(invalid("the expiry is not in the future"));
        }
        if expire_time > latest {
            return Err(invalid(too_far));
        }
        Ok(Some(expire_time))
    }
}

/// A token is given only what is in the catalogue.
pub(super) fn refuse_unknown(scopes: &Scopes, policy: &Policy) -> Result<(), Error> {
    let unknown: Scopes = scopes.iter().filter(|scope| !policy.knows(scope)).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(Error::UnknownScopes(unknown)) }
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

/// Makes an account that nobody has put yet; tells whether it did.
pub(in crate::authority) async fn make_account(transaction: &Transaction, id: &AccountId) -> Result<bool, Error> {
    let now = transaction.now().await?;
    let account = Account::new(AccountKey::at(now, random::bytes()), id.clone(), now, Uuid::new_v4());
    Ok(transaction.insert_account_unless_known(&account).await?)
}
