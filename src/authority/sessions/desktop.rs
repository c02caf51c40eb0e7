//! Signing in at a desktop application: by password, or on the word of a login
//! service that has established who it is.

use std::collections::BTreeSet;

use smallvec::smallvec;

use super::SessionView;
use crate::{
    authority::{Authority, CallerOrOpen, Error, Minted, Opened, PasswordAttempt, Targets, passwords::Verified},
    domain::{
        account::{Account, AccountId},
        caller::Permit,
        credential::Kind,
        id::{AccountKey, CredentialId},
        network::{ClientAddress, Networks},
        record::{Grant, Record},
        role::Roles,
        session::DesktopDevice,
    },
    random,
    store::{Change, Subject, Transaction},
};

/// A desktop session to be opened.
#[derive(Debug)]
pub struct DesktopSignIn {
    /// For whom.
    pub who: WhoSignsIn,
    /// Where.
    pub device: DesktopDevice,
    /// From which address, as the caller tells.
    pub address: Option<ClientAddress>,
}

/// Who signs in.
#[derive(Debug)]
pub enum WhoSignsIn {
    /// Whoever this username and password belong to.
    Password(PasswordAttempt),
    /// An account, as the caller has established.
    Account(AccountId),
}

/// Who it is, before the account is locked.
enum Established {
    ByPassword(Verified),
    ByCaller(AccountId),
}

impl Authority {
    /// Opens a desktop session.
    pub async fn sign_in_desktop(&self, permit: Permit, request: DesktopSignIn) -> Result<Minted<SessionView>, Error> {
        let DesktopSignIn { who, device, address } = request;
        // Where the current master key is lacking, nothing is told of passwords either.
        self.keys.now().current()?;
        let who = match who {
            WhoSignsIn::Password(attempt) => {
                let caller = CallerOrOpen::Caller(permit.caller().clone());
                Established::ByPassword(self.verify_password(&attempt, &caller).await?)
            }
            WhoSignsIn::Account(id) => Established::ByCaller(id),
        };
        let hashed = self.hash_new_secret().await?;
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                let key = who.key(&transaction).await?;
                let targets = Targets { accounts: BTreeSet::from([key]), ..Targets::default() };
                let opened = authority.open(transaction, &permit, targets).await?;
                let account = who.account(&opened, key).await?;

                let now = opened.now;
                let id = CredentialId::at(now, random::bytes());
                let forms = &authority.rules.forms;
                let (plaintext, secret) =
                    hashed.mint(forms, authority.keys.now().current()?, Kind::DesktopSession, id, now);
                let record = Record {
                    id,
                    kind: Kind::DesktopSession,
                    account: Some(key),
                    label: device.device_name().into(),
                    grant: Grant::Inherits,
                    roles: Roles::NONE,
                    networks: Networks::ANY,
                    hint: plaintext.hint(),
                    generation: account.generations.sessions,
                    created_by: opened.caller.name(),
                    imported: false,
                    create_time: now,
                    expire_time: Some(authority.rules.desktop.first_expiry(now)),
                    rotate_time: None,
                    revocation: None,
                    secrets: smallvec![secret],
                };
                opened.transaction.insert_credential(&record, None).await?;
                opened.transaction.insert_desktop_session(id, &device).await?;
                let mut event = opened.event("session.sign-in-desktop", id, Some(&account));
                event.detail = serde_json::json!({
                    "by_password": matches!(who, Established::ByPassword(_)),
                    "device_name": device.device_name(),
                    "platform": device.platform(),
                    "client_ip": address.map(|address| address.to_string()),
                });
                opened.transaction.commit(Change::new([Subject::Credential(id)], event)).await?;
                let view = SessionView { record, device, account_id: account.id, sign_out: None, usage: None };
                Ok(Minted { view, plaintext })
            })
            .await
    }
}

impl Established {
    async fn key(&self, transaction: &Transaction) -> Result<AccountKey, Error> {
        match self {
            Self::ByPassword(verified) => Ok(verified.account),
            Self::ByCaller(id) => Ok(transaction.account(id).await?.ok_or(Error::AccountNotFound)?.key),
        }
    }

    /// The account, under its lock, if it may be signed in to.
    async fn account(&self, opened: &Opened, key: AccountKey) -> Result<Account, Error> {
        let account = opened.account(key).cloned();
        match self {
            Self::ByPassword(verified) => {
                let account = account.filter(|account| !account.suspended).ok_or(Error::BadCredentials)?;
                let holds = verified.confirm(&opened.transaction, &account).await?;
                if holds { Ok(account) } else { Err(Error::BadCredentials) }
            }
            Self::ByCaller(_) => match account {
                None => Err(Error::AccountNotFound),
                Some(account) if account.suspended => Err(Error::AccountSuspended),
                Some(account) => Ok(account),
            },
        }
    }
}
