//! Which policy is in force? The one in the database, whatever the settings
//! files of replicas say.

use std::sync::Arc;

use sea_orm::{EntityTrait as _, QuerySelect as _};

use super::{Error, Lock, Snapshot, Transaction, entity};
use crate::domain::policy::{Document, Policy};

/// The name of the policy's advisory lock: "policy".
const LOCK: i64 = 0x0070_6f6c_6963_7900;

impl Snapshot {
    /// The policy in force.
    pub async fn policy(&self) -> Result<Arc<Policy>, Error> {
        use entity::policy::{Column, Entity};

        let version = Entity::find_by_id(1_i16)
            .select_only()
            .column(Column::Version)
            .into_tuple::<i64>()
            .one(self.connection())
            .await?
            .ok_or_else(|| Error::unreadable("policy: no row", ""))?;
        let version = u64::try_from(version).map_err(|_| Error::unreadable("policy version", version))?;
        if let Some(policy) = self.store().known_policy(version) {
            return Ok(policy);
        }

        let row = Entity::find_by_id(1_i16).one(self.connection()).await?;
        let row = row.ok_or_else(|| Error::unreadable("policy: no row", ""))?;
        let unreadable = |error: String| Error::unreadable("policy", error);
        let document: Document = serde_json::from_str(&row.document).map_err(|error| unreadable(error.to_string()))?;
        let policy = Arc::new(Policy::new(document).map_err(|error| unreadable(error.to_string()))?);
        if policy.document().version == version {
            self.store().remember_policy(&policy);
        }
        Ok(policy)
    }
}

impl Transaction {
    /// The policy, held until the commit: shared by those who go by it, alone by
    /// whoever replaces it.
    pub async fn lock_policy(&self, lock: Lock) -> Result<Arc<Policy>, Error> {
        self.advisory_lock(LOCK, lock).await?;
        self.policy().await
    }

    /// Puts a policy in force.
    pub async fn replace_policy(&self, policy: &Policy) -> Result<(), Error> {
        let document = policy.document();
        let row = entity::policy::ActiveModel {
            id: sea_orm::ActiveValue::Unchanged(1),
            version: sea_orm::ActiveValue::Set(
                i64::try_from(document.version).map_err(|_| Error::unreadable("policy version", document.version))?,
            ),
            document: sea_orm::ActiveValue::Set(
                serde_json::to_string(document).map_err(|error| Error::unreadable("policy", error))?,
            ),
        };
        entity::policy::Entity::update(row).exec(self.connection()).await?;
        Ok(())
    }
}
