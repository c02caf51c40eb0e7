//! The ring of master keys, which must be the database's: when the service
//! starts, and while it runs.

use std::{io, path::Path};

use zeroize::Zeroizing;

use super::{
    Error, event,
    files::{Existing, failed, read, read_private, write_private},
};
use crate::{
    domain::keys::{KeyId, KeyRing, Keys, KnownKeys},
    random,
    store::{self, Change, Lock, Store, Subject},
};

/// The name of the first master key.
const FIRST_KEY: &str = "k1";

/// Loads the ring of master keys and sees that it is the database's; in a new
/// database, names its first key current, making one where there is no file.
pub async fn load_keys(store: &Store, path: &Path) -> Result<Keys, Error> {
    let snapshot = store.snapshot().await?;
    let known = snapshot.known_keys().await?;
    snapshot.end().await?;
    if known.current.is_some() {
        return the_databases(&known, path);
    }

    let transaction = store.begin().await?;
    // Whoever starts beside this one waits here, and then finds a key.
    transaction.lock_policy(Lock::Exclusive).await?;
    let known = transaction.known_keys().await?;
    if known.current.is_some() {
        transaction.abandon().await?;
        return the_databases(&known, path);
    }
    let ring = match ring_of(read_private(path)?, path)? {
        Some(ring) => ring,
        None => make_ring(path)?,
    };
    let first = ring.first().ok_or_else(|| failed("read", path)(io::ErrorKind::UnexpectedEof.into()))?;
    transaction.name_current_key(first).await?;
    let known_then = transaction.known_keys().await?;
    transaction.commit(Change::new([Subject::Keys], event("key.name-current", first.id().as_str()))).await?;
    the_databases(&known_then, path)
}

/// What a look at the file and the database brought.
#[derive(Debug)]
pub struct Reread {
    /// The keys to use from now on.
    pub keys: Keys,
    /// What is wrong with the file.
    pub problem: Option<Error>,
}

/// Looks again which keys the file has, and which one the database names. What
/// is wrong with the file takes none away that is at hand and still the
/// database's.
pub async fn reread_keys(store: &Store, path: &Path, at_hand: &Keys) -> Result<Reread, store::Error> {
    let database = store.clone();
    let known = store
        .read(async move {
            let snapshot = database.snapshot().await?;
            let known = snapshot.known_keys().await?;
            snapshot.end().await?;
            Ok::<_, store::Error>(known)
        })
        .await?;
    let file = read(path).and_then(|text| ring_of(text, path)).and_then(|ring| confirmed(ring, &known, path));
    Ok(match file {
        Ok(ring) => Reread { keys: at_hand.renewed(Some(&ring), &known), problem: lack(&ring, &known, path) },
        Err(problem) => Reread { keys: at_hand.renewed(None, &known), problem: Some(problem) },
    })
}

/// The keys of the file, if they are the database's and its current one is
/// among them.
fn the_databases(known: &KnownKeys, path: &Path) -> Result<Keys, Error> {
    let ring = confirmed(ring_of(read_private(path)?, path)?, known, path)?;
    match lack(&ring, known, path) {
        None => Ok(Keys::new(&ring, known)),
        Some(problem) => Err(problem),
    }
}

/// A ring that there is, and that has no other key under a name that the
/// database knows: what is under that name would be taken for wrong.
pub(super) fn confirmed(ring: Option<KeyRing>, known: &KnownKeys, path: &Path) -> Result<KeyRing, Error> {
    let Some(ring) = ring else {
        let id = known.current.as_ref().map(|current| current.id.to_string()).unwrap_or_default();
        return Err(Error::KeyFileMissing { id, path: path.to_owned() });
    };
    match known.contradicted_by(&ring) {
        None => Ok(ring),
        Some(id) => Err(Error::OtherKey { id: id.to_string(), path: path.to_owned() }),
    }
}

fn lack(ring: &KeyRing, known: &KnownKeys, path: &Path) -> Option<Error> {
    let id = &known.current.as_ref()?.id;
    let lacks = ring.get(id).is_none();
    lacks.then(|| Error::KeyMissing { id: id.to_string(), path: path.to_owned() })
}

/// The ring that a file's text is; none where there is no file.
pub(super) fn ring_of(text: Option<Zeroizing<String>>, path: &Path) -> Result<Option<KeyRing>, Error> {
    let ring = text.map(|text| KeyRing::parse(&text)).transpose();
    ring.map_err(|source| Error::Ring { path: path.to_owned(), source })
}

fn make_ring(path: &Path) -> Result<KeyRing, Error> {
    let id = KeyId::new(FIRST_KEY).expect("the name is well-formed");
    let line = KeyRing::line(&id, &Zeroizing::new(random::bytes()));
    write_private(path, &line, Existing::Keep)?;
    // What counts is what the file holds: another may have made it first.
    let ring = ring_of(read_private(path)?, path)?;
    ring.ok_or_else(|| failed("read", path)(io::ErrorKind::NotFound.into()))
}
