//! Importing: tokens that another system issued go on working, by their hashes
//! alone. Nobody here ever knows their plaintext before they are used.
//!
//! The whole call takes effect, or none of it. The same hash for the same account
//! is the same token: a call may be repeated. No plan refuses an import; whether
//! imported tokens count, the policy says.

use std::collections::{BTreeSet, HashMap, btree_map::Entry};

use smallvec::smallvec;

use super::{Authority, EmptyScopes, Error, Opened, Targets, tokens::make_account};
use crate::{
    domain::{
        account::{Account, AccountId},
        caller::Permit,
        credential::Kind,
        digest::SecretHash,
        id::{AccountKey, CredentialId, SecretId},
        legacy::MAX_CANDIDATES,
        network::Networks,
        record::{Grant, Record, SecretRecord},
        role::Roles,
        scope::Scopes,
        text::Label,
        time::Timestamp,
    },
    random,
    store::{Change, Imported, Lock, Subject, Transaction},
};

/// Tokens to be imported.
#[derive(Clone, Debug)]
pub struct Import {
    /// The tokens.
    pub tokens: Vec<ImportToken>,
    /// Whether they are only to be checked.
    pub validate_only: bool,
}

/// What an import came to.
#[derive(Clone, Debug)]
pub struct ImportedTokens {
    /// The tokens, in order; none where they were only checked.
    pub ids: Vec<CredentialId>,
    /// How many were not there before.
    pub new: usize,
}

/// A token to be imported.
#[derive(Clone, Debug)]
pub struct ImportToken {
    /// Whose.
    pub account: AccountId,
    /// What it is for.
    pub label: Label,
    /// What it may do.
    pub scopes: Scopes,
    /// Whether it holds whatever its account holds.
    pub inherits_permissions: bool,
    /// Where it may be used from.
    pub networks: Networks,
    /// When the other system made it; none: now.
    pub create_time: Option<Timestamp>,
    /// When it ends by itself, or has ended; none: until revoked.
    pub expire_time: Option<Timestamp>,
    /// What the other system kept of it.
    pub hash: SecretHash,
    /// Its first characters, as far as the other system kept them.
    pub lookup_hint: Option<String>,
}

impl ImportToken {
    /// What it is searched for by until it has a fingerprint; none where its
    /// digest does.
    fn searched_by(&self) -> Option<&str> {
        match &self.hash {
            SecretHash::Bcrypt(_) | SecretHash::LegacyBcrypt(_) => {
                Some(self.lookup_hint.as_deref().unwrap_or_default())
            }
            SecretHash::Sha256(_) => None,
        }
    }

    /// Enough to recognise it by.
    fn hint(&self) -> String {
        format!("{}…", self.lookup_hint.as_deref().unwrap_or_default())
    }
}

/// The accounts that tokens are imported for, and those of them that were made
/// for it.
struct Owners {
    keys: HashMap<AccountId, AccountKey>,
    made: BTreeSet<AccountKey>,
}

impl Authority {
    /// Imports tokens, or checks whether it would.
    pub async fn import_tokens(&self, permit: Permit, import: Import) -> Result<ImportedTokens, Error> {
        for (index, token) in import.tokens.iter().enumerate() {
            self.check_hint(token).map_err(Error::of_token(index))?;
        }
        let authority = self.clone();
        // One at a time, as the database has it as well: those who wait for each
        // other there keep its connections from everybody else.
        let turn = self.importing.clone().acquire_owned().await;
        self.store
            .change(async move {
                let _turn = turn;
                authority.import(&permit, &import).await
            })
            .await
    }

    /// A salted hash cannot be searched for: only few tokens that share a hint can
    /// be tried.
    fn check_hint(&self, token: &ImportToken) -> Result<(), Error> {
        let has_hint = |hint: &String| self.rules.forms.legacy().has_hint(hint);
        match (&token.hash, &token.lookup_hint) {
            (_, Some(hint)) if has_hint(hint) => Ok(()),
            (SecretHash::Sha256(_), None) => Ok(()),
            (SecretHash::Bcrypt(_) | SecretHash::LegacyBcrypt(_), None) => Err(Error::LookupHintWanted),
            (_, Some(_)) => Err(Error::InvalidLookupHint),
        }
    }

    async fn import(&self, permit: &Permit, import: &Import) -> Result<ImportedTokens, Error> {
        let Import { tokens, validate_only } = import;
        let transaction = self.store.begin().await?;
        transaction.lock_imports().await?;
        let policy = transaction.lock_policy(Lock::Shared).await?;
        let Owners { keys, made } = owners(&transaction, tokens, policy.makes_accounts()).await?;
        let targets = Targets { accounts: keys.values().copied().collect(), ..Targets::default() };
        let opened = self.open_under(transaction, policy, permit, targets).await?;

        let hashes: Vec<String> = tokens.iter().map(|token| token.hash.expose()).collect();
        let mut known = opened.transaction.imported_by_hash(&hashes).await?;
        let mut ids = Vec::with_capacity(tokens.len());
        let mut new: Vec<(usize, Imported)> = Vec::new();
        for (index, (token, hash)) in tokens.iter().zip(hashes).enumerate() {
            // It may have been deleted meanwhile.
            let account = keys.get(&token.account).and_then(|key| opened.account(*key));
            let account = account.ok_or(Error::AccountNotFound).map_err(Error::of_token(index))?;
            let record = match known.get(&hash) {
                Some((id, owner)) if *owner == Some(account.key) => {
                    ids.push(*id);
                    continue;
                }
                Some(_) => return Err(Error::of_token(index)(Error::HashTaken)),
                None => self.imported(&opened, account, token).map_err(Error::of_token(index))?,
            };
            known.insert(hash, (record.id, record.account));
            ids.push(record.id);
            let lookup_hint = token.searched_by().unwrap_or_default().to_owned();
            new.push((index, Imported { record, lookup_hint }));
        }
        check_candidates(&opened, &new).await?;
        let (numbers, new): (Vec<usize>, Vec<Imported>) = new.into_iter().unzip();
        let imported = |ids| ImportedTokens { ids, new: new.len() };
        if *validate_only {
            opened.transaction.abandon().await?;
            return Ok(imported(Vec::new()));
        }
        if new.is_empty() && made.is_empty() {
            opened.transaction.abandon().await?;
            return Ok(imported(ids));
        }
        opened.transaction.insert_imported(&new).await?;

        let mut change = Change::default();
        for account in made.iter().filter_map(|key| opened.account(*key)) {
            let event = opened.event("account.create", &account.id, Some(account));
            change = change.and(Change::new([Subject::Account(account.key)], event));
        }
        let mut named = made;
        for (number, Imported { record, .. }) in numbers.into_iter().zip(&new) {
            let account = record.account.and_then(|key| opened.account(key));
            let mut event = opened.event("token.import", record.id, account);
            event.detail = serde_json::json!({ "hash": kind_of(&tokens[number].hash) });
            // An account is named once, however many tokens it gets.
            let account = account.map(|account| account.key).filter(|key| named.insert(*key));
            let subjects = [Some(Subject::Credential(record.id)), account.map(Subject::Account)];
            change = change.and(Change::new(subjects.into_iter().flatten(), event));
        }
        opened.transaction.commit(change).await?;
        Ok(imported(ids))
    }

    /// The record of a token that is not there yet. What it may do is held against
    /// the catalogue; against its account's permissions it is each time that it is
    /// used, as all tokens are.
    fn imported(&self, opened: &Opened, account: &Account, token: &ImportToken) -> Result<Record, Error> {
        let unknown: Scopes = token.scopes.iter().filter(|scope| !opened.policy.knows(scope)).cloned().collect();
        if !unknown.is_empty() {
            return Err(Error::UnknownScopes(unknown));
        }
        let grant = match (token.inherits_permissions, token.scopes.is_empty(), self.rules.empty_scopes) {
            (true, _, _) | (false, true, EmptyScopes::Inherit) => Grant::Inherits,
            (false, true, EmptyScopes::Refuse) => return Err(Error::ScopesWanted),
            (false, true, EmptyScopes::None) | (false, false, _) => Grant::Explicit(token.scopes.clone()),
        };
        let create_time = token.create_time.unwrap_or(opened.now);
        if create_time > opened.now {
            return Err(Error::CreatedInFuture);
        }
        let secret = SecretRecord {
            id: SecretId::at(opened.now, random::bytes()),
            hash: token.hash.clone(),
            fingerprint: None,
            create_time,
            end_time: None,
        };
        Ok(Record {
            // Of the time when it was made: so lists show it where it belongs, and
            // the oldest go on working where a plan has too little room.
            id: CredentialId::at(create_time, random::bytes()),
            kind: Kind::Personal,
            account: Some(account.key),
            label: token.label.as_str().into(),
            grant,
            roles: Roles::NONE,
            networks: token.networks.clone(),
            hint: token.hint(),
            generation: account.generations.tokens,
            created_by: opened.caller.name(),
            imported: true,
            create_time,
            expire_time: token.expire_time,
            rotate_time: None,
            revocation: None,
            secrets: smallvec![secret],
        })
    }
}

/// The accounts of these tokens. Unknown ones are made where first use does so.
async fn owners(transaction: &Transaction, tokens: &[ImportToken], makes_accounts: bool) -> Result<Owners, Error> {
    let wanted: BTreeSet<&AccountId> = tokens.iter().map(|token| &token.account).collect();
    let known = transaction.accounts_by_id(wanted.iter().copied()).await?;
    let mut owners =
        Owners { keys: known.into_iter().map(|account| (account.id, account.key)).collect(), made: BTreeSet::new() };
    for (index, token) in tokens.iter().enumerate() {
        if owners.keys.contains_key(&token.account) {
            continue;
        }
        if !makes_accounts {
            return Err(Error::of_token(index)(Error::AccountNotFound));
        }
        let made = make_account(transaction, &token.account).await?;
        let account = transaction.account(&token.account).await?.ok_or(Error::AccountNotFound)?;
        owners.keys.insert(account.id, account.key);
        if made {
            owners.made.insert(account.key);
        }
    }
    Ok(owners)
}

/// Counts under the lock of imports, and so never lets one too many in: each that
/// shares a hint may be tried by bcrypt. Those that have ended never are.
async fn check_candidates(opened: &Opened, new: &[(usize, Imported)]) -> Result<(), Error> {
    let live =
        || new.iter().filter(|(_, token)| !token.lookup_hint.is_empty() && !token.record.has_expired(opened.now));
    let hints: BTreeSet<String> = live().map(|(_, token)| token.lookup_hint.clone()).collect();
    let mut counts: std::collections::BTreeMap<_, _> =
        opened.transaction.live_with_hints(&hints, opened.now).await?.into_iter().collect();
    for (index, token) in live() {
        let count = match counts.entry(token.lookup_hint.clone()) {
            Entry::Vacant(first) => first.insert(0),
            Entry::Occupied(more) => more.into_mut(),
        };
        *count += 1;
        if *count > MAX_CANDIDATES {
            return Err(Error::of_token(*index)(Error::TooManyCandidates));
        }
    }
    Ok(())
}

fn kind_of(hash: &SecretHash) -> &'static str {
    match hash {
        SecretHash::Bcrypt(_) | SecretHash::LegacyBcrypt(_) => "bcrypt",
        SecretHash::Sha256(_) => "sha256",
    }
}
