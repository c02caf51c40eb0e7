//! Could it have happened so? An exact check of one object's history, as what
//! was asked and answered shows it, against a register: every answer is that of
//! one state, between the question and the answer, and states come in the order
//! of the writes.
//!
//! It is decidable quickly because each object has one writer, who goes on only
//! after a write that was acknowledged. So there is one order of states, and at
//! most the last of them is in doubt: it may begin to hold at any time since it
//! was asked for, or never. Each answer then takes the earliest state that it
//! can be of. If some order of all is possible, this one is: a later choice would
//! only bind those who come after.

use std::{collections::BTreeSet, fmt, time::Duration};

/// A point on the one monotonic clock of this process.
pub(crate) type Moment = Duration;

/// What can be asked about a state.
pub(crate) trait Register {
    type Question: fmt::Display;
    type Answer: PartialEq + fmt::Display;

    /// What is answered while this is the state.
    fn answer(&self, question: &Self::Question) -> Self::Answer;
}

/// A state, and the write that is to bring it about.
#[derive(Clone, Debug)]
pub(crate) struct Version<R> {
    pub(crate) state: R,
    pub(crate) what: String,
    pub(crate) via: String,
    pub(crate) start: Moment,
    /// When it was acknowledged; none: it may hold or not.
    pub(crate) end: Option<Moment>,
}

/// A question that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Read<R: Register> {
    pub(crate) question: R::Question,
    pub(crate) answer: R::Answer,
    pub(crate) via: String,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
}

/// What no order of writes and answers explains.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The answer that cannot be, then what forbids it, back to a write that was
    /// acknowledged.
    pub(crate) reads: Vec<usize>,
    /// The states that it could have been of: from the first to the last.
    pub(crate) between: (usize, usize),
}

/// The earliest state that an answer can be of.
#[derive(Clone, Copy)]
struct Placed {
    version: usize,
    read: usize,
    /// What showed that state, or a later one, to be there before it was asked.
    after: Option<usize>,
}

/// Places every answer, or finds one that has no place. The first version is
/// the state before any write.
pub(crate) fn check<R: Register>(versions: &[Version<R>], reads: &[Read<R>]) -> Result<(), Violation> {
    assert!(is_one_writers(versions), "an object has one writer, who stops where a write is in doubt");
    let mut by_start: Vec<usize> = (0..reads.len()).collect();
    by_start.sort_by_key(|read| reads[*read].start);
    let mut by_end: Vec<usize> = (0..reads.len()).collect();
    by_end.sort_by_key(|read| reads[*read].end);

    let mut placed: Vec<Option<Placed>> = vec![None; reads.len()];
    let mut ended = by_end.into_iter().peekable();
    // The latest state that an answer has shown so far.
    let mut shown: Option<Placed> = None;
    for read in by_start {
        let Read { question, answer, start, end, .. } = &reads[read];
        while let Some(earlier) = ended.next_if(|earlier| reads[*earlier].end < *start) {
            let earlier = placed[earlier].expect("it began earlier, and so was placed earlier");
            if shown.is_none_or(|shown| shown.version < earlier.version) {
                shown = Some(earlier);
            }
        }
        let acknowledged = acknowledged_before(*start, versions);
        let asked_for = versions.iter().rposition(|version| version.start <= *end).unwrap_or(0);
        let shown = shown.filter(|shown| shown.version > acknowledged);
        let first = shown.map_or(acknowledged, |shown| shown.version);

        let is_of = |version: &usize| versions[*version].state.answer(question) == *answer;
        // What came before counts only where the answer could else be earlier.
        let after = shown.filter(|_| (0..first).any(|version| is_of(&version))).map(|shown| shown.read);
        let Some(version) = (first..=asked_for).find(is_of) else {
            let chain = std::iter::successors(after, |read| placed[*read].and_then(|placed| placed.after));
            return Err(Violation { reads: std::iter::once(read).chain(chain).collect(), between: (first, asked_for) });
        };
        placed[read] = Some(Placed { version, read, after });
    }
    Ok(())
}

/// The last state that was certain at that time.
fn acknowledged_before<R>(time: Moment, versions: &[Version<R>]) -> usize {
    versions.iter().rposition(|version| version.end.is_some_and(|end| end < time)).unwrap_or(0)
}

/// Each write but the last was acknowledged before the next began.
fn is_one_writers<R>(versions: &[Version<R>]) -> bool {
    versions.first().is_some_and(|first| first.end.is_some())
        && versions.windows(2).all(|pair| pair[0].end.is_some_and(|end| pair[0].start <= end && end <= pair[1].start))
}

/// The least of a history that shows the violation, a line each.
pub(crate) fn told<R: Register>(versions: &[Version<R>], reads: &[Read<R>], violation: &Violation) -> String {
    let culprit = &reads[violation.reads[0]];
    let (first, last) = violation.between;
    // The state that the answer looks like, if there was one.
    let is_of = |version: &usize| versions[*version].state.answer(&culprit.question) == culprit.answer;
    let stale = (0..first).rev().find(is_of);
    let certain = violation.reads.iter().map(|read| acknowledged_before(reads[*read].start, versions));
    let matter: BTreeSet<usize> = stale.into_iter().chain(certain).chain(first..=last).collect();
    let mut lines: Vec<(Moment, String)> = Vec::new();
    for number in matter {
        let Version { state, what, via, start, end } = &versions[number];
        let end = end.map_or("in doubt".to_owned(), |end| format!("OK at {}", seconds(end)));
        let then = state.answer(&culprit.question);
        let line = format!("{:>14} write {number} by {via}, {end}: {what}\n{:15}then: {then}", seconds(*start), "");
        lines.push((*start, line));
    }
    for (place, read) in violation.reads.iter().enumerate() {
        let Read { question, answer, via, start, end } = &reads[*read];
        let mark = if place == 0 { "CANNOT BE: " } else { "" };
        let line =
            format!("{:>14} {mark}{question} by {via}, answered at {}: {answer}", seconds(*start), seconds(*end));
        lines.push((*start, line));
    }
    lines.sort();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    lines.join("\n")
}

fn seconds(moment: Moment) -> String {
    format!("{:.6}s", moment.as_secs_f64())
}
