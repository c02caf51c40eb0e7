//! Parses arguments, runs one command, and says by the exit code how it went.

use std::process::ExitCode;

/// Every call allocates some dozens of times.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    token_authority::cli::main()
}
