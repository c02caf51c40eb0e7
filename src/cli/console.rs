//! Where do results and complaints go?
//!
//! Results to standard output, whole; everything else to standard error. Where
//! programs read, both are JSON.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use super::{
    Error,
    report::{failure, progress, warning},
    view::{Minted, Record, View, escaped_json},
};

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people
    #[default]
    Table,
    /// For programs; errors too
    Json,
    /// A new secret alone, to be piped
    Secret,
}

/// Standard output and standard error, in one format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Console {
    format: OutputFormat,
}

impl Console {
    pub(super) fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    /// Shows a result.
    pub(super) fn show(self, view: &impl View) -> Result<(), Error> {
        match self.format {
            OutputFormat::Json => write(&view.json()),
            // Commands without a new secret are refused this format early on.
            OutputFormat::Table | OutputFormat::Secret => write(&view.table()),
        }
        .map_err(Error::Write)
    }

    /// Shows a new secret with what it belongs to, this once.
    pub(super) fn show_minted(self, minted: &Minted<impl Record>) -> Result<(), Error> {
        match self.format {
            OutputFormat::Table => write(&minted.table()),
            OutputFormat::Json => write(&minted.json()),
            OutputFormat::Secret => write(&minted.secret()),
        }
        .map_err(|source| Error::SecretLost { id: minted.named(), source })
    }

    /// Says why the command failed.
    pub(super) fn report(self, error: &Error) {
        if let Error::Write(source) = error
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            return;
        }
        complain(&failure(error, self.format));
    }

    /// Says what is unwise, and goes on.
    pub(super) fn warn(self, message: &str) {
        complain(&warning(message, self.format));
    }

    /// Says how far a long command is.
    pub(super) fn tell_progress(self, done: u64, total: u64) {
        complain(&progress(done, total, self.format));
    }
}

fn complain(text: &str) {
    // Nowhere is left to complain to where standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Shows one of many results, on a line for programs.
pub(super) fn print_line(value: &impl Serialize) -> Result<(), Error> {
    write(&escaped_json(value)).map_err(Error::Write)
}

/// Prints text as it is: a script that this program itself made.
pub(super) fn print(text: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).map_err(Error::Write)
}

/// Whether a person can be asked.
pub(super) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// In one piece with its line's end, and flushed: what the buffer of standard
/// output holds at exit is lost without a word.
fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
