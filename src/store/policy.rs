//! Which policy is in force? The one in the database, whatever the settings
//! files of replicas say.

use std::sync::Arc;

use sea_orm::EntityTrait as _;

use super::{Error, KnownPolicy, Lock, Snapshot, Store, Transaction, entity};
use crate::domain::policy::{Document, Policy};

/// The name of the policy's advisory lock: "policy".
const LOCK: i64 = 0x0070_6f6c_6963_7900;

impl Snapshot {
    /// The policy in force.
    pub async fn policy(&self) -> Result<Arc<Policy>, Error> {
        let row = entity::policy::Entity::find_by_id(1_i16).one(self.connection()).await?;
        let row = row.ok_or_else(|| Error::unreadable("policy: no row", ""))?;
        self.store().understand_policy(self.store().known_policy(), Some(row.document))
    }
}

impl Store {
    /// The policy of a document; none: the known one. Policies are told by their
    /// whole text: a database that was restored may have another one of the same
    /// version.
    pub(super) fn understand_policy(
        &self,
        known: Option<KnownPolicy>,
        document: Option<String>,
    ) -> Result<Arc<Policy>, Error> {
        match (known, document) {
            (Some(known), None) => Ok(known.policy),
            (Some(known), Some(text)) if *known.text == *text => Ok(known.policy),
            (_, Some(text)) => {
                let unreadable = |error: String| Error::unreadable("policy", error);
                let document: Document = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
                let policy = Arc::new(Policy::new(document).map_err(|error| unreadable(error.to_string()))?);
                self.remember_policy(KnownPolicy { text: text.into(), policy: policy.clone() });
                Ok(policy)
            }
            (None, None) => Err(Error::unreadable("policy", "none")),
        }
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
