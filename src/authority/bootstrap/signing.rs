//! The key that signs the tokens of sessions: made where there is none, replaced
//! where it is too old, or where its private half is lost with the master key that
//! it was sealed under.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Error, event};
use crate::{
    domain::{
        keys::{Keys, MasterKey},
        signing::{SigningKey, SigningKeyId},
        time::Timestamp,
        web_token::MAX_LIFETIME,
    },
    random,
    store::{Change, Lock, SigningKeyRecord, Snapshot, Store, Subject, Transaction},
};

/// Why a signing key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKeyReason {
    /// There was none.
    First,
    /// The one before it was older than the settings allow.
    TooOld,
    /// The one before it cannot be opened: it was sealed under a master key that is
    /// lost.
    Unreadable,
    /// An operator wanted it.
    Asked,
}

impl NewKeyReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::TooOld => "too old",
            Self::Unreadable => "unreadable",
            Self::Asked => "asked",
        }
    }
}

/// Sees to it that there is a signing key that can be used, and that is younger
/// than `lifetime`. Tells which one it made, and why.
pub async fn ensure_signing_key(
    store: &Store,
    keys: &Keys,
    lifetime: Duration,
) -> Result<Option<(SigningKeyId, NewKeyReason)>, Error> {
    let snapshot = store.snapshot().await?;
    let wanted = wanted(&snapshot, keys, lifetime).await?;
    snapshot.end().await?;
    if wanted.is_none() {
        return Ok(None);
    }

    let transaction = store.begin().await?;
    // Whoever looks beside this one waits here, and then finds the new key. Those
    // who sign hold it shared: nobody signs with a key that was replaced.
    transaction.lock_policy(Lock::Exclusive).await?;
    let Some(reason) = self::wanted(&transaction, keys, lifetime).await? else {
        transaction.abandon().await?;
        return Ok(None);
    };
    let id = replace(transaction, keys.current()?, reason).await?;
    Ok(Some((id, reason)))
}

/// Makes another signing key, which signs from now on; what the one before it has
/// signed can be verified until it expires.
pub async fn rotate_signing_key(store: &Store, keys: &Keys) -> Result<SigningKeyId, Error> {
    let transaction = store.begin().await?;
    transaction.lock_policy(Lock::Exclusive).await?;
    if !is_databases(&transaction, keys).await? {
        return Err(crate::domain::keys::NoCurrentKey.into());
    }
    replace(transaction, keys.current()?, NewKeyReason::Asked).await
}

/// Seals what signs now under a master key that becomes current. What cannot be
/// opened is left: it is replaced when a server finds it.
pub(super) async fn reseal(
    transaction: &Transaction,
    ring: &crate::domain::keys::KeyRing,
    to: &MasterKey,
) -> Result<(), Error> {
    let Some(SigningKeyRecord { public, sealed, .. }) = transaction.current_signing_key().await? else {
        return Ok(());
    };
    let opened = sealed.and_then(|sealed| ring.open_signing_key(&public, &sealed));
    let Some(key) = opened else {
        tracing::warn!(kid = %public.id(), "the signing key cannot be opened, and is not sealed anew");
        return Ok(());
    };
    Ok(transaction.reseal_signing_key(public.id(), to.seal_signing_key(&key)).await?)
}

/// Whether a signing key is to be made, and why.
async fn wanted(snapshot: &Snapshot, keys: &Keys, lifetime: Duration) -> Result<Option<NewKeyReason>, Error> {
    // Where others have a newer master key, they can open what this one cannot.
    if !is_databases(snapshot, keys).await? {
        return Ok(None);
    }
    let Some(SigningKeyRecord { public, sealed, create_time, retired: _ }) = snapshot.current_signing_key().await?
    else {
        return Ok(Some(NewKeyReason::First));
    };
    if sealed.and_then(|sealed| keys.ring().open_signing_key(&public, &sealed)).is_none() {
        return Ok(Some(NewKeyReason::Unreadable));
    }
    let ends = create_time.checked_add(lifetime).unwrap_or(Timestamp::MAX);
    Ok((snapshot.now().await? >= ends).then_some(NewKeyReason::TooOld))
}

/// Whether the master key that is current here is the one that the database names.
async fn is_databases(snapshot: &Snapshot, keys: &Keys) -> Result<bool, Error> {
    let current = snapshot.known_keys().await?.current;
    Ok(keys.current().is_ok_and(|own| current.is_some_and(|current| current.id == *own.id())))
}

async fn replace(transaction: Transaction, master: &MasterKey, reason: NewKeyReason) -> Result<SigningKeyId, Error> {
    let key = SigningKey::from_seed(&Zeroizing::new(random::bytes()));
    let former = transaction.current_signing_key().await?;
    let now = transaction.now().await?;
    let public = key.public();
    transaction.replace_signing_key(public, master.seal_signing_key(&key), now, MAX_LIFETIME).await?;
    let mut event = event("signing-key.create", public.id().as_str());
    event.detail = serde_json::json!({
        "reason": reason.as_str(),
        "instead_of": former.map(|former| former.public.id().to_string()),
    });
    transaction.commit(Change::new([Subject::Keys], event)).await?;
    Ok(public.id().clone())
}
