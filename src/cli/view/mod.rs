//! How is what a server tells shown to people and to programs?
//!
//! A view is a record as this program shows it. JSON follows the contract's
//! messages in proto3's spelling, with two liberties: enums have short names
//! and counts are numbers. Absent times and reasons are left out, everything
//! else is always there.
//!
//! Invariant: nothing that a terminal would obey, or that turns the direction
//! of writing, leaves here as it came. Tables escape each cell, JSON escapes
//! inside its strings.

mod account;
mod audit;
mod doctor;
mod identity;
mod keys;
mod service;
mod session;
mod signed_in;
mod table;
mod token;

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{cli::values::Time, domain::text::is_invisible};

pub(super) use self::{
    account::{AccountDeleted, AccountShown, AccountView, AccountsListed, PasswordSet},
    audit::{AuditEventView, AuditEventsListed},
    doctor::Diagnosis,
    identity::Identity,
    keys::KeysListed,
    service::{ServiceCredentialShown, ServiceCredentialView, ServiceCredentialsListed},
    session::{SessionEnded, SessionView, SessionsListed},
    signed_in::{SignedIn, SignedOut},
    table::{Card, Listing},
    token::{TokenRevoked, TokenShown, TokenView, TokensImported, TokensListed, TokensRevoked},
};

/// Something that can be shown.
pub(super) trait View: Serialize {
    /// For people; without the last line's end.
    fn table(&self) -> String;

    /// For programs.
    fn json(&self) -> Zeroizing<String>
    where
        Self: Sized,
    {
        let plain = serde_json::to_string_pretty(self).map(Zeroizing::new);
        escape_json(&plain.expect("views are plain structs with text keys"))
    }
}

/// A time, or what there is to say instead.
fn or(time: Option<Time>, none: &str) -> String {
    time.map_or_else(|| none.to_owned(), |time| time.to_string())
}

/// A new secret and the record that it belongs to.
#[derive(Serialize)]
pub(super) struct Minted<V> {
    #[serde(flatten)]
    record: V,
    secret: Secret,
}

/// A secret that is shown this once.
pub(super) struct Secret(Zeroizing<String>);

/// What a secret can be minted for.
pub(super) trait Record: View {
    /// The record's id, and what it is the id of.
    fn named(&self) -> String;
}

impl<V: Record> Minted<V> {
    pub(super) fn new(record: V, secret: String) -> Self {
        Self { record, secret: Secret(Zeroizing::new(secret)) }
    }

    /// The record's id, and what it is the id of.
    pub(super) fn named(&self) -> String {
        self.record.named()
    }

    /// The secret alone.
    pub(super) fn secret(&self) -> Zeroizing<String> {
        Zeroizing::new(escape(&self.secret.0))
    }

    /// The record, the secret, and that this is the only time.
    pub(super) fn table(&self) -> Zeroizing<String> {
        let table = self.record.table();
        let secret = self.secret();
        Zeroizing::new(format!("{table}\n\n{}\n\nThis secret is not shown again: store it now.", *secret))
    }

    /// The record and the secret for programs.
    pub(super) fn json(&self) -> Zeroizing<String> {
        let plain = serde_json::to_string_pretty(self).map(Zeroizing::new);
        escape_json(&plain.expect("views are plain structs with text keys"))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Text for a terminal: what cannot be seen is written out as `\u{…}`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) {
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// One line of JSON that is safe on a terminal.
pub(super) fn escaped_json(value: &impl Serialize) -> String {
    let plain = serde_json::to_string(value).expect("plain structs with text keys");
    escape_json(&plain).to_string()
}

/// The same document with `\uXXXX` for what cannot be seen. The serializer has
/// already escaped line ends within strings: those left lay the document out.
fn escape_json(document: &str) -> Zeroizing<String> {
    let mut escaped = String::with_capacity(document.len());
    let mut units = [0; 2];
    for character in document.chars() {
        if character != '\n' && is_invisible(character) {
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    Zeroizing::new(escaped)
}

#[cfg(test)]
mod tests;
