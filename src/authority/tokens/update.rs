//! Changing: a token's label, scopes, networks or expiry, within what the caller
//! could issue now.

use serde_json::{Map, Value, json};

use super::{Expiry, OpenedToken, TokenView, issue::refuse_unknown};
use crate::{
    authority::{Authority, EmptyScopes, Error},
    domain::{
        caller::Permit,
        delegation,
        id::CredentialId,
        network::Networks,
        record::{Grant, Record},
        scope::Scopes,
        text::Label,
        time::Timestamp,
    },
};

/// What is to be changed of a token; what is none stays.
#[derive(Clone, Debug)]
pub struct TokenChange {
    /// Which token.
    pub id: CredentialId,
    /// What it is for.
    pub label: Option<Label>,
    /// What it may do.
    pub grant: Option<GrantChange>,
    /// Where it may be used from.
    pub networks: Option<Networks>,
    /// When it ends by itself.
    pub expiry: Option<Expiry>,
}

/// What a token is to hold from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantChange {
    /// These scopes, and no longer what its account holds.
    Scopes(Scopes),
    /// Whatever its account holds, in the place of scopes of its own.
    Inherits,
    /// No longer what its account holds; scopes of its own stay.
    InheritsNot,
}

impl Authority {
    /// Changes a token. Where nothing is another than before, that is no change.
    pub async fn update_token(&self, permit: Permit, change: TokenChange) -> Result<TokenView, Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                let token = authority.open_token(&permit, change.id).await?;
                token.refuse_unmanageable()?;
                let changed = authority.changed(&token, &change)?;
                let (old, new) = difference(&token.record, &changed);
                let view = token.view(changed.clone()).await?;
                if new.is_empty() {
                    token.opened.transaction.abandon().await?;
                    return Ok(view);
                }
                token.opened.transaction.update_credential(&changed).await?;
                token.commit("token.update", json!({ "old": old, "new": new })).await?;
                Ok(view)
            })
            .await
    }

    /// The record as it is to be. What stays is not judged: it was given
    /// already, and the caller's own covers it.
    fn changed(&self, token: &OpenedToken, change: &TokenChange) -> Result<Record, Error> {
        let OpenedToken { opened, record, holder } = token;
        let caller = &opened.caller;
        let mut changed = record.clone();
        if let Some(label) = &change.label {
            changed.label = label.as_str().into();
        }
        let grant = change.grant.as_ref().map(|asked| granted(asked, &record.grant));
        if let Some(grant) = grant.filter(|grant| *grant != record.grant) {
            if let Grant::Explicit(scopes) = &grant {
                refuse_unknown(scopes, &opened.policy)?;
                // What is taken away from a token never comes to mean all that
                // its account holds.
                if scopes.is_empty() && self.rules.empty_scopes != EmptyScopes::None {
                    return Err(Error::ScopesWanted);
                }
            }
            delegation::bound_grant(&grant, &holder.account, caller, &opened.policy)?;
            changed.grant = grant;
        }
        if let Some(networks) = &change.networks {
            changed.networks = delegation::bound_networks(networks.clone(), caller)?;
        }
        if let Some(expiry) = change.expiry.filter(|expiry| *expiry != expiry_of(record)) {
            let expire_time = self.expire_time(expiry, opened.now).map_err(within_token)?;
            changed.expire_time = delegation::bound_expiry(expire_time, expiry != Expiry::Never, caller)?;
        }
        Ok(changed)
    }
}

fn granted(asked: &GrantChange, held: &Grant) -> Grant {
    match (asked, held) {
        (GrantChange::Inherits, _) => Grant::Inherits,
        (GrantChange::Scopes(scopes), _) | (GrantChange::InheritsNot, Grant::Explicit(scopes)) => {
            Grant::Explicit(scopes.clone())
        }
        (GrantChange::InheritsNot, Grant::Inherits) => Grant::Explicit(Scopes::NONE),
    }
}

fn expiry_of(record: &Record) -> Expiry {
    record.expire_time.map_or(Expiry::Never, Expiry::At)
}

/// The field's name where a whole token is sent.
fn within_token(error: Error) -> Error {
    match error {
        Error::InvalidExpiry { field: _, problem } => Error::InvalidExpiry { field: "token.expire_time", problem },
        other => other,
    }
}

/// What the audit trail tells: the fields that changed, as they were and as they
/// are.
fn difference(old: &Record, new: &Record) -> (Map<String, Value>, Map<String, Value>) {
    let (old, new) = (facts(old), facts(new));
    let changed: Vec<_> = facts_that_differ(&old, &new).collect();
    let only = |facts: Map<String, Value>| facts.into_iter().filter(|(name, _)| changed.contains(name)).collect();
    (only(old), only(new))
}

fn facts_that_differ<'a>(
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
) -> impl Iterator<Item = String> + 'a {
    old.iter().filter(|(name, value)| new.get(*name) != Some(value)).map(|(name, _)| name.clone())
}

fn facts(record: &Record) -> Map<String, Value> {
    let (inherits, scopes) = match &record.grant {
        Grant::Inherits => (true, Vec::new()),
        Grant::Explicit(scopes) => (false, scopes.iter().map(ToString::to_string).collect()),
    };
    let networks: Vec<_> = record.networks.iter().map(ToString::to_string).collect();
    let facts = [
        ("label", json!(&*record.label)),
        ("inherits_permissions", json!(inherits)),
        ("scopes", json!(scopes)),
        ("allowed_cidrs", json!(networks)),
        // Microseconds, as all times in the database.
        ("expire_time", json!(record.expire_time.map(Timestamp::as_micros))),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
