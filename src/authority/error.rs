//! What can a use case refuse? In the words of the rules, not of a transport.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{delegation::Excess, id::CredentialId, keys::NoCurrentKey, legacy::MAX_CANDIDATES, scope::Scopes},
    introspection::{Busy, Fault},
    store,
};

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not answer, or not in time.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What a presented secret is could not be looked up.
    #[error(transparent)]
    Unconfirmed(Arc<store::Error>),
    /// There is too much to hash at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// Nothing can be made: other replicas have the key for it, this one not.
    #[error(transparent)]
    NoCurrentKey(#[from] NoCurrentKey),
    /// There is no key to sign with: it is not made yet, or others can open it and
    /// this server not.
    #[error("there is no key to sign with")]
    NoSigningKey,
    /// The caller's own credential ended while the call waited.
    #[error("the caller's credential is no longer good")]
    CallerEnded,
    /// The caller lost the right to do this while the call waited.
    #[error("the caller may not do this any more")]
    NotPermitted,
    /// A page token that was not made for this list, filter and caller.
    #[error("the page token was not made for this list, filter and caller")]
    InvalidPageToken,
    /// The caller has no account of its own, and named none.
    #[error("an account is wanted: a service has none of its own")]
    AccountWanted,
    /// There is no such account, or none that the caller may know of.
    #[error("there is no such account")]
    AccountNotFound,
    /// There is no such token, or none that the caller may know of.
    #[error("there is no such token")]
    TokenNotFound,
    /// There is no such service credential.
    #[error("there is no such service credential")]
    ServiceNotFound,
    /// There is no such session.
    #[error("there is no such session")]
    SessionNotFound,
    /// Not a username and its password; which of both is for the log alone.
    #[error("the username or the password is wrong")]
    BadCredentials,
    /// So many sign-ins failed that no more are looked into for a while.
    #[error("too many sign-ins failed")]
    TooManyAttempts {
        /// When to try again.
        retry_after: Duration,
    },
    /// The account is suspended.
    #[error("the account is suspended")]
    AccountSuspended,
    /// Scopes that are not in the catalogue.
    #[error("the catalogue has no such scope")]
    UnknownScopes(Scopes),
    /// An expiry in the past, or too far ahead.
    #[error("{problem}")]
    InvalidExpiry {
        /// How it was given: `expire_time` or `ttl`.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Neither scopes nor inheriting were asked for, and the settings want one.
    #[error("scopes are wanted, or inherits_permissions")]
    ScopesWanted,
    /// More than the caller or the account holds.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// The plan has no more room.
    #[error("{message}")]
    TokenLimitReached {
        /// How many the plan allows.
        limit: u32,
        /// The plan.
        plan: String,
        /// The settings' code for it.
        code: String,
        /// The settings' message.
        message: String,
    },
    /// The plan is not among the policy's, or there is none and no default.
    #[error("the policy has no such plan")]
    UnknownPlan,
    /// The account's plan is not among the policy's any more.
    #[error("the account's plan is not in the policy")]
    PlanGone,
    /// This caller used the request id before; it made this token.
    #[error("the request id was used before")]
    RequestIdReused(CredentialId),
    /// A desktop session ends in its own application.
    #[error("desktop sessions are view-only: they end when their own application signs out")]
    DesktopSessionViewOnly,
    /// The account exists, and no mask says what to change.
    #[error("the account exists: update_mask must name the fields to change")]
    UpdateMaskRequired,
    /// The account was written since the etag was read.
    #[error("the account was changed meanwhile")]
    EtagMismatch,
    /// Another account has the username.
    #[error("the username belongs to another account")]
    UsernameTaken,
    /// Another service credential that was not revoked has the name.
    #[error("a service credential that was not revoked has this name")]
    NameTaken,
    /// Without it, nobody could administer the service.
    #[error("it is the last service credential with the role admin that does not expire")]
    LastAdmin,
    /// A rotation is under way.
    #[error("two secrets are live already: wait until the overlap ends, or rotate with none")]
    TwoSecretsLive,
    /// An overlap longer than the settings allow.
    #[error("the overlap is longer than the settings allow")]
    OverlapTooLong,
    /// It was revoked or has expired.
    #[error("it has ended")]
    Ended,
    /// The same of a token.
    #[error("the token has ended")]
    TokenEnded,
    /// The token has no such secret.
    #[error("the token has no such secret")]
    SecretNotFound,
    /// A token without a secret would be of no use to anybody.
    #[error("it is the token's last live secret: rotate the token, or revoke it")]
    LastSecret,
    /// A bcrypt hash cannot be searched for by itself.
    #[error("the token's first characters are wanted with a bcrypt hash")]
    LookupHintWanted,
    /// What are no first characters of any token in a form that the settings know.
    #[error("credentials.legacy has no form of this prefix and length")]
    InvalidLookupHint,
    /// Each of them may have to be tried.
    #[error("{MAX_CANDIDATES} tokens of this lookup_hint are in use already: a longer hint_length tells them apart")]
    TooManyCandidates,
    /// No token belongs to two accounts.
    #[error("a token with this hash belongs to another account")]
    HashTaken,
    /// A token that is not made yet.
    #[error("the token would be made in the future")]
    CreatedInFuture,
    /// One of many was refused, and so all are.
    #[error("token {index}: {error}")]
    OfToken {
        /// Which, from 0.
        index: usize,
        /// Why.
        error: Box<Self>,
    },
}

impl Error {
    /// The same of one of many.
    pub(super) fn of_token(index: usize) -> impl Fn(Self) -> Self {
        move |error| Self::OfToken { index, error: Box::new(error) }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => Self::Unconfirmed(error),
            Fault::Busy(busy) => Self::Busy(busy),
        }
    }
}
