//! What is a service credential for? Its roles.

use std::{fmt, str::FromStr};

/// What a service credential may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Introspect and BatchIntrospect.
    Introspector,
    /// Everything on tokens, for any account.
    Issuer,
    /// Signs people in and out by password.
    Login,
    /// As Login; opens desktop sessions for accounts that it has established.
    TrustedLogin,
    /// AccountService.
    AccountWriter,
    /// Introspects and reads everything, sees why a credential is inactive.
    Auditor,
    /// All of it, and service credentials.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] = [
        Self::Introspector,
        Self::Issuer,
        Self::Login,
        Self::TrustedLogin,
        Self::AccountWriter,
        Self::Auditor,
        Self::Admin,
    ];

    /// Its name in the store and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Introspector => "introspector",
            Self::Issuer => "issuer",
            Self::Login => "login",
            Self::TrustedLogin => "trusted-login",
            Self::AccountWriter => "account-writer",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no role's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no such role")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// No role at all.
    pub const NONE: Self = Self(0);

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the role is among them.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    /// Each role, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }

    const fn bit(role: Role) -> u8 {
        1 << role as u8
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |all, role| all | Self::bit(role)))
    }
}
