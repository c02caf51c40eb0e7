//! How often did it happen? Counters that many threads raise at once: each has a
//! line of its own to write to, so that no line goes from processor to processor
//! with every call.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// So many threads write without meeting each other.
const LINES: usize = 16;

// Two lines of a cache, which some processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Goes up.
#[derive(Debug, Default)]
pub struct Counter([Line; LINES]);

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Which line is this thread's.
fn own() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % LINES);
        }
        own.get()
    })
}

impl Counter {
    /// It happened.
    pub fn count(&self) {
        self.add(1);
    }

    /// It happened so often.
    pub fn add(&self, times: u64) {
        self.0[own()].0.fetch_add(times, Ordering::Relaxed);
    }

    /// How often it happened.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|line| line.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_lost_between_more_threads_than_lines() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * LINES {
                scope.spawn(|| (0..1_000).for_each(|_| counter.count()));
            }
        });
        counter.add(7);
        assert_eq!(counter.total(), 2 * 16 * 1_000 + 7);
    }
}
