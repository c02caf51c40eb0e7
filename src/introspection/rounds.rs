//! Is what is held still all there is to know? The one task that writes the
//! cache. It works in rounds, after Raft's ReadIndex: it takes the batch of those
//! who wait, and only then asks the database how far the history has come. Where
//! that is what the cache reflects, all of them are confirmed; where not, it
//! first drops what changed since.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    batch::{Inbox, Outcome},
    cache::Cache,
    clock::{Clock, Instant},
    counts::Counts,
};
use crate::{
    keys::KeysAtHand,
    store::{self, Changed, Confirmation, Fill, Head, HeadReader, MAX_CHANGES, Since, Subject},
    telemetry::{Confirmations, told_of},
};

/// With more waiters than this in the last batch, rounds are paced.
const HANDFUL: usize = 4;
/// How soon a database that did not answer is asked again.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
/// So many of the latest changes are remembered, for fills that were read before
/// them.
const REMEMBERED_CHANGES: usize = 1_024;
/// So many fills may wait for the round that reaches them; their waiters have
/// been answered.
const MAX_PENDING: usize = 64;

/// What the rounds and those who ask them share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cache: Cache,
    pub(super) clock: Clock,
    pub(super) inbox: Inbox,
    pub(super) counts: Counts,
    // When the last round that confirmed began.
    confirmed: AtomicU64,
    // What the cache reflects, and how often it was started over.
    known: std::sync::Mutex<Known>,
}

/// What the cache reflects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The point of the history; none before the first round.
    pub(super) applied: Option<Head>,
    /// How often everything was dropped.
    pub(super) starts: u64,
}

impl Shared {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            cache: Cache::new(bytes),
            clock: Clock::new(),
            inbox: Inbox::default(),
            counts: Counts::default(),
            confirmed: AtomicU64::new(0),
            known: std::sync::Mutex::default(),
        }
    }

    /// When the last round that confirmed began; none before the first.
    pub(super) fn confirmed(&self) -> Option<Instant> {
        Some(self.confirmed.load(Ordering::Acquire)).filter(|nanos| *nanos > 0).map(Instant::from_nanos)
    }

    pub(super) fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set_known(&self, known: Known) {
        *self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = known;
    }
}

/// How long rounds may take, and how soon they follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Under load, from the beginning of one round to that of the next.
    pub interval: Duration,
    /// After so long a round is given up, and its waiters are told.
    pub timeout: Duration,
}

/// Why everything is dropped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StartOver {
    #[error("this is the first round")]
    First,
    #[error("the database has another epoch: it was restored, or is another one")]
    OtherEpoch,
    #[error("the database's history is not the one that was known: it was restored or failed over")]
    OtherHistory,
    #[error("the log of changes no longer reaches back to what was known")]
    LogTrimmed,
    #[error("the log of changes has a gap")]
    Gap,
    #[error("there are too many changes since what was known")]
    TooMany,
    #[error("a change names what this version does not know")]
    UnknownSubject,
    #[error("the changes since what was known took longer than a round may")]
    TooMuch,
}

/// The state of the one task.
#[derive(Debug)]
pub(super) struct Rounds {
    shared: Arc<Shared>,
    head: HeadReader,
    pace: Pace,
    keys: Arc<KeysAtHand>,
    confirmations: Confirmations,
    applied: Option<Head>,
    // The latest changes up to what is applied, without gaps.
    recent: VecDeque<Changed>,
    pending: Vec<Arc<Fill>>,
    failing: bool,
    // Whether the last round ended while it was catching up.
    catching_up: bool,
}

impl Rounds {
    pub(super) fn new(
        shared: Arc<Shared>,
        head: HeadReader,
        pace: Pace,
        keys: Arc<KeysAtHand>,
        confirmations: Confirmations,
    ) -> Self {
        Self {
            shared,
            head,
            pace,
            keys,
            confirmations,
            applied: None,
            recent: VecDeque::new(),
            pending: Vec::new(),
            failing: false,
            catching_up: false,
        }
    }

    /// Works, round after round, until it is dropped.
    pub(super) async fn run(mut self) {
        let mut next = tokio::time::Instant::now();
        loop {
            let work = self.shared.inbox.work().await;
            for id in work.forgotten {
                self.shared.cache.forget(id);
            }
            for fill in work.fills {
                self.place(fill);
            }
            if !work.round && self.pending.is_empty() {
                continue;
            }
            // A timer takes up to a millisecond even where it is due.
            if next > tokio::time::Instant::now() {
                tokio::time::sleep_until(next).await;
            }

            let (batch, waiters) = self.shared.inbox.take();
            // After the batch was taken: nobody in it came later.
            let began = tokio::time::Instant::now();
            let outcome = self.round().await;
            self.confirmations.ended(outcome.is_ok(), began.elapsed(), waiters);
            next = match &outcome {
                Ok(()) if waiters > HANDFUL => began + self.pace.interval,
                Ok(()) => began,
                Err(_) => began + self.pace.interval.max(AFTER_FAILURE),
            };
            batch.finish(outcome);
        }
    }

    async fn round(&mut self) -> Outcome {
        let result = tokio::time::timeout(self.pace.timeout, self.confirm()).await;
        let outcome = result.unwrap_or(Err(store::Error::TimedOut));
        match &outcome {
            Ok(()) if self.failing => {
                tracing::info!("introspections are confirmed again");
                self.failing = false;
            }
            Err(error) if !self.failing => {
                tracing::error!(error = told_of(error), "introspections cannot be confirmed");
                self.failing = true;
            }
            _ => {}
        }
        outcome.map_err(Arc::new)
    }

    async fn confirm(&mut self) -> Result<(), store::Error> {
        let (began, confirmation) = self.ask().await?;
        self.shared.counts.asked(confirmation.head.revision);
        if self.applied != Some(confirmation.head) {
            self.catch_up().await?;
        }
        self.shared.confirmed.store(began.nanos(), Ordering::Release);
        for fill in std::mem::take(&mut self.pending) {
            self.place(fill);
        }
        Ok(())
    }

    /// Asks how far the database has come, and what time it is there.
    async fn ask(&mut self) -> Result<(Instant, Confirmation), store::Error> {
        loop {
            let began = Instant::now();
            let confirmation = self.head.ask().await?;
            let answered = Instant::now();
            // This process, or its whole machine, was stopped meanwhile: the
            // answer tells too little of the time.
            if began.until(answered) <= self.pace.timeout {
                self.shared.clock.set(began, answered, confirmation.time);
                return Ok((began, confirmation));
            }
        }
    }

    /// Brings the cache to where the database is.
    async fn catch_up(&mut self) -> Result<(), store::Error> {
        // What was too much for one round is too much for the next as well.
        let too_much = std::mem::replace(&mut self.catching_up, true);
        let from = self.applied.filter(|_| !too_much).map_or(i64::MAX, |applied| applied.revision);
        let since = self.head.since(from).await;
        self.catching_up = false;
        let since = since?;
        let missed = if too_much { Err(StartOver::TooMuch) } else { missed(self.applied, &since) };
        match missed {
            Ok(missed) => {
                self.shared.counts.catch_ups.count();
                self.shared.counts.changes.add(missed.len() as u64);
                let subjects = || missed.iter().filter_map(|change| change.subjects.as_ref()).flatten();
                self.shared.cache.publish(since.head, subjects());
                if subjects().any(|subject| *subject == Subject::Keys) {
                    self.keys.look_again();
                }
                self.recent.extend(missed.iter().cloned());
                let surplus = self.recent.len().saturating_sub(REMEMBERED_CHANGES);
                self.recent.drain(..surplus);
                self.shared.set_known(Known { applied: Some(since.head), ..self.shared.known() });
            }
            Err(why) => {
                self.shared.counts.start_over(&why);
                let revision = since.head.revision;
                if why == StartOver::First {
                    tracing::info!(revision, "the history of changes is followed");
                } else {
                    self.pending.clear();
                    tracing::warn!(revision, reason = %why, "everything that was held in memory is dropped");
                }
                // Before anything is dropped: fills that began earlier do not
                // count any more.
                let starts = self.shared.known().starts + 1;
                self.shared.set_known(Known { applied: Some(since.head), starts });
                self.shared.cache.start_over(since.head);
                self.keys.look_again();
                self.recent.clear();
            }
        }
        self.applied = Some(since.head);
        Ok(())
    }

    /// Holds what was loaded, if it is still known to be true: it belongs to the
    /// history that is applied, and what changed since does not touch it.
    fn place(&mut self, fill: Arc<Fill>) {
        match self.applied {
            Some(applied) if fill.head.revision <= applied.revision => {
                if let Some(changed) = self.changed_since(applied, fill.head) {
                    self.shared.cache.hold(&fill, &changed);
                }
            }
            // It waits for the round that reaches it.
            Some(_) | None if self.pending.len() < MAX_PENDING => self.pending.push(fill),
            Some(_) | None => {}
        }
    }

    /// What changed from a point of the history to what is applied; none where
    /// that is not known, or the point is in no history of ours.
    fn changed_since(&self, applied: Head, point: Head) -> Option<HashSet<Subject>> {
        if point == applied {
            return Some(HashSet::new());
        }
        let at = self.recent.iter().position(|change| change.revision == point.revision && change.tag == point.tag)?;
        let later = self.recent.iter().skip(at + 1);
        later
            .map(|change| change.subjects.clone())
            .collect::<Option<Vec<_>>>()
            .map(|all| all.into_iter().flatten().collect())
    }
}

/// The changes after what is applied, if the database's log goes on from there
/// without a gap.
fn missed(applied: Option<Head>, since: &Since) -> Result<&[Changed], StartOver> {
    let applied = applied.ok_or(StartOver::First)?;
    if since.head.epoch != applied.epoch {
        return Err(StartOver::OtherEpoch);
    }
    if since.head.revision < applied.revision {
        return Err(StartOver::OtherHistory);
    }
    let wanted = since.head.revision.abs_diff(applied.revision);
    if wanted > MAX_CHANGES {
        return Err(StartOver::TooMany);
    }
    let missed = match since.changes.split_first() {
        Some((known, later)) if known.revision == applied.revision && known.tag == applied.tag => later,
        Some((known, _)) if known.revision == applied.revision => return Err(StartOver::OtherHistory),
        _ => return Err(StartOver::LogTrimmed),
    };
    let without_gaps = missed.iter().zip(applied.revision + 1..).all(|(change, revision)| change.revision == revision);
    if missed.len() as u64 != wanted || !without_gaps {
        return Err(StartOver::Gap);
    }
    let last = missed.last().map_or(applied.tag, |change| change.tag);
    if last != since.head.tag {
        return Err(StartOver::OtherHistory);
    }
    if missed.iter().any(|change| change.subjects.is_none()) {
        return Err(StartOver::UnknownSubject);
    }
    Ok(missed)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// A head whose tag is told by `history` and its revision.
    fn head(history: u64, revision: i64) -> Head {
        Head { epoch: Uuid::nil(), revision, tag: Uuid::from_u64_pair(history, revision.unsigned_abs()) }
    }

    fn changes(history: u64, revisions: impl IntoIterator<Item = i64>) -> Vec<Changed> {
        let change = |revision| Changed { revision, tag: head(history, revision).tag, subjects: Some(Vec::new()) };
        revisions.into_iter().map(change).collect()
    }

    fn after(applied: Head, since: &Since) -> Result<usize, StartOver> {
        missed(Some(applied), since).map(<[Changed]>::len)
    }

    #[test]
    fn a_history_that_goes_on_is_followed() {
        assert_eq!(after(head(1, 4), &Since { head: head(1, 7), changes: changes(1, 4..=7) }), Ok(3));
        assert_eq!(after(head(1, 4), &Since { head: head(1, 4), changes: changes(1, 4..=4) }), Ok(0));
    }

    #[test]
    fn whatever_does_not_fit_starts_over() {
        let since = Since { head: head(1, 7), changes: changes(1, 4..=7) };
        assert_eq!(missed(None, &since), Err(StartOver::First));
        let elsewhere = Head { epoch: Uuid::from_u128(1), ..head(1, 4) };
        assert_eq!(after(elsewhere, &since), Err(StartOver::OtherEpoch));
        assert_eq!(after(head(2, 4), &since), Err(StartOver::OtherHistory), "the tag tells");
        assert_eq!(after(head(1, 8), &since), Err(StartOver::OtherHistory), "it lost the last ones");
        let forked = Since { head: head(2, 4), changes: changes(2, 4..=4) };
        assert_eq!(after(head(1, 4), &forked), Err(StartOver::OtherHistory), "the same revision");

        let trimmed = Since { head: head(1, 7), changes: changes(1, 5..=7) };
        assert_eq!(after(head(1, 4), &trimmed), Err(StartOver::LogTrimmed));
        let emptied = Since { head: head(1, 7), changes: Vec::new() };
        assert_eq!(after(head(1, 4), &emptied), Err(StartOver::LogTrimmed));
        let gap = Since { head: head(1, 7), changes: changes(1, [4, 5, 7]) };
        assert_eq!(after(head(1, 4), &gap), Err(StartOver::Gap));
        let short = Since { head: head(1, 7), changes: changes(1, 4..=6) };
        assert_eq!(after(head(1, 4), &short), Err(StartOver::Gap));
        let far = Since { head: head(1, 20_000), changes: changes(1, 4..=10_004) };
        assert_eq!(after(head(1, 4), &far), Err(StartOver::TooMany));

        let mut foreign = changes(1, 4..=7);
        foreign[2].subjects = None;
        assert_eq!(after(head(1, 4), &Since { head: head(1, 7), changes: foreign }), Err(StartOver::UnknownSubject));
    }
}
