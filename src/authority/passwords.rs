//! Is this the password? An unknown username, an account without a password and
//! a wrong password are alike from outside, in bytes and in work, and so is an
//! account that is suspended.
//!
//! bcrypt runs before any transaction: whoever stores something for a password
//! that was verified asks under the account's lock whether it still is the
//! account's ([`Verified::confirm`]).

use std::fmt;

use zeroize::Zeroizing;

use super::{Authority, Error, sign_ins::SignInOutcome};
use crate::{
    domain::{
        account::{Account, AccountId, Username},
        caller::{Call, Caller, Permit},
        digest::BcryptHash,
        id::AccountKey,
        network::ClientAddress,
        password::Password,
        record::RevocationReason,
    },
    store::{Change, Subject, Transaction},
};

/// A username and password, as they were presented.
pub struct PasswordAttempt {
    /// Whose.
    pub username: String,
    /// Its password, it is said.
    pub password: Zeroizing<String>,
    /// Where they were typed, as the caller tells; none: where the call came from.
    pub address: Option<ClientAddress>,
}

impl fmt::Debug for PasswordAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordAttempt").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Who wants somebody signed in.
#[derive(Clone, Debug)]
pub enum CallerOrOpen {
    /// A caller that may.
    Caller(Caller),
    /// Anybody, where the settings let them.
    Open(Call),
}

impl CallerOrOpen {
    pub(super) fn call(&self) -> &Call {
        match self {
            Self::Caller(caller) => &caller.call,
            Self::Open(call) => call,
        }
    }

    /// Who it is, in records and in the audit trail.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Caller(caller) => caller.name(),
            Self::Open(_) => "anybody".to_owned(),
        }
    }

    /// The address that counts: what a caller tells, and of all others where they
    /// call from, since they would tell another each time.
    pub(super) fn address(&self, told: Option<ClientAddress>) -> Option<ClientAddress> {
        match self {
            Self::Caller(caller) => told.or(caller.call.address),
            Self::Open(call) => call.address,
        }
    }
}

/// An account whose password was verified, to be stored against only while it is
/// still the same.
pub(super) struct Verified {
    pub(super) account: AccountKey,
    hash: BcryptHash,
    // Whoever sets a password raises it.
    generation: i64,
    // Of the same password, at the cost that is set now, where that is another.
    renewed: Option<BcryptHash>,
}

impl Verified {
    /// Under the account's lock: whether its password is still the one that was
    /// verified. If so, and it was hashed at another cost, its new hash takes the
    /// place: the next attempt takes as long as one for a name that nobody has.
    pub(super) async fn confirm(&self, transaction: &Transaction, account: &Account) -> Result<bool, Error> {
        let hash = transaction.password_hash(self.account).await?;
        let is_same = hash.is_some_and(|hash| hash.matches(&self.hash));
        if let Some(renewed) = self.renewed.as_ref().filter(|_| is_same) {
            transaction.set_password(self.account, Some(renewed)).await?;
        }
        // Another hash of the same password may have taken its place meanwhile.
        Ok(is_same || (self.renewed.is_some() && account.generations.sessions == self.generation))
    }
}

/// What became of an attempt, for the log.
enum Outcome {
    Verified(Verified),
    Failed(Failure, Option<Account>),
}

#[derive(Clone, Copy, Debug)]
enum Failure {
    NoSuchUsername,
    NoPassword,
    WrongPassword,
    Suspended,
}

impl From<Failure> for SignInOutcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchUsername => Self::NoSuchUsername,
            Failure::NoPassword => Self::NoPassword,
            Failure::WrongPassword => Self::WrongPassword,
            Failure::Suspended => Self::Suspended,
        }
    }
}

impl Authority {
    /// Charges the attempt, verifies, and gives back what was charged on success.
    pub(super) async fn verify_password(
        &self,
        attempt: &PasswordAttempt,
        caller: &CallerOrOpen,
    ) -> Result<Verified, Error> {
        let charged = self.throttle.charge(attempt, caller).await;
        let charge = charged.inspect_err(|error| {
            let throttled = matches!(error, Error::TooManyAttempts { .. });
            self.sign_ins.count(if throttled { SignInOutcome::Throttled } else { SignInOutcome::Fault });
        })?;
        match self.try_verify(attempt).await {
            Ok(Outcome::Verified(verified)) => {
                self.sign_ins.count(SignInOutcome::Verified);
                self.throttle.refund(charge).await;
                Ok(verified)
            }
            Ok(Outcome::Failed(reason, account)) => {
                let id = account.as_ref().map(|account| account.id.as_str());
                tracing::info!(?reason, account = id, "a sign-in failed");
                self.sign_ins.count(reason.into());
                self.throttle.tell_failure(charge, account.as_ref(), caller);
                Err(Error::BadCredentials)
            }
            Err(error) => {
                // Nothing was learnt of the password.
                self.sign_ins.count(SignInOutcome::Fault);
                self.throttle.refund(charge).await;
                Err(error)
            }
        }
    }

    async fn try_verify(&self, attempt: &PasswordAttempt) -> Result<Outcome, Error> {
        let username = Username::new(&attempt.username).ok();
        let store = self.store.clone();
        let known = self
            .store
            .read(async move {
                let snapshot = store.snapshot().await?;
                let known = match &username {
                    Some(username) => snapshot.account_by_username(username).await?,
                    None => None,
                };
                snapshot.end().await?;
                Ok::<_, Error>(known)
            })
            .await?;
        let (account, hash) = known.map(|(account, hash)| (Some(account), hash)).unwrap_or_default();
        let password = Password::new(&attempt.password).ok();
        let matches = self.bcrypt.verify_password(password.clone(), hash.clone()).await?;
        Ok(match (account, hash) {
            (None, _) => Outcome::Failed(Failure::NoSuchUsername, None),
            (Some(account), None) => Outcome::Failed(Failure::NoPassword, Some(account)),
            (Some(account), Some(_)) if !matches => Outcome::Failed(Failure::WrongPassword, Some(account)),
            // Charged like the others: that a guess costs nothing would tell that
            // it was right.
            (Some(account), Some(_)) if account.suspended => Outcome::Failed(Failure::Suspended, Some(account)),
            (Some(account), Some(hash)) => {
                let renewed = self.renew(password, &hash).await;
                let generation = account.generations.sessions;
                Outcome::Verified(Verified { account: account.key, hash, generation, renewed })
            }
        })
    }

    /// Another hash of a password that was verified, where its cost is not the one
    /// that is set now. It can wait for the next time.
    async fn renew(&self, password: Option<Password>, hash: &BcryptHash) -> Option<BcryptHash> {
        if hash.cost() == Some(self.bcrypt.cost()) {
            return None;
        }
        self.bcrypt.hash_password(password?).await.ok()
    }

    /// Gives an account another password, or none, which ends all of its web and
    /// desktop sessions.
    pub async fn set_password(&self, permit: Permit, id: AccountId, password: Option<Password>) -> Result<(), Error> {
        // Before anything is begun: nobody waits for bcrypt.
        let hash = match password {
            Some(password) => Some(self.bcrypt.hash_password(password).await?),
            None => None,
        };
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                let key = transaction.account(&id).await?.ok_or(Error::AccountNotFound)?.key;
                let (opened, account) = authority.open_account(transaction, &permit, key).await?;
                opened.transaction.set_password(key, hash.as_ref()).await?;
                let reason = RevocationReason::Superseded;
                opened.transaction.raise_session_generation(&account, opened.now, reason).await?;
                let action = if hash.is_some() { "account.set-password" } else { "account.remove-password" };
                let event = opened.event(action, &account.id, Some(&account));
                opened.transaction.commit(Change::new([Subject::Account(key)], event)).await?;
                Ok(())
            })
            .await
    }
}
