//! Where does chance come from? The operating system's generator, and nowhere
//! else.

/// Bytes that nobody can guess.
///
/// # Panics
///
/// Where the operating system has no randomness to give: then nothing may be
/// minted, and there is nobody to ask again.
pub fn bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    fill(&mut bytes);
    bytes
}

/// Fills a buffer with bytes that nobody can guess; panics as [`bytes()`].
pub fn fill(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system gives random bytes");
}
