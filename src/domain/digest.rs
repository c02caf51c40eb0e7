//! What is kept of a secret? Its bcrypt hash and its fingerprint: types that
//! cannot be printed, nor mistaken for the plaintext they came from. Of a master
//! key, its check value.
//!
//! Digests are compared here alone, in constant time.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// A bcrypt hash in its modular crypt form.
#[derive(Clone)]
pub struct BcryptHash(String);

impl BcryptHash {
    /// A hash as bcrypt wrote it, or as the store kept it.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the store and for verifying.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether both are the same hash, salt and all, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for BcryptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BcryptHash(…)")
    }
}

/// HMAC-SHA-256 of a whole credential under a key derived from the master key.
///
/// It has no `==`: [`Fingerprint::matches`] takes the same time whatever
/// differs.
#[derive(Clone)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// A fingerprint as it was computed, or as the store kept it.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the store.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are of the same credential, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// What the database keeps of a master key, to tell it from another one of the
/// same name: 16 bytes derived from it, which allow no way back.
#[derive(Clone)]
pub struct CheckValue([u8; 16]);

impl CheckValue {
    /// A check value as it was derived.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A check value as the store kept it: 32 hexadecimal digits.
    pub fn from_stored(text: &str) -> Option<Self> {
        let well_formed = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|value| Self(value.to_be_bytes()))
    }

    /// The digits, for the store.
    pub fn expose(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// Whether both are of the same key, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for CheckValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_not_printed() {
        let hash = BcryptHash::from_stored("$2b$10$abcdefghijklmnopqrstuv");
        let fingerprint = Fingerprint::from_bytes([0xab; 32]);
        let check = CheckValue::from_bytes([0xab; 16]);
        let printed = format!("{hash:?} {fingerprint:?} {check:?}");
        assert_eq!(printed, "BcryptHash(…) Fingerprint(…) CheckValue(…)");
    }

    #[test]
    fn fingerprints_match_only_themselves() {
        let one = Fingerprint::from_bytes([1; 32]);
        let mut bytes = [1; 32];
        bytes[31] = 0;
        assert!(one.matches(&one.clone()));
        assert!(!one.matches(&Fingerprint::from_bytes(bytes)));
    }

    #[test]
    fn check_values_are_read_as_they_were_written() {
        let check = CheckValue::from_bytes([0x0a; 16]);
        assert_eq!(check.expose(), "0a".repeat(16));
        assert!(CheckValue::from_stored(&check.expose()).is_some_and(|read| read.matches(&check)));
        assert!(!check.matches(&CheckValue::from_bytes([0x0b; 16])));
        for bad in ["", "0a", &"0a".repeat(17), &format!("+{}a", "0a".repeat(15))] {
            assert!(CheckValue::from_stored(bad).is_none(), "{bad}");
        }
    }
}
