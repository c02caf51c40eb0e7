//! How is a caller told who it is?

use serde::Serialize;

use crate::{
    cli::values::{Time, role_name},
    proto::v1,
};

use super::{AccountView, Card, View, or};

/// `auth status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Identity {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    credential_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    certificate_san: String,
    label: String,
    scopes: Vec<String>,
    service_roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<Time>,
}

impl From<v1::WhoAmIResponse> for Identity {
    fn from(response: v1::WhoAmIResponse) -> Self {
        let v1::WhoAmIResponse { account, credential_id, label, scopes, service_roles, expire_time, certificate_san } =
            response;
        Self {
            account: account.map(AccountView::from),
            credential_id,
            certificate_san,
            label,
            scopes,
            service_roles: service_roles.into_iter().map(role_name).collect(),
            expire_time: expire_time.map(Time),
        }
    }
}

impl View for Identity {
    fn table(&self) -> String {
        let card = match &self.account {
            Some(account) => account.card().field("Scopes", &self.scopes.join(" ")),
            None => Card::new().field("Service roles", &self.service_roles.join(" ")),
        };
        let card = if self.certificate_san.is_empty() {
            card.field("Credential", &self.credential_id)
        } else {
            card.field("Certificate", &self.certificate_san)
        };
        card.field("Label", &self.label).field("Expires", &or(self.expire_time, "never")).render()
    }
}
