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

/// What was found of the key that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningKeyState {
    /// It is this old.
    Good(Duration),
    /// One was made, for this reason.
    Made(SigningKeyId, NewKeyReason),
    /// Others have a newer master key, and see to it.
    Others,
}

/// Sees to it that there is a signing key that can be used, and that is younger
/// than `lifetime`.
pub async fn ensure_signing_key(store: &Store, keys: &Keys, lifetime: Duration) -> Result<SigningKeyState, Error> {
    let snapshot = store.snapshot().await?;
    let found = look(&snapshot, keys, lifetime).await?;
    snapshot.end().await?;
    match found {
        Found::Good(age) => return Ok(SigningKeyState::Good(age)),
        Found::Others => return Ok(SigningKeyState::Others),
        Found::Wanted(_) => {}
    }

    let transaction = store.begin().await?;
    // Whoever looks beside this one waits here, and then finds the new key. Those
    // who sign hold it shared: nobody signs with a key that was replaced.
    transaction.lock_policy(Lock::Exclusive).await?;
    let found = look(&transaction, keys, lifetime).await?;
    let Found::Wanted(reason) = found else {
        transaction.abandon().await?;
        return Ok(if let Found::Good(age) = found { SigningKeyState::Good(age) } else { SigningKeyState::Others });
    };
    let id = replace(transaction, keys.current()?, reason).await?;
    Ok(SigningKeyState::Made(id, reason))
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

/// What a look found.
enum Found {
    Good(Duration),
    Wanted(NewKeyReason),
    Others,
}

/// Whether a signing key is to be made, and why.
async fn look(snapshot: &Snapshot, keys: &Keys, lifetime: Duration) -> Result<Found, Error> {
    // Where others have a newer master key, they can open what this one cannot.
    if !is_databases(snapshot, keys).await? {
        return Ok(Found::Others);
    }
    let Some(SigningKeyRecord { public, sealed, create_time, retired: _ }) = snapshot.current_signing_key().await?
    else {
        return Ok(Found::Wanted(NewKeyReason::First));
    };
    if sealed.and_then(|sealed| keys.ring().open_signing_key(&public, &sealed)).is_none() {
        return Ok(Found::Wanted(NewKeyReason::Unreadable));
    }
    let now = snapshot.now().await?;
    if now >= create_time.checked_add(lifetime).unwrap_or(Timestamp::MAX) {
        return Ok(Found::Wanted(NewKeyReason::TooOld));
    }
    let age = now.as_micros().saturating_sub(create_time.as_micros());
    Ok(Found::Good(Duration::from_micros(u64::try_from(age).unwrap_or_default())))
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
