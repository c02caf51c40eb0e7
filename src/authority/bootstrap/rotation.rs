//! How is the master key replaced? A new one is added to the ring's file, the
//! file is given to every replica, and the key is named current, as a change.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use zeroize::Zeroizing;

use super::{
    Error, event,
    files::{Existing, read_private, write_private},
    keys::{confirmed, ring_of},
    signing::reseal,
};
use crate::{
    domain::{
        keys::{KeyId, KeyRing},
        time::Timestamp,
    },
    random,
    store::{Change, Lock, SigningKeyRecord, Snapshot, Store, Subject},
};

/// A master key, as the file and the database tell of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// Whether the file has it.
    pub in_file: bool,
    /// Whether the database names it for new work.
    pub current: bool,
    /// Whether the file has another key under this name than the database knows.
    pub contradicts: bool,
    /// How many live secrets have their fingerprint under it.
    pub secrets: u64,
}

/// All the keys that anybody knows of, and how many live secrets have no
/// fingerprint at all.
#[derive(Clone, Debug)]
pub struct KeyStates {
    /// By their names.
    pub keys: BTreeMap<String, KeyState>,
    /// Live secrets without a fingerprint.
    pub secrets_without: u64,
    /// The keys that sign, the newest first.
    pub signing: Vec<SigningKeyRecord>,
}

/// What the file and the database say of the master keys.
pub async fn list_keys(store: &Store, path: &Path) -> Result<KeyStates, Error> {
    let snapshot = store.snapshot().await?;
    let mut states = states(&snapshot, path).await?;
    let now = snapshot.now().await?;
    let secrets = snapshot.secrets_by_key(now).await?;
    snapshot.end().await?;
    for (key, count) in secrets {
        match key {
            Some(key) => states.keys.entry(key.to_string()).or_default().secrets = count,
            None => states.secrets_without = count,
        }
    }
    Ok(states)
}

/// The same, and nothing is counted: that takes as long as there are secrets.
pub async fn compare_keys(store: &Store, path: &Path) -> Result<KeyStates, Error> {
    let snapshot = store.snapshot().await?;
    let states = states(&snapshot, path).await?;
    snapshot.end().await?;
    Ok(states)
}

async fn states(snapshot: &Snapshot, path: &Path) -> Result<KeyStates, Error> {
    let known = snapshot.known_keys().await?;
    let signing = snapshot.signing_keys().await?;
    let mut states = KeyStates { keys: BTreeMap::new(), secrets_without: 0, signing };
    let ring = ring_of(read_private(path)?, path)?.unwrap_or_default();
    for key in ring.iter() {
        let state = states.keys.entry(key.id().to_string()).or_default();
        state.in_file = true;
        state.contradicts = known.get(key.id()).is_some_and(|known| !known.check_value.matches(key.check_value()));
    }
    for key in &known.former {
        states.keys.entry(key.id.to_string()).or_default();
    }
    if let Some(current) = &known.current {
        states.keys.entry(current.id.to_string()).or_default().current = true;
    }
    Ok(states)
}

/// A key that was added to the ring's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its name.
    pub id: KeyId,
    /// The database's current key, where the file lacks that.
    pub lacks: Option<KeyId>,
}

/// Adds a new key to the ring's file, under a name that was never used. Nothing
/// uses it yet.
pub async fn add_key(store: &Store, path: &Path, id: Option<KeyId>) -> Result<Added, Error> {
    let transaction = store.begin().await?;
    // Whoever adds or promotes one beside this waits here.
    transaction.lock_policy(Lock::Exclusive).await?;
    let known = transaction.known_keys().await?;
    let text = read_private(path)?;
    let ring = match ring_of(text.clone(), path)? {
        None => KeyRing::default(),
        Some(ring) => confirmed(Some(ring), &known, path)?,
    };
    let is_taken = |id: &KeyId| ring.get(id).is_some() || known.get(id).is_some();
    let id = match id {
        Some(id) if is_taken(&id) => return Err(Error::KeyIdTaken(id.to_string())),
        Some(id) => id,
        None => free_id(transaction.now().await?, is_taken),
    };

    let line = KeyRing::line(&id, &Zeroizing::new(random::bytes()));
    match text {
        None => write_private(path, &line, Existing::Refuse)?,
        Some(text) => {
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            let longer = Zeroizing::new([text.as_str(), end, line.as_str()].concat());
            write_private(path, &longer, Existing::Amend)?;
        }
    }
    // The file alone was changed.
    transaction.abandon().await?;
    let lacks = known.current.map(|current| current.id).filter(|current| ring.get(current).is_none());
    Ok(Added { id, lacks })
}

/// Names a key of the ring's file the current one: all replicas use it for new
/// work from now on. Tells whether it was another before.
pub async fn promote_key(store: &Store, path: &Path, id: &KeyId) -> Result<bool, Error> {
    let transaction = store.begin().await?;
    transaction.lock_policy(Lock::Exclusive).await?;
    let known = transaction.known_keys().await?;
    let ring = confirmed(ring_of(read_private(path)?, path)?, &known, path)?;
    let Some(key) = ring.get(id) else {
        return Err(Error::NoSuchKey { id: id.to_string(), path: path.to_owned() });
    };
    let from = known.current.map(|current| current.id.to_string());
    if from.as_deref() == Some(id.as_str()) {
        transaction.abandon().await?;
        return Ok(false);
    }
    transaction.name_current_key(key).await?;
    reseal(&transaction, &ring, key).await?;
    let mut event = event("key.promote", id.as_str());
    event.detail = serde_json::json!({ "from": from, "to": id.as_str() });
    transaction.commit(Change::new([Subject::Keys], event)).await?;
    Ok(true)
}

/// The day's date, with a number where that is taken.
fn free_id(now: Timestamp, is_taken: impl Fn(&KeyId) -> bool) -> KeyId {
    let time = UNIX_EPOCH + Duration::from_micros(now.as_micros().unsigned_abs());
    let date = humantime::format_rfc3339_seconds(time).to_string();
    let date = date.split('T').next().unwrap_or_default();
    let names = (1_u64..).map(|number| match number {
        1 => date.to_owned(),
        number => format!("{date}-{number}"),
    });
    names.filter_map(KeyId::new).find(|id| !is_taken(id)).expect("numbers do not run out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dates_that_are_not_taken() {
        let now = Timestamp::from_micros(1_764_028_800_000_000).expect("in range");
        assert_eq!(free_id(now, |_| false).as_str(), "2025-11-25");
        let taken = ["2025-11-25", "2025-11-25-2"];
        assert_eq!(free_id(now, |id| taken.contains(&id.as_str())).as_str(), "2025-11-25-3");
    }
}
