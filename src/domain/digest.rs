//! What is kept of a secret? Its hash and its fingerprint: types that cannot be
//! printed, nor mistaken for the plaintext they came from. Of a master key, its
//! check value.
//!
//! Digests are compared here alone, in constant time.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// What outlives keys. Its stored text says what it is, as those of crypt(3) do:
/// `$2…` is bcrypt, `{SHA256}…` a SHA-256 digest in base64.
#[derive(Clone, Debug)]
pub enum SecretHash {
    /// Of a credential's random part alone.
    Bcrypt(BcryptHash),
    /// Another system's, of a whole credential that it issued.
    LegacyBcrypt(BcryptHash),
    /// Of a whole credential that cannot be guessed: a signed one, or one that
    /// another system drew at random.
    Sha256(Sha256Digest),
}

impl SecretHash {
    /// A hash as the store kept it; none where it is of neither kind.
    pub fn from_stored(text: String) -> Option<Self> {
        if text.starts_with("$2") {
            return Some(Self::Bcrypt(BcryptHash::from_stored(text)));
        }
        Sha256Digest::from_stored(&text).map(Self::Sha256)
    }

    /// The same hash, of a whole credential that another system issued.
    #[must_use]
    pub fn of_another_system(self) -> Self {
        match self {
            Self::Bcrypt(hash) => Self::LegacyBcrypt(hash),
            Self::LegacyBcrypt(_) | Self::Sha256(_) => self,
        }
    }

    /// The text, for the store.
    pub fn expose(&self) -> String {
        match self {
            Self::Bcrypt(hash) | Self::LegacyBcrypt(hash) => hash.expose().to_owned(),
            Self::Sha256(digest) => digest.expose(),
        }
    }

    /// How many bytes it takes in memory beside itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Bcrypt(hash) | Self::LegacyBcrypt(hash) => hash.expose().len(),
            Self::Sha256(_) => SHA256_BYTES,
        }
    }
}

const SHA256_BYTES: usize = 32;
const SHA256_SCHEME: &str = "{SHA256}";

/// The SHA-256 digest of a whole credential.
///
/// It has no `==`: [`Sha256Digest::matches`] takes the same time whatever
/// differs.
// Boxed, so that the many that are bcrypt's take no room for it.
#[derive(Clone)]
pub struct Sha256Digest(Box<[u8; SHA256_BYTES]>);

impl Sha256Digest {
    /// The digest of a credential.
    pub fn of(credential: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, credential.as_bytes());
        Self::from_bytes(digest.as_ref().try_into().expect("SHA-256 makes 32 bytes"))
    }

    /// A digest as it was computed.
    pub fn from_bytes(bytes: [u8; SHA256_BYTES]) -> Self {
        Self(Box::new(bytes))
    }

    /// A digest as the store kept it: `{SHA256}` and 32 bytes in base64.
    pub fn from_stored(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix(SHA256_SCHEME)?).ok()?;
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }

    /// The text, for the store.
    pub fn expose(&self) -> String {
        format!("{SHA256_SCHEME}{}", BASE64_STANDARD.encode(*self.0))
    }

    /// Whether both are of the same credential, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&*self.0, &*other.0).is_ok()
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Digest(…)")
    }
}

/// A bcrypt hash in its modular crypt form.
#[derive(Clone)]
pub struct BcryptHash(String);

/// What is not bcrypt's, or takes too long.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MalformedHash {
    /// Of another form.
    #[error(
        "60 characters of a bcrypt hash are wanted: its version 2a, 2b or 2y, its cost in two digits, its salt and hash"
    )]
    Form,
    /// One hash would keep a processor for longer than others can wait.
    #[error("a cost between 4 and {MAX_COST} is wanted")]
    Cost,
}

/// The most that a hash may cost.
const MAX_COST: u32 = 14;

impl BcryptHash {
    /// A hash that another system wrote, in the one form that bcrypt has. What
    /// programs call its version says which of their mistakes it is free of: of
    /// what is hashed here, all of them compute the same, so that it is told as one.
    pub fn parse(text: &str) -> Result<Self, MalformedHash> {
        const DIGITS: &[u8] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        const SALT: usize = 22;
        const HASH: usize = 31;

        let after_version = ["$2a$", "$2b$", "$2y$"].into_iter().find_map(|version| text.strip_prefix(version));
        let (cost, encoded) = after_version.and_then(|rest| rest.split_once('$')).ok_or(MalformedHash::Form)?;
        let values: Option<Vec<usize>> =
            encoded.bytes().map(|byte| DIGITS.iter().position(|digit| *digit == byte)).collect();
        let values = values.filter(|values| values.len() == SALT + HASH).ok_or(MalformedHash::Form)?;
        // 16 bytes and 23: the last digit of each has bits to spare, which are zero.
        if values[SALT - 1] % 16 != 0 || values[SALT + HASH - 1] % 4 != 0 {
            return Err(MalformedHash::Form);
        }
        if cost.len() != 2 || !cost.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MalformedHash::Form);
        }
        match cost.parse::<u32>() {
            Ok(4..=MAX_COST) => Ok(Self(format!("$2b${cost}${encoded}"))),
            _ => Err(MalformedHash::Cost),
        }
    }

    /// A hash as bcrypt wrote it, or as the store kept it.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the store and for verifying.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What computing it cost; none where it cannot be read.
    pub fn cost(&self) -> Option<u32> {
        self.0.split('$').nth(2)?.parse().ok()
    }

    /// Whether both are the same hash, salt and all, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
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
        let digest = SecretHash::Sha256(Sha256Digest::of("a credential"));
        let printed = format!("{hash:?} {fingerprint:?} {check:?} {digest:?}");
        assert_eq!(printed, "BcryptHash(…) Fingerprint(…) CheckValue(…) Sha256(Sha256Digest(…))");
    }

    #[test]
    fn a_stored_hash_says_what_it_is() {
        // FIPS 180-4's example.
        let stored = "{SHA256}ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let Some(SecretHash::Sha256(digest)) = SecretHash::from_stored(stored.to_owned()) else {
            panic!("it is a SHA-256 digest");
        };
        assert!(digest.matches(&Sha256Digest::of("abc")) && !digest.matches(&Sha256Digest::of("abd")));
        assert_eq!(digest.expose(), stored);
        let bcrypt = "$2y$10$abcdefghijklmnopqrstuv";
        let hash = SecretHash::from_stored(bcrypt.to_owned()).expect("it is bcrypt's");
        assert!(matches!(hash, SecretHash::Bcrypt(_)) && hash.expose() == bcrypt);
        let of_31_bytes = format!("{SHA256_SCHEME}{}", BASE64_STANDARD.encode([0; 31]));
        for bad in ["", "{SHA256}", "{SHA256}junk", "{SHA512}AAAA", "$argon2id$", &of_31_bytes] {
            assert!(SecretHash::from_stored(bad.to_owned()).is_none(), "{bad}");
        }
    }

    #[test]
    fn other_systems_hashes_have_one_form() {
        // PHP's example of crypt(3), and two of OpenBSD's.
        let php = "$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi";
        for good in [php, &php.replace("$2a$", "$2b$"), &php.replace("$2a$07", "$2y$14"), &php.replace("$07$", "$04$")]
        {
            let told = BcryptHash::parse(good).expect(good);
            assert_eq!(told.expose(), good.replace("$2a$", "$2b$").replace("$2y$", "$2b$"));
        }
        for (bad, expected) in [
            (String::new(), MalformedHash::Form),
            (php.replace("$2a$", "$2x$"), MalformedHash::Form),
            (php.replace("$2a$", "$2$"), MalformedHash::Form),
            (format!("{php}x"), MalformedHash::Form),
            (php[..59].to_owned(), MalformedHash::Form),
            (php.replace("silly", "sill\u{e9}"), MalformedHash::Form),
            (php.replace("silly", "sil-y"), MalformedHash::Form),
            (format!(" {}", &php[..59]), MalformedHash::Form),
            (php.replace("$07$", "$7$"), MalformedHash::Form),
            (php.replace("$07$", "$+7$"), MalformedHash::Form),
            // Bits that no salt and no hash has.
            (php.replace("fore2u", "forf2u"), MalformedHash::Form),
            (php.replace("dH6hi", "dH6hj"), MalformedHash::Form),
            (php.replace("$07$", "$03$"), MalformedHash::Cost),
            (php.replace("$07$", "$15$"), MalformedHash::Cost),
        ] {
            assert_eq!(BcryptHash::parse(&bad).err(), Some(expected), "{bad}");
        }
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
