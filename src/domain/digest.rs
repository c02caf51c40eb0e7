//! What is kept of a secret? Its bcrypt hash and its fingerprint: types that
//! cannot be printed, nor mistaken for the plaintext they came from.

use std::fmt;

use subtle::ConstantTimeEq as _;

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
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_not_printed() {
        let hash = BcryptHash::from_stored("$2b$10$abcdefghijklmnopqrstuv");
        let fingerprint = Fingerprint::from_bytes([0xab; 32]);
        let printed = format!("{hash:?} {fingerprint:?}");
        assert_eq!(printed, "BcryptHash(…) Fingerprint(…)");
    }

    #[test]
    fn fingerprints_match_only_themselves() {
        let one = Fingerprint::from_bytes([1; 32]);
        let mut bytes = [1; 32];
        bytes[31] = 0;
        assert!(one.matches(&one.clone()));
        assert!(!one.matches(&Fingerprint::from_bytes(bytes)));
    }
}
