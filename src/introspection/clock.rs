//! What time is it? The database's time, so that replicas whose clocks are wrong
//! agree: as the last confirmation carried it, advanced by a monotonic clock that
//! goes on while the machine is suspended.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::Timestamp;

/// Linux's CLOCK_MONOTONIC stands still while the machine is suspended; others'
/// goes on.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A point on this machine's monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    pub(super) fn now() -> Self {
        let time = clock_gettime(CLOCK);
        let nanos = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
        Self(nanos)
    }

    pub(super) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(super) const fn nanos(self) -> u64 {
        self.0
    }

    /// How long before `later` it was; zero where it was not.
    pub(super) fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// The database's time.
#[derive(Debug)]
pub(super) struct Clock {
    // None: nobody was asked yet.
    anchor: Mutex<Option<Anchor>>,
    // The latest that it showed: it never goes back.
    latest: AtomicI64,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    instant: Instant,
    // The database's time at that instant, or a little later: the instant is
    // before the database was asked.
    time: Timestamp,
}

impl Anchor {
    fn at(self, instant: Instant) -> Timestamp {
        self.time.checked_add(self.instant.until(instant)).unwrap_or(Timestamp::MAX)
    }
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { anchor: Mutex::new(None), latest: AtomicI64::new(0) }
    }

    /// The database, asked after `asked`, had said by `answered` that it was
    /// `time`. An earlier answer goes on counting as long as this one does not
    /// contradict it: a slow answer tells less than a quick one.
    pub(super) fn set(&self, asked: Instant, answered: Instant, time: Timestamp) {
        let new = Anchor { instant: asked, time };
        let mut anchor = self.anchor();
        let agrees = |old: &Anchor| (time..=new.at(answered)).contains(&old.at(answered));
        if !anchor.as_ref().is_some_and(agrees) {
            *anchor = Some(new);
        }
    }

    /// What time it is at the database. Whoever reads it was confirmed before.
    pub(super) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// What time it is where the database said just now that it was `time`.
    pub(super) fn not_before(&self, time: Timestamp) -> Timestamp {
        self.show(time.as_micros())
    }

    fn at(&self, instant: Instant) -> Timestamp {
        let now = self.anchor().map_or(0, |anchor| anchor.at(instant).as_micros());
        self.show(now)
    }

    fn show(&self, now: i64) -> Timestamp {
        let latest = self.latest.fetch_max(now, Ordering::Relaxed).max(now);
        Timestamp::from_micros(latest).unwrap_or(Timestamp::MAX)
    }

    fn anchor(&self) -> MutexGuard<'_, Option<Anchor>> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).expect("in range")
    }

    fn instant(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1_000)
    }

    #[test]
    fn the_databases_time_goes_on_from_when_it_was_asked() {
        let clock = Clock::new();
        clock.set(instant(100), instant(110), time(5_000));
        assert_eq!(clock.at(instant(110)), time(5_010));
        assert_eq!(clock.at(instant(350)), time(5_250));
    }

    #[test]
    fn a_slow_answer_does_not_disturb_it_and_a_contradiction_does() {
        let clock = Clock::new();
        clock.set(instant(100), instant(110), time(5_000));
        // Asked for a second, and answered at its end.
        clock.set(instant(200), instant(1_000_200), time(1_005_100));
        assert_eq!(clock.at(instant(1_000_200)), time(1_005_100));
        // The database's clock was put forward.
        clock.set(instant(1_000_300), instant(1_000_310), time(9_000_000));
        assert_eq!(clock.at(instant(1_000_310)), time(9_000_010));
    }

    #[test]
    fn it_never_goes_back() {
        let clock = Clock::new();
        clock.set(instant(100), instant(110), time(5_000));
        assert_eq!(clock.at(instant(200)), time(5_100));
        // The database's clock was put back.
        clock.set(instant(300), instant(310), time(1_000));
        assert_eq!(clock.at(instant(310)), time(5_100));
        assert_eq!(clock.at(instant(5_000)), time(5_700));
    }

    #[test]
    fn this_machines_clock_goes_forward() {
        let before = Instant::now();
        assert!(before <= Instant::now());
        assert_eq!(Instant::now().until(before), Duration::ZERO);
    }
}
