//! Where is somebody signed in, and for how long? Desktop sessions, as their
//! application told of them.

use std::time::Duration;

use super::{
    text::{Label, MalformedLabel},
    time::{Lifetime, Timestamp},
};

/// The device that a desktop session was opened on, in its application's
/// words: each at most 100 characters that can be seen, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesktopDevice {
    device_name: String,
    platform: String,
    app_version: String,
}

/// Which of an application's words is not as it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the fields")]
pub enum MalformedDevice {
    #[error(transparent)]
    DeviceName(MalformedLabel),
    #[error(transparent)]
    Platform(MalformedLabel),
    #[error(transparent)]
    AppVersion(MalformedLabel),
}

impl DesktopDevice {
    /// Normalizes and checks.
    pub fn new(device_name: &str, platform: &str, app_version: &str) -> Result<Self, MalformedDevice> {
        Ok(Self {
            device_name: words(device_name).map_err(MalformedDevice::DeviceName)?,
            platform: words(platform).map_err(MalformedDevice::Platform)?,
            app_version: words(app_version).map_err(MalformedDevice::AppVersion)?,
        })
    }

    /// A device as the store kept it.
    pub fn from_stored(device_name: String, platform: String, app_version: String) -> Self {
        Self { device_name, platform, app_version }
    }

    /// For example "Ada's laptop".
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// For example "windows", "macos", "linux".
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// The application's version.
    pub fn app_version(&self) -> &str {
        &self.app_version
    }
}

/// As a label has it, or nothing at all.
fn words(text: &str) -> Result<String, MalformedLabel> {
    if text.is_empty() { Ok(String::new()) } else { Label::new(text).map(|label| label.as_str().to_owned()) }
}

/// A lifetime that slides: a session goes on while it is used, within a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// How long it goes on without being used.
    pub window: Duration,
    /// How long it goes on at most, from when it was opened.
    pub max: Lifetime,
}

impl Sliding {
    /// When a session that is opened `now` ends, if nobody uses it.
    pub fn first_expiry(self, now: Timestamp) -> Timestamp {
        self.expiry(now, now)
    }

    /// Whereto a use at `now` moves the end of a session that goes on: only from
    /// the second half of its window, so that few uses are changes.
    pub fn moved(self, opened: Timestamp, expire_time: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let expire_time = expire_time.filter(|expire_time| now < *expire_time)?;
        let second_half = expire_time.saturating_sub(self.window / 2);
        let moved = self.expiry(opened, now);
        (now >= second_half && moved > expire_time).then_some(moved)
    }

    fn expiry(self, opened: Timestamp, now: Timestamp) -> Timestamp {
        let after = |time: Timestamp, span| time.checked_add(span).unwrap_or(Timestamp::MAX);
        match self.max {
            Lifetime::Never => after(now, self.window),
            Lifetime::For(max) => after(now, self.window).min(after(opened, max)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn hours(hours: i64) -> Timestamp {
        Timestamp::from_micros(hours * 3_600_000_000).expect("in range")
    }

    #[test]
    fn a_use_in_the_second_half_moves_the_end_on() {
        let sliding = Sliding { window: 10 * HOUR, max: Lifetime::For(24 * HOUR) };
        let opened = hours(100);
        assert_eq!(sliding.first_expiry(opened), hours(110));
        let moved = |expire, now| sliding.moved(opened, Some(hours(expire)), hours(now));
        assert_eq!(moved(110, 104), None, "in the first half");
        assert_eq!(moved(110, 105), Some(hours(115)));
        assert_eq!(moved(110, 109), Some(hours(119)));
        assert_eq!(moved(110, 110), None, "it has ended");
        assert_eq!(moved(119, 118), Some(hours(124)), "not beyond the bound");
        assert_eq!(moved(124, 123), None, "once it ends at the bound, nothing moves it");
        assert_eq!(sliding.moved(opened, None, hours(105)), None, "it has no end");
    }

    #[test]
    fn without_a_bound_it_goes_on_for_as_long_as_it_is_used() {
        let sliding = Sliding { window: 10 * HOUR, max: Lifetime::Never };
        assert_eq!(sliding.moved(hours(0), Some(hours(1_000)), hours(999)), Some(hours(1_009)));
        let brief = Sliding { window: 10 * HOUR, max: Lifetime::For(HOUR) };
        assert_eq!(brief.first_expiry(hours(5)), hours(6));
        assert_eq!(sliding.first_expiry(Timestamp::MAX), Timestamp::MAX);
    }

    #[test]
    fn devices_are_told_of_in_words_that_can_be_seen() {
        assert_eq!(DesktopDevice::new("", "", ""), Ok(DesktopDevice::default()));
        let laptop = DesktopDevice::new("Cafe\u{301}", "linux", "1.2").expect("well-formed");
        assert_eq!((laptop.device_name(), laptop.platform(), laptop.app_version()), ("Caf\u{e9}", "linux", "1.2"));
        let long = "a".repeat(101);
        let refused = |name, platform, version| DesktopDevice::new(name, platform, version).err();
        assert_eq!(refused(&long, "", ""), Some(MalformedDevice::DeviceName(MalformedLabel::TooLong)));
        assert_eq!(refused("", "a\nb", ""), Some(MalformedDevice::Platform(MalformedLabel::Invisible)));
        assert_eq!(refused("", "", "\u{202e}1"), Some(MalformedDevice::AppVersion(MalformedLabel::Invisible)));
        assert_eq!(refused(" ", "", ""), Some(MalformedDevice::DeviceName(MalformedLabel::Blank)));
    }
}
