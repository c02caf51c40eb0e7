//! Whose end is to move on? Desktop sessions go on while they are used: a use in
//! the second half of the window moves the expiry, as a change.
//!
//! Nobody waits for it. What finds no room, or fails, comes again with the
//! session's next use; whether it goes on is looked at once more under its lock.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use crate::{
    domain::{credential::Kind, id::CredentialId, record::Record, session::Sliding, time::Timestamp},
    store::Store,
    telemetry::told_of,
};

/// So many wait, each for a change of its own.
const MAX_WAITING: usize = 256;
/// How soon a database that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Moves the ends of sessions.
#[derive(Clone, Debug)]
pub(super) struct Extensions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    sliding: Sliding,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    // Each stays until it was tried: a use meanwhile brings it no second time.
    sessions: BTreeSet<CredentialId>,
    // Whether a task is at work.
    is_worked_on: bool,
}

/// The task's place, which is given back even where it panics.
struct Place(Weak<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(extensions) = self.0.upgrade() {
            extensions.waiting().is_worked_on = false;
        }
    }
}

impl Extensions {
    pub(super) fn new(store: Store, sliding: Sliding) -> Self {
        Self(Arc::new(Inner { store, sliding, waiting: Mutex::default() }))
    }

    /// A credential was used: where it is a desktop session in the second half of
    /// its window, its end is moved.
    pub(super) fn offer(&self, record: &Record, now: Timestamp) {
        if record.kind != Kind::DesktopSession
            || self.0.sliding.moved(record.create_time, record.expire_time, now).is_none()
        {
            return;
        }
        // Whoever holds it works for all: this is for another time.
        let Ok(mut waiting) = self.0.waiting.try_lock() else {
            return;
        };
        if waiting.sessions.len() >= MAX_WAITING || !waiting.sessions.insert(record.id) {
            return;
        }
        if !waiting.is_worked_on {
            waiting.is_worked_on = true;
            tokio::spawn(work(Arc::downgrade(&self.0)));
        }
    }
}

/// Moves one end after the other, until none waits. After a failure it keeps
/// nothing alive: the service may have ended.
async fn work(extensions: Weak<Inner>) {
    let mut place = Place(extensions);
    while let Some(extensions) = place.0.upgrade() {
        let Some(session) = extensions.waiting().next() else {
            place.0 = Weak::new();
            return;
        };
        let extended = extensions.store.extend_session(session, extensions.sliding).await;
        extensions.waiting().sessions.remove(&session);
        drop(extensions);
        if let Err(error) = extended {
            tracing::warn!(error = told_of(&error), "the end of a session was not moved");
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The next one. Where there is none, the task is to end: who comes next
    /// starts another.
    fn next(&mut self) -> Option<CredentialId> {
        let next = self.sessions.first().copied();
        self.is_worked_on = next.is_some();
        next
    }
}
