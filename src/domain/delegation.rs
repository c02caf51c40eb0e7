//! How much may be handed out? Nothing that a holder's token does yields a
//! credential with more than its own: scopes, networks and expiry alike, whether
//! it issues, rotates or changes one.

use super::{
    account::Account,
    caller::{Caller, HolderRights},
    credential::Kind,
    network::Networks,
    policy::Policy,
    record::{Grant, Record},
    scope::Scopes,
    time::Timestamp,
};

/// What a new or changed credential is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// What it may do.
    pub grant: Grant,
    /// Where it may be used from.
    pub networks: Networks,
    /// When it ends by itself.
    pub expire_time: Option<Timestamp>,
}

impl Rights {
    /// What a credential was given.
    pub fn of(record: &Record) -> Self {
        let Record { grant, networks, expire_time, .. } = record;
        Self { grant: grant.clone(), networks: networks.clone(), expire_time: *expire_time }
    }
}

/// What would be too much.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Excess {
    /// More scopes than the caller or the account holds: these.
    #[error("the caller or the account holds less than it asks for")]
    Scopes(Scopes),
    /// Inheriting, by a caller that does not inherit.
    #[error("only a caller that inherits permissions hands out inheriting tokens")]
    Inheriting,
    /// Networks beyond the caller's.
    #[error("the caller's own credential is bound to narrower networks")]
    Networks,
    /// A life longer than the caller's.
    #[error("the caller's own credential ends earlier")]
    Expiry,
}

/// Bounds what is asked for by what the account holds and, where an account
/// holder asks, by what its credential holds: what it left open is cut to its
/// own, what it asked for beyond is refused.
pub fn bound(
    asked: Rights,
    account: &Account,
    caller: &Caller,
    explicit_expiry: bool,
    policy: &Policy,
) -> Result<Rights, Excess> {
    let Rights { grant, networks, expire_time } = asked;
    bound_grant(&grant, account, caller, policy)?;
    let networks = bound_networks(networks, caller)?;
    let expire_time = bound_expiry(expire_time, explicit_expiry, caller)?;
    Ok(Rights { grant, networks, expire_time })
}

/// The same for what a credential may do: all of it, or a refusal.
pub fn bound_grant(asked: &Grant, account: &Account, caller: &Caller, policy: &Policy) -> Result<(), Excess> {
    let by = caller.holder();
    if let Grant::Explicit(scopes) = asked
        && (account.limit_permissions || by.is_some_and(|rights| rights.kind != Kind::Personal))
    {
        within(scopes, &policy.expand(&account.permissions), policy)?;
    }
    match (asked, by) {
        (Grant::Inherits, Some(rights)) if !rights.inherits => Err(Excess::Inheriting),
        (_, None) | (Grant::Inherits, Some(_)) => Ok(()),
        (Grant::Explicit(scopes), Some(rights)) => within(scopes, &rights.scopes, policy),
    }
}

/// The same for where a credential may be used from; none asked for: the
/// caller's own.
pub fn bound_networks(asked: Networks, caller: &Caller) -> Result<Networks, Excess> {
    let Some(rights) = token(caller) else {
        return Ok(asked);
    };
    let networks = if asked.is_any() { rights.networks.clone() } else { asked };
    if networks.within(&rights.networks) { Ok(networks) } else { Err(Excess::Networks) }
}

/// The same for when a credential ends by itself. What was not asked for by name
/// is cut to the caller's own.
pub fn bound_expiry(asked: Option<Timestamp>, explicit: bool, caller: &Caller) -> Result<Option<Timestamp>, Excess> {
    if token(caller).is_none() {
        return Ok(asked);
    }
    match (asked, caller.expire_time) {
        (asked, None) => Ok(asked),
        (Some(asked), Some(own)) if asked <= own => Ok(Some(asked)),
        (_, Some(_)) if explicit => Err(Excess::Expiry),
        (_, Some(own)) => Ok(Some(own)),
    }
}

/// Whether a credential that is there already holds no more than an account
/// holder's own, by which it is to be changed or given a new secret. Nothing of
/// it can be cut. Services are not bound by it: what it holds, it was given.
pub fn covers(held: &Rights, account: &Account, caller: &Caller, policy: &Policy) -> Result<(), Excess> {
    if caller.holder().is_none() {
        return Ok(());
    }
    bound_grant(&held.grant, account, caller, policy)?;
    if token(caller).is_some_and(|rights| !held.networks.within(&rights.networks)) {
        return Err(Excess::Networks);
    }
    bound_expiry(held.expire_time, true, caller).map(drop)
}

/// The rights of an account holder's token. A session stands for its account:
/// its own networks and end bound nothing.
fn token(caller: &Caller) -> Option<&HolderRights> {
    caller.holder().filter(|rights| rights.kind == Kind::Personal)
}

fn within(scopes: &Scopes, held: &Scopes, policy: &Policy) -> Result<(), Excess> {
    let excess = policy.expand(scopes).difference(held);
    if excess.is_empty() { Ok(()) } else { Err(Excess::Scopes(excess)) }
}
