//! How are master keys shown? By their names, never by what they are.

use serde::Serialize;

use super::{Listing, View};
use crate::authority::bootstrap::{KeyState, KeyStates};

/// A master key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    key: String,
    current: bool,
    file: &'static str,
    secrets: u64,
}

/// All of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct KeysListed {
    keys: Vec<KeyView>,
    secrets_without_fingerprint: u64,
}

impl From<KeyStates> for KeysListed {
    fn from(KeyStates { keys, secrets_without }: KeyStates) -> Self {
        let keys = keys.into_iter().map(|(key, KeyState { in_file, current, contradicts, secrets })| {
            let file = match (in_file, contradicts) {
                (_, true) => "another",
                (true, false) => "yes",
                (false, false) => "no",
            };
            KeyView { key, current, file, secrets }
        });
        Self { keys: keys.collect(), secrets_without_fingerprint: secrets_without }
    }
}

impl View for KeysListed {
    fn table(&self) -> String {
        let mut listing = Listing::new(["KEY", "CURRENT", "IN FILE", "LIVE SECRETS"]);
        for KeyView { key, current, file, secrets } in &self.keys {
            listing.row([key, if *current { "current" } else { "" }, file, &secrets.to_string()]);
        }
        if self.secrets_without_fingerprint > 0 {
            listing.row(["(no fingerprint)", "", "", &self.secrets_without_fingerprint.to_string()]);
        }
        listing.render()
    }
}
