//! What do tokens look like that another system issued? As the settings say: by
//! a prefix, and by how many of its first characters that system kept in the
//! clear. They were taken over by their hashes, and are tried only where the
//! canonical form does not fit.
//!
//! Such a token does not say which record is its own. It is searched for by what
//! the database keeps of it: its fingerprint, its SHA-256 digest, or, until it was
//! first proved, its hint, which few share.

use std::fmt;

use super::{
    credential::{Plaintext, Prefix},
    id::CredentialId,
};

/// So many live tokens that only bcrypt tells apart may share a hint.
pub const MAX_CANDIDATES: usize = 16;
/// Longer ones are nobody's.
const MAX_BYTES: usize = 255;
/// bcrypt takes no more, and a NUL; what is longer is never hashed by it.
const MAX_HASHED_BYTES: usize = 71;
const MAX_PREFIX: usize = 32;
const MAX_HINT: usize = 64;

/// What the tokens of another system have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyForm {
    prefix: String,
    hint_length: usize,
}

/// A form that cannot be told from others, or that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLegacyForm {
    /// Its prefix is of another form.
    #[error("a prefix of 1 to {MAX_PREFIX} visible ASCII characters is wanted")]
    Prefix,
    /// Its hint holds nothing but the prefix, or too much.
    #[error("hint_length: longer than the prefix, and at most {MAX_HINT}, is wanted")]
    HintLength,
    /// What begins with the one begins with the other.
    #[error("{0:?} cannot be told from {1:?}")]
    Ambiguous(String, String),
}

impl LegacyForm {
    /// Tokens that begin with `prefix`, of which the first `hint_length`
    /// characters, the prefix among them, were kept in the clear.
    pub fn new(prefix: impl Into<String>, hint_length: usize) -> Result<Self, InvalidLegacyForm> {
        let prefix = prefix.into();
        if !(1..=MAX_PREFIX).contains(&prefix.len()) || !is_visible(&prefix) {
            return Err(InvalidLegacyForm::Prefix);
        }
        if !(prefix.len() + 1..=MAX_HINT).contains(&hint_length) {
            return Err(InvalidLegacyForm::HintLength);
        }
        Ok(Self { prefix, hint_length })
    }
}

/// The forms in use, each to be told from the others and from our own.
#[derive(Clone, Debug, Default)]
pub struct LegacyForms(Vec<LegacyForm>);

impl LegacyForms {
    /// Checks them against each other, and against our own prefixes.
    pub(super) fn new(forms: Vec<LegacyForm>, own: &[&Prefix]) -> Result<Self, InvalidLegacyForm> {
        let own = own.iter().map(|prefix| format!("{}_", prefix.as_str()));
        let mut taken: Vec<String> = own.collect();
        for LegacyForm { prefix, .. } in &forms {
            let same = |other: &&String| other.starts_with(prefix.as_str()) || prefix.starts_with(other.as_str());
            if let Some(other) = taken.iter().find(same) {
                return Err(InvalidLegacyForm::Ambiguous(prefix.clone(), other.clone()));
            }
            taken.push(prefix.clone());
        }
        Ok(Self(forms))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a presented credential for another system's; none where it can be
    /// no such.
    pub fn recognize(&self, presented: &str) -> Option<Legacy> {
        let form = self.form_of(presented)?;
        let well_formed = (form.hint_length + 1..=MAX_BYTES).contains(&presented.len()) && is_visible(presented);
        well_formed.then(|| Legacy {
            hint_length: form.hint_length,
            plaintext: Plaintext::of_another_system(presented.to_owned()),
        })
    }

    /// Whether tokens of one of these forms have such a hint.
    pub fn has_hint(&self, hint: &str) -> bool {
        self.form_of(hint).is_some_and(|form| form.hint_length == hint.len() && is_visible(hint))
    }

    fn form_of(&self, text: &str) -> Option<&LegacyForm> {
        self.0.iter().find(|form| text.starts_with(&form.prefix))
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A presented credential that another system may have issued.
#[derive(Clone)]
pub struct Legacy {
    hint_length: usize,
    plaintext: Plaintext,
}

impl Legacy {
    /// The first characters, which the other system kept.
    pub fn hint(&self) -> &str {
        &self.plaintext.expose()[..self.hint_length]
    }

    /// The whole of it.
    pub fn plaintext(&self) -> &Plaintext {
        &self.plaintext
    }

    /// Whether bcrypt may be run on it.
    pub fn may_be_hashed(&self) -> bool {
        self.plaintext.expose().len() <= MAX_HASHED_BYTES
    }
}

impl fmt::Debug for Legacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Legacy(…)")
    }
}

/// The same, and which record may be its own.
#[derive(Clone, Debug)]
pub struct Located {
    /// Which record.
    pub id: CredentialId,
    /// What was presented.
    pub legacy: Legacy,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(prefix: &str, hint_length: usize) -> Result<LegacyForm, InvalidLegacyForm> {
        LegacyForm::new(prefix, hint_length)
    }

    fn forms(prefixes: &[&str]) -> Result<LegacyForms, InvalidLegacyForm> {
        let forms = prefixes.iter().map(|prefix| form(prefix, 12).expect("well-formed")).collect();
        LegacyForms::new(forms, &[&Prefix::new("dt").expect("well-formed")])
    }

    #[test]
    fn forms_are_checked() {
        assert_eq!(form("", 12).err(), Some(InvalidLegacyForm::Prefix));
        assert_eq!(form("utm ", 12).err(), Some(InvalidLegacyForm::Prefix));
        assert_eq!(form(&"u".repeat(33), 40).err(), Some(InvalidLegacyForm::Prefix));
        assert_eq!(form("utm_", 4).err(), Some(InvalidLegacyForm::HintLength));
        assert_eq!(form("utm_", 65).err(), Some(InvalidLegacyForm::HintLength));
        assert!(form("utm_", 5).is_ok() && form("utm_", 64).is_ok());
    }

    #[test]
    fn forms_that_cannot_be_told_apart_are_refused() {
        for (prefixes, one, other) in [
            (&["utm_", "utm_"][..], "utm_", "utm_"),
            (&["utm_", "utm_live_"], "utm_live_", "utm_"),
            (&["utm_live_", "utm_"], "utm_", "utm_live_"),
            (&["dt_"], "dt_", "dt_"),
            (&["dt_old_"], "dt_old_", "dt_"),
            (&["d"], "d", "dt_"),
        ] {
            let expected = InvalidLegacyForm::Ambiguous(one.to_owned(), other.to_owned());
            assert_eq!(forms(prefixes).err(), Some(expected), "{prefixes:?}");
        }
        assert!(forms(&["utm_", "utma_", "dtx"]).is_ok());
    }

    #[test]
    fn what_can_be_no_token_is_not_recognized() {
        let forms = forms(&["utm_"]).expect("they can be told apart");
        let long = |length: usize| format!("utm_{}", "x".repeat(length - 4));
        let legacy = forms.recognize("utm_0123456789").expect("it may be one");
        assert_eq!((legacy.hint(), legacy.may_be_hashed()), ("utm_01234567", true));
        assert!(forms.recognize(&long(71)).is_some_and(|legacy| legacy.may_be_hashed()));
        assert!(forms.recognize(&long(72)).is_some_and(|legacy| !legacy.may_be_hashed()));
        assert!(forms.recognize(&long(255)).is_some());
        for bad in [
            "",
            "utm_",
            "utm_01234567",
            "abc_0123456789",
            "utm_01234567 9",
            "utm_01234567\0",
            "utm_0123456é",
            &long(256),
        ] {
            assert!(forms.recognize(bad).is_none(), "{bad:?}");
        }
        assert!(LegacyForms::default().recognize("utm_0123456789").is_none());
    }

    #[test]
    fn hints_have_the_length_and_the_prefix_of_their_form() {
        let forms = forms(&["utm_"]).expect("they can be told apart");
        assert!(forms.has_hint("utm_01234567"));
        for bad in ["", "utm_0123456", "utm_012345678", "abc_01234567", "utm_0123 567"] {
            assert!(!forms.has_hint(bad), "{bad:?}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let legacy = forms(&["utm_"]).expect("valid").recognize("utm_0123456789").expect("it may be one");
        assert_eq!(format!("{legacy:?}"), "Legacy(…)");
    }

    proptest! {
        #[test]
        fn junk_never_panics(text in "(utm_)?\\PC*") {
            if let Some(legacy) = forms(&["utm_"]).expect("valid").recognize(&text) {
                prop_assert!(text.starts_with(legacy.hint()));
            }
        }
    }
}
