//! What was used since it was last written? Collected in memory, an entry for
//! each secret, and taken by whoever writes it down.
//!
//! It decides nothing. Its size is bounded: before the bound is reached, whoever
//! writes is told; over it, uses of further secrets are counted as lost until
//! what is there is taken.

use std::{
    collections::hash_map::Entry,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::{HashMap, HashMapExt as _};
use tokio::sync::Notify;

use crate::{
    domain::{id::SecretId, network::ClientAddress, time::Timestamp},
    store::SecretUses,
};

/// Secrets are spread over so many locks, each held for a look-up and a few
/// stores.
const SHARDS: usize = 64;
/// How many secrets each holds: all together 262,144, in 40 MB.
const EACH: usize = 4_096;
/// How many secrets in one of them are a reason to write soon.
const MANY: usize = EACH / 2;

/// Collects uses.
#[derive(Clone, Debug)]
pub struct Uses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: [Mutex<HashMap<SecretId, SecretUses>>; SHARDS],
    fills_up: Notify,
    lost: AtomicU64,
    // All that were lost, written, and could not be for the time being.
    all_lost: AtomicU64,
    written: AtomicU64,
    failures: AtomicU64,
}

/// What became of uses since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UseCounts {
    /// Uses that were written.
    pub written: u64,
    /// Secrets whose uses are still to be written.
    pub pending: usize,
    /// Uses that found no room.
    pub lost: u64,
    /// Batches that could not be written.
    pub failures: u64,
}

impl Uses {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            shards: std::array::from_fn(|_| Mutex::default()),
            fills_up: Notify::new(),
            lost: AtomicU64::new(0),
            all_lost: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }))
    }

    /// A secret was used.
    pub(super) fn note(&self, secret: SecretId, time: Timestamp, address: Option<ClientAddress>) {
        self.add(SecretUses { secret, count: 1, last_used_time: time, last_used_address: address });
    }

    /// Returns once half of the room was taken since it last returned.
    pub async fn fills_up(&self) {
        self.0.fills_up.notified().await;
    }

    /// Takes what was collected, in the order of secrets: neighbours are written
    /// together.
    pub fn take(&self) -> Vec<SecretUses> {
        let mut taken = Vec::new();
        for shard in &self.0.shards {
            let collected = {
                let mut shard = lock(shard);
                // As much is used in the next interval, most likely.
                let room = HashMap::with_capacity(shard.len());
                std::mem::replace(&mut *shard, room)
            };
            taken.extend(collected.into_values());
        }
        taken.sort_unstable_by_key(|uses| uses.secret);
        taken
    }

    /// Gives back what could not be written: it is taken again with what came
    /// since.
    pub fn give_back(&self, unwritten: impl IntoIterator<Item = SecretUses>) {
        unwritten.into_iter().for_each(|uses| self.add(uses));
    }

    /// These were written.
    pub fn note_written(&self, written: &[SecretUses]) {
        self.0.written.fetch_add(written.iter().map(|uses| uses.count).sum(), Ordering::Relaxed);
    }

    /// A batch could not be written.
    pub fn note_failure(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What became of uses.
    pub fn counts(&self) -> UseCounts {
        let Inner { shards, fills_up: _, lost: _, all_lost, written, failures } = &*self.0;
        UseCounts {
            written: written.load(Ordering::Relaxed),
            pending: shards.iter().map(|shard| lock(shard).len()).sum(),
            lost: all_lost.load(Ordering::Relaxed),
            failures: failures.load(Ordering::Relaxed),
        }
    }

    /// How many uses found no room since this was last asked.
    pub fn take_lost(&self) -> u64 {
        self.0.lost.swap(0, Ordering::Relaxed)
    }

    fn add(&self, new: SecretUses) {
        // The last bits of an id are random.
        let shard = usize::from(new.secret.uuid().as_bytes()[15]) % SHARDS;
        let mut shard = lock(&self.0.shards[shard]);
        let has_room = shard.len() < EACH;
        match shard.entry(new.secret) {
            Entry::Occupied(mut held) => {
                let held = held.get_mut();
                held.count = held.count.saturating_add(new.count);
                if held.last_used_time <= new.last_used_time {
                    held.last_used_time = new.last_used_time;
                    held.last_used_address = new.last_used_address;
                }
            }
            Entry::Vacant(place) if has_room => {
                place.insert(new);
                if shard.len() == MANY {
                    self.0.fills_up.notify_one();
                }
            }
            Entry::Vacant(_) => {
                self.0.lost.fetch_add(new.count, Ordering::Relaxed);
                self.0.all_lost.fetch_add(new.count, Ordering::Relaxed);
            }
        }
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    fn secret(number: u128) -> SecretId {
        SecretId::from_uuid(Uuid::from_u128(number))
    }

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).expect("in range")
    }

    fn address(text: &str) -> ClientAddress {
        text.parse().expect("an address")
    }

    fn one(uses: &Uses) -> SecretUses {
        let taken = uses.take();
        assert_eq!(taken.len(), 1, "{taken:?}");
        taken[0]
    }

    #[test]
    fn counts_add_up_and_the_latest_time_brings_its_address() {
        let uses = Uses::new();
        uses.note(secret(1), time(20), Some(address("10.0.0.2")));
        uses.note(secret(1), time(30), Some(address("10.0.0.3")));
        uses.note(secret(1), time(10), Some(address("10.0.0.1")));
        let expected = SecretUses {
            secret: secret(1),
            count: 3,
            last_used_time: time(30),
            last_used_address: Some(address("10.0.0.3")),
        };
        assert_eq!(one(&uses), expected);
        assert_eq!(uses.take(), [], "once is enough");

        uses.note(secret(1), time(40), Some(address("10.0.0.4")));
        uses.note(secret(1), time(50), None);
        assert_eq!(one(&uses).last_used_address, None, "the last use's address was not known");
    }

    #[test]
    fn what_was_given_back_is_taken_with_what_came_since() {
        let uses = Uses::new();
        uses.note(secret(1), time(10), Some(address("10.0.0.1")));
        uses.note(secret(2), time(10), None);
        let unwritten = uses.take();
        uses.note(secret(1), time(20), Some(address("10.0.0.2")));
        uses.give_back(unwritten);
        let taken = uses.take();
        let told: Vec<_> = taken.iter().map(|uses| (uses.count, uses.last_used_time)).collect();
        assert_eq!(told, [(2, time(20)), (1, time(10))]);
        assert_eq!(taken[0].last_used_address, Some(address("10.0.0.2")));
    }

    #[test]
    fn over_the_bound_new_secrets_are_lost_and_counted_and_held_ones_go_on() {
        let uses = Uses::new();
        let more_than_fit = SHARDS * EACH + 5;
        for number in 0..more_than_fit {
            uses.note(secret(number as u128), time(1), None);
        }
        uses.note(secret(0), time(2), None);
        assert_eq!((uses.take_lost(), uses.take_lost()), (5, 0));
        let full = uses.take();
        assert_eq!(full.len(), SHARDS * EACH);
        assert!(full.iter().any(|uses| uses.secret == secret(0) && uses.count == 2));

        uses.give_back(full);
        uses.note(secret(more_than_fit as u128), time(1), None);
        assert_eq!(uses.take_lost(), 1, "what was given back takes its room");
        uses.take();
        uses.note(secret(more_than_fit as u128), time(1), None);
        assert_eq!((uses.take().len(), uses.take_lost()), (1, 0));
    }

    #[test]
    fn whoever_writes_is_told_before_there_is_no_room() {
        let uses = Uses::new();
        let is_told = |uses: &Uses| uses.fills_up().now_or_never().is_some();
        let half = SHARDS * MANY;
        for number in 0..half - SHARDS {
            uses.note(secret(number as u128), time(1), None);
        }
        assert!(!is_told(&uses));
        for number in half - SHARDS..half {
            uses.note(secret(number as u128), time(1), None);
        }
        assert!(is_told(&uses));
        assert!(!is_told(&uses), "once");
    }

    #[test]
    fn none_is_lost_between_threads() {
        const THREADS: u64 = 4;
        const USES: u64 = 20_000;
        let uses = Uses::new();
        let taken: u64 = std::thread::scope(|scope| {
            let noting: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| (0..USES).for_each(|_| uses.note(secret(1), time(1), None))))
                .collect();
            let mut taken = 0;
            while noting.iter().any(|thread| !thread.is_finished()) {
                taken += uses.take().iter().map(|uses| uses.count).sum::<u64>();
            }
            taken
        });
        let rest: u64 = uses.take().iter().map(|uses| uses.count).sum();
        assert_eq!(taken + rest, THREADS * USES);
    }
}
