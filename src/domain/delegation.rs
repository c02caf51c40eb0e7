//! How much may be handed out? Nothing that a holder's token does yields a
//! credential with more than its own: scopes, networks and expiry alike.

use super::{
    account::Account, caller::HolderRights, credential::Kind, network::Networks, policy::Policy, record::Grant,
    scope::Scopes, time::Timestamp,
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
    by: Option<(&HolderRights, Option<Timestamp>)>,
    explicit_expiry: bool,
    policy: &Policy,
) -> Result<Rights, Excess> {
    if let Grant::Explicit(scopes) = &asked.grant
        && (account.limit_permissions || by.is_some_and(|(rights, _)| rights.kind != Kind::Personal))
    {
        within(scopes, &policy.expand(&account.permissions), policy)?;
    }
    let Some((rights, own_expire_time)) = by else {
        return Ok(asked);
    };
    match &asked.grant {
        Grant::Inherits if !rights.inherits => return Err(Excess::Inheriting),
        Grant::Inherits => {}
        Grant::Explicit(scopes) => within(scopes, &rights.scopes, policy)?,
    }
    // A session stands for its account; its own end bounds nothing.
    if rights.kind != Kind::Personal {
        return Ok(asked);
    }
    let networks = if asked.networks.is_any() { rights.networks.clone() } else { asked.networks };
    if !networks.within(&rights.networks) {
        return Err(Excess::Networks);
    }
    let expire_time = match (asked.expire_time, own_expire_time) {
        (asked, None) => asked,
        (Some(asked), Some(own)) if asked <= own => Some(asked),
        (_, Some(_)) if explicit_expiry => return Err(Excess::Expiry),
        (_, Some(own)) => Some(own),
    };
    Ok(Rights { grant: asked.grant, networks, expire_time })
}

fn within(scopes: &Scopes, held: &Scopes, policy: &Policy) -> Result<(), Excess> {
    let excess = policy.expand(scopes).difference(held);
    if excess.is_empty() { Ok(()) } else { Err(Excess::Scopes(excess)) }
}
