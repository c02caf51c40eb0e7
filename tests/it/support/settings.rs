//! Settings that several tests want: a policy of one plan, `PRO`, and patience.
//! Each for a server in this process and for one in a process of its own.

use std::{process::Command, time::Duration};

use token_authority::{
    domain::policy::{Document, PlanDocument},
    settings::{Settings, Span},
};

/// The policy, for a server in this process.
pub(crate) fn plans(version: u64, max_tokens: u32) -> Document {
    let plans = vec![PlanDocument { name: "PRO".to_owned(), max_tokens: Some(max_tokens) }];
    Document { version, plans, ..Document::default() }
}

/// The policy, for a server in a process of its own.
pub(crate) fn set_plans(command: &mut Command, version: u64, max_tokens: u32) {
    command
        .env("TOKEN_AUTHORITY__POLICY__VERSION", version.to_string())
        .env("TOKEN_AUTHORITY__POLICY__PLANS", format!(r#"[{{ name = "PRO", max_tokens = {max_tokens} }}]"#));
}

/// Lets calls wait for each other as long as a slow machine takes: for tests of
/// what many calls at once come to, not of how long they take.
pub(crate) fn be_patient(settings: &mut Settings) {
    settings.database.acquire_timeout = Span(Duration::from_secs(20));
    settings.database.lock_timeout = Span(Duration::from_secs(20));
    settings.database.statement_timeout = Span(Duration::from_secs(22));
    settings.database.call_timeout = Span(Duration::from_secs(25));
    settings.introspection.timeout = Span(Duration::from_secs(20));
}

/// The same for a server in a process of its own.
pub(crate) fn set_patience(command: &mut Command) {
    command
        .env("TOKEN_AUTHORITY__DATABASE__ACQUIRE_TIMEOUT", "20s")
        .env("TOKEN_AUTHORITY__DATABASE__LOCK_TIMEOUT", "20s")
        .env("TOKEN_AUTHORITY__DATABASE__STATEMENT_TIMEOUT", "22s")
        .env("TOKEN_AUTHORITY__DATABASE__CALL_TIMEOUT", "25s")
        .env("TOKEN_AUTHORITY__INTROSPECTION__TIMEOUT", "20s");
}
