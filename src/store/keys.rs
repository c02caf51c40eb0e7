//! Which master key is current? The database names it, so that all replicas
//! use the same one for new work.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::{Error, Snapshot, Transaction, entity};
use crate::domain::keys::{KeyId, MasterKey};

/// The name of the current master key, and the value to check one against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentKey {
    /// Its name in the ring's file.
    pub id: KeyId,
    /// What [`MasterKey::check_value`] gives for the right key.
    pub check_value: String,
}

impl Snapshot {
    /// The current master key; none in a new database.
    pub async fn current_key(&self) -> Result<Option<CurrentKey>, Error> {
        use entity::master_key::{Column, Entity};

        let row = Entity::find().filter(Column::IsCurrent.eq(true)).one(self.connection()).await?;
        row.map(|entity::master_key::Model { key_id, check_value, is_current: _ }| {
            let id = KeyId::new(&key_id).ok_or_else(|| Error::unreadable("key id", &key_id))?;
            Ok(CurrentKey { id, check_value })
        })
        .transpose()
    }
}

impl Transaction {
    /// Names the current master key of a new database.
    pub async fn insert_current_key(&self, key: &MasterKey) -> Result<(), Error> {
        let row = entity::master_key::ActiveModel {
            key_id: Set(key.id().to_string()),
            check_value: Set(key.check_value()),
            is_current: Set(true),
        };
        entity::master_key::Entity::insert(row).exec_without_returning(self.connection()).await?;
        Ok(())
    }
}
