//! Parses arguments, runs one command, and says by the exit code how it went.

use std::process::ExitCode;

fn main() -> ExitCode {
    token_authority::cli::main()
}
