//! How often did it happen? What is counted of introspections.

use std::sync::atomic::{AtomicI64, Ordering};

use super::{Busy, Verdict, rounds::StartOver};
use crate::{counter::Counter, domain::judgement::InactiveReason};

/// How verdicts are counted, each in its place.
const VERDICTS: [&str; 13] = [
    "active",
    "insufficient_scope",
    "busy",
    "malformed",
    "unknown",
    "wrong_secret",
    "expired",
    "revoked",
    "address_not_allowed",
    "account_suspended",
    "over_plan_limit",
    "signed_out",
    "kind_not_accepted",
];

/// Why everything was dropped, each in its place.
const START_OVERS: [&str; 8] =
    ["first", "other_epoch", "other_history", "log_trimmed", "gap", "too_many", "unknown_subject", "too_much"];

/// What is counted.
#[derive(Debug, Default)]
pub struct Counts {
    verdicts: [Counter; VERDICTS.len()],
    start_overs: [Counter; START_OVERS.len()],
    /// Views that were held in memory.
    pub(super) hits: Counter,
    /// Views that were loaded.
    pub(super) misses: Counter,
    /// Rounds that found changes.
    pub(super) catch_ups: Counter,
    /// Changes that were applied.
    pub(super) changes: Counter,
    // The database's revision when it was last asked.
    head: AtomicI64,
}

impl Counts {
    pub(super) fn verdict(&self, verdict: &Result<Verdict, Busy>) {
        let place = match verdict {
            Ok(Verdict::Active(active)) => usize::from(!active.missing.is_empty()),
            Err(_) => 2,
            Ok(Verdict::Inactive(reason)) => match reason {
                InactiveReason::Malformed => 3,
                InactiveReason::Unknown => 4,
                InactiveReason::WrongSecret => 5,
                InactiveReason::Expired => 6,
                InactiveReason::Revoked => 7,
                InactiveReason::AddressNotAllowed => 8,
                InactiveReason::AccountSuspended => 9,
                InactiveReason::OverPlanLimit => 10,
                InactiveReason::SignedOut => 11,
                InactiveReason::KindNotAccepted => 12,
            },
        };
        self.verdicts[place].count();
    }

    pub(super) fn start_over(&self, why: &StartOver) {
        let place = match why {
            StartOver::First => 0,
            StartOver::OtherEpoch => 1,
            StartOver::OtherHistory => 2,
            StartOver::LogTrimmed => 3,
            StartOver::Gap => 4,
            StartOver::TooMany => 5,
            StartOver::UnknownSubject => 6,
            StartOver::TooMuch => 7,
        };
        self.start_overs[place].count();
    }

    pub(super) fn asked(&self, head: i64) {
        self.head.store(head, Ordering::Relaxed);
    }

    /// How often each verdict was given.
    pub fn verdicts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        VERDICTS.into_iter().zip(self.verdicts.iter().map(Counter::total))
    }

    /// How often everything was dropped, and why.
    pub fn start_overs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        START_OVERS.into_iter().zip(self.start_overs.iter().map(Counter::total))
    }

    /// Calls whose records were held in memory, or had to be loaded.
    pub fn lookups(&self) -> [(&'static str, u64); 2] {
        [("hit", self.hits.total()), ("miss", self.misses.total())]
    }

    /// Rounds that found changes.
    pub fn catch_ups(&self) -> u64 {
        self.catch_ups.total()
    }

    /// Changes that were applied.
    pub fn changes(&self) -> u64 {
        self.changes.total()
    }

    /// How many changes the database had when it was last asked.
    pub fn head(&self) -> i64 {
        self.head.load(Ordering::Relaxed)
    }
}
