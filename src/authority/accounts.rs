//! Accounts, as the systems of record write them. What a write takes away
//! binds every Introspect that starts after it.

use uuid::Uuid;

use super::{Authority, Error, Opened, PageRequest, Targets, tokens::reached_account};
use crate::{
    domain::{
        account::{Account, AccountId, Username, Word},
        caller::Permit,
        id::AccountKey,
        policy::{Policy, Room},
        scope::Scopes,
    },
    random,
    store::{self, Change, Subject},
};

/// What an account is to be.
#[derive(Clone, Debug)]
pub struct AccountChange {
    /// Which account.
    pub id: AccountId,
    /// For SignIn, and shown.
    pub username: Option<Username>,
    /// As the system of record has it, or empty.
    pub email: String,
    /// None: the policy's default.
    pub plan: Option<Word>,
    /// Told to resource servers.
    pub roles: Vec<Word>,
    /// What it holds itself.
    pub permissions: Scopes,
    /// Whether explicit scopes, too, are cut down to the permissions.
    pub limit_permissions: bool,
    /// Whether all that it holds is out of use.
    pub suspended: bool,
    /// Which of these are meant; none where no mask was given.
    pub fields: Option<Vec<AccountField>>,
    /// The state that the write is made for; none: whatever it is.
    pub etag: Option<String>,
}

/// A field that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the fields")]
pub enum AccountField {
    Username,
    Email,
    Plan,
    Roles,
    Permissions,
    LimitPermissions,
    Suspended,
}

impl AccountField {
    /// All of them: what `*` in a mask stands for.
    pub const ALL: [Self; 7] = [
        Self::Username,
        Self::Email,
        Self::Plan,
        Self::Roles,
        Self::Permissions,
        Self::LimitPermissions,
        Self::Suspended,
    ];

    /// Its name in a mask and in the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Email => "email",
            Self::Plan => "plan",
            Self::Roles => "roles",
            Self::Permissions => "permissions",
            Self::LimitPermissions => "limit_permissions",
            Self::Suspended => "suspended",
        }
    }
}

/// An account, with how much of its plan is used.
#[derive(Clone, Debug)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// The plan that it is on.
    pub plan: Option<String>,
    /// How many of its tokens count against the plan.
    pub token_count: u64,
    /// How many the plan allows.
    pub room: Room,
}

impl Authority {
    /// Makes an account, or changes the fields that are meant.
    pub async fn put_account(&self, permit: Permit, change: AccountChange) -> Result<AccountView, Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                loop {
                    if let Some(view) = authority.try_put_account(&permit, &change).await? {
                        return Ok(view);
                    }
                }
            })
            .await
    }

    /// None where another call made the account since this one looked.
    async fn try_put_account(&self, permit: &Permit, change: &AccountChange) -> Result<Option<AccountView>, Error> {
        let transaction = self.store.begin().await?;
        let key = transaction.account(&change.id).await?.map(|account| account.key);
        let targets = Targets { accounts: key.into_iter().collect(), ..Targets::default() };
        let opened = self.open(transaction, permit, targets).await?;
        let account = match key {
            Some(key) => opened.account(key).cloned(),
            None => None,
        };
        let taken = |error: store::Error| if error.is_username_taken() { Error::UsernameTaken } else { error.into() };
        let (account, action, fields) = if let Some(account) = account {
            let fields = change.fields.clone().ok_or(Error::UpdateMaskRequired)?;
            let account = written(&opened, account, change, &fields)?;
            opened.transaction.update_account(&account).await.map_err(taken)?;
            (account, "account.update", fields)
        } else {
            let account = made(&opened, change)?;
            if !opened.transaction.insert_account_unless_known(&account).await.map_err(taken)? {
                opened.transaction.abandon().await?;
                return Ok(None);
            }
            (account, "account.create", change.fields.clone().unwrap_or(AccountField::ALL.to_vec()))
        };

        let view = view(&opened, account.clone()).await?;
        let mut event = opened.event(action, &account.id, Some(&account));
        let names: Vec<_> = fields.iter().map(|field| field.as_str()).collect();
        event.detail = serde_json::json!({ "fields": names, "suspended": account.suspended, "plan": view.plan });
        opened.transaction.commit(Change::new([Subject::Account(account.key)], event)).await?;
        Ok(Some(view))
    }

    /// One account; none means the caller's own.
    pub async fn get_account(&self, permit: Permit, id: Option<AccountId>) -> Result<AccountView, Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let snapshot = authority.store.snapshot().await?;
                let account = reached_account(&snapshot, &permit, id.as_ref()).await?;
                let policy = snapshot.policy().await?;
                let now = snapshot.now().await?;
                let mut views = views(&snapshot, vec![account], &policy, now).await?;
                snapshot.end().await?;
                views.pop().ok_or(Error::AccountNotFound)
            })
            .await
    }

    /// A page of all accounts, in the order of their ids, and the token of the
    /// next page.
    pub async fn list_accounts(&self, permit: Permit, page: PageRequest) -> Result<(Vec<AccountView>, String), Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let page = authority.page(&page, &permit, "")?;
                let after = page.cursor.as_deref().map(str::parse).transpose().map_err(|_| Error::InvalidPageToken)?;
                let snapshot = authority.store.snapshot().await?;
                let policy = snapshot.policy().await?;
                let now = snapshot.now().await?;
                let mut accounts = snapshot.list_accounts(after.as_ref(), page.limit()).await?;
                let next = authority.cut(&page, &mut accounts, |account| account.id.to_string())?;
                let views = views(&snapshot, accounts, &policy, now).await?;
                snapshot.end().await?;
                Ok((views, next))
            })
            .await
    }

    /// Erases an account and all that it holds.
    pub async fn delete_account(&self, permit: Permit, id: AccountId) -> Result<(), Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                let key = transaction.account(&id).await?.ok_or(Error::AccountNotFound)?.key;
                let (opened, account) = authority.open_account(transaction, &permit, key).await?;
                opened.transaction.delete_account(key).await?;
                let event = opened.event("account.delete", &account.id, Some(&account));
                opened.transaction.commit(Change::new([Subject::Account(key)], event)).await?;
                Ok(())
            })
            .await
    }

    /// The policy in force: scopes by category, plans and limits.
    pub async fn catalog(&self, _permit: Permit) -> Result<std::sync::Arc<Policy>, Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let snapshot = authority.store.snapshot().await?;
                let policy = snapshot.policy().await?;
                snapshot.end().await?;
                Ok(policy)
            })
            .await
    }
}

fn made(opened: &Opened, change: &AccountChange) -> Result<Account, Error> {
    if change.etag.is_some() {
        return Err(Error::EtagMismatch);
    }
    let key = AccountKey::at(opened.now, random::bytes());
    let account = Account::new(key, change.id.clone(), opened.now, Uuid::new_v4());
    let fields = change.fields.as_deref().unwrap_or(&AccountField::ALL);
    let account = written(opened, account, change, fields)?;
    refuse_unknown(opened, account.plan.as_ref())?;
    Ok(account)
}

fn written(
    opened: &Opened,
    mut account: Account,
    change: &AccountChange,
    fields: &[AccountField],
) -> Result<Account, Error> {
    if change.etag.as_ref().is_some_and(|etag| *etag != account.etag.to_string()) {
        return Err(Error::EtagMismatch);
    }
    for field in fields {
        match field {
            AccountField::Username => account.username.clone_from(&change.username),
            AccountField::Email => account.email.clone_from(&change.email),
            AccountField::Plan => {
                refuse_unknown(opened, change.plan.as_ref())?;
                account.plan.clone_from(&change.plan);
            }
            AccountField::Roles => account.roles.clone_from(&change.roles),
            AccountField::Permissions => account.permissions.clone_from(&change.permissions),
            AccountField::LimitPermissions => account.limit_permissions = change.limit_permissions,
            AccountField::Suspended => account.suspended = change.suspended,
        }
    }
    account.update_time = opened.now;
    account.etag = Uuid::new_v4();
    Ok(account)
}

fn refuse_unknown(opened: &Opened, plan: Option<&Word>) -> Result<(), Error> {
    match opened.policy.room(plan) {
        Room::Unbounded | Room::AtMost(_) => Ok(()),
        Room::UnknownPlan => Err(Error::UnknownPlan),
    }
}

async fn view(opened: &Opened, account: Account) -> Result<AccountView, Error> {
    let mut views = views(&opened.transaction, vec![account], &opened.policy, opened.now).await?;
    views.pop().ok_or(Error::AccountNotFound)
}

async fn views(
    snapshot: &store::Snapshot,
    accounts: Vec<Account>,
    policy: &Policy,
    now: crate::domain::time::Timestamp,
) -> Result<Vec<AccountView>, Error> {
    let keys = accounts.iter().map(|account| account.key);
    let counts = snapshot.token_counts(keys, policy.counts_imported(), now).await?;
    let views = accounts.into_iter().map(|account| AccountView {
        plan: policy.plan_of(account.plan.as_ref()).map(ToOwned::to_owned),
        token_count: counts.get(&account.key).copied().unwrap_or_default(),
        room: policy.room(account.plan.as_ref()),
        account,
    });
    Ok(views.collect())
}
