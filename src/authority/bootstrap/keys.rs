//! The ring of master keys, which must be the database's.

use std::{io, path::Path};

use zeroize::Zeroizing;

use super::{
    Error, event,
    files::{Existing, failed, read_private, write_private},
};
use crate::{
    domain::keys::{KeyId, KeyRing, Keys, MasterKey},
    random,
    store::{Change, CurrentKey, Lock, Store, Subject},
};

/// The name of the first master key.
const FIRST_KEY: &str = "k1";

/// Loads the ring of master keys and sees that it is the database's; in a new
/// database, names its first key current, making one where there is no file.
pub async fn load_keys(store: &Store, path: &Path) -> Result<Keys, Error> {
    let snapshot = store.snapshot().await?;
    let current = snapshot.current_key().await?;
    snapshot.end().await?;
    if let Some(current) = current {
        return the_databases(&current, path);
    }

    let transaction = store.begin().await?;
    // Whoever starts beside this one waits here, and then finds a key.
    transaction.lock_policy(Lock::Exclusive).await?;
    if let Some(current) = transaction.current_key().await? {
        transaction.abandon().await?;
        return the_databases(&current, path);
    }
    let ring = match read_ring(path)? {
        Some(ring) => ring,
        None => make_ring(path)?,
    };
    let first = ring.first();
    let current = CurrentKey { id: first.id().clone(), check_value: first.check_value() };
    transaction.insert_current_key(first).await?;
    transaction.commit(Change::new([Subject::Keys], event("key.name-current", current.id.as_str()))).await?;
    the_databases(&current, path)
}

/// The ring of the file, if its key of that name is the database's.
fn the_databases(current: &CurrentKey, path: &Path) -> Result<Keys, Error> {
    let (id, path) = (current.id.to_string(), path.to_owned());
    let Some(ring) = read_ring(&path)? else {
        return Err(Error::KeyFileMissing { id, path });
    };
    match ring.get(&current.id).map(MasterKey::check_value) {
        None => Err(Error::KeyMissing { id, path }),
        Some(value) if value != current.check_value => Err(Error::OtherKey { id, path }),
        Some(_) => Keys::new(ring, current.id.clone()).ok_or(Error::KeyMissing { id, path }),
    }
}

fn read_ring(path: &Path) -> Result<Option<KeyRing>, Error> {
    let Some(text) = read_private(path)? else {
        return Ok(None);
    };
    KeyRing::parse(&text).map(Some).map_err(|source| Error::Ring { path: path.to_owned(), source })
}

fn make_ring(path: &Path) -> Result<KeyRing, Error> {
    let id = KeyId::new(FIRST_KEY).expect("the name is well-formed");
    let line = KeyRing::line(&id, &Zeroizing::new(random::bytes()));
    write_private(path, &line, Existing::Keep)?;
    // What counts is what the file holds: another may have made it first.
    let ring = read_ring(path)?;
    ring.ok_or_else(|| failed("read", path)(io::ErrorKind::NotFound.into()))
}
