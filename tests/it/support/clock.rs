//! A wall clock that is wrong for one process alone, and that the test moves
//! while it runs. PostgreSQL's clock and the monotonic ones stay true.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempDir;

/// A process's wall clock.
pub(crate) struct WallClock {
    directory: TempDir,
}

impl WallClock {
    /// A clock that is so many seconds off.
    pub(crate) fn off_by(seconds: i64) -> Self {
        let clock = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        clock.put_off_by(seconds);
        clock
    }

    /// Moves the clock, of a process that runs as well.
    pub(crate) fn put_off_by(&self, seconds: i64) {
        // In place: who has the file mapped reads it at any time.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.offset());
        file.and_then(|file| file.write_all_at(&seconds.to_ne_bytes(), 0)).expect("the offset is written");
    }

    /// Gives a command this clock.
    pub(crate) fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("TEST_CLOCK_OFFSET", self.offset());
    }

    fn offset(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}

/// The library that stands before the C library's clock, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/clock.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let status = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .status()
            .expect("a C compiler");
        assert!(status.success(), "{} does not compile", source.display());
        library
    })
}
