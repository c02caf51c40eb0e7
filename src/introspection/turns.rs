//! Whose turn is it? One proof by bcrypt at a time for each stored secret, and for
//! all imported ones that share a hint, so that guesses at one of them keep nobody
//! from proving another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::id::SecretId;

/// So many may wait for their turn at one secret: its owner's own calls with
/// different forms of it never come to that.
const MAX_WAITING: usize = 16;

/// What is being proved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// One secret.
    Secret(SecretId),
    /// Whichever imported one has this hint.
    Hint(Box<str>),
}

/// The turns at all that are being proved.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Target, Waiting>>>);

#[derive(Debug)]
struct Waiting {
    turn: Arc<Semaphore>,
    count: usize,
}

/// A turn, or the wait for one.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    target: Target,
}

impl Turns {
    /// Waits for a turn; none where too many wait already. It lasts as long as
    /// both that it gives are kept.
    pub(super) async fn take(&self, target: Target) -> Option<(OwnedSemaphorePermit, Turn)> {
        let (turn, place) = {
            let mut turns = self.all();
            let waiting =
                turns.entry(target.clone()).or_insert_with(|| Waiting { turn: Arc::new(Semaphore::new(1)), count: 0 });
            if waiting.count > MAX_WAITING {
                return None;
            }
            waiting.count += 1;
            (waiting.turn.clone(), Turn { turns: self.clone(), target })
        };
        let turn = turn.acquire_owned().await.ok()?;
        Some((turn, place))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Target, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.all();
        if let Some(waiting) = turns.get_mut(&self.target) {
            waiting.count -= 1;
            if waiting.count == 0 {
                turns.remove(&self.target);
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
        let (one, other) =
            (Target::Secret(SecretId::from_uuid(Uuid::from_u128(1))), Target::Hint("utm_01234567".into()));
        let first = turns.take(one.clone()).await.expect("nobody is there");
        assert!(turns.take(other).await.is_some(), "others' turns are apart");

        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                tokio::spawn({
                    let (turns, one) = (turns.clone(), one.clone());
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
