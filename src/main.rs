//! Parses arguments, loads settings, runs one command.
fn main() {}
