//! Which public keys verify the tokens of sessions? Open to all, and so told from
//! memory: the database is asked once a second, however many ask for them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::Error;
use crate::{
    domain::signing::jwks,
    store::{self, Store},
};

/// How old the keys may be that are told.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The public keys as they were last read, or that they could not be.
#[derive(Clone, Debug, Default)]
pub(super) struct Jwks(Arc<Mutex<Option<Read>>>);

#[derive(Debug)]
struct Read {
    time: Instant,
    keys: Result<Arc<str>, Arc<store::Error>>,
}

impl Jwks {
    /// The keys that verify what lives now, as a JSON Web Key Set.
    pub(super) async fn get(&self, store: &Store) -> Result<Arc<str>, Error> {
        // One reads for all that wait.
        let mut last = self.0.clone().lock_owned().await;
        if let Some(read) = last.as_ref().filter(|read| read.time.elapsed() < MAX_AGE) {
            return read.keys.clone().map_err(Error::Unconfirmed);
        }
        let store = store.clone();
        // To its end, even where the caller is cancelled: else whoever cancels has
        // the next one read again.
        store::detached(async move {
            // What the read is to show at least is what was there by then.
            let time = Instant::now();
            let keys = read(&store).await.map_err(Arc::new);
            last.insert(Read { time, keys }).keys.clone().map_err(Error::Unconfirmed)
        })
        .await
    }
}

async fn read(store: &Store) -> Result<Arc<str>, store::Error> {
    let database = store.clone();
    store
        .read(async move {
            let snapshot = database.snapshot().await?;
            let (keys, now) = (snapshot.signing_keys().await?, snapshot.now().await?);
            snapshot.end().await?;
            let verify = keys.iter().filter(|key| key.verifies(now)).map(|key| &key.public);
            Ok(jwks(verify).into())
        })
        .await
}
