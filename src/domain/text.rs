//! Which words may people choose? Labels and names that look like what they
//! are: normalized, and free of characters that cannot be seen or that turn
//! the direction of writing.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// The most characters of a label, after normalization.
pub const MAX_LABEL: usize = 100;

/// A label: 1 to 100 characters after NFC, without control, format or
/// bidirectional ones, and not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(String);

/// A label of another form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MalformedLabel {
    /// There is nothing to see.
    #[error("a label is wanted")]
    Blank,
    /// It is too long.
    #[error("at most {MAX_LABEL} characters are wanted")]
    TooLong,
    /// It holds a character that cannot be seen.
    #[error("control, format, bidirectional and other invisible characters are not wanted")]
    Invisible,
}

impl Label {
    /// Normalizes and checks.
    pub fn new(text: &str) -> Result<Self, MalformedLabel> {
        // NFC can only make fewer than three characters of one: what is far
        // too long is refused before work is spent on it.
        if text.len() > MAX_LABEL * 4 * 3 {
            return Err(MalformedLabel::TooLong);
        }
        let text: String = text.nfc().collect();
        if text.chars().any(is_invisible) {
            return Err(MalformedLabel::Invisible);
        }
        if text.trim().is_empty() {
            return Err(MalformedLabel::Blank);
        }
        if text.chars().count() > MAX_LABEL {
            return Err(MalformedLabel::TooLong);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character has no look of its own: controls, format and
/// bidirectional characters, separators of lines, and what Unicode calls
/// default-ignorable outside those categories.
pub fn is_invisible(character: char) -> bool {
    matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    ) || matches!(
        character,
        '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_normalized() {
        assert_eq!(Label::new("Cafe\u{301}").map(|label| label.0), Ok("Caf\u{e9}".to_owned()));
        assert!(Label::new(&"ä".repeat(100)).is_ok());
        assert!(Label::new(&"a\u{308}".repeat(100)).is_ok());
        assert_eq!(Label::new(&"ä".repeat(101)), Err(MalformedLabel::TooLong));
        assert_eq!(Label::new(&"a".repeat(1 << 20)), Err(MalformedLabel::TooLong));
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        for bad in [
            "a\u{200b}b",
            "a\u{200d}b",
            "\u{202e}abc",
            "a\u{2066}b",
            "a\u{feff}",
            "a\nb",
            "a\0b",
            "a\u{7f}b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{ad}b",
            "\u{3164}",
            "a\u{fe0f}",
            "a\u{e0001}b",
        ] {
            assert_eq!(Label::new(bad), Err(MalformedLabel::Invisible), "{bad:?}");
        }
        for blank in ["", " ", "\u{a0}\u{2003}"] {
            assert_eq!(Label::new(blank), Err(MalformedLabel::Blank), "{blank:?}");
        }
    }
}
