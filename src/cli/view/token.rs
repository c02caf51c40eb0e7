//! How is a token shown?

use serde::Serialize;

use crate::{
    cli::values::{Time, kind_name, reason_name, state_name},
    proto::v1,
};

use super::{Card, Listing, Record, View, or};

/// A token, as the contract's message has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct TokenView {
    token_id: String,
    account_id: String,
    label: String,
    kind: String,
    scopes: Vec<String>,
    inherits_permissions: bool,
    allowed_cidrs: Vec<String>,
    state: String,
    hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotate_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoke_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_time: Option<Time>,
    last_used_ip: String,
    created_by: String,
    imported: bool,
    secrets: Vec<SecretView>,
    use_count: i64,
}

/// One of a credential's live secrets: never the secret itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretView {
    secret_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_time: Option<Time>,
}

impl From<v1::Token> for TokenView {
    fn from(token: v1::Token) -> Self {
        let v1::Token {
            token_id,
            account_id,
            label,
            kind,
            scopes,
            inherits_permissions,
            allowed_cidrs,
            state,
            hint,
            create_time,
            expire_time,
            rotate_time,
            revoke_time,
            revocation_reason,
            last_used_time,
            last_used_ip,
            created_by,
            imported,
            secrets,
            use_count,
        } = token;
        Self {
            token_id,
            account_id,
            label,
            kind: kind_name(kind),
            scopes,
            inherits_permissions,
            allowed_cidrs,
            state: state_name(state),
            hint,
            create_time: create_time.map(Time),
            expire_time: expire_time.map(Time),
            rotate_time: rotate_time.map(Time),
            revoke_time: revoke_time.map(Time),
            revocation_reason: reason_name(revocation_reason),
            last_used_time: last_used_time.map(Time),
            last_used_ip,
            created_by,
            imported,
            secrets: secrets.into_iter().map(SecretView::from).collect(),
            use_count,
        }
    }
}

impl From<v1::TokenSecret> for SecretView {
    fn from(secret: v1::TokenSecret) -> Self {
        let v1::TokenSecret { secret_id, create_time, end_time, last_used_time } = secret;
        Self {
            secret_id,
            create_time: create_time.map(Time),
            end_time: end_time.map(Time),
            last_used_time: last_used_time.map(Time),
        }
    }
}

impl TokenView {
    /// What the token may do, in a word or a few.
    fn rights(&self) -> String {
        if self.inherits_permissions { "(inherits)".to_owned() } else { self.scopes.join(" ") }
    }

    fn networks(&self) -> String {
        if self.allowed_cidrs.is_empty() { "any".to_owned() } else { self.allowed_cidrs.join(" ") }
    }

    fn card(&self) -> Card {
        let card = Card::new()
            .field("Token", &self.token_id)
            .field("Account", &self.account_id)
            .field("Label", &self.label)
            .field("State", &self.state)
            .field("Scopes", &self.rights())
            .field("Networks", &self.networks())
            .field("Hint", &self.hint)
            .maybe("Created", self.create_time)
            .field("Created by", &self.created_by)
            .field("Expires", &or(self.expire_time, "never"))
            .maybe("Rotated", self.rotate_time)
            .maybe("Revoked", self.revoke_time)
            .maybe("Reason", self.revocation_reason.as_ref())
            .field("Last used", &or(self.last_used_time, "never"))
            .field("Last used from", &self.last_used_ip)
            .field("Uses", &self.use_count.to_string());
        let card = if self.imported { card.field("Imported", "yes") } else { card };
        with_secrets(card, &self.secrets)
    }
}

/// The live secrets, where there are two of them: with one there is nothing to
/// choose between.
pub(super) fn with_secrets(card: Card, secrets: &[SecretView]) -> Card {
    if secrets.len() < 2 {
        return card;
    }
    secrets.iter().fold(card, |card, secret| {
        card.field("Secret", &secret.secret_id)
            .maybe("  created", secret.create_time)
            .maybe("  ends", secret.end_time)
            .maybe("  last used", secret.last_used_time)
    })
}

/// `token show`, `update` and `end-secret`, and what a new secret is minted for.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct TokenShown {
    pub(in crate::cli) token: TokenView,
}

impl View for TokenShown {
    fn table(&self) -> String {
        self.token.card().render()
    }
}

impl Record for TokenShown {
    fn named(&self) -> String {
        format!("token {}", self.token.token_id)
    }
}

/// `token list`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct TokensListed {
    pub(in crate::cli) tokens: Vec<TokenView>,
}

impl View for TokensListed {
    fn table(&self) -> String {
        let mut listing =
            Listing::new(["TOKEN", "LABEL", "STATE", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "HINT"]);
        for token in &self.tokens {
            listing.row([
                &token.token_id,
                &token.label,
                &token.state,
                &token.rights(),
                &or(token.create_time, ""),
                &or(token.expire_time, "never"),
                &or(token.last_used_time, "never"),
                &token.hint,
            ]);
        }
        listing.render()
    }
}

/// `token revoke`. No token comes back where the secret presented was unknown
/// or wrong: the server does not tell those apart from one that it ended.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct TokenRevoked {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) token: Option<TokenView>,
}

impl View for TokenRevoked {
    fn table(&self) -> String {
        match &self.token {
            Some(token) => token.card().render(),
            None => "Done: if that was a live credential, it has ended.".to_owned(),
        }
    }
}

/// `token revoke --all`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct TokensRevoked {
    pub(in crate::cli) revoked_count: i64,
}

impl View for TokensRevoked {
    fn table(&self) -> String {
        Card::new().field("Revoked", &self.revoked_count.to_string()).render()
    }
}

/// `token import`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct TokensImported {
    /// How many the file names.
    pub(in crate::cli) token_count: u64,
    /// How many of them were not there before.
    pub(in crate::cli) new_count: u64,
    /// Whether nothing was done.
    pub(in crate::cli) dry_run: bool,
}

impl View for TokensImported {
    fn table(&self) -> String {
        let new = if self.dry_run { "New, not imported" } else { "New" };
        Card::new().field("Tokens", &self.token_count.to_string()).field(new, &self.new_count.to_string()).render()
    }
}
