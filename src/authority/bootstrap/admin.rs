//! The first administrator, and its replacement where its token was lost.

use std::path::Path;

use smallvec::smallvec;
use zeroize::Zeroizing;

use super::{
    Error, event,
    files::{Existing, read_private, write_private},
};
use crate::{
    authority::{mint, services::service_record},
    domain::{
        credential::{Forms, Kind, Plaintext},
        digest::{BcryptHash, SecretHash},
        id::{CredentialId, SecretId},
        keys::{Keys, MasterKey},
        network::Networks,
        record::{Record, Revocation, RevocationReason, SecretRecord},
        role::{Role, Roles},
        time::Timestamp,
    },
    introspection::Bcrypt,
    random,
    store::{Change, Lock, Store, Subject},
};

/// The name of the service credential that the first start makes.
const ADMIN: &str = "admin";

/// Makes the first service credential with the role admin, or adopts the one
/// that the file holds; only where the database has none. Tells whether it
/// did.
pub async fn ensure_admin(
    store: &Store,
    keys: &Keys,
    bcrypt: &Bcrypt,
    forms: &Forms,
    path: &Path,
) -> Result<bool, Error> {
    let snapshot = store.snapshot().await?;
    let has_admin = !snapshot.admins().await?.is_empty();
    let now = snapshot.now().await?;
    snapshot.end().await?;
    if has_admin {
        return Ok(false);
    }

    let provisioned = read_private(path)?;
    let (id, plaintext, bcrypt) = match &provisioned {
        Some(text) => adopt(forms, bcrypt, text.trim(), path).await?,
        None => mint_admin(forms, bcrypt, now).await?,
    };
    let transaction = store.begin().await?;
    // Whoever starts beside this one waits here, and then finds an admin.
    transaction.lock_policy(Lock::Exclusive).await?;
    if !transaction.admins().await?.is_empty() {
        transaction.abandon().await?;
        return Ok(false);
    }
    if transaction.credential(id).await?.is_some() {
        return Err(Error::AdminTokenUsed(path.to_owned()));
    }
    let record = admin_record(keys.current()?, id, &plaintext, bcrypt, transaction.now().await?);
    transaction.insert_credential(&record, None).await?;
    if provisioned.is_none() {
        write_private(path, &line_of(&plaintext), Existing::Refuse)?;
    }
    let event = event("service.create", &id.to_string());
    transaction.commit(Change::new([Subject::Credential(id)], event)).await?;
    Ok(true)
}

/// Replaces a lost admin token: ends the credential named admin, if there is
/// one, and writes a new one's token to the file.
pub async fn reset_admin(
    store: &Store,
    keys: &Keys,
    bcrypt: &Bcrypt,
    forms: &Forms,
    path: &Path,
) -> Result<CredentialId, Error> {
    let snapshot = store.snapshot().await?;
    let now = snapshot.now().await?;
    snapshot.end().await?;
    let (id, plaintext, bcrypt) = mint_admin(forms, bcrypt, now).await?;

    let transaction = store.begin().await?;
    transaction.lock_policy(Lock::Exclusive).await?;
    let now = transaction.now().await?;
    let mut change = Change::default();
    if let Some(lost) = transaction.service_by_name(ADMIN).await? {
        let revocation = Revocation { time: now, reason: RevocationReason::Superseded };
        transaction.lock_credential(lost, Lock::Exclusive).await?;
        transaction.revoke_credential(lost, revocation).await?;
        change = change.and(Change::new([Subject::Credential(lost)], event("service.revoke", &lost.to_string())));
    }
    let record = admin_record(keys.current()?, id, &plaintext, bcrypt, now);
    transaction.insert_credential(&record, None).await?;
    write_private(path, &line_of(&plaintext), Existing::Replace)?;
    let change = change.and(Change::new([Subject::Credential(id)], event("service.create", &id.to_string())));
    transaction.commit(change).await?;
    Ok(id)
}

type NewAdmin = (CredentialId, Plaintext, BcryptHash);

async fn adopt(forms: &Forms, bcrypt: &Bcrypt, text: &str, path: &Path) -> Result<NewAdmin, Error> {
    let presented = forms
        .parse(text)
        .filter(|presented| presented.kind == Kind::Service)
        .ok_or_else(|| Error::AdminToken(path.to_owned()))?;
    let hash = bcrypt.hash(presented.unverified_secret.clone()).await?;
    Ok((presented.id, presented.plaintext, hash))
}

async fn mint_admin(forms: &Forms, bcrypt: &Bcrypt, now: Timestamp) -> Result<NewAdmin, Error> {
    let secret = mint::draw_secret();
    let hash = bcrypt.hash(secret.clone()).await?;
    let id = CredentialId::at(now, random::bytes());
    let plaintext = forms.encode(Kind::Service, id, &secret).expect("service credentials are opaque");
    Ok((id, plaintext, hash))
}

fn admin_record(
    key: &MasterKey,
    id: CredentialId,
    plaintext: &Plaintext,
    bcrypt: BcryptHash,
    now: Timestamp,
) -> Record {
    let mut record = service_record(id, ADMIN, Roles::from_iter([Role::Admin]), Networks::ANY, now);
    "system:bootstrap".clone_into(&mut record.created_by);
    record.hint = plaintext.hint();
    record.secrets = smallvec![SecretRecord {
        id: SecretId::at(now, random::bytes()),
        hash: SecretHash::Bcrypt(bcrypt),
        fingerprint: Some((key.id().clone(), key.fingerprint(plaintext))),
        create_time: now,
        end_time: None,
    }];
    record
}

fn line_of(plaintext: &Plaintext) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", plaintext.expose()))
}
