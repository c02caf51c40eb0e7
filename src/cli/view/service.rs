//! How is a service credential shown?

use serde::Serialize;

use crate::{
    cli::values::{Time, role_name},
    proto::v1,
};

use super::{
    Card, Listing, Record, View, or,
    token::{SecretView, with_secrets},
};

/// A service credential, as the contract's message has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct ServiceCredentialView {
    credential_id: String,
    name: String,
    roles: Vec<String>,
    allowed_cidrs: Vec<String>,
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
    last_used_time: Option<Time>,
    created_by: String,
    secrets: Vec<SecretView>,
}

impl From<v1::ServiceCredential> for ServiceCredentialView {
    fn from(credential: v1::ServiceCredential) -> Self {
        let v1::ServiceCredential {
            credential_id,
            name,
            roles,
            allowed_cidrs,
            hint,
            create_time,
            expire_time,
            rotate_time,
            revoke_time,
            last_used_time,
            created_by,
            secrets,
        } = credential;
        Self {
            credential_id,
            name,
            roles: roles.into_iter().map(role_name).collect(),
            allowed_cidrs,
            hint,
            create_time: create_time.map(Time),
            expire_time: expire_time.map(Time),
            rotate_time: rotate_time.map(Time),
            revoke_time: revoke_time.map(Time),
            last_used_time: last_used_time.map(Time),
            created_by,
            secrets: secrets.into_iter().map(SecretView::from).collect(),
        }
    }
}

/// `service revoke`, and what a new secret is minted for.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ServiceCredentialShown {
    pub(in crate::cli) credential: ServiceCredentialView,
}

impl View for ServiceCredentialShown {
    fn table(&self) -> String {
        let credential = &self.credential;
        let networks =
            if credential.allowed_cidrs.is_empty() { "any".to_owned() } else { credential.allowed_cidrs.join(" ") };
        let card = Card::new()
            .field("Credential", &credential.credential_id)
            .field("Name", &credential.name)
            .field("Roles", &credential.roles.join(" "))
            .field("Networks", &networks)
            .field("Hint", &credential.hint)
            .maybe("Created", credential.create_time)
            .field("Created by", &credential.created_by)
            .field("Expires", &or(credential.expire_time, "never"))
            .maybe("Rotated", credential.rotate_time)
            .maybe("Revoked", credential.revoke_time)
            .field("Last used", &or(credential.last_used_time, "never"));
        with_secrets(card, &credential.secrets).render()
    }
}

impl Record for ServiceCredentialShown {
    fn named(&self) -> String {
        format!("service credential {}", self.credential.credential_id)
    }
}

/// `service list`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ServiceCredentialsListed {
    pub(in crate::cli) credentials: Vec<ServiceCredentialView>,
}

impl View for ServiceCredentialsListed {
    fn table(&self) -> String {
        let mut listing = Listing::new(["CREDENTIAL", "NAME", "ROLES", "EXPIRES", "REVOKED", "LAST USED", "HINT"]);
        for credential in &self.credentials {
            listing.row([
                &credential.credential_id,
                &credential.name,
                &credential.roles.join(" "),
                &or(credential.expire_time, "never"),
                &or(credential.revoke_time, ""),
                &or(credential.last_used_time, "never"),
                &credential.hint,
            ]);
        }
        listing.render()
    }
}
