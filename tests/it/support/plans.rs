//! A policy of one plan, `PRO`, as settings give it.

use std::process::Command;

use token_authority::domain::policy::{Document, PlanDocument};

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
