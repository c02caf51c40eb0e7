//! When did it happen? Microseconds since the Unix epoch, UTC: the one unit of
//! time in records, in both databases and in judgement.

use std::time::Duration;

/// A point in time, in whole microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A point in time that the wire format cannot carry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a time between the years 1970 and 9999 is wanted")]
pub struct OutOfRange;

impl Timestamp {
    /// 9999-12-31T23:59:59.999999Z, the last time that protobuf can carry.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From microseconds since the epoch; a time outside 1970 to 9999 is refused.
    pub fn from_micros(micros: i64) -> Result<Self, OutOfRange> {
        if (0..=Self::MAX.0).contains(&micros) { Ok(Self(micros)) } else { Err(OutOfRange) }
    }

    /// From seconds and nanoseconds as protobuf has them; what is finer than a
    /// microsecond is cut off.
    pub fn from_parts(seconds: i64, nanos: i32) -> Result<Self, OutOfRange> {
        if !(0..1_000_000_000).contains(&nanos) {
            return Err(OutOfRange);
        }
        let micros = seconds
            .checked_mul(1_000_000)
            .and_then(|micros| micros.checked_add(i64::from(nanos / 1_000)))
            .ok_or(OutOfRange)?;
        Self::from_micros(micros)
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// This time and `span` later; a span finer than a microsecond is cut off.
    pub fn checked_add(self, span: Duration) -> Result<Self, OutOfRange> {
        let micros = i64::try_from(span.as_micros()).map_err(|_| OutOfRange)?;
        Self::from_micros(self.0.checked_add(micros).ok_or(OutOfRange)?)
    }

    /// This time and `span` earlier, but not before the epoch.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(0))
    }
}

/// How long something lives: for a span, or until somebody ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For so long.
    For(Duration),
    /// Until revoked.
    Never,
}

impl Lifetime {
    /// Whether this is longer than `other`.
    pub fn exceeds(self, other: Self) -> bool {
        match (self, other) {
            (_, Self::Never) => false,
            (Self::Never, Self::For(_)) => true,
            (Self::For(own), Self::For(other)) => own > other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_to_microseconds_and_bounded() {
        let time = Timestamp::from_parts(1, 2_999).expect("in range");
        assert_eq!(time.as_micros(), 1_000_002);
        assert_eq!(Timestamp::from_parts(-1, 0), Err(OutOfRange));
        assert_eq!(Timestamp::from_parts(0, -1), Err(OutOfRange));
        assert_eq!(Timestamp::from_parts(i64::MAX, 0), Err(OutOfRange));
        assert!(Timestamp::MAX.checked_add(Duration::from_micros(1)).is_err());
    }

    #[test]
    fn never_exceeds_every_span() {
        let year = Lifetime::For(Duration::from_secs(1));
        assert!(Lifetime::Never.exceeds(year));
        assert!(!year.exceeds(Lifetime::Never));
        assert!(!Lifetime::Never.exceeds(Lifetime::Never));
        assert!(!year.exceeds(year));
    }
}
