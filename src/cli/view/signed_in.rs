//! How is a web session shown that was opened or ended?

use serde::Serialize;

use super::{Card, Record, View};
use crate::cli::values::Time;

/// `auth sign-in`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct SignedIn {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) expire_time: Option<Time>,
}

impl View for SignedIn {
    fn table(&self) -> String {
        Card::new().maybe("Expires", self.expire_time).render()
    }
}

impl Record for SignedIn {
    fn named(&self) -> String {
        "the session".to_owned()
    }
}

/// `auth sign-out`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct SignedOut {}

impl View for SignedOut {
    fn table(&self) -> String {
        "signed out".to_owned()
    }
}
