//! Which thing is meant? A type for each kind of id, so that none can stand
//! in for another.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::time::Timestamp;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id that a UUID stands for.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// A new id of the given time, with 62 random bits.
            pub fn at(time: Timestamp, random: [u8; 8]) -> Self {
                Self(uuid_v7(time, random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Takes the canonical text form alone: lower case, hyphenated.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let uuid = Uuid::try_parse(text).map_err(|_| MalformedId)?;
                let mut canonical = [0; uuid::fmt::Hyphenated::LENGTH];
                if uuid.hyphenated().encode_lower(&mut canonical) == text {
                    Ok(Self(uuid))
                } else {
                    Err(MalformedId)
                }
            }
        }
    };
}

uuid_id! {
    /// A token, service credential or session: whatever has secrets.
    CredentialId
}
uuid_id! {
    /// One of a credential's one or two secrets.
    SecretId
}
uuid_id! {
    /// An account's internal id: new at each creation, never used again.
    AccountKey
}
uuid_id! {
    /// An entry of the audit trail.
    AuditId
}

/// An id that is not a UUID in its canonical text form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a UUID in its canonical text form is wanted")]
pub struct MalformedId;

/// A UUIDv7 (RFC 9562, section 5.7) whose `rand_a` carries the fraction of the
/// millisecond (section 6.2, method 3), so that ids order by microsecond.
fn uuid_v7(time: Timestamp, random: [u8; 8]) -> Uuid {
    let micros = time.as_micros().unsigned_abs();
    let fraction = (micros % 1_000) * 4_096 / 1_000;
    let mut counter_random_bytes = [0; 10];
    counter_random_bytes[..2].copy_from_slice(&u16::try_from(fraction).unwrap_or(0xfff).to_be_bytes());
    counter_random_bytes[2..].copy_from_slice(&random);
    uuid::Builder::from_unix_timestamp_millis(micros / 1_000, &counter_random_bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_form_parses() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(text.parse::<CredentialId>().expect("canonical").to_string(), text);
        for other in [
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "01890a5dac96774bbcceb302099a8057",
            "{01890a5d-ac96-774b-bcce-b302099a8057}",
            "",
            "x",
        ] {
            assert_eq!(other.parse::<CredentialId>(), Err(MalformedId), "{other}");
        }
    }

    proptest! {
        #[test]
        fn ids_order_by_microsecond(a in 0..253_402_300_799_999_999_i64, later in 1..2_000_i64, x: [u8; 8], y: [u8; 8]) {
            let first = CredentialId::at(Timestamp::from_micros(a).expect("in range"), x);
            let second = CredentialId::at(Timestamp::from_micros((a + later).min(Timestamp::MAX.as_micros())).expect("in range"), y);
            prop_assert_eq!(first.uuid().get_version_num(), 7);
            prop_assert!(first < second || a == Timestamp::MAX.as_micros());
        }
    }
}
