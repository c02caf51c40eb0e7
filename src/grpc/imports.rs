//! ImportTokens: the message, token by token.

use super::{
    convert::{self, Converted, time},
    status::BadField,
};
use crate::{
    authority::{Import, ImportToken, ImportedTokens},
    domain::digest::{BcryptHash, SecretHash, Sha256Digest},
    proto::v1::{self as proto, imported_token::Hash},
};

/// So many tokens make a call.
const MAX_TOKENS: usize = 1_000;

pub(super) fn import(message: proto::ImportTokensRequest) -> Converted<Import> {
    let proto::ImportTokensRequest { tokens, validate_only } = message;
    if !(1..=MAX_TOKENS).contains(&tokens.len()) {
        return Err(BadField::new("tokens", "INVALID_BATCH_SIZE", format!("1 to {MAX_TOKENS} are wanted")));
    }
    let numbered = tokens.into_iter().enumerate();
    let tokens = numbered.map(|(index, message)| token(message).map_err(|bad| bad.within(&format!("tokens[{index}]"))));
    Ok(Import { tokens: tokens.collect::<Converted<_>>()?, validate_only })
}

fn token(message: proto::ImportedToken) -> Converted<ImportToken> {
    let proto::ImportedToken {
        account_id,
        label,
        scopes,
        allowed_cidrs,
        create_time,
        expire_time,
        lookup_hint,
        inherits_permissions,
        hash,
    } = message;
    let scopes = convert::scopes("scopes", &scopes)?;
    if inherits_permissions && !scopes.is_empty() {
        return Err(BadField::new("scopes", "INVALID_SCOPE", convert::INHERITS_AND_SCOPES));
    }
    Ok(ImportToken {
        account: convert::account_id("account_id", &account_id)?,
        label: convert::label("label", &label)?,
        scopes,
        inherits_permissions,
        networks: convert::networks(&allowed_cidrs)?,
        create_time: create_time.map(|at| time("create_time", "INVALID_CREATE_TIME", at)).transpose()?,
        expire_time: expire_time.map(|at| time("expire_time", "INVALID_EXPIRY", at)).transpose()?,
        hash: match hash {
            Some(Hash::Bcrypt(text)) => {
                let hash = BcryptHash::parse(&text).map_err(|error| BadField::new("bcrypt", "INVALID_HASH", error))?;
                SecretHash::LegacyBcrypt(hash)
            }
            Some(Hash::Sha256(bytes)) => {
                let bytes =
                    bytes.try_into().map_err(|_| BadField::new("sha256", "INVALID_HASH", "32 bytes are wanted"))?;
                SecretHash::Sha256(Sha256Digest::from_bytes(bytes))
            }
            None => return Err(BadField::new("hash", "HASH_REQUIRED", "bcrypt or sha256 is wanted")),
        },
        lookup_hint: Some(lookup_hint).filter(|hint| !hint.is_empty()),
    })
}

pub(super) fn response(ImportedTokens { ids, new }: ImportedTokens) -> proto::ImportTokensResponse {
    proto::ImportTokensResponse {
        token_ids: ids.iter().map(ToString::to_string).collect(),
        new_count: i32::try_from(new).unwrap_or(i32::MAX),
    }
}
