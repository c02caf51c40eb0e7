//! Which keys are at hand? The keys in use, replaced as a whole while the
//! service runs: whoever reads them sees one state or the next.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use crate::domain::keys::Keys;

/// The keys in use now.
#[derive(Debug)]
pub struct KeysAtHand {
    keys: ArcSwap<Keys>,
    outdated: Notify,
}

impl KeysAtHand {
    /// Begins with these.
    pub fn new(keys: Keys) -> Self {
        Self { keys: ArcSwap::from_pointee(keys), outdated: Notify::new() }
    }

    /// The keys as they are now, to be used at once: not held while waiting.
    pub fn now(&self) -> Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// Puts others in their place.
    pub fn replace(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
    }

    /// The database may name another key: somebody is to look.
    pub fn look_again(&self) {
        self.outdated.notify_one();
    }

    /// Waits until somebody is to look.
    pub async fn outdated(&self) {
        self.outdated.notified().await;
    }
}
