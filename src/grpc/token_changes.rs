//! What is asked of a token that is there already: from messages to the domain.

use std::time::Duration;

use super::{
    convert::{self, Converted},
    status::BadField,
};
use crate::{
    authority::{Expiry, GrantChange, Rotation, TokenChange},
    domain::id::{CredentialId, SecretId},
    proto::v1 as proto,
};

/// The fields of a token that can be changed: what `*` in a mask stands for.
const FIELDS: [&str; 5] = ["label", "scopes", "inherits_permissions", "allowed_cidrs", "expire_time"];

/// A new secret; no overlap is one of zero.
pub(super) fn rotation(
    id: CredentialId,
    overlap: Option<prost_types::Duration>,
    request_id: String,
) -> Converted<Rotation> {
    let overlap = match overlap {
        Some(overlap) => convert::span("overlap", "INVALID_OVERLAP", overlap)?,
        None => Duration::ZERO,
    };
    Ok(Rotation { id, overlap, request_id: convert::request_id(request_id)? })
}

pub(super) fn secret_id(text: &str) -> Converted<SecretId> {
    text.parse().map_err(|error| BadField::new("secret_id", "INVALID_SECRET_ID", error))
}

/// What the mask names, and nothing else: what stands in other fields is not
/// looked at.
pub(super) fn update_token(message: proto::UpdateTokenRequest) -> Converted<TokenChange> {
    let proto::UpdateTokenRequest { token, update_mask } = message;
    let token = token.ok_or_else(|| BadField::new("token", "TOKEN_REQUIRED", "a token is wanted"))?;
    let mask = update_mask.map(|mask| mask.paths).unwrap_or_default();
    let names = |field: &str| mask.iter().any(|path| path == "*" || path == field);
    if mask.is_empty() {
        return Err(BadField::new("update_mask", "UPDATE_MASK_REQUIRED", "fields to write are wanted"));
    }
    if mask.iter().any(|path| path != "*" && !FIELDS.contains(&path.as_str())) {
        let problem = "only fields of Token that can be changed, or *, are wanted";
        return Err(BadField::new("update_mask", "INVALID_UPDATE_MASK", problem));
    }
    let id = convert::credential_id("token.token_id", "INVALID_TOKEN_ID", &token.token_id)?;
    let label = names("label").then(|| convert::label("token.label", &token.label)).transpose()?;
    let grant = grant(names("scopes"), names("inherits_permissions"), &token)?;
    let networks = names("allowed_cidrs").then(|| convert::networks(&token.allowed_cidrs)).transpose();
    let networks = networks.map_err(|bad| bad.within("token"))?;
    let expiry = names("expire_time").then(|| match token.expire_time {
        Some(at) => convert::time("token.expire_time", "INVALID_EXPIRY", at).map(Expiry::At),
        None => Ok(Expiry::Never),
    });
    Ok(TokenChange { id, label, grant, networks, expiry: expiry.transpose()? })
}

/// Scopes and inheriting are two answers to one question: naming either in the
/// mask answers it.
fn grant(names_scopes: bool, names_inherits: bool, token: &proto::Token) -> Converted<Option<GrantChange>> {
    let scopes = names_scopes.then(|| convert::scopes("token.scopes", &token.scopes)).transpose()?;
    Ok(match (scopes, names_inherits.then_some(token.inherits_permissions)) {
        (None, None) => None,
        (None, Some(true)) => Some(GrantChange::Inherits),
        (None, Some(false)) => Some(GrantChange::InheritsNot),
        (Some(scopes), Some(true)) if scopes.is_empty() => Some(GrantChange::Inherits),
        (Some(_), Some(true)) => {
            let problem = "a token that inherits permissions has no scopes of its own";
            return Err(BadField::new("token.scopes", "INVALID_SCOPE", problem));
        }
        (Some(scopes), None | Some(false)) => Some(GrantChange::Scopes(scopes)),
    })
}
