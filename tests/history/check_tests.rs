//! The checker is right about histories made by hand: good ones and bad ones.

use std::time::Duration;

use super::check::{Moment, Read, Register, Version, Violation, check, told};

impl Register for i32 {
    type Question = &'static str;
    type Answer = i32;

    fn answer(&self, question: &&'static str) -> i32 {
        if *question == "is it positive?" { i32::from(*self > 0) } else { *self }
    }
}

const fn at(moment: u64) -> Moment {
    Duration::from_millis(moment)
}

fn write(state: i32, start: u64, end: impl Into<Option<u64>>) -> Version<i32> {
    let end = end.into().map(at);
    Version { state, what: format!("write {state}"), via: "a".to_owned(), start: at(start), end }
}

fn read(answer: i32, start: u64, end: u64) -> Read<i32> {
    Read { question: "what is it?", answer, via: "b".to_owned(), start: at(start), end: at(end) }
}

fn sign(answer: bool, start: u64, end: u64) -> Read<i32> {
    Read { question: "is it positive?", ..read(answer.into(), start, end) }
}

fn assert_possible(writes: &[Version<i32>], reads: &[Read<i32>]) {
    assert_eq!(check(writes, reads), Ok(()));
}

#[track_caller]
fn assert_impossible(writes: &[Version<i32>], reads: &[Read<i32>], chain: &[usize]) -> Violation {
    let violation = check(writes, reads).expect_err("it cannot have happened so");
    assert_eq!(violation.reads, chain);
    violation
}

#[test]
fn what_was_acknowledged_shows() {
    let writes = [write(0, 0, 0), write(1, 10, 20), write(2, 30, 40)];
    assert_possible(&writes, &[read(0, 1, 9), read(1, 21, 29), read(2, 41, 50)]);
    assert_impossible(&writes, &[read(0, 21, 25)], &[0]);
    assert_impossible(&writes, &[read(1, 41, 45)], &[0]);
    assert_possible(&writes, &[]);
}

#[test]
fn what_is_under_way_shows_or_not() {
    let writes = [write(0, 0, 0), write(1, 10, 20)];
    assert_possible(&writes, &[read(0, 10, 20), read(1, 10, 20), read(0, 15, 99)]);
    assert_possible(&writes, &[read(0, 5, 10), read(1, 5, 10)]);
    // At the same moment is at the same time.
    assert_possible(&writes, &[read(0, 20, 25)]);
    assert_impossible(&writes, &[read(0, 21, 25)], &[0]);
}

#[test]
fn nothing_shows_before_it_was_asked_for() {
    let writes = [write(0, 0, 0), write(1, 10, 20)];
    assert_impossible(&writes, &[read(1, 5, 9)], &[0]);
}

#[test]
fn what_nobody_wrote_does_not_show() {
    assert_impossible(&[write(0, 0, 0), write(1, 10, 20)], &[read(7, 5, 50)], &[0]);
}

#[test]
fn what_was_shown_stays_shown() {
    let writes = [write(0, 0, 0), write(1, 10, 100)];
    let (new, old) = (read(1, 20, 30), read(0, 31, 40));
    assert_impossible(&writes, &[new.clone(), old.clone()], &[1, 0]);
    assert_impossible(&writes, &[old, new.clone()], &[0, 1]);
    assert_possible(&writes, &[new, read(0, 30, 40)]);
}

#[test]
fn a_write_in_doubt_shows_at_any_time_or_never() {
    let writes = [write(0, 0, 0), write(1, 10, None)];
    assert_possible(&writes, &[read(0, 20, 30), read(0, 1_000, 1_010)]);
    assert_possible(&writes, &[read(0, 20, 30), read(0, 900, 910), read(1, 1_000, 1_010), read(1, 1_020, 1_030)]);
    // It cannot go again.
    let gone_again = [read(0, 20, 30), read(1, 40, 50), read(0, 60, 70)];
    assert_impossible(&writes, &gone_again, &[2, 1]);
    assert_impossible(&writes, &[read(1, 1, 9)], &[0]);
}

#[test]
fn a_state_that_returns_is_not_the_earlier_one() {
    let writes = [write(1, 0, 0), write(0, 10, 20), write(1, 30, 40)];
    // Of the first state, or of the last: both are there while it is asked.
    assert_possible(&writes, &[read(1, 5, 35)]);
    assert_possible(&writes, &[read(0, 12, 14), read(1, 15, 32)]);
    // The last began too late for it, and the first was over.
    assert_impossible(&writes, &[read(1, 21, 29)], &[0]);
    assert_impossible(&writes, &[read(0, 12, 14), read(1, 15, 29)], &[1, 0]);
}

#[test]
fn what_tells_little_is_of_the_earliest_state_that_it_can_be_of() {
    let writes = [write(1, 0, 0), write(-1, 10, 11), write(2, 20, 90), write(-2, 91, 200)];
    assert_possible(&writes, &[sign(true, 25, 30), sign(true, 40, 100), sign(false, 101, 110)]);
    assert_possible(&writes, &[sign(false, 25, 30), sign(true, 31, 40)]);
    assert_impossible(&writes, &[sign(true, 25, 30), sign(false, 31, 40)], &[1, 0]);
    // The first had to be of 2; the second adds nothing to the third.
    let reads = [sign(true, 25, 30), sign(true, 31, 35), sign(false, 40, 50)];
    assert_impossible(&writes, &reads, &[2, 0]);
}

#[test]
fn a_chain_leads_back_to_what_was_acknowledged() {
    let writes = [write(1, 0, 0), write(-1, 10, 11), write(2, 20, 90), write(-3, 91, 300), write(4, 301, 400)];
    // Positive, where 1 was over: 2. Negative after it: -3, which nobody has to
    // have seen yet. Then 2 again.
    let reads = [sign(true, 91, 95), sign(false, 96, 99), read(2, 100, 110)];
    assert_impossible(&writes, &reads, &[2, 1]);
    let reads = [read(2, 30, 35), sign(false, 36, 95), sign(true, 100, 110)];
    let violation = assert_impossible(&writes, &reads, &[2, 1, 0]);
    assert_eq!(violation.between, (3, 3));
}

#[test]
fn the_least_of_the_history_is_told() {
    let writes = [write(7, 0, 0), write(1, 10, 12), write(5, 13, 20), write(2, 30, 40), write(3, 50, None)];
    let reads = [read(7, 1, 2), read(5, 21, 22), read(1, 41, 45), read(3, 60, 61)];
    let violation = assert_impossible(&writes, &reads, &[2]);
    let told = told(&writes, &reads, &violation);
    let lines: Vec<_> = told.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "0.010000s write 1 by a, OK at 0.012000s: write 1",
            "then: 1",
            "0.030000s write 3 by a, OK at 0.040000s: write 2",
            "then: 2",
            "0.041000s CANNOT BE: what is it? by b, answered at 0.045000s: 1",
        ]
    );
}

#[test]
#[should_panic(expected = "an object has one writer")]
fn a_writer_goes_on_only_after_what_is_certain() {
    let _ = check(&[write(0, 0, 0), write(1, 10, None), write(2, 20, 30)], &[]);
}

/// What the checker says of small histories is what trying every order says.
#[test]
fn it_agrees_with_trying_every_order() {
    let mut random = super::random::Random::new(1, 0);
    let (mut possible, mut impossible) = (0, 0);
    for _ in 0..20_000 {
        let mut time = 0;
        let mut writes = vec![write(0, 0, 0)];
        for number in 0..3 {
            let start = time + random.below(4);
            time = start + random.below(6);
            let state = i32::try_from(random.below(5)).unwrap() - 2;
            let in_doubt = number == 2 && random.below(2) == 0;
            writes.push(write(state, start, (!in_doubt).then_some(time)));
        }
        let mut reads = Vec::new();
        for _ in 0..4 {
            let start = random.below(20);
            let end = start + random.below(8);
            let state = i32::try_from(random.below(5)).unwrap() - 2;
            reads.push(if random.below(2) == 0 { read(state, start, end) } else { sign(state > 0, start, end) });
        }
        let tried = any_order(&writes, &reads, 0, &mut vec![false; reads.len()]);
        assert_eq!(check(&writes, &reads).is_ok(), tried, "{writes:?} {reads:?}");
        if tried {
            possible += 1;
        } else {
            impossible += 1;
        }
    }
    assert!(possible > 1_000 && impossible > 1_000, "{possible} possible, {impossible} impossible");
}

/// Wing and Gong's search: whether what is left can follow in some order, the
/// current state being that of `version`.
fn any_order(writes: &[Version<i32>], reads: &[Read<i32>], version: usize, done: &mut Vec<bool>) -> bool {
    let next = writes.get(version + 1);
    let must_come = next.is_some_and(|next| next.end.is_some());
    if done.iter().all(|done| *done) && !must_come {
        return true;
    }
    // Nothing may follow what began after another, still to come, had ended.
    let read_left = (0..reads.len()).filter(|read| !done[*read]).map(|read| reads[read].end).min();
    let write_left = next.and_then(|next| next.end);
    let first_end = read_left.into_iter().chain(write_left).min().unwrap_or(Moment::MAX);
    if next.is_some_and(|next| next.start <= first_end) && any_order(writes, reads, version + 1, done) {
        return true;
    }
    for read in 0..reads.len() {
        let Read { question, answer, start, .. } = &reads[read];
        if !done[read] && *start <= first_end && writes[version].state.answer(question) == *answer {
            done[read] = true;
            if any_order(writes, reads, version, done) {
                return true;
            }
            done[read] = false;
        }
    }
    false
}
