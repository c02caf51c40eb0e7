//! How are master keys shown? By their names, never by what they are.

use serde::Serialize;

use super::{Listing, View};
use crate::{
    authority::bootstrap::{KeyState, KeyStates},
    cli::values::Time,
    domain::time::Timestamp,
    store::SigningKeyRecord,
};

/// A master key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    key: String,
    current: bool,
    file: &'static str,
    secrets: u64,
}

/// A signing key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SigningKeyView {
    kid: String,
    create_time: Time,
    /// What it is sealed under, while it signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_under: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retire_time: Option<Time>,
    /// When the last token that it signed expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_expire_time: Option<Time>,
}

/// All of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct KeysListed {
    keys: Vec<KeyView>,
    secrets_without_fingerprint: u64,
    signing_keys: Vec<SigningKeyView>,
}

impl From<SigningKeyRecord> for SigningKeyView {
    fn from(SigningKeyRecord { public, sealed, create_time, retired }: SigningKeyRecord) -> Self {
        Self {
            kid: public.id().to_string(),
            create_time: shown(create_time),
            sealed_under: sealed.map(|sealed| sealed.under.to_string()),
            retire_time: retired.map(|retired| shown(retired.time)),
            last_expire_time: retired.map(|retired| shown(retired.last_expiry)),
        }
    }
}

fn shown(time: Timestamp) -> Time {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).expect("below a second");
    Time(prost_types::Timestamp { seconds: micros / 1_000_000, nanos })
}

impl From<KeyStates> for KeysListed {
    fn from(KeyStates { keys, secrets_without, signing }: KeyStates) -> Self {
        let keys = keys.into_iter().map(|(key, KeyState { in_file, current, contradicts, secrets })| {
            let file = match (in_file, contradicts) {
                (_, true) => "another",
                (true, false) => "yes",
                (false, false) => "no",
            };
            KeyView { key, current, file, secrets }
        });
        Self {
            keys: keys.collect(),
            secrets_without_fingerprint: secrets_without,
            signing_keys: signing.into_iter().map(SigningKeyView::from).collect(),
        }
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
        let mut signing = Listing::new(["SIGNING KEY", "MADE", "SEALED UNDER", "VERIFIES UNTIL"]);
        for SigningKeyView { kid, create_time, sealed_under, retire_time: _, last_expire_time } in &self.signing_keys {
            let until = last_expire_time.map(|time| time.to_string()).unwrap_or_default();
            signing.row([kid, &create_time.to_string(), sealed_under.as_deref().unwrap_or_default(), &until]);
        }
        format!("{}\n\n{}", listing.render(), signing.render())
    }
}
