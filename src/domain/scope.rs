//! What may a credential do? Scopes, as RFC 6749 (section 3.3) writes them.

use std::{borrow::Borrow, collections::BTreeSet, fmt, str::FromStr};

/// The most scopes that one credential, account or question may name.
pub const MAX_SCOPES: usize = 200;

/// One scope: 1 to 128 of the characters that RFC 6749 allows in a
/// `scope-token` (printable ASCII without space, `"` and `\`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

/// A scope of another form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a scope is 1 to 128 printable ASCII characters without space, quotation mark and backslash")]
pub struct MalformedScope;

impl FromStr for Scope {
    type Err = MalformedScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if well_formed { Ok(Self(text.to_owned())) } else { Err(MalformedScope) }
    }
}

impl Scope {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Scope {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scopes, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// No scope at all.
    pub const NONE: Self = Self(BTreeSet::new());

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the scope is among them.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Each scope, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// What both hold.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// What `self` holds and `other` lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl Extend<Scope> for Scopes {
    fn extend<I: IntoIterator<Item = Scope>>(&mut self, scopes: I) {
        self.0.extend(scopes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_scope_tokens() {
        for good in ["read", "trading:read", "https://example.com/scope", "!"] {
            assert!(good.parse::<Scope>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\"b", "a\\b", "é", "a\n", "\u{200b}", &"a".repeat(129)] {
            assert_eq!(bad.parse::<Scope>(), Err(MalformedScope), "{bad:?}");
        }
    }
}
