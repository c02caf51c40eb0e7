//! The cache's sequence lock (`introspection/cache.rs`) under the memory model:
//! the same steps on loom's atomics. An entry is a number here, the revision as
//! of which it is; the real ones are behind locks of their own, which order more.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicU64, Ordering, fence},
    thread,
};

/// None: it was dropped.
const NOTHING: u64 = 0;

struct Cache {
    publication: AtomicU64,
    revision: AtomicU64,
    entries: [AtomicU64; 2],
}

/// Which step is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The writer's, before and after it writes.
    Publication,
    /// The reader's, between what it reads and its second look.
    Fence,
}

impl Cache {
    /// All of it is as of revision 1.
    fn new() -> Self {
        Self { publication: AtomicU64::new(0), revision: AtomicU64::new(1), entries: [1, 1].map(AtomicU64::new) }
    }

    /// Publishes revision 2, which changed both, and holds them as they are then.
    fn write(&self, without: Without) {
        if without != Without::Publication {
            self.publication.fetch_add(1, Ordering::AcqRel);
        }
        for entry in &self.entries {
            entry.store(NOTHING, Ordering::Release);
        }
        self.revision.store(2, Ordering::Release);
        if without != Without::Publication {
            self.publication.fetch_add(1, Ordering::Release);
        }
        for entry in &self.entries {
            entry.store(2, Ordering::Release);
        }
    }

    /// The revision that was read first, and the entries, where all is there and
    /// nothing was published meanwhile.
    fn look(&self, without: Without) -> Option<(u64, [u64; 2])> {
        let before = self.publication.load(Ordering::Acquire);
        if before % 2 == 1 {
            return None;
        }
        let revision = self.revision.load(Ordering::Acquire);
        let entries = self.entries.each_ref().map(|entry| entry.load(Ordering::Relaxed));
        if without != Without::Fence {
            fence(Ordering::Acquire);
        }
        let same = self.publication.load(Ordering::Relaxed) == before;
        (same && !entries.contains(&NOTHING)).then_some((revision, entries))
    }
}

fn explore(without: Without) {
    loom::model(move || {
        let cache = Arc::new(Cache::new());
        let writer = thread::spawn({
            let cache = cache.clone();
            move || cache.write(without)
        });
        if let Some((revision, entries)) = cache.look(without) {
            assert_eq!(entries, [revision; 2], "two publications are mixed");
        }
        writer.join().expect("it writes");
    });
}

#[test]
fn what_a_reader_takes_is_of_one_publication() {
    explore(Without::Nothing);
}

#[test]
#[should_panic(expected = "two publications are mixed")]
fn the_writer_must_say_that_it_writes() {
    explore(Without::Publication);
}

#[test]
#[should_panic(expected = "two publications are mixed")]
fn the_reader_must_not_look_again_too_early() {
    explore(Without::Fence);
}
