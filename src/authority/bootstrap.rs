//! What must be there before the first call? A master key that is the
//! database's, the policy of the settings file, and one credential with the
//! role admin.
//!
//! Files are written and synced before the database commits to what is in
//! them, so that no crash leaves a database that names what nobody has.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{mint, services::service_record};
use crate::{
    domain::{
        credential::{Forms, Kind, Plaintext},
        id::{CredentialId, SecretId},
        keys::{KeyId, KeyRing, Keys, MalformedRing, MasterKey},
        network::Networks,
        policy::{Document, InvalidPolicy, Policy},
        record::{Record, Revocation, RevocationReason, SecretRecord},
        role::{Role, Roles},
        time::Timestamp,
    },
    introspection::{Bcrypt, Busy},
    random,
    store::{self, Change, Event, Store, Subject, detached},
};

/// The name of the service credential that the first start makes.
const ADMIN: &str = "admin";
/// The name of the first master key.
const FIRST_KEY: &str = "k1";

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The hashing threads are taken.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// A file cannot be read or written.
    #[error("cannot {verb} {path}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// On which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The ring of master keys is malformed.
    #[error("{path} is not a ring of master keys")]
    Ring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MalformedRing,
    },
    /// The database is older than this server's key file.
    #[error(
        "the database's master key {id:?} is not here: there is no {path}; \
         copy the file from a server that has it, or name it in keys.master_key_file"
    )]
    KeyFileMissing {
        /// The key that the database names.
        id: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The ring lacks the current key.
    #[error(
        "{path} lacks the database's master key {id:?}; \
         copy the file from a server that has it, or name it in keys.master_key_file"
    )]
    KeyMissing {
        /// The key that the database names.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The ring has another key under the current one's name.
    #[error(
        "the key {id:?} in {path} is not the database's master key of that name; \
         copy the file from a server that has it, or name it in keys.master_key_file"
    )]
    OtherKey {
        /// The key that the database names.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The admin token's file holds something else.
    #[error("{0} holds no service credential in its canonical form; remove it, or put the right one there")]
    AdminToken(PathBuf),
    /// The admin token's file holds a credential that was ended.
    #[error(
        "{0} holds a credential that the database knows and that is no admin's; remove the file, or run `token-authority admin reset`"
    )]
    AdminTokenUsed(PathBuf),
    /// The settings' policy contradicts itself.
    #[error("the settings' policy is not valid")]
    InvalidPolicy(#[from] InvalidPolicy),
    /// Two policies of the same version.
    #[error(
        "the settings' policy has version {0}, as the database's has, but differs from it; \
         raise policy.version to apply it"
    )]
    PolicyDiffers(u64),
}

/// Loads the ring of master keys and sees that it is the database's; in a new
/// database, names its first key current, making one where there is no file.
pub async fn load_keys(store: &Store, path: &Path) -> Result<Keys, Error> {
    let (store, path) = (store.clone(), path.to_owned());
    detached(async move {
        let transaction = store.begin().await?;
        // Whoever starts beside this one waits here, and then finds a key.
        transaction.lock_policy_alone().await?;
        let ring = read_ring(&path)?;
        match (transaction.current_key().await?, ring) {
            (Some(current), None) => Err(Error::KeyFileMissing { id: current.id.to_string(), path }),
            (Some(current), Some(ring)) => {
                transaction.abandon().await?;
                let id = current.id.to_string();
                match ring.get(&current.id).map(MasterKey::check_value) {
                    None => Err(Error::KeyMissing { id, path }),
                    Some(value) if value != current.check_value => Err(Error::OtherKey { id, path }),
                    Some(_) => Keys::new(ring, current.id).ok_or(Error::KeyMissing { id, path }),
                }
            }
            (None, ring) => {
                let ring = match ring {
                    Some(ring) => ring,
                    None => make_ring(&path)?,
                };
                transaction.insert_current_key(ring.first()).await?;
                let current = ring.first().id().clone();
                let event = event("key.name-current", current.as_str());
                transaction.commit(Change::new([Subject::Keys], event)).await?;
                Keys::new(ring, current.clone()).ok_or(Error::KeyMissing { id: current.to_string(), path })
            }
        }
    })
    .await
}

fn read_ring(path: &Path) -> Result<Option<KeyRing>, Error> {
    let Some(text) = read_private(path)? else {
        return Ok(None);
    };
    KeyRing::parse(&text).map(Some).map_err(|source| Error::Ring { path: path.to_owned(), source })
}

fn make_ring(path: &Path) -> Result<KeyRing, Error> {
    let id = KeyId::new(FIRST_KEY).expect("the name is well-formed");
    let line = KeyRing::line(&id, &Zeroizing::new(random::bytes()));
    write_private(path, &line, Existing::Keep)?;
    // What counts is what the file holds: another may have made it first.
    let ring = read_ring(path)?;
    ring.ok_or_else(|| failed("read", path)(io::ErrorKind::NotFound.into()))
}

/// Applies the settings' policy where it is newer than the database's.
pub async fn apply_policy(store: &Store, document: Document) -> Result<Arc<Policy>, Error> {
    let policy = Arc::new(Policy::new(document)?);
    let store = store.clone();
    detached(async move {
        let snapshot = store.snapshot().await?;
        let in_force = snapshot.policy().await?;
        snapshot.end().await?;
        if !is_newer(&policy, &in_force)? {
            return Ok(in_force);
        }

        let transaction = store.begin().await?;
        // Somebody else may have applied one meanwhile.
        let in_force = transaction.lock_policy_alone().await?;
        if !is_newer(&policy, &in_force)? {
            transaction.abandon().await?;
            return Ok(in_force);
        }
        let (own, theirs) = (policy.document().version, in_force.document().version);
        transaction.replace_policy(&policy).await?;
        let mut event = event("policy.apply", &own.to_string());
        event.detail = serde_json::json!({ "from": theirs, "to": own });
        transaction.commit(Change::new([Subject::Policy], event)).await?;
        tracing::info!(from = theirs, to = own, "policy applied");
        Ok(policy)
    })
    .await
}

/// Whether the settings' policy is to replace the one in force.
fn is_newer(policy: &Policy, in_force: &Policy) -> Result<bool, Error> {
    let (own, theirs) = (policy.document().version, in_force.document().version);
    if own == theirs && policy.document() != in_force.document() {
        return Err(Error::PolicyDiffers(own));
    }
    if own < theirs {
        tracing::warn!(
            settings_version = own,
            database_version = theirs,
            "the database's policy is newer than the settings': the database's is in force"
        );
    }
    Ok(own > theirs)
}

/// Makes the first service credential with the role admin, or adopts the one
/// that the file holds; only where the database has none. Tells whether it
/// did.
pub async fn ensure_admin(
    store: &Store,
    keys: &Arc<Keys>,
    bcrypt: &Bcrypt,
    forms: &Forms,
    path: &Path,
) -> Result<bool, Error> {
    let (store, keys, bcrypt, forms, path) =
        (store.clone(), keys.clone(), bcrypt.clone(), forms.clone(), path.to_owned());
    detached(async move {
        let snapshot = store.snapshot().await?;
        let has_admin = !snapshot.admins().await?.is_empty();
        let now = snapshot.now().await?;
        snapshot.end().await?;
        if has_admin {
            return Ok(false);
        }

        let provisioned = read_private(&path)?;
        let (id, plaintext, bcrypt) = match &provisioned {
            Some(text) => adopt(&forms, &bcrypt, text.trim(), &path).await?,
            None => mint_admin(&forms, &bcrypt, now).await?,
        };
        let transaction = store.begin().await?;
        // Whoever starts beside this one waits here, and then finds an admin.
        transaction.lock_policy_alone().await?;
        if !transaction.admins().await?.is_empty() {
            transaction.abandon().await?;
            return Ok(false);
        }
        if transaction.credential(id).await?.is_some() {
            return Err(Error::AdminTokenUsed(path));
        }
        let record = admin_record(&keys, id, &plaintext, bcrypt, transaction.now().await?);
        transaction.insert_credential(&record, None).await?;
        if provisioned.is_none() {
            write_private(&path, &line_of(&plaintext), Existing::Refuse)?;
        }
        let event = event("service.create", &id.to_string());
        transaction.commit(Change::new([Subject::Credential(id)], event)).await?;
        Ok(true)
    })
    .await
}

/// Replaces a lost admin token: ends the credential named admin, if there is
/// one, and writes a new one's token to the file.
pub async fn reset_admin(
    store: &Store,
    keys: &Arc<Keys>,
    bcrypt: &Bcrypt,
    forms: &Forms,
    path: &Path,
) -> Result<CredentialId, Error> {
    let (store, keys, bcrypt, forms, path) =
        (store.clone(), keys.clone(), bcrypt.clone(), forms.clone(), path.to_owned());
    detached(async move {
        let snapshot = store.snapshot().await?;
        let now = snapshot.now().await?;
        snapshot.end().await?;
        let (id, plaintext, bcrypt) = mint_admin(&forms, &bcrypt, now).await?;

        let transaction = store.begin().await?;
        transaction.lock_policy_alone().await?;
        let now = transaction.now().await?;
        let mut change = Change::default();
        if let Some(lost) = transaction.service_by_name(ADMIN).await? {
            let revocation = Revocation { time: now, reason: RevocationReason::Superseded };
            transaction.revoke_credential(lost, revocation).await?;
            change = change.and(Change::new([Subject::Credential(lost)], event("service.revoke", &lost.to_string())));
        }
        let record = admin_record(&keys, id, &plaintext, bcrypt, now);
        transaction.insert_credential(&record, None).await?;
        write_private(&path, &line_of(&plaintext), Existing::Replace)?;
        let change = change.and(Change::new([Subject::Credential(id)], event("service.create", &id.to_string())));
        transaction.commit(change).await?;
        Ok(id)
    })
    .await
}

type NewAdmin = (CredentialId, Plaintext, crate::domain::digest::BcryptHash);

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
    keys: &Keys,
    id: CredentialId,
    plaintext: &Plaintext,
    bcrypt: crate::domain::digest::BcryptHash,
    now: Timestamp,
) -> Record {
    let key = keys.current();
    let mut record = service_record(id, ADMIN, Roles::from_iter([Role::Admin]), Networks::ANY, now);
    "system:bootstrap".clone_into(&mut record.created_by);
    record.hint = plaintext.hint();
    record.secrets = vec![SecretRecord {
        id: SecretId::at(now, random::bytes()),
        bcrypt,
        fingerprint: Some((key.id().clone(), key.fingerprint(plaintext))),
        create_time: now,
        end_time: None,
    }];
    record
}

fn event(action: &'static str, target: &str) -> Event {
    Event {
        actor: "system:bootstrap".to_owned(),
        actor_address: None,
        action,
        target: target.to_owned(),
        account_id: None,
        request_id: None,
        detail: serde_json::Value::Null,
    }
}

fn line_of(plaintext: &Plaintext) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", plaintext.expose()))
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Refuse,
    Replace,
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { verb, path: path.to_owned(), source }
}

/// Reads a file that only its owner should read; none where there is none.
fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mode = fs::metadata(path).map_err(failed("read", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:03o}", mode & 0o777), "others than its owner may read this file");
    }
    Ok(Some(text))
}

/// Writes a file that only its owner may read, whole or not at all, and syncs
/// it.
fn write_private(path: &Path, text: &str, existing: Existing) -> Result<(), Error> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(failed("write", path))?;
    let temporary = path.with_added_extension(format!("{:016x}", u64::from_ne_bytes(random::bytes())));
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match existing {
            Existing::Replace => fs::rename(&temporary, path)?,
            Existing::Refuse | Existing::Keep => match fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && existing == Existing::Keep => {}
                other => other?,
            },
        }
        let _ = fs::remove_file(&temporary);
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("write", path)(error)
    })
}
