//! Whose turn is it? One proof by bcrypt at a time for each stored secret, so
//! that guesses at one of them keep nobody from proving another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::id::SecretId;

/// So many may wait for their turn at one secret: its owner's own calls with
/// different forms of it never come to that.
const MAX_WAITING: usize = 16;

/// The turns at all secrets that are being proved.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<SecretId, Waiting>>>);

#[derive(Debug)]
struct Waiting {
    turn: Arc<Semaphore>,
    count: usize,
}

/// A turn, or the wait for one.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    secret: SecretId,
}

impl Turns {
    /// Waits for a turn; none where too many wait already. It lasts as long as
    /// both that it gives are kept.
    pub(super) async fn take(&self, secret: SecretId) -> Option<(OwnedSemaphorePermit, Turn)> {
        let (turn, place) = {
            let mut turns = self.all();
            let waiting =
                turns.entry(secret).or_insert_with(|| Waiting { turn: Arc::new(Semaphore::new(1)), count: 0 });
            if waiting.count > MAX_WAITING {
                return None;
            }
            waiting.count += 1;
            (waiting.turn.clone(), Turn { turns: self.clone(), secret })
        };
        let turn = turn.acquire_owned().await.ok()?;
        Some((turn, place))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SecretId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.all();
        if let Some(waiting) = turns.get_mut(&self.secret) {
            waiting.count -= 1;
            if waiting.count == 0 {
                turns.remove(&self.secret);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_not_too_many_wait() {
        let turns = Turns::default();
        let (one, other) = (SecretId::from_uuid(Uuid::from_u128(1)), SecretId::from_uuid(Uuid::from_u128(2)));
        let first = turns.take(one).await.expect("nobody is there");
        assert!(turns.take(other).await.is_some(), "others' turns are apart");

        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                tokio::spawn({
                    let turns = turns.clone();
                    async move { turns.take(one).await.is_some() }
                })
            })
            .collect();
        while turns.all().get(&one).is_some_and(|waiting| waiting.count <= MAX_WAITING) {
            tokio::task::yield_now().await;
        }
        assert!(turns.take(one).await.is_none());
        drop(first);
        for turn in waiting {
            assert!(turn.await.expect("no panic"));
        }
        assert!(turns.all().is_empty(), "nothing is left behind");
    }
}
