//! How do sign-ins end? Counted where it is known.

use std::sync::Arc;

use crate::counter::Counter;

/// How an attempt to sign in by a password ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignInOutcome {
    /// The password is the account's.
    Verified,
    NoSuchUsername,
    NoPassword,
    WrongPassword,
    Suspended,
    /// Too many failed before it: nothing was looked into.
    Throttled,
    /// Nothing was learnt.
    Fault,
}

/// As they are counted, in the order of the variants.
const NAMES: [&str; 7] =
    ["verified", "no_such_username", "no_password", "wrong_password", "suspended", "throttled", "fault"];

/// How many ended how.
#[derive(Clone, Debug, Default)]
pub struct SignIns(Arc<[Counter; NAMES.len()]>);

impl SignIns {
    pub(super) fn count(&self, outcome: SignInOutcome) {
        self.0[outcome as usize].count();
    }

    /// By how they ended.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0.iter().map(Counter::total))
    }
}
