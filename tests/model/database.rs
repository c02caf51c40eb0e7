//! The database as replicas see it: a head, a log of changes, two objects; those
//! who write; and what becomes of it from outside: its log is trimmed, an older
//! state of it is restored.

use crate::protocol::Protocol;

/// Within which bounds all interleavings are looked at.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a thing that may happen or not, by itself")]
pub(crate) struct Bounds {
    /// How many write, each once.
    pub(crate) writers: u8,
    /// How many introspections there are.
    pub(crate) calls: usize,
    /// Whether the log may be trimmed, once.
    pub(crate) trimmable: bool,
    /// Whether an earlier state may be restored, once.
    pub(crate) restorable: bool,
    /// Whether the cache may lose something, once.
    pub(crate) evictable: bool,
    /// Whether there are rounds where nobody waits.
    pub(crate) refreshed: bool,
}

/// The token, or its account.
pub(crate) type Object = usize;
/// How many objects there are.
pub(crate) const OBJECTS: usize = 2;
/// What each writer changes: in turn the token, its account, and the token again.
const WRITES: [Subjects; 3] = [0b01, 0b10, 0b01];
/// The first change, of both, and one by each writer.
const MAX_CHANGES: usize = 1 + WRITES.len();

/// Whom a change concerns: a bit for each object.
pub(crate) type Subjects = u8;
/// What an object is: a bit for the tag of each change that made it so.
pub(crate) type Value = u8;
/// What all objects are.
pub(crate) type Values = [Value; OBJECTS];

/// One point of a history. Each change has a tag of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    pub(crate) revision: u8,
    pub(crate) tag: u8,
}

/// A row of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub(crate) head: Head,
    pub(crate) subjects: Subjects,
}

/// Some changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Changes {
    rows: [Change; MAX_CHANGES],
    len: u8,
}

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        self.rows[usize::from(self.len)] = change;
        self.len += 1;
    }

    pub(crate) fn rows(&self) -> &[Change] {
        &self.rows[..usize::from(self.len)]
    }

    fn truncate(&mut self, len: u8) {
        let kept = &self.rows[..usize::from(len)];
        *self = kept.iter().copied().collect();
    }
}

impl FromIterator<Change> for Changes {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        let mut all = Self::default();
        changes.into_iter().for_each(|change| all.push(change));
        all
    }
}

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Writer {
    #[default]
    Idle,
    /// It has locked and changed what it changes, and has its revision: with
    /// head's lock, until the commit.
    Numbered(u8),
    /// Others see what it did.
    Committed,
    /// It was told so.
    Acknowledged,
}

/// What the database, or who works on it, does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Number(usize),
    Commit(usize),
    Acknowledge(usize),
    /// All of the log but head's row is removed.
    Trim,
    /// It is again as it was after so many changes.
    Restore(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    // All changes of this history, in the order of their commits.
    history: Changes,
    // The lowest revision that the log still has.
    kept: u8,
    writers: [Writer; WRITES.len()],
    // How many may write.
    writing: u8,
    // Whether it may still be trimmed and restored, once each.
    trimmable: bool,
    restorable: bool,
    // What it was since the beginning, for those who judge the answers.
    moments: [Values; MAX_CHANGES + 1],
    moment: u8,
}

impl Database {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let Bounds { writers: writing, calls: _, trimmable, restorable, evictable: _, refreshed: _ } = bounds;
        let mut history = Changes::default();
        history.push(Change { head: Head { revision: 1, tag: 0 }, subjects: 0b11 });
        let writers = [Writer::Idle; WRITES.len()];
        let (moments, moment) = Default::default();
        let mut database = Self { history, kept: 1, writers, writing, trimmable, restorable, moments, moment };
        database.moments[0] = database.values();
        database
    }

    pub(crate) fn head(&self) -> Head {
        let heads = self.history.rows().iter().map(|change| change.head);
        heads.max_by_key(|head| head.revision).expect("the first change stays")
    }

    pub(crate) fn values(&self) -> Values {
        std::array::from_fn(|object| {
            let touching = self.history.rows().iter().filter(|change| change.subjects & (1 << object) != 0);
            touching.fold(0, |value, change| value | 1 << change.head.tag)
        })
    }

    /// The rows of the log from `revision` on, by revision.
    pub(crate) fn since(&self, revision: u8) -> Changes {
        let mut rows: Vec<_> = self.history.rows().to_vec();
        rows.retain(|change| change.head.revision >= revision.max(self.kept));
        rows.sort_by_key(|change| change.head.revision);
        rows.into_iter().collect()
    }

    /// What the embedded database's one process knows of the head without asking:
    /// nothing while a commit is under way.
    pub(crate) fn embedded_head(&self, protocol: Protocol) -> Option<Head> {
        let unsettled = |writer: usize| matches!(self.writers[writer], Writer::Numbered(_) | Writer::Committed);
        if protocol != Protocol::HeadNotDoubted {
            return (!(0..WRITES.len()).any(unsettled)).then(|| self.head());
        }
        let settled = self.history.rows().iter().map(|change| change.head);
        settled.filter(|head| head.tag == 0 || !unsettled(usize::from(head.tag) - 1)).max_by_key(|head| head.revision)
    }

    pub(crate) fn steps(&self, protocol: Protocol, steps: &mut Vec<Step>) {
        for (writer, state) in self.writers.iter().enumerate().take(usize::from(self.writing)) {
            match state {
                Writer::Idle if self.may_number(writer, protocol) => steps.push(Step::Number(writer)),
                Writer::Numbered(_) => steps.push(Step::Commit(writer)),
                Writer::Committed => steps.push(Step::Acknowledge(writer)),
                Writer::Idle | Writer::Acknowledged => {}
            }
        }
        if self.trimmable && self.kept < self.head().revision {
            steps.push(Step::Trim);
        }
        if self.restorable {
            steps.extend((1..self.history.len).map(Step::Restore));
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Number(writer) => {
                let taken = self.writers.iter().filter_map(|writer| match writer {
                    Writer::Numbered(revision) => Some(*revision),
                    _ => None,
                });
                let last = taken.fold(self.head().revision, Ord::max);
                self.writers[writer] = Writer::Numbered(last + 1);
            }
            Step::Commit(writer) => {
                if let Writer::Numbered(revision) = self.writers[writer] {
                    self.history.push(Change { head: Head { revision, tag: tag(writer) }, subjects: WRITES[writer] });
                    self.writers[writer] = Writer::Committed;
                    self.remember();
                }
            }
            Step::Acknowledge(writer) => self.writers[writer] = Writer::Acknowledged,
            Step::Trim => {
                self.kept = self.head().revision;
                self.trimmable = false;
            }
            Step::Restore(changes) => {
                self.history.truncate(changes);
                self.kept = self.kept.min(self.head().revision);
                self.restorable = false;
                for writer in &mut self.writers {
                    // Its connection is gone; it may begin anew.
                    if matches!(writer, Writer::Numbered(_)) {
                        *writer = Writer::Idle;
                    }
                }
                self.remember();
            }
        }
    }

    /// Whether it gets its locks: those of what it changes, and head's.
    fn may_number(&self, writer: usize, protocol: Protocol) -> bool {
        let others = self.writers.iter().zip(WRITES);
        let mut holders = others.filter(|(other, _)| matches!(other, Writer::Numbered(_)));
        if protocol == Protocol::NumberBeforeLock {
            !holders.any(|(_, held)| held & WRITES[writer] != 0)
        } else {
            holders.next().is_none()
        }
    }

    fn remember(&mut self) {
        self.moment += 1;
        self.moments[usize::from(self.moment)] = self.values();
    }

    /// Now, for [`Database::was`].
    pub(crate) fn moment(&self) -> u8 {
        self.moment
    }

    /// The writes that were acknowledged: a bit for each one's tag.
    pub(crate) fn acknowledged(&self) -> u8 {
        let writers = self.writers.iter().enumerate();
        let acknowledged = writers.filter(|(_, state)| **state == Writer::Acknowledged);
        acknowledged.fold(0, |tags, (writer, _)| tags | 1 << tag(writer))
    }

    /// Whether all of these writes that the history still has are to be seen.
    pub(crate) fn shows(&self, seen: Values, writes: u8) -> bool {
        let wanted = self.history.rows().iter().filter(|change| writes & (1 << change.head.tag) != 0);
        wanted.into_iter().all(|change| {
            (0..OBJECTS)
                .filter(|object| change.subjects & (1 << object) != 0)
                .all(|object| seen[object] & (1 << change.head.tag) != 0)
        })
    }

    /// Whether this is what it was at some moment, `since` then or later.
    pub(crate) fn was(&self, seen: Values, since: u8) -> bool {
        self.moments[usize::from(since)..=usize::from(self.moment)].contains(&seen)
    }
}

fn tag(writer: usize) -> u8 {
    u8::try_from(writer + 1).expect("few writers")
}
