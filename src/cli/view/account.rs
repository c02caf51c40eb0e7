//! How is an account shown?

use serde::Serialize;

use crate::{cli::values::Time, proto::v1};

use super::{Card, Listing, View};

/// An account, as the contract's message has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct AccountView {
    account_id: String,
    username: String,
    email: String,
    plan: String,
    roles: Vec<String>,
    permissions: Vec<String>,
    limit_permissions: bool,
    suspended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_time: Option<Time>,
    token_count: i32,
    token_limit: i32,
    token_limit_unbounded: bool,
    etag: String,
}

impl From<v1::Account> for AccountView {
    fn from(account: v1::Account) -> Self {
        let v1::Account {
            account_id,
            username,
            email,
            plan,
            roles,
            permissions,
            limit_permissions,
            suspended,
            create_time,
            update_time,
            token_count,
            token_limit,
            token_limit_unbounded,
            etag,
        } = account;
        Self {
            account_id,
            username,
            email,
            plan,
            roles,
            permissions,
            limit_permissions,
            suspended,
            create_time: create_time.map(Time),
            update_time: update_time.map(Time),
            token_count,
            token_limit,
            token_limit_unbounded,
            etag,
        }
    }
}

impl AccountView {
    fn tokens(&self) -> String {
        if self.token_limit_unbounded {
            self.token_count.to_string()
        } else {
            format!("{} of {}", self.token_count, self.token_limit)
        }
    }

    fn standing(&self) -> &'static str {
        if self.suspended { "suspended" } else { "good" }
    }

    pub(super) fn card(&self) -> Card {
        let limited = if self.limit_permissions { "cut down to permissions" } else { "as granted" };
        Card::new()
            .field("Account", &self.account_id)
            .field("Username", &self.username)
            .field("Email", &self.email)
            .field("Standing", self.standing())
            .field("Plan", &self.plan)
            .field("Tokens", &self.tokens())
            .field("Roles", &self.roles.join(" "))
            .field("Permissions", &self.permissions.join(" "))
            .field("Explicit scopes", limited)
            .maybe("Created", self.create_time)
            .maybe("Updated", self.update_time)
            .field("Etag", &self.etag)
    }
}

/// `account get`, `account put`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct AccountShown {
    pub(in crate::cli) account: AccountView,
}

impl View for AccountShown {
    fn table(&self) -> String {
        self.account.card().render()
    }
}

/// `account list`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct AccountsListed {
    pub(in crate::cli) accounts: Vec<AccountView>,
}

impl View for AccountsListed {
    fn table(&self) -> String {
        let mut listing = Listing::new(["ACCOUNT", "USERNAME", "EMAIL", "PLAN", "TOKENS", "STANDING"]);
        for account in &self.accounts {
            listing.row([
                &account.account_id,
                &account.username,
                &account.email,
                &account.plan,
                &account.tokens(),
                account.standing(),
            ]);
        }
        listing.render()
    }
}

/// `account delete`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct AccountDeleted {
    pub(in crate::cli) account_id: String,
}

impl View for AccountDeleted {
    fn table(&self) -> String {
        Card::new().field("Deleted", &self.account_id).render()
    }
}

/// `account set-password`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct PasswordSet {
    pub(in crate::cli) account_id: String,
    pub(in crate::cli) has_password: bool,
}

impl View for PasswordSet {
    fn table(&self) -> String {
        let password = if self.has_password { "set" } else { "removed" };
        Card::new().field("Account", &self.account_id).field("Password", password).render()
    }
}
