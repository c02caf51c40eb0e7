//! What must be there before the first call? A master key that is the
//! database's, the policy of the settings file, one credential with the role
//! admin, and a key that signs. How these are replaced is here too.
//!
//! Files are written and synced before the database commits to what is in
//! them, so that no crash leaves a database that names what nobody has.

mod admin;
mod files;
mod keys;
mod policy;
mod rotation;
mod signing;

use std::{io, path::PathBuf};

pub(crate) use self::files::is_exposed;
pub use self::{
    admin::{ensure_admin, reset_admin},
    keys::{Reread, load_keys, reread_keys},
    policy::apply_policy,
    rotation::{Added, KeyState, KeyStates, add_key, compare_keys, list_keys, promote_key},
    signing::{NewKeyReason, SigningKeyState, ensure_signing_key, rotate_signing_key},
};
use crate::{
    domain::{
        keys::{MalformedRing, NoCurrentKey},
        policy::InvalidPolicy,
    },
    introspection::Busy,
    store::{self, Event},
};

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The hashing threads are taken.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// A file cannot be read or written.
    #[error("cannot {verb} {path}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// On which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The ring of master keys is malformed.
    #[error("{path} is not a ring of master keys")]
    Ring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MalformedRing,
    },
    /// The database is older than this server's key file.
    #[error(
        "the database's master key {id:?} is not here: there is no {path}; \
         copy the file from a server that has it, or name it in keys.master_key_file"
    )]
    KeyFileMissing {
        /// The key that the database names.
        id: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The ring lacks the current key.
    #[error(
        "{path} lacks the database's master key {id:?}; \
         copy the file from a server that has it, or name it in keys.master_key_file"
    )]
    KeyMissing {
        /// The key that the database names.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The current key was lost since it was loaded.
    #[error(transparent)]
    NoCurrentKey(#[from] NoCurrentKey),
    /// The ring has another key under a name that the database knows.
    #[error(
        "the key {id:?} in {path} is not the database's master key of that name; \
         copy the file from a server that has it, or name it in keys.master_key_file"
    )]
    OtherKey {
        /// The name.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The key to be promoted is not in the ring.
    #[error(
        "there is no key {id:?} in {path}; `token-authority keys add` makes one, `token-authority keys list` shows them"
    )]
    NoSuchKey {
        /// The key that was asked for.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The name of a key to be added is another's, or was.
    #[error("the name {0:?} is or was another master key's; give another one, or none")]
    KeyIdTaken(String),
    /// The admin token's file holds something else.
    #[error("{0} holds no service credential in its canonical form; remove it, or put the right one there")]
    AdminToken(PathBuf),
    /// The admin token's file holds a credential that was ended.
    #[error(
        "{0} holds a credential that the database knows and that is no admin's; remove the file, or run `token-authority admin reset`"
    )]
    AdminTokenUsed(PathBuf),
    /// The settings' policy contradicts itself.
    #[error("the settings' policy is not valid")]
    InvalidPolicy(#[from] InvalidPolicy),
    /// Two policies of the same version.
    #[error(
        "the settings' policy has version {0}, as the database's has, but differs from it; \
         raise policy.version to apply it"
    )]
    PolicyDiffers(u64),
}

/// What the trail is told of what this service, or its host's administrator, did.
pub(crate) fn event(action: &'static str, target: &str) -> Event {
    Event::new("system:bootstrap", action, target)
}
