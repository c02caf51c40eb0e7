//! Whom do tokens belong to? Accounts, as other systems write them here, and
//! the counters that end all of an account's credentials at once.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::{
    id::{AccountKey, CredentialId},
    scope::Scopes,
    text::is_invisible,
    time::Timestamp,
};

/// The name that the system of record has for an account: 1 to 128 of letters,
/// digits and `._@:-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

/// An account id of another form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an account id is 1 to 128 of the letters A-Z and a-z, digits and ._@:-")]
pub struct MalformedAccountId;

impl FromStr for AccountId {
    type Err = MalformedAccountId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@:-".contains(&byte));
        if well_formed { Ok(Self(text.to_owned())) } else { Err(MalformedAccountId) }
    }
}

impl AccountId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A username, in the form in which it is shown and the one in which it is
/// compared (RFC 8265, section 3.3: UsernameCaseMapped).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    shown: String,
    compared: String,
}

/// A username that RFC 8265 refuses, or of over 255 bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a username of at most 255 bytes without spaces, as RFC 8265 has it, is wanted")]
pub struct MalformedUsername;

impl Username {
    /// Checks and maps.
    pub fn new(text: &str) -> Result<Self, MalformedUsername> {
        use precis_core::profile::Profile as _;

        if text.len() > 255 {
            return Err(MalformedUsername);
        }
        let compared = precis_profiles::UsernameCaseMapped::new().enforce(text).map_err(|_| MalformedUsername)?;
        Ok(Self { shown: text.to_owned(), compared: compared.into_owned() })
    }

    /// A username as the store kept it.
    pub fn from_stored(shown: String, compared: String) -> Self {
        Self { shown, compared }
    }

    /// As it was written.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// As it is compared.
    pub fn compared(&self) -> &str {
        &self.compared
    }
}

/// A word without blanks or invisible characters, at most 128 bytes: an
/// account's role or plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(String);

/// Text that is not one word.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a word of at most 128 bytes without spaces is wanted")]
pub struct MalformedWord;

impl FromStr for Word {
    type Err = MalformedWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = (1..=128).contains(&text.len())
            && !text.chars().any(|character| character.is_whitespace() || is_invisible(character));
        if well_formed { Ok(Self(text.to_owned())) } else { Err(MalformedWord) }
    }
}

impl Word {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How often all of an account's credentials were ended at once. What was made
/// under a lower number than the account's is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    /// Of its tokens.
    pub tokens: i64,
    /// Of its sessions.
    pub sessions: i64,
}

/// What the authority knows of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What all that it holds refers to.
    pub key: AccountKey,
    /// What other systems call it.
    pub id: AccountId,
    /// For SignIn, and shown.
    pub username: Option<Username>,
    /// As the system of record wrote it, or empty.
    pub email: String,
    /// None: the policy's default.
    pub plan: Option<Word>,
    /// Told to resource servers; they mean nothing here.
    pub roles: Vec<Word>,
    /// What it holds itself.
    pub permissions: Scopes,
    /// Whether explicit scopes, too, are cut down to the permissions.
    pub limit_permissions: bool,
    /// Whether all that it holds is out of use for now.
    pub suspended: bool,
    /// How often its credentials were ended at once.
    pub generations: Generations,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it was last written.
    pub update_time: Timestamp,
    /// New with every write.
    pub etag: Uuid,
}

impl Account {
    /// A new account of which nothing is known but its name.
    pub fn new(key: AccountKey, id: AccountId, now: Timestamp, etag: Uuid) -> Self {
        Self {
            key,
            id,
            username: None,
            email: String::new(),
            plan: None,
            roles: Vec::new(),
            permissions: Scopes::NONE,
            limit_permissions: false,
            suspended: false,
            generations: Generations { tokens: 0, sessions: 0 },
            create_time: now,
            update_time: now,
            etag,
        }
    }
}

/// An account with what judging its tokens takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The account.
    pub account: Account,
    /// Its counted live tokens by id, held only where they are over its cap:
    /// those that were neither revoked nor expired when they were read, each
    /// with its expiry.
    pub live_over_cap: Vec<(CredentialId, Option<Timestamp>)>,
}

impl Holder {
    /// About how many bytes it takes in memory beside its own fields.
    pub fn heap_bytes(&self) -> usize {
        let Account { id, username, email, plan, roles, permissions, .. } = &self.account;
        let username = username.as_ref().map_or(0, |username| username.shown().len() + username.compared().len());
        let plan = plan.as_ref().map_or(0, |plan| plan.as_str().len());
        let roles = roles.iter().map(|role| size_of::<Word>() + role.as_str().len()).sum::<usize>();
        let live = self.live_over_cap.len() * size_of::<(CredentialId, Option<Timestamp>)>();
        id.as_str().len() + username + email.capacity() + plan + roles + permissions.heap_bytes() + live
    }

    /// How many counted tokens with a lower id are live at `now`.
    pub fn live_below(&self, id: CredentialId, now: Timestamp) -> usize {
        self.live_over_cap
            .iter()
            .take_while(|(other, _)| *other < id)
            .filter(|(_, expire_time)| expire_time.is_none_or(|expire_time| now < expire_time))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_are_plain() {
        assert!("user.1@example.com:eu-1.a".parse::<AccountId>().is_ok());
        for bad in ["", "a b", "a/b", "é", "a\0", &"a".repeat(129)] {
            assert_eq!(bad.parse::<AccountId>(), Err(MalformedAccountId), "{bad:?}");
        }
    }

    #[test]
    fn usernames_compare_without_regard_to_case() {
        let one = Username::new("Ada").expect("well-formed");
        let two = Username::new("aDA").expect("well-formed");
        assert_eq!(one.compared(), two.compared());
        assert_eq!(one.shown(), "Ada");
        for bad in ["", "two words", "a\u{200b}b", "a\0b", &"a".repeat(256)] {
            assert_eq!(Username::new(bad), Err(MalformedUsername), "{bad:?}");
        }
    }
}
