//! What can be done? The use cases. Each takes a [`Permit`], so that none runs
//! for a caller whom the table does not let; each that writes judges the caller
//! again inside its own transaction, so that nothing is done for one that ended
//! meanwhile; and each runs in a task of its own, to its end.

mod accounts;
mod answers;
mod audit;
pub mod bootstrap;
mod error;
mod guesses;
mod import;
mod jwks;
mod mint;
mod paging;
mod passwords;
mod refusals;
mod rotate;
mod services;
mod sessions;
mod sign_ins;
mod throttle;
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Semaphore;

pub use self::{
    accounts::{AccountChange, AccountField, AccountView},
    error::Error,
    import::{Import, ImportToken, ImportedTokens},
    mint::Minted,
    paging::PageRequest,
    passwords::{CallerOrOpen, PasswordAttempt},
    refusals::{Refusals, RefusedChange},
    rotate::Rotation,
    services::{NewService, ServiceView},
    sessions::{DesktopSignIn, SessionView, SignedIn, WebTokens, WhoSignsIn},
    sign_ins::SignIns,
    tokens::{Expiry, GrantChange, IssueToken, RevokeTarget, TokenChange, TokenState, TokenView},
};
use self::{jwks::Jwks, throttle::Throttle};
use crate::{
    domain::{
        account::Account,
        attempts::Throttling,
        caller::{Caller, Identity, Permit, Reach},
        credential::{Forms, Kind},
        id::{AccountKey, CredentialId, SecretId},
        policy::Policy,
        record::Record,
        scope::Scope,
        session::Sliding,
        time::{Lifetime, Timestamp},
    },
    introspection::Bcrypt,
    keys::KeysAtHand,
    store::{Event, Lock, Snapshot, Store, Transaction, Usage},
};

/// The use cases, and what they work with.
#[derive(Clone, Debug)]
pub struct Authority {
    store: Store,
    keys: Arc<KeysAtHand>,
    bcrypt: Bcrypt,
    throttle: Throttle,
    refusals: Refusals,
    sign_ins: SignIns,
    // Whose turn it is to import.
    importing: Arc<Semaphore>,
    jwks: Jwks,
    rules: Arc<Rules>,
}

/// What the settings say of what is issued.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The prefixes.
    pub forms: Forms,
    /// How long a token lives where its request says nothing.
    pub default_lifetime: Lifetime,
    /// How long a token may live at most.
    pub max_lifetime: Lifetime,
    /// How long an old secret may go on working beside the new one.
    pub max_overlap: Duration,
    /// What it means to ask for no scopes.
    pub empty_scopes: EmptyScopes,
    /// The scope by which a token manages others.
    pub manage_scope: Option<Scope>,
    /// What a web session's token says, and how long it lives.
    pub web: WebTokens,
    /// How long a desktop session lives.
    pub desktop: Sliding,
    /// How many sign-ins may fail.
    pub throttling: Throttling,
}

/// What it means to ask for neither scopes nor inheriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyScopes {
    /// A token without scopes.
    None,
    /// A token that inherits its account's permissions.
    Inherit,
    /// A refusal.
    Refuse,
}

/// A transaction in which the caller was judged again, and all that it concerns
/// is locked.
struct Opened {
    transaction: Transaction,
    policy: Arc<Policy>,
    /// Read after the locks.
    now: Timestamp,
    caller: Caller,
    reach: Reach,
    accounts: Vec<Account>,
    records: Vec<Record>,
}

/// What a use case is going to change.
#[derive(Default)]
struct Targets {
    accounts: BTreeSet<AccountKey>,
    credentials: BTreeSet<CredentialId>,
}

impl Authority {
    /// Works on `store`.
    pub fn new(store: Store, keys: Arc<KeysAtHand>, bcrypt: Bcrypt, rules: Rules) -> Self {
        let refusals = Refusals::default();
        let throttle = Throttle::new(store.clone(), refusals.clone(), rules.throttling);
        let importing = Arc::new(Semaphore::new(1));
        let (sign_ins, jwks, rules) = (SignIns::default(), Jwks::default(), Arc::new(rules));
        Self { store, keys, bcrypt, throttle, refusals, sign_ins, importing, jwks, rules }
    }

    /// What was refused, to be written down.
    pub fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// Returns once every sign-in that failed is told or counted. No call is taken any
    /// more.
    pub async fn guesses_told(&self) {
        self.throttle.told().await;
    }

    /// How sign-ins by a password ended.
    pub fn sign_ins(&self) -> SignIns {
        self.sign_ins.clone()
    }

    /// The public keys that verify the tokens of sessions, as a JSON Web Key Set.
    pub async fn jwks(&self) -> Result<Arc<str>, Error> {
        self.jwks.get(&self.store).await
    }

    /// What access tokens begin with, without the underscore.
    pub fn token_prefix(&self) -> &str {
        self.rules.forms.personal().as_str()
    }

    /// Locks, in the order that all keep, the policy, the accounts and the
    /// credentials concerned, the caller's own among them; then judges the
    /// caller again.
    async fn open(&self, transaction: Transaction, permit: &Permit, targets: Targets) -> Result<Opened, Error> {
        let policy = transaction.lock_policy(Lock::Shared).await?;
        self.open_under(transaction, policy, permit, targets).await
    }

    /// The same where one account is to be changed: it as well.
    async fn open_account(
        &self,
        transaction: Transaction,
        permit: &Permit,
        key: AccountKey,
    ) -> Result<(Opened, Account), Error> {
        let targets = Targets { accounts: BTreeSet::from([key]), ..Targets::default() };
        let opened = self.open(transaction, permit, targets).await?;
        let account = opened.account(key).cloned().ok_or(Error::AccountNotFound)?;
        Ok((opened, account))
    }

    async fn open_under(
        &self,
        transaction: Transaction,
        policy: Arc<Policy>,
        permit: &Permit,
        Targets { mut accounts, credentials }: Targets,
    ) -> Result<Opened, Error> {
        let caller = permit.caller();
        accounts.extend(caller.holder().map(|rights| rights.account));
        let accounts = transaction.lock_accounts(&accounts).await?;

        // What is to be changed is held alone; the caller's own credential
        // beside others who call with it.
        let mut locks: BTreeMap<_, _> = credentials.into_iter().map(|id| (id, Lock::Exclusive)).collect();
        if let Some(own) = caller.identity.credential() {
            locks.entry(own).or_insert(Lock::Shared);
        }
        let mut records = Vec::with_capacity(locks.len());
        for (id, lock) in locks {
            records.extend(transaction.lock_credential(id, lock).await?);
        }

        let now = transaction.now().await?;
        let caller = self.judge_again(&transaction, &policy, permit, &accounts, &records, now).await?;
        let permit = caller.permit(permit.operation()).map_err(|_| Error::NotPermitted)?;
        let reach = permit.reach();
        Ok(Opened { transaction, policy, now, caller: permit.into_caller(), reach, accounts, records })
    }

    async fn judge_again(
        &self,
        transaction: &Snapshot,
        policy: &Policy,
        permit: &Permit,
        accounts: &[Account],
        records: &[Record],
        now: Timestamp,
    ) -> Result<Caller, Error> {
        let caller = permit.caller();
        let (own, secret) = match &caller.identity {
            Identity::Credential { id, secret } => (*id, *secret),
            // There is no record of it: its roles are the settings', and its end stands
            // in itself.
            Identity::Certificate(_) if caller.is_good_at(now) => return Ok(caller.clone()),
            Identity::Certificate(_) => return Err(Error::CallerEnded),
        };
        let record = records.iter().find(|record| record.id == own).ok_or(Error::CallerEnded)?;
        let holder = match record.account {
            None => None,
            Some(key) => {
                let account = accounts.iter().find(|account| account.key == key).ok_or(Error::CallerEnded)?;
                Some(transaction.holder(account.clone(), policy, now).await?)
            }
        };
        let manage_scope = self.rules.manage_scope.as_ref();
        Caller::recognize(record, secret, holder.as_ref(), caller.call.clone(), manage_scope, policy, now)
            .map_err(|_| Error::CallerEnded)
    }
}

impl Opened {
    fn account(&self, key: AccountKey) -> Option<&Account> {
        self.accounts.iter().find(|account| account.key == key)
    }

    fn record(&self, id: CredentialId) -> Option<&Record> {
        self.records.iter().find(|record| record.id == id)
    }

    fn event(&self, action: &'static str, target: impl ToString, account: Option<&Account>) -> Event {
        event_by(&self.caller, action, target, account)
    }
}

fn event_by(caller: &Caller, action: &'static str, target: impl ToString, account: Option<&Account>) -> Event {
    Event {
        actor_address: caller.call.address.map(|address| address.to_string()),
        account_id: account.map(|account| account.id.to_string()),
        request_id: Some(caller.call.request_id.to_string()),
        ..Event::new(caller.name(), action, target.to_string())
    }
}

/// Whether a caller's reach takes in a record: another account's object looks
/// like a missing one, and a token that manages nothing reaches itself alone.
fn reaches(caller: &Caller, reach: Reach, record: &Record) -> bool {
    match reach {
        Reach::Everything => true,
        Reach::Account(account) => record.account == Some(account),
        Reach::Itself(_) => Some(record.id) == caller.identity.credential(),
    }
}

/// A record's live secrets, newest first, and when each was last used.
fn live_secrets(record: &Record, usage: &HashMap<SecretId, Usage>, now: Timestamp) -> Vec<(SecretId, Option<Usage>)> {
    let live = record.secrets.iter().filter(|secret| !secret.has_ended(now));
    live.map(|secret| (secret.id, usage.get(&secret.id).cloned())).collect()
}

/// What a token is, to callers that look for tokens: neither a service
/// credential nor a session.
fn is_token(record: &Record) -> bool {
    record.kind == Kind::Personal
}
