//! What is held in memory? Records, accounts and the policy, all as of one point
//! of the history: what was published last. One task writes ([`super::rounds`]);
//! everybody reads, without waiting, and takes nothing that was published in
//! between.
//!
//! The size is bounded in bytes; what is asked for least goes first.

use std::{
    collections::HashSet,
    mem::size_of,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering, fence},
    },
};

use arc_swap::{ArcSwapOption, Guard};
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter, sync::Cache as Bounded};
use smallvec::SmallVec;

use crate::{
    counter::Counter,
    domain::{
        account::Holder,
        id::{AccountKey, CredentialId},
        policy::Policy,
        record::Record,
        time::Timestamp,
    },
    store::{Fill, Head, Subject},
};

/// What an entry costs beside what it holds: its place in the cache, and what the
/// allocator adds to each of its ten parts or so. Measured.
const OVERHEAD: usize = 384;

/// What is known of some credentials, in the order in which they were asked for,
/// all of one point of the history.
#[derive(Debug)]
pub(super) struct View {
    /// The database's time.
    pub(super) now: Timestamp,
    // Borrowed rather than shared: a count of owners that every call writes to
    // would go from processor to processor.
    policy: Guard<Option<Arc<InForce>>>,
    /// None: there is no such credential.
    pub(super) known: SmallVec<[Option<Known>; 2]>,
}

/// A credential's record, and whom it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) record: Arc<Record>,
    pub(super) holder: Option<Arc<Holder>>,
}

impl View {
    /// What a fill says of these credentials.
    pub(super) fn of(fill: &Fill, ids: &[CredentialId], now: Timestamp) -> Self {
        let known = ids.iter().map(|id| {
            let record = fill.records.get(id)?.clone();
            let holder = record.account.and_then(|account| fill.holders.get(&account).cloned());
            Some(Known { record, holder })
        });
        let policy = Guard::from_inner(Some(Arc::new(InForce { number: 0, policy: fill.policy.clone() })));
        Self { now, policy, known: known.collect() }
    }

    /// The policy in force.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy.as_ref().expect("there is no view without a policy").policy
    }
}

/// What a look into the cache gave.
#[derive(Debug)]
pub(super) enum Look {
    /// All of it is there.
    Held(View),
    /// Something is not.
    Missing,
    /// It is being written: look again.
    Moving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Record(CredentialId),
    Holder(AccountKey),
}

#[derive(Clone, Debug)]
enum Entry {
    Record(Arc<Record>),
    // With the number of the policy that it was loaded under: another one has it
    // loaded anew.
    Holder(Arc<Holder>, u64),
}

/// The policy, and how many there were before it.
#[derive(Debug)]
struct InForce {
    number: u64,
    policy: Arc<Policy>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        let content = match entry {
            Entry::Record(record) => size_of::<Record>() + record.heap_bytes(),
            Entry::Holder(holder, _) => size_of::<Holder>() + holder.heap_bytes(),
        };
        (OVERHEAD + content) as u64
    }
}

/// Counts what has to go.
#[derive(Clone, Debug)]
struct Evictions(Arc<Counter>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, _: Entry) {
        self.0.count();
    }
}

/// How much is held.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Records and accounts.
    pub entries: usize,
    /// What they take.
    pub bytes: u64,
    /// What they may take, in bytes.
    pub capacity: u64,
    /// How many had to go for others.
    pub evictions: u64,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Bounded<Key, Entry, Bytes, DefaultHashBuilder, Evictions>,
    evictions: Arc<Counter>,
    policy: ArcSwapOption<InForce>,
    // How many policies there were.
    policies: AtomicU64,
    // How often it was published, twice: odd while it is being written.
    publication: AtomicU64,
    // The revision that all of it reflects.
    revision: AtomicI64,
}

impl Cache {
    /// Holds up to `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        // An estimate for the cache's own tables; they grow.
        let items = usize::try_from(bytes / 2_048).unwrap_or(usize::MAX).max(16);
        let evictions = Arc::<Counter>::default();
        Self {
            entries: Bounded::with(items, bytes, Bytes, DefaultHashBuilder::default(), Evictions(evictions.clone())),
            evictions,
            policy: ArcSwapOption::empty(),
            policies: AtomicU64::new(0),
            publication: AtomicU64::new(0),
            revision: AtomicI64::new(-1),
        }
    }

    /// How much is held.
    pub(super) fn size(&self) -> Size {
        Size {
            entries: self.entries.len(),
            bytes: self.entries.weight(),
            capacity: self.entries.capacity(),
            evictions: self.evictions.total(),
        }
    }

    /// The revision that all of it reflects, or is about to.
    pub(super) fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// What is known of these credentials, if all of it is held, and `now` gives
    /// the time for it: where that gives none, what is held does not count.
    pub(super) fn look(&self, ids: &[CredentialId], now: impl FnOnce() -> Option<Timestamp>) -> Look {
        let before = self.publication.load(Ordering::Acquire);
        if before % 2 == 1 {
            return Look::Moving;
        }
        let Some(now) = now() else {
            return Look::Missing;
        };
        let view = self.view(ids, now);
        // Pairs with the writer's first step: whoever saw anything that it wrote
        // since sees that it wrote.
        fence(Ordering::Acquire);
        match view {
            _ if self.publication.load(Ordering::Relaxed) != before => Look::Moving,
            Some(view) => Look::Held(view),
            None => Look::Missing,
        }
    }

    fn view(&self, ids: &[CredentialId], now: Timestamp) -> Option<View> {
        let policy = self.policy.load();
        let number = policy.as_ref()?.number;
        let known = ids.iter().map(|id| {
            let Some(Entry::Record(record)) = self.entries.get(&Key::Record(*id)) else {
                return None;
            };
            let holder = match record.account {
                None => None,
                Some(account) => match self.entries.get(&Key::Holder(account)) {
                    Some(Entry::Holder(holder, under)) if under == number => Some(holder),
                    _ => return None,
                },
            };
            Some(Some(Known { record, holder }))
        });
        let known = known.collect::<Option<_>>()?;
        Some(View { now, policy, known })
    }

    /// Publishes the state at `head`, after whose predecessor these changed. For
    /// the one task that writes.
    pub(super) fn publish<'a>(&self, head: Head, changed: impl IntoIterator<Item = &'a Subject>) {
        self.publication.fetch_add(1, Ordering::AcqRel);
        for subject in changed {
            match subject {
                Subject::Credential(id) => drop(self.entries.remove(&Key::Record(*id))),
                Subject::Account(key) => drop(self.entries.remove(&Key::Holder(*key))),
                // And with it every account that was loaded under it.
                Subject::Policy => self.policy.store(None),
                // Nothing that is held here depends on them.
                Subject::Keys => {}
            }
        }
        self.revision.store(head.revision, Ordering::Release);
        self.publication.fetch_add(1, Ordering::Release);
    }

    /// Drops everything, and publishes the state at `head`. For the one task that
    /// writes.
    pub(super) fn start_over(&self, head: Head) {
        self.publication.fetch_add(1, Ordering::AcqRel);
        self.entries.clear();
        self.policy.store(None);
        self.revision.store(head.revision, Ordering::Release);
        self.publication.fetch_add(1, Ordering::Release);
    }

    /// Holds what was loaded, but for what changed since: it is then as of what
    /// was published last. For the one task that writes.
    pub(super) fn hold(&self, fill: &Fill, changed: &HashSet<Subject>) {
        for (id, record) in &fill.records {
            if !changed.contains(&Subject::Credential(*id)) {
                self.entries.insert(Key::Record(*id), Entry::Record(record.clone()));
            }
        }
        if changed.contains(&Subject::Policy) {
            return;
        }
        let number = match &*self.policy.load() {
            Some(held) if held.policy.document() == fill.policy.document() => held.number,
            _ => {
                let number = self.policies.fetch_add(1, Ordering::Relaxed);
                self.policy.store(Some(Arc::new(InForce { number, policy: fill.policy.clone() })));
                number
            }
        };
        for (key, holder) in &fill.holders {
            if !changed.contains(&Subject::Account(*key)) {
                self.entries.insert(Key::Holder(*key), Entry::Holder(holder.clone(), number));
            }
        }
    }

    /// Has a record loaded anew when it is next asked for: something was added to
    /// it that is no change. For the one task that writes.
    pub(super) fn forget(&self, id: CredentialId) {
        self.entries.remove(&Key::Record(id));
    }
}
