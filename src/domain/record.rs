//! What is known of a credential? Its record: everything but its plaintext,
//! which nothing here knows.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    credential::Kind,
    digest::{Fingerprint, SecretHash},
    id::{AccountKey, CredentialId, SecretId},
    keys::KeyId,
    network::Networks,
    role::Roles,
    scope::Scopes,
    time::Timestamp,
};

/// What a token was given when it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// These scopes, and what the catalogue says they imply.
    Explicit(Scopes),
    /// Whatever permissions its account holds at the moment it is used.
    Inherits,
}

/// Why a credential was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// None was given.
    Unspecified,
    /// Its owner wanted it.
    OwnerRequest,
    /// Another took its place.
    Superseded,
    /// It may be in other hands.
    Compromised,
    /// What used it is no more.
    CeasedOperation,
    /// An administrator wanted it.
    Administrative,
}

/// That and when a credential was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// One of a credential's secrets, as it is kept.
#[derive(Clone, Debug)]
pub struct SecretRecord {
    /// What a proof names.
    pub id: SecretId,
    /// The record that outlives keys.
    pub hash: SecretHash,
    /// What proves it without bcrypt, and under which key.
    pub fingerprint: Option<(KeyId, Fingerprint)>,
    /// When it was made.
    pub create_time: Timestamp,
    /// When the overlap of a rotation ends it.
    pub end_time: Option<Timestamp>,
}

impl SecretRecord {
    /// Whether a rotation has ended it by `now`.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.end_time.is_some_and(|end_time| now >= end_time)
    }
}

/// A credential's secrets: one, but for the overlap of a rotation.
pub type Secrets = SmallVec<[SecretRecord; 1]>;

/// A credential's record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id, which it carries itself.
    pub id: CredentialId,
    /// Its kind, which it carries itself.
    pub kind: Kind,
    /// Whom it belongs to; none for service credentials.
    pub account: Option<AccountKey>,
    /// A token's label, a service credential's name.
    pub label: Arc<str>,
    /// What it was given.
    pub grant: Grant,
    /// A service credential's roles.
    pub roles: Roles,
    /// Where it may be used from.
    pub networks: Networks,
    /// Enough to recognise it by.
    pub hint: String,
    /// Its account's generation when it was made; below the account's, it is
    /// revoked.
    pub generation: i64,
    /// Who made it.
    pub created_by: String,
    /// Taken over from another system.
    pub imported: bool,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it ends by itself.
    pub expire_time: Option<Timestamp>,
    /// When it last got a new secret.
    pub rotate_time: Option<Timestamp>,
    /// That it was ended by itself (not by its account's generation).
    pub revocation: Option<Revocation>,
    /// Its secrets, newest first.
    pub secrets: Secrets,
}

impl Record {
    /// Whether it has expired by `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|expire_time| now >= expire_time)
    }

    /// Whether the secret of that id is one of its own and goes on at `now`.
    pub fn is_live(&self, secret: SecretId, now: Timestamp) -> bool {
        self.secret(secret).is_some_and(|secret| !secret.has_ended(now))
    }

    /// About how many bytes it takes in memory beside its own fields.
    pub fn heap_bytes(&self) -> usize {
        let texts = self.label.len() + self.hint.capacity() + self.created_by.capacity();
        let scopes = match &self.grant {
            Grant::Explicit(scopes) => scopes.heap_bytes(),
            Grant::Inherits => 0,
        };
        let secrets = if self.secrets.spilled() { self.secrets.capacity() * size_of::<SecretRecord>() } else { 0 };
        let hashes: usize = self.secrets.iter().map(|secret| secret.hash.heap_bytes()).sum();
        texts + scopes + self.networks.heap_bytes() + secrets + hashes
    }

    /// Its secret of that id.
    pub fn secret(&self, id: SecretId) -> Option<&SecretRecord> {
        self.secrets.iter().find(|secret| secret.id == id)
    }
}
