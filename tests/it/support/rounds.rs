//! How often is something tried that must hold every time? A few times with the
//! other tests, thousands of times by command.

/// What `TOKEN_AUTHORITY_TEST_ROUNDS` says, else `few`.
pub(crate) fn rounds(few: usize) -> usize {
    match std::env::var("TOKEN_AUTHORITY_TEST_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("TOKEN_AUTHORITY_TEST_ROUNDS is a number"),
        Err(_) => few,
    }
}
