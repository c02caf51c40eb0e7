//! `account`: what can a system of record, or an operator in its place, say of
//! an account?

use clap::{Args, Subcommand};
use prost_types::FieldMask;
use tonic::Code;

use crate::proto::v1;

use super::{
    Error,
    connection::{ConnectionArgs, Session},
    input::{SecretFile, new_password},
    paging::{self, LimitArgs},
    view::{AccountDeleted, AccountShown, AccountView, AccountsListed, PasswordSet},
};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Create an account, or change what is given and leave the rest
    Put(PutArgs),
    /// Show an account
    Get(AccountId),
    /// List all accounts
    List(LimitArgs),
    /// Erase an account and everything that it holds
    Delete(AccountId),
    /// Put all that an account holds out of use for now
    Suspend(AccountId),
    /// Put what a suspended account holds into use again
    Restore(AccountId),
    /// Set an account's password, or remove it; its sessions end
    SetPassword(SetPasswordArgs),
}

#[derive(Debug, Args)]
pub(super) struct AccountId {
    account_id: String,
}

#[derive(Debug, Args)]
pub(super) struct PutArgs {
    account_id: String,

    /// The plan, which says how many tokens it may have
    #[arg(long)]
    plan: Option<String>,

    #[arg(long)]
    username: Option<String>,

    #[arg(long)]
    email: Option<String>,

    /// A role to hold; may be repeated. Those given replace those before
    #[arg(long = "role", value_name = "ROLE")]
    roles: Option<Vec<String>>,

    /// Hold no role
    #[arg(long, conflicts_with = "roles")]
    no_roles: bool,

    /// A permission to hold; may be repeated. Those given replace those before
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Option<Vec<String>>,

    /// Hold no permission
    #[arg(long, conflicts_with = "permissions")]
    no_permissions: bool,

    /// Whether explicit scopes, too, are cut down to permissions
    #[arg(long, value_name = "BOOL")]
    limit_permissions: Option<bool>,

    /// Whether its tokens are out of use
    #[arg(long, value_name = "BOOL")]
    suspended: Option<bool>,

    /// Change the account only if it is still as it was when it had this etag
    #[arg(long)]
    etag: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SetPasswordArgs {
    account_id: String,

    /// A file with the password (- for standard input); without it a prompt asks
    /// for it twice
    #[arg(long, value_name = "FILE")]
    password_file: Option<SecretFile>,

    /// Leave the account without a password
    #[arg(long, conflicts_with = "password_file")]
    remove: bool,
}

impl AccountCommand {
    /// Two secrets cannot both come from standard input: which is which?
    pub(super) fn forbid_reading_stdin_twice(&self, connection: &ConnectionArgs) -> Result<(), Error> {
        match self {
            Self::SetPassword(SetPasswordArgs { password_file: Some(SecretFile::Stdin), .. })
                if connection.token_file == Some(SecretFile::Stdin) =>
            {
                Err(Error::Usage("--token-file and --password-file cannot both be standard input".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

pub(super) async fn run(command: AccountCommand, session: &Session) -> Result<(), Error> {
    match command {
        AccountCommand::Put(args) => put(args, session).await,
        AccountCommand::Get(AccountId { account_id }) => get(account_id, session).await,
        AccountCommand::List(limit) => list(limit, session).await,
        AccountCommand::Delete(AccountId { account_id }) => delete(account_id, session).await,
        AccountCommand::Suspend(AccountId { account_id }) => put_suspended(account_id, true, session).await,
        AccountCommand::Restore(AccountId { account_id }) => put_suspended(account_id, false, session).await,
        AccountCommand::SetPassword(args) => set_password(args, session).await,
    }
}

async fn put(args: PutArgs, session: &Session) -> Result<(), Error> {
    let response = session.call(session.client.accounts().put_account(put_request(args))).await?;
    show(response.account, session)
}

async fn get(account_id: String, session: &Session) -> Result<(), Error> {
    let request = v1::GetAccountRequest { account_id };
    let response = session.call(session.client.accounts().get_account(request)).await?;
    show(response.account, session)
}

fn show(account: Option<v1::Account>, session: &Session) -> Result<(), Error> {
    let account = account.ok_or(Error::Reply("no account where one was asked for"))?;
    session.console.show(&AccountShown { account: account.into() })
}

async fn list(limit: LimitArgs, session: &Session) -> Result<(), Error> {
    let accounts = paging::collect(limit, async |page| {
        let request = v1::ListAccountsRequest { page_size: page.page_size, page_token: page.page_token };
        let response = session.call(session.client.accounts().list_accounts(request)).await?;
        Ok((response.accounts, response.next_page_token))
    })
    .await?;
    session.console.show(&AccountsListed { accounts: accounts.into_iter().map(AccountView::from).collect() })
}

async fn delete(account_id: String, session: &Session) -> Result<(), Error> {
    let request = v1::DeleteAccountRequest { account_id: account_id.clone() };
    let v1::DeleteAccountResponse {} = session.call(session.client.accounts().delete_account(request)).await?;
    session.console.show(&AccountDeleted { account_id })
}

async fn put_suspended(account_id: String, suspended: bool, session: &Session) -> Result<(), Error> {
    // Not by a mask alone, which would make an account that was misspelt, or
    // deleted meanwhile.
    let mut tries = 3;
    loop {
        tries -= 1;
        let get = v1::GetAccountRequest { account_id: account_id.clone() };
        let account = session.call(session.client.accounts().get_account(get)).await?.account;
        let v1::Account { account_id, etag, .. } = account.ok_or(Error::Reply("no account where one was asked for"))?;
        let request = v1::PutAccountRequest {
            account: Some(v1::Account { account_id, suspended, etag, ..v1::Account::default() }),
            update_mask: Some(FieldMask { paths: vec!["suspended".to_owned()] }),
        };
        match session.call(session.client.accounts().put_account(request)).await {
            Err(error) if error.code == Code::Aborted && tries > 0 => {}
            response => return show(response?.account, session),
        }
    }
}

async fn set_password(args: SetPasswordArgs, session: &Session) -> Result<(), Error> {
    let SetPasswordArgs { account_id, password_file, remove } = args;
    let password = match (remove, password_file) {
        (true, _) => None,
        (false, Some(file)) => Some(file.read()?),
        (false, None) => Some(new_password()?),
    };
    let request = v1::SetPasswordRequest {
        account_id: account_id.clone(),
        password: password.as_deref().cloned().unwrap_or_default(),
    };
    let v1::SetPasswordResponse {} = session.call(session.client.accounts().set_password(request)).await?;
    session.console.show(&PasswordSet { account_id, has_password: !remove })
}

/// The account with what was given, and a mask that names just that. Without
/// anything there is no mask, which creates and never changes.
fn put_request(args: PutArgs) -> v1::PutAccountRequest {
    let PutArgs {
        account_id,
        plan,
        username,
        email,
        roles,
        no_roles,
        permissions,
        no_permissions,
        limit_permissions,
        suspended,
        etag,
    } = args;
    let roles = roles.or_else(|| no_roles.then(Vec::new));
    let permissions = permissions.or_else(|| no_permissions.then(Vec::new));
    let paths: Vec<String> = [
        ("plan", plan.is_some()),
        ("username", username.is_some()),
        ("email", email.is_some()),
        ("roles", roles.is_some()),
        ("permissions", permissions.is_some()),
        ("limit_permissions", limit_permissions.is_some()),
        ("suspended", suspended.is_some()),
    ]
    .into_iter()
    .filter(|(_, given)| *given)
    .map(|(path, _)| path.to_owned())
    .collect();
    v1::PutAccountRequest {
        account: Some(v1::Account {
            account_id,
            plan: plan.unwrap_or_default(),
            username: username.unwrap_or_default(),
            email: email.unwrap_or_default(),
            roles: roles.unwrap_or_default(),
            permissions: permissions.unwrap_or_default(),
            limit_permissions: limit_permissions.unwrap_or_default(),
            suspended: suspended.unwrap_or_default(),
            etag: etag.unwrap_or_default(),
            ..v1::Account::default()
        }),
        update_mask: (!paths.is_empty()).then_some(FieldMask { paths }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Put {
        #[command(flatten)]
        args: PutArgs,
    }

    fn request(arguments: &[&str]) -> (v1::Account, Option<Vec<String>>) {
        let whole = [&["put", "acme"], arguments].concat();
        let put = Put::try_parse_from(whole).unwrap_or_else(|error| panic!("{error}"));
        let request = put_request(put.args);
        let account = request.account.expect("an account is always sent");
        (account, request.update_mask.map(|mask| mask.paths))
    }

    #[test]
    fn without_options_there_is_no_mask() {
        let (account, mask) = request(&[]);
        assert_eq!(account.account_id, "acme");
        assert_eq!(mask, None);
    }

    #[test]
    fn the_mask_names_what_was_given_and_nothing_else() {
        let (account, mask) = request(&["--plan", "PRO", "--suspended", "false"]);
        assert_eq!(account.plan, "PRO");
        assert!(!account.suspended);
        assert_eq!(mask.expect("a mask"), ["plan", "suspended"]);
    }

    #[test]
    fn every_option_has_its_path() {
        let (account, mask) = request(&[
            "--plan",
            "PRO",
            "--username",
            "alice",
            "--email",
            "alice@example.com",
            "--role",
            "owner",
            "--role",
            "trader",
            "--permission",
            "trading:read",
            "--limit-permissions",
            "true",
            "--suspended",
            "true",
            "--etag",
            "7",
        ]);
        assert_eq!(account.roles, ["owner", "trader"]);
        assert_eq!(account.permissions, ["trading:read"]);
        assert!(account.limit_permissions && account.suspended);
        assert_eq!(account.etag, "7");
        assert_eq!(
            mask.expect("a mask"),
            ["plan", "username", "email", "roles", "permissions", "limit_permissions", "suspended"]
        );
    }

    #[test]
    fn lists_and_texts_can_be_emptied() {
        let (account, mask) = request(&["--no-roles", "--no-permissions", "--email", ""]);
        assert!(account.roles.is_empty() && account.permissions.is_empty());
        assert_eq!(mask.expect("a mask"), ["email", "roles", "permissions"]);
        assert!(Put::try_parse_from(["put", "acme", "--role", "a", "--no-roles"]).is_err());
    }
}
