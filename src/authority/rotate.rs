//! Rotating: a new secret under the same id. Tokens and service credentials do it
//! alike; who may, and which of them go on, is their own.
//!
//! At no time are more than two secrets live: the newest, which no rotation has
//! ended yet, and the one before it until the overlap is over.

use std::time::Duration;

use super::{Authority, Error, Opened, mint::Hashed};
use crate::{
    domain::{
        credential::Plaintext,
        id::{CredentialId, SecretId},
        record::Record,
    },
    store::{NewSecret, SecretRequest},
};

/// A new secret that is asked for.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// For which credential.
    pub id: CredentialId,
    /// How long the old secret goes on working.
    pub overlap: Duration,
    /// What makes a retry safe.
    pub request_id: Option<String>,
}

/// What a rotation made of a credential.
pub(super) struct Rotated {
    /// As it is now.
    pub(super) record: Record,
    /// The new secret, whole.
    pub(super) plaintext: Plaintext,
    /// For the audit trail.
    pub(super) detail: serde_json::Value,
}

impl Authority {
    /// Draws and hashes the new secret, before anything is begun.
    pub(super) async fn hash_for_rotation(&self, rotation: &Rotation) -> Result<Hashed, Error> {
        if rotation.overlap > self.rules.max_overlap {
            return Err(Error::OverlapTooLong);
        }
        self.hash_new_secret().await
    }

    /// Gives a credential that is held alone, and that goes on, its new secret.
    pub(super) async fn rotate(
        &self,
        opened: &Opened,
        record: &Record,
        rotation: &Rotation,
        hashed: Hashed,
    ) -> Result<Rotated, Error> {
        let (id, now) = (record.id, opened.now);
        let created_by = opened.caller.name();
        let request =
            rotation.request_id.as_deref().map(|request_id| SecretRequest { created_by: &created_by, request_id });
        let lost = match request {
            Some(request) => lost(opened, record, request).await?,
            None => None,
        };
        if let Some(lost) = lost {
            // The old secret ends when the first call said.
            opened.transaction.end_secret(lost, now).await?;
        } else {
            let live = record.secrets.iter().filter(|secret| !secret.has_ended(now)).count();
            if live > 1 && !rotation.overlap.is_zero() {
                return Err(Error::TwoSecretsLive);
            }
            let others_end = now.checked_add(rotation.overlap).map_err(|_| Error::OverlapTooLong)?;
            opened.transaction.end_secrets(id, others_end).await?;
        }

        let (plaintext, secret) = hashed.mint(&self.rules.forms, self.keys.now().current()?, record.kind, id, now);
        let hint = plaintext.hint();
        opened.transaction.add_secret(NewSecret { credential: id, secret: &secret, hint: &hint, request }, now).await?;
        let record = opened.transaction.credential(id).await?.ok_or(Error::TokenNotFound)?;
        let detail = serde_json::json!({
            "secret_id": secret.id.to_string(),
            "overlap_seconds": rotation.overlap.as_secs_f64(),
            "replaces": lost.map(|lost| lost.to_string()),
        });
        Ok(Rotated { record, plaintext, detail })
    }
}

/// The secret that the same request made before, and whose reply was lost. Where
/// it has been ended or rotated since, this is an old request that comes late,
/// and what came after it stands.
async fn lost(opened: &Opened, record: &Record, request: SecretRequest<'_>) -> Result<Option<SecretId>, Error> {
    let made = opened.transaction.secrets_by_request(record.id, request).await?;
    let is_newest = |id: &&SecretId| record.secret(**id).is_some_and(|secret| secret.end_time.is_none());
    match made.iter().find(is_newest) {
        Some(lost) => Ok(Some(*lost)),
        None if made.is_empty() => Ok(None),
        None => Err(Error::RequestIdReused(record.id)),
    }
}
