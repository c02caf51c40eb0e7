//! The settings' policy, applied where it is newer than the database's.

use std::sync::Arc;

use super::{Error, event};
use crate::{
    domain::policy::{Document, Policy},
    store::{Change, Lock, Store, Subject},
};

/// Applies the settings' policy where it is newer than the database's.
pub async fn apply_policy(store: &Store, document: Document) -> Result<Arc<Policy>, Error> {
    let policy = Arc::new(Policy::new(document)?);
    let snapshot = store.snapshot().await?;
    let in_force = snapshot.policy().await?;
    snapshot.end().await?;
    if !is_newer(&policy, &in_force)? {
        return Ok(in_force);
    }

    let transaction = store.begin().await?;
    // Somebody else may have applied one meanwhile.
    let in_force = transaction.lock_policy(Lock::Exclusive).await?;
    if !is_newer(&policy, &in_force)? {
        transaction.abandon().await?;
        return Ok(in_force);
    }
    let (own, theirs) = (policy.document().version, in_force.document().version);
    transaction.replace_policy(&policy).await?;
    let mut event = event("policy.apply", &own.to_string());
    event.detail = serde_json::json!({ "from": theirs, "to": own });
    transaction.commit(Change::new([Subject::Policy], event)).await?;
    tracing::info!(from = theirs, to = own, "policy applied");
    Ok(policy)
}

/// Whether the settings' policy is to replace the one in force.
fn is_newer(policy: &Policy, in_force: &Policy) -> Result<bool, Error> {
    let (own, theirs) = (policy.document().version, in_force.document().version);
    if own == theirs && policy.document() != in_force.document() {
        return Err(Error::PolicyDiffers(own));
    }
    if own < theirs {
        tracing::warn!(
            settings_version = own,
            database_version = theirs,
            "the database's policy is newer than the settings': the database's is in force"
        );
    }
    Ok(own > theirs)
}
