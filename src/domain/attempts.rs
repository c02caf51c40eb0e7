//! Whose failures to sign in are counted together? Those for one username from
//! one address, and those from one address whatever the username: so nobody is
//! locked out by what others try from elsewhere.
//!
//! A bucket is named by a digest, so that the database holds neither what was
//! typed for a username, which may be a password, nor a list of addresses.

use std::{fmt, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};

use super::{account::Username, network::ClientAddress, time::Timestamp};

/// How many may fail, and within which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttling {
    /// For one username from one address.
    pub max_per_user_and_address: u32,
    /// From one address.
    pub max_per_address: u32,
    /// A window begins with its first attempt, and ends so long after it.
    pub window: Duration,
}

/// What a bucket counts, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// How many failures it takes in a window.
    pub max: u32,
}

/// The name of a bucket: SHA-256 of what it counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName([u8; 32]);

impl BucketName {
    /// Of a username, as it is compared, from an address, IPv6 ones by their
    /// /64. What is no username counts as it was typed.
    pub fn of_user(unverified_username: &str, address: Option<ClientAddress>) -> Self {
        match Username::new(unverified_username) {
            Ok(username) => Self::of(*b"user", address, username.compared()),
            Err(_) => Self::of(*b"text", address, unverified_username),
        }
    }

    /// Of an address, IPv6 ones by their /64.
    pub fn of_address(address: Option<ClientAddress>) -> Self {
        Self::of(*b"addr", address, "")
    }

    /// A name as the store kept it.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for the store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(tag: [u8; 4], address: Option<ClientAddress>, text: &str) -> Self {
        let network = address.map(|address| address.counted_with().to_string()).unwrap_or_default();
        let mut context = Context::new(&SHA256);
        context.update(&tag);
        // No network holds a NUL: no two pairs are written alike.
        context.update(network.as_bytes());
        context.update(&[0]);
        context.update(text.as_bytes());
        Self(context.finish().as_ref().try_into().expect("SHA-256 makes 32 bytes"))
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketName(…)")
    }
}

/// When a window that began then is over.
pub fn window_end(window_start: Timestamp, window: Duration) -> Timestamp {
    window_start.checked_add(window).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the names take it")]
    fn address(text: &str) -> Option<ClientAddress> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn usernames_count_as_they_are_compared() {
        let of = |username| BucketName::of_user(username, address("192.0.2.1"));
        assert_eq!(of("Ada"), of("aDA"));
        assert_eq!(of("\u{ff21}da"), of("ada"));
        assert_ne!(of("ada"), of("ben"));
        assert_ne!(of("two words"), of("twowords"));
        assert_ne!(of("two words"), of("Two words"), "what is no username is not mapped");
        assert_ne!(of(""), BucketName::of_address(address("192.0.2.1")));
    }

    #[test]
    fn addresses_count_as_they_are_handed_out() {
        let of = |text| BucketName::of_address(address(text));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), BucketName::of_address(None));
        assert_ne!(BucketName::of_user("ada", address("192.0.2.1")), BucketName::of_user("ada", None));
    }
}
