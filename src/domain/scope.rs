//! What may a credential do? Scopes, as RFC 6749 (section 3.3) writes them.

use std::{fmt, str::FromStr, sync::Arc};

/// The most scopes that one credential, account or question may name.
pub const MAX_SCOPES: usize = 200;

/// One scope: 1 to 128 of the characters that RFC 6749 allows in a
/// `scope-token` (printable ASCII without space, `"` and `\`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

/// A scope of another form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a scope is 1 to 128 printable ASCII characters without space, quotation mark and backslash")]
pub struct MalformedScope;

impl FromStr for Scope {
    type Err = MalformedScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if well_formed { Ok(Self(text.into())) } else { Err(MalformedScope) }
    }
}

impl Scope {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that is not a list of scopes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MalformedScopes {
    /// One of them is not a scope.
    #[error(transparent)]
    Scope(#[from] MalformedScope),
    /// There are too many.
    #[error("at most {MAX_SCOPES} scopes are wanted")]
    TooMany,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scopes, in the order of their names; its copies share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
// None: the empty set.
pub struct Scopes(Option<Arc<[Scope]>>);

impl Scopes {
    /// No scope at all.
    pub const NONE: Self = Self(None);

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted().is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sorted().len()
    }

    /// Whether the scope is among them.
    pub fn contains(&self, scope: &str) -> bool {
        self.sorted().binary_search_by(|own| own.as_str().cmp(scope)).is_ok()
    }

    /// Each scope, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.sorted().iter()
    }

    /// What either holds.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).cloned().collect()
    }

    /// What both hold.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.iter().filter(|scope| other.contains(scope.as_str())).cloned().collect()
    }

    /// What `self` holds and `other` lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.iter().filter(|scope| !other.contains(scope.as_str())).cloned().collect()
    }

    /// How many bytes they take in memory.
    pub fn heap_bytes(&self) -> usize {
        self.iter().map(|scope| size_of::<Scope>() + size_of::<[usize; 2]>() + scope.as_str().len()).sum()
    }

    fn sorted(&self) -> &[Scope] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Separated by spaces (RFC 6749, section 3.3).
impl FromStr for Scopes {
    type Err = MalformedScopes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scopes: Vec<Scope> =
            text.split(' ').filter(|scope| !scope.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
        if scopes.len() > MAX_SCOPES { Err(MalformedScopes::TooMany) } else { Ok(scopes.into_iter().collect()) }
    }
}

/// Separated by spaces (RFC 6749, section 3.3).
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{scope}")?;
        }
        Ok(())
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<_> = scopes.into_iter().collect();
        if scopes.is_empty() {
            return Self::NONE;
        }
        scopes.sort_unstable();
        scopes.dedup();
        Self(Some(scopes.into()))
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

    #[test]
    fn lists_are_separated_by_spaces() {
        let read = |text: &str| text.parse::<Scopes>().map(|scopes| scopes.to_string());
        assert_eq!(read("write read  write "), Ok("read write".to_owned()));
        assert_eq!((read(""), read(" ")), (Ok(String::new()), Ok(String::new())));
        assert_eq!(read("read\twrite"), Err(MalformedScopes::Scope(MalformedScope)));
        let many: Vec<_> = (0..=MAX_SCOPES).map(|number| format!("s{number}")).collect();
        assert_eq!(read(&many.join(" ")), Err(MalformedScopes::TooMany));
    }
}
