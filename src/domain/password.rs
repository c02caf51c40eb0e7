//! What is a password? 8 characters to 71 bytes, in the one form that RFC 8265
//! (section 4.2, OpaqueString) gives it: however it was typed, the same password
//! is hashed and verified.
//!
//! bcrypt takes 72 bytes and ends at a NUL, which that form does not have: it
//! takes all of a password within these bounds.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The fewest characters of a password, after mapping.
pub const MIN_CHARACTERS: usize = 8;
/// The most bytes of a password, after mapping.
pub const MAX_BYTES: usize = 71;
/// Mapping may make three bytes of one, or one character of three: what is far
/// too long is refused before work is spent on it.
const MAX_UNMAPPED_BYTES: usize = MAX_BYTES * 4 * 3;

/// A password in the form in which it is hashed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

/// A password that cannot be one. It tells what is wanted, never what was given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a password of 8 characters to 71 bytes without control characters, as RFC 8265 has it, is wanted")]
pub struct MalformedPassword;

impl Password {
    /// Maps and checks.
    pub fn new(text: &str) -> Result<Self, MalformedPassword> {
        use precis_core::profile::Profile as _;

        if text.len() > MAX_UNMAPPED_BYTES {
            return Err(MalformedPassword);
        }
        let mapped = precis_profiles::OpaqueString::new().enforce(text).map_err(|_| MalformedPassword)?;
        let password = Self(mapped.into_owned());
        let fits = password.0.chars().count() >= MIN_CHARACTERS && password.0.len() <= MAX_BYTES;
        if fits { Ok(password) } else { Err(MalformedPassword) }
    }

    /// The bytes, for hashing alone.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<Vec<u8>> {
        Password::new(text).ok().map(|password| password.expose().to_vec())
    }

    #[test]
    fn lengths_are_of_characters_below_and_of_bytes_above() {
        assert!(bytes("12345678").is_some());
        assert!(bytes("1234567").is_none());
        assert!(bytes(&"ä".repeat(8)).is_some());
        assert!(bytes(&"ä".repeat(7)).is_none());
        assert!(bytes(&"a".repeat(71)).is_some());
        assert!(bytes(&"a".repeat(72)).is_none());
        assert!(bytes(&format!("{}a", "ä".repeat(35))).is_some());
        assert!(bytes(&"ä".repeat(36)).is_none());
        assert!(bytes(&"a".repeat(1 << 20)).is_none());
        assert!(bytes("").is_none());
    }

    #[test]
    fn however_it_is_typed_it_is_the_same() {
        assert_eq!(bytes("Cafe\u{301} au lait"), bytes("Caf\u{e9} au lait"));
        assert_eq!(bytes("correct\u{a0}horse"), bytes("correct horse"));
        assert_eq!(bytes("correct\u{3000}horse"), bytes("correct horse"));
        assert_ne!(bytes("Correct horse"), bytes("correct horse"), "case counts");
        assert_ne!(bytes("correct horse "), bytes("correct horse"), "so does a space at the end");
    }

    #[test]
    fn what_cannot_be_typed_is_refused() {
        for bad in ["with a \0 inside", "\0", "two\nlines of it", "a tab\tinside", "del\u{7f}eted one"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let password = Password::new("correct horse").expect("well-formed");
        assert_eq!(format!("{password:?}"), "Password(…)");
        assert!(!MalformedPassword.to_string().contains("horse"));
    }
}
