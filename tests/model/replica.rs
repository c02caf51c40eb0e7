//! A replica: its cache, the rounds that write it, its loads, and the
//! introspections that look into it. A step here is what the service does between
//! two points at which others may come in between.

use crate::{
    database::{Bounds, Changes, Database, Head, OBJECTS, Object, Value, Values},
    protocol::Protocol,
};

/// So many introspections there are at most.
const CALLS: usize = 2;
const TOKEN: Object = 0;
const ACCOUNT: Object = 1;

/// What a load brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fill {
    head: Head,
    values: Values,
}

/// Where the one task is (`introspection/rounds.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rounds {
    Idle,
    /// The batch was taken.
    Taken,
    /// The database has told its head.
    Asked(Head),
    /// It has told what changed since; none where that does not continue what is
    /// applied.
    Read(Head, Option<Changes>),
    /// Half of it is dropped.
    Writing(Head, Option<Changes>),
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Memory,
    Load,
}

/// Where an introspection is (`introspection/engine.rs`, `loading.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    /// It has not come.
    Out,
    /// It waits for a round, in the open batch or in one that was taken.
    Waiting { taken: bool, to_load: bool },
    /// It was confirmed.
    Confirmed,
    /// It has read the token, at this publication.
    Reading { publication: u8, token: Value },
    /// It waits for a place to load.
    Queued,
    /// The database has answered; the answer is on its way. Beside it what was
    /// known before, and how often it had started over.
    Loaded { fill: Fill, known: Option<Head>, starts: u8 },
    /// What was loaded is about to be held, but for what is known to have changed.
    Holding { fill: Fill, changed: u8 },
    /// It was answered.
    Answered(Source),
}

/// What answers must show, and did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Broken {
    /// A write that was acknowledged before.
    pub(crate) acknowledged: bool,
    /// Something that the database once was.
    pub(crate) one_point: bool,
    /// Something that it was while the introspection was under way.
    pub(crate) meanwhile: bool,
}

/// What must be seen by an introspection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Expected {
    acknowledged: u8,
    since: u8,
}

/// What a replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An introspection comes, and looks whether anything is missing.
    Come(usize),
    /// It looks, confirmed.
    Look(usize),
    /// It looks on.
    LookOn(usize),
    /// The database answers its statement.
    Load(usize),
    /// It takes what another one loads.
    Join(usize, usize),
    /// The answer arrives.
    Deliver(usize),
    Hold(usize),
    /// The rounds take up what this one loaded.
    Place(usize),
    /// The rounds go on.
    Round,
    /// The cache is full: the account goes.
    Evict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) rounds: Rounds,
    pub(crate) calls: [Call; CALLS],
    pub(crate) broken: Broken,
    expected: [Expected; CALLS],
    // What the rounds know.
    applied: Option<Head>,
    recent: Changes,
    // What was loaded, for the rounds to place.
    fills: [Option<Fill>; CALLS],
    // What loads see of it.
    known: Option<Head>,
    pub(crate) starts: u8,
    cache: [Option<Value>; OBJECTS],
    publication: u8,
    // Whether it may still lose something, once.
    evictable: bool,
}

impl Replica {
    /// One that has just been started.
    pub(crate) fn cold(evictable: bool) -> Self {
        Self {
            rounds: Rounds::Idle,
            calls: [Call::Out; CALLS],
            broken: Broken::default(),
            expected: Default::default(),
            applied: None,
            recent: Changes::default(),
            fills: [None; CALLS],
            known: None,
            starts: 0,
            cache: [None; OBJECTS],
            publication: 0,
            evictable,
        }
    }

    /// One that holds all there is.
    pub(crate) fn warm(evictable: bool, database: &Database) -> Self {
        let head = Some(database.head());
        Self { applied: head, known: head, cache: database.values().map(Some), ..Self::cold(evictable) }
    }

    /// Whether all of so many introspections were answered.
    pub(crate) fn is_done(&self, calls: usize) -> bool {
        self.calls[..calls].iter().all(|call| matches!(call, Call::Answered(_)))
    }

    pub(crate) fn steps(&self, bounds: Bounds, protocol: Protocol, steps: &mut Vec<Step>) {
        for (call, state) in self.calls.iter().enumerate().take(bounds.calls) {
            match state {
                // They are alike: they come in order.
                Call::Out if call == 0 || self.calls[call - 1] != Call::Out => steps.push(Step::Come(call)),
                Call::Confirmed => steps.push(Step::Look(call)),
                Call::Reading { .. } => steps.push(Step::LookOn(call)),
                Call::Queued => {
                    steps.push(Step::Load(call));
                    if protocol == Protocol::LoadJoined {
                        let loaded = |other: &usize| matches!(self.calls[*other], Call::Loaded { .. });
                        steps.extend((0..CALLS).filter(loaded).map(|other| Step::Join(call, other)));
                    }
                }
                Call::Loaded { .. } => steps.push(Step::Deliver(call)),
                Call::Holding { .. } => steps.push(Step::Hold(call)),
                Call::Out | Call::Waiting { .. } | Call::Answered(_) => {}
            }
        }
        if self.rounds == Rounds::Idle {
            let reached = |call: &usize| self.fills[*call].is_some_and(|fill| self.is_reached(fill, protocol));
            steps.extend((0..CALLS).filter(reached).map(Step::Place));
        }
        // Where nobody waits, others may have asked for a fresh confirmation for
        // those who come later.
        let waiting = self.calls.iter().any(|call| matches!(call, Call::Waiting { .. }));
        let pending = self.fills.iter().flatten().any(|fill| !self.is_reached(*fill, protocol));
        if self.rounds != Rounds::Idle || waiting || pending || bounds.refreshed {
            steps.push(Step::Round);
        }
        if self.evictable && self.cache[ACCOUNT].is_some() {
            steps.push(Step::Evict);
        }
    }

    pub(crate) fn step(&mut self, step: Step, database: &Database, protocol: Protocol, embedded: bool) {
        match step {
            Step::Come(call) => self.come(call, database, protocol, embedded),
            Step::Look(call) => self.look(call),
            Step::LookOn(call) => self.look_on(call, database, protocol),
            Step::Load(call) => {
                let fill = Fill { head: database.head(), values: database.values() };
                self.calls[call] = Call::Loaded { fill, known: self.known, starts: self.starts };
            }
            Step::Join(call, other) => self.calls[call] = self.calls[other],
            Step::Deliver(call) => self.deliver(call, database, protocol),
            Step::Hold(call) => {
                if let Call::Holding { fill, changed } = self.calls[call] {
                    self.hold(fill, changed);
                    self.answer(call, fill.values, Source::Load, database);
                }
            }
            Step::Place(call) => {
                if let Some(fill) = self.fills[call].take()
                    && let Some(changed) = self.changed_since(fill.head, protocol)
                {
                    self.hold(fill, changed);
                }
            }
            Step::Round => self.round(database, protocol, embedded),
            Step::Evict => {
                self.cache[ACCOUNT] = None;
                self.evictable = false;
            }
        }
    }

    fn come(&mut self, call: usize, database: &Database, protocol: Protocol, embedded: bool) {
        self.expected[call] = Expected { acknowledged: database.acknowledged(), since: database.moment() };
        let known = if embedded { database.embedded_head(protocol).map(|head| head.revision) } else { None };
        self.calls[call] = if self.is_odd() {
            waiting()
        } else if known.is_some() && known == self.applied.map(|applied| applied.revision) {
            self.reading()
        } else if self.cache.iter().any(Option::is_none) {
            Call::Queued
        } else {
            waiting()
        };
    }

    fn look(&mut self, call: usize) {
        self.calls[call] = if self.is_odd() { waiting() } else { self.reading() };
    }

    fn reading(&self) -> Call {
        let token = self.cache[TOKEN];
        token.map_or(Call::Queued, |token| Call::Reading { publication: self.publication, token })
    }

    fn look_on(&mut self, call: usize, database: &Database, protocol: Protocol) {
        let Call::Reading { publication, token } = self.calls[call] else { return };
        if publication != self.publication && protocol != Protocol::PublicationIgnored {
            self.calls[call] = waiting();
        } else if let Some(account) = self.cache[ACCOUNT] {
            self.answer(call, [token, account], Source::Memory, database);
        } else {
            self.calls[call] = Call::Queued;
        }
    }

    fn deliver(&mut self, call: usize, database: &Database, protocol: Protocol) {
        let Call::Loaded { fill, known, starts } = self.calls[call] else { return };
        if protocol == Protocol::TwoWriters {
            let reached = self.is_reached(fill, protocol);
            let changed = self.changed_since(fill.head, protocol).filter(|_| reached);
            match changed {
                Some(changed) => self.calls[call] = Call::Holding { fill, changed },
                None => self.answer(call, fill.values, Source::Load, database),
            }
            return;
        }
        self.fills[call] = Some(fill);
        let lags = known.is_some_and(|known| {
            fill.head.revision < known.revision
                || fill.head.revision == known.revision && !same(fill.head, known, protocol)
        });
        if lags || self.starts != starts {
            self.calls[call] = Call::Waiting { taken: false, to_load: true };
        } else {
            self.answer(call, fill.values, Source::Load, database);
        }
    }

    fn answer(&mut self, call: usize, seen: Values, source: Source, database: &Database) {
        let expected = std::mem::take(&mut self.expected[call]);
        self.broken.acknowledged |= !database.shows(seen, expected.acknowledged);
        self.broken.one_point |= !database.was(seen, 0);
        self.broken.meanwhile |= !database.was(seen, expected.since);
        self.calls[call] = Call::Answered(source);
    }

    fn round(&mut self, database: &Database, protocol: Protocol, embedded: bool) {
        self.rounds = match self.rounds {
            Rounds::Idle => {
                for call in &mut self.calls {
                    if let Call::Waiting { taken, .. } = call {
                        *taken = true;
                    }
                }
                Rounds::Taken
            }
            Rounds::Taken => {
                let known = if embedded { database.embedded_head(protocol) } else { None };
                Rounds::Asked(known.unwrap_or_else(|| database.head()))
            }
            Rounds::Asked(head) if self.applied.is_some_and(|applied| same(applied, head, protocol)) => {
                self.wake(protocol);
                Rounds::Idle
            }
            Rounds::Asked(_) => Rounds::Read(database.head(), self.missed(database, protocol)),
            Rounds::Read(head, missed) => {
                self.publication += 1;
                if missed.is_none() {
                    self.known = Some(head);
                    self.starts += 1;
                }
                self.drop_changed(TOKEN, missed);
                Rounds::Writing(head, missed)
            }
            Rounds::Writing(head, missed) => {
                self.drop_changed(ACCOUNT, missed);
                self.publication += 1;
                self.known = Some(head);
                self.applied = Some(head);
                match missed {
                    Some(missed) => missed.rows().iter().for_each(|change| self.recent.push(*change)),
                    None => self.recent = Changes::default(),
                }
                self.wake(protocol);
                Rounds::Idle
            }
        }
    }

    /// The changes after what is applied, if the log goes on from there without a
    /// gap.
    fn missed(&self, database: &Database, protocol: Protocol) -> Option<Changes> {
        let applied = self.applied?;
        let (head, log) = (database.head(), database.since(applied.revision));
        let (first, later) = log.rows().split_first()?;
        let continues = first.head.revision == applied.revision && same(first.head, applied, protocol);
        let without_gaps =
            later.iter().zip(applied.revision + 1..).all(|(change, revision)| change.head.revision == revision);
        let reaches = log.rows().last().is_some_and(|last| last.head == head);
        (continues && without_gaps && reaches).then(|| later.iter().copied().collect())
    }

    fn drop_changed(&mut self, object: Object, missed: Option<Changes>) {
        let touches = |missed: Changes| missed.rows().iter().any(|change| change.subjects & (1 << object) != 0);
        if missed.is_none_or(touches) {
            self.cache[object] = None;
        }
    }

    fn wake(&mut self, protocol: Protocol) {
        for call in &mut self.calls {
            if let Call::Waiting { taken, to_load } = *call
                && (taken || protocol == Protocol::AskedBeforeTaken)
            {
                *call = if to_load { Call::Queued } else { Call::Confirmed };
            }
        }
    }

    /// Whether the rounds have come as far as what was loaded.
    fn is_reached(&self, fill: Fill, protocol: Protocol) -> bool {
        protocol == Protocol::NewFillHeld || self.applied.is_some_and(|applied| fill.head.revision <= applied.revision)
    }

    /// What changed from a point of the history to what is applied; none where
    /// that is not known.
    fn changed_since(&self, point: Head, protocol: Protocol) -> Option<u8> {
        let ahead = self.applied.is_none_or(|applied| applied.revision < point.revision);
        if protocol == Protocol::OldFillHeld || protocol == Protocol::NewFillHeld && ahead {
            return Some(0);
        }
        if self.applied.is_some_and(|applied| same(applied, point, protocol)) {
            return Some(0);
        }
        let at = self.recent.rows().iter().position(|change| same(change.head, point, protocol))?;
        Some(self.recent.rows()[at + 1..].iter().fold(0, |changed, change| changed | change.subjects))
    }

    fn hold(&mut self, fill: Fill, changed: u8) {
        for object in (0..OBJECTS).filter(|object| changed & (1 << object) == 0) {
            self.cache[object] = Some(fill.values[object]);
        }
    }

    /// Whether the cache is being written.
    fn is_odd(&self) -> bool {
        self.publication % 2 == 1
    }
}

fn waiting() -> Call {
    Call::Waiting { taken: false, to_load: false }
}

fn same(one: Head, other: Head, protocol: Protocol) -> bool {
    one.revision == other.revision && (one.tag == other.tag || protocol == Protocol::TagsIgnored)
}
