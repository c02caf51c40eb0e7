//! How does a secret come by a fingerprint later? It cuts neither way: it is no
//! change, and nobody waits for it.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{LockBehavior, LockType},
};
use uuid::Uuid;

use super::{Error, Store, entity};
use crate::domain::{digest::Fingerprint, id::SecretId, keys::KeyId};

/// A fingerprint to be stored.
#[derive(Clone, Debug)]
pub struct NewFingerprint {
    /// Under which key the one before it was, if there was one: where the
    /// database has another by now, that one stays.
    pub instead_of: Option<KeyId>,
    /// The fingerprint.
    pub fingerprint: Fingerprint,
}

impl Store {
    /// Stores fingerprints under `key`, where that is still the current one: a
    /// replica that lags behind replaces none of a newer key by one of an older.
    /// Secrets that others hold are passed over.
    pub async fn store_fingerprints(&self, key: KeyId, new: HashMap<SecretId, NewFingerprint>) -> Result<(), Error> {
        use entity::secret::{ActiveModel, Column, Entity};

        let store = self.clone();
        self.change(async move {
            let transaction = store.begin().await?;
            // In the order of ids, and waiting for nobody: no circle of locks.
            let stored: Vec<(Uuid, Option<String>)> = Entity::find()
                .select_only()
                .column(Column::Id)
                .column(Column::KeyId)
                .filter(Column::Id.is_in(new.keys().map(|secret| secret.uuid())))
                .order_by_asc(Column::Id)
                // Beside those who write down that it was used.
                .lock_with_behavior(LockType::NoKeyUpdate, LockBehavior::SkipLocked)
                .into_tuple()
                .all(transaction.connection())
                .await?;
            let current = transaction.known_keys().await?.current;
            if current.is_none_or(|current| current.id != key) {
                return transaction.abandon().await;
            }
            for (secret, stored_under) in stored {
                let Some(NewFingerprint { instead_of, fingerprint }) = new.get(&SecretId::from_uuid(secret)) else {
                    continue;
                };
                if stored_under.as_deref() != instead_of.as_ref().map(KeyId::as_str) {
                    continue;
                }
                let row = ActiveModel {
                    key_id: Set(Some(key.to_string())),
                    fingerprint: Set(Some(fingerprint.expose().to_vec())),
                    ..Default::default()
                };
                Entity::update_many().set(row).filter(Column::Id.eq(secret)).exec(transaction.connection()).await?;
            }
            transaction.commit_unrecorded().await
        })
        .await
    }
}
