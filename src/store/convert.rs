//! From rows to the domain and back. Every field is named, so that a new one
//! breaks the build until somebody decides.

use std::str::FromStr;

use super::{Error, entity};
use crate::domain::{
    account::{Account, Generations, Username, Word},
    credential::Kind,
    digest::{Fingerprint, SecretHash},
    id::{AccountKey, CredentialId, SecretId},
    keys::KeyId,
    record::{Grant, Record, Revocation, RevocationReason, SecretRecord, Secrets},
    scope::Scopes,
    time::Timestamp,
};

pub(super) fn timestamp(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_micros(micros).map_err(|_| Error::unreadable("time", micros))
}

pub(super) fn optional_timestamp(micros: Option<i64>) -> Result<Option<Timestamp>, Error> {
    micros.map(timestamp).transpose()
}

pub(super) const fn kind_code(kind: Kind) -> i16 {
    match kind {
        Kind::Personal => 1,
        Kind::Service => 2,
        Kind::DesktopSession => 3,
        Kind::WebSession => 4,
    }
}

fn kind(code: i16) -> Result<Kind, Error> {
    [Kind::Personal, Kind::Service, Kind::DesktopSession, Kind::WebSession]
        .into_iter()
        .find(|kind| kind_code(*kind) == code)
        .ok_or_else(|| Error::unreadable("credential kind", code))
}

pub(super) const fn reason_code(reason: RevocationReason) -> i16 {
    match reason {
        RevocationReason::Unspecified => 0,
        RevocationReason::OwnerRequest => 1,
        RevocationReason::Superseded => 2,
        RevocationReason::Compromised => 3,
        RevocationReason::CeasedOperation => 4,
        RevocationReason::Administrative => 5,
    }
}

pub(super) fn reason(code: i16) -> Result<RevocationReason, Error> {
    use RevocationReason as R;

    [R::Unspecified, R::OwnerRequest, R::Superseded, R::Compromised, R::CeasedOperation, R::Administrative]
        .into_iter()
        .find(|reason| reason_code(*reason) == code)
        .ok_or_else(|| Error::unreadable("revocation reason", code))
}

/// Words separated by spaces; no word holds one.
pub(super) fn words<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

fn read_words<T: FromStr, C: FromIterator<T>>(what: &'static str, text: &str) -> Result<C, Error> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_err(|_| Error::unreadable(what, word)))
        .collect()
}

pub(super) fn account(row: entity::account::Model) -> Result<Account, Error> {
    let entity::account::Model {
        id,
        account_id,
        username,
        username_compared,
        email,
        plan,
        roles,
        permissions,
        limit_permissions,
        suspended,
        password_hash: _,
        token_generation,
        session_generation,
        create_time,
        update_time,
        etag,
    } = row;
    Ok(Account {
        key: AccountKey::from_uuid(id),
        id: account_id.parse().map_err(|_| Error::unreadable("account id", &account_id))?,
        username: username.zip(username_compared).map(|(shown, compared)| Username::from_stored(shown, compared)),
        email,
        plan: plan.map(|plan| plan.parse::<Word>().map_err(|_| Error::unreadable("plan", &plan))).transpose()?,
        roles: read_words("role", &roles)?,
        permissions: read_words("permission", &permissions)?,
        limit_permissions,
        suspended,
        generations: Generations { tokens: token_generation, sessions: session_generation },
        create_time: timestamp(create_time)?,
        update_time: timestamp(update_time)?,
        etag,
    })
}

/// The row of an account that has no password yet.
pub(super) fn account_row(account: &Account) -> entity::account::Model {
    let Account {
        key,
        id,
        username,
        email,
        plan,
        roles,
        permissions,
        limit_permissions,
        suspended,
        generations: Generations { tokens, sessions },
        create_time,
        update_time,
        etag,
    } = account;
    entity::account::Model {
        id: key.uuid(),
        account_id: id.to_string(),
        username: username.as_ref().map(|username| username.shown().to_owned()),
        username_compared: username.as_ref().map(|username| username.compared().to_owned()),
        email: email.clone(),
        plan: plan.as_ref().map(|plan| plan.as_str().to_owned()),
        roles: words(roles.iter().map(Word::as_str)),
        permissions: words(permissions.iter()),
        limit_permissions: *limit_permissions,
        suspended: *suspended,
        password_hash: None,
        token_generation: *tokens,
        session_generation: *sessions,
        create_time: create_time.as_micros(),
        update_time: update_time.as_micros(),
        etag: *etag,
    }
}

pub(super) fn record(row: entity::credential::Model, secrets: Secrets) -> Result<Record, Error> {
    let entity::credential::Model {
        id,
        kind: kind_code,
        account,
        label,
        inherits_permissions,
        scopes,
        roles,
        networks,
        hint,
        generation,
        created_by,
        request_id: _,
        imported,
        create_time,
        expire_time,
        rotate_time,
        revoke_time,
        revocation_reason,
    } = row;
    Ok(Record {
        id: CredentialId::from_uuid(id),
        kind: kind(kind_code)?,
        account: account.map(AccountKey::from_uuid),
        label: label.into(),
        grant: if inherits_permissions { Grant::Inherits } else { Grant::Explicit(read_words("scope", &scopes)?) },
        roles: read_words("service role", &roles)?,
        networks: read_words("network", &networks)?,
        hint,
        generation,
        created_by,
        imported,
        create_time: timestamp(create_time)?,
        expire_time: optional_timestamp(expire_time)?,
        rotate_time: optional_timestamp(rotate_time)?,
        revocation: revoke_time
            .map(|time| {
                let reason = reason(revocation_reason.unwrap_or_default())?;
                Ok::<_, Error>(Revocation { time: timestamp(time)?, reason })
            })
            .transpose()?,
        secrets,
    })
}

pub(super) fn record_row(record: &Record, request_id: Option<&str>) -> entity::credential::Model {
    let Record {
        id,
        kind,
        account,
        label,
        grant,
        roles,
        networks,
        hint,
        generation,
        created_by,
        imported,
        create_time,
        expire_time,
        rotate_time,
        revocation,
        secrets: _,
    } = record;
    let (inherits_permissions, scopes) = match grant {
        Grant::Inherits => (true, Scopes::NONE),
        Grant::Explicit(scopes) => (false, scopes.clone()),
    };
    entity::credential::Model {
        id: id.uuid(),
        kind: kind_code(*kind),
        account: account.map(AccountKey::uuid),
        label: label.as_ref().to_owned(),
        inherits_permissions,
        scopes: words(scopes.iter()),
        roles: words(roles.iter()),
        networks: words(networks.iter()),
        hint: hint.clone(),
        generation: *generation,
        created_by: created_by.clone(),
        request_id: request_id.map(ToOwned::to_owned),
        imported: *imported,
        create_time: create_time.as_micros(),
        expire_time: expire_time.map(Timestamp::as_micros),
        rotate_time: rotate_time.map(Timestamp::as_micros),
        revoke_time: revocation.map(|revocation| revocation.time.as_micros()),
        revocation_reason: revocation.map(|revocation| reason_code(revocation.reason)),
    }
}

pub(super) fn secret(row: entity::secret::Model) -> Result<SecretRecord, Error> {
    let entity::secret::Model {
        id,
        credential: _,
        bcrypt_hash,
        fingerprint,
        key_id,
        create_time,
        end_time,
        request_id: _,
        lookup_hint,
    } = row;
    let unreadable = || Error::unreadable("fingerprint of secret", id);
    let fingerprint = match (key_id, fingerprint) {
        (Some(key_id), Some(bytes)) => {
            let bytes = bytes.try_into().map_err(|_| unreadable())?;
            Some((KeyId::new(key_id).ok_or_else(unreadable)?, Fingerprint::from_bytes(bytes)))
        }
        _ => None,
    };
    let hash = SecretHash::from_stored(bcrypt_hash).ok_or_else(|| Error::unreadable("hash of secret", id))?;
    Ok(SecretRecord {
        id: SecretId::from_uuid(id),
        // Only those that were imported have one.
        hash: if lookup_hint.is_some() { hash.of_another_system() } else { hash },
        fingerprint,
        create_time: timestamp(create_time)?,
        end_time: optional_timestamp(end_time)?,
    })
}

pub(super) fn secret_row(
    credential: CredentialId,
    secret: &SecretRecord,
    request_id: Option<String>,
    lookup_hint: Option<&str>,
) -> entity::secret::Model {
    let SecretRecord { id, hash, fingerprint, create_time, end_time } = secret;
    let (key_id, fingerprint) = fingerprint.as_ref().map(|(key, fingerprint)| (key, fingerprint)).unzip();
    entity::secret::Model {
        id: id.uuid(),
        credential: credential.uuid(),
        bcrypt_hash: hash.expose(),
        fingerprint: fingerprint.map(|fingerprint| fingerprint.expose().to_vec()),
        key_id: key_id.map(ToString::to_string),
        create_time: create_time.as_micros(),
        end_time: end_time.map(Timestamp::as_micros),
        request_id,
        lookup_hint: lookup_hint.map(ToOwned::to_owned),
    }
}
