//! The log of all servers in this process, at its most talkative.

use std::{
    io::{self, Write},
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Keeps all that is logged from now on. Called by every server that starts.
pub(crate) fn keep() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = EnvFilter::new(
            "debug,token_authority=trace,token_authority::traced=off,sea_orm=warn,h2=info,hyper=info,tower=info",
        );
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Keeper);
        tracing_subscriber::registry().with(filter).with(lines).init();
    });
}

/// All that was logged.
pub(crate) fn kept() -> Vec<u8> {
    since(Mark::default())
}

/// A place in the log; the default is its beginning.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mark(usize);

/// Where the log ends now.
pub(crate) fn mark() -> Mark {
    Mark(LINES.lock().unwrap_or_else(PoisonError::into_inner).len())
}

/// What was logged from there on.
pub(crate) fn since(mark: Mark) -> Vec<u8> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)[mark.0..].to_vec()
}

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
