//! Which master key is current? The database names it, so that all replicas
//! use the same one for new work, and remembers those before it.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    prelude::Expr,
    sea_query::{OnConflict, Query},
};

use super::{Error, Snapshot, Transaction, entity};
use crate::domain::{
    digest::CheckValue,
    keys::{KeyId, KnownKey, KnownKeys, MasterKey},
    time::Timestamp,
};

impl Snapshot {
    /// The master keys that are or were current.
    pub async fn known_keys(&self) -> Result<KnownKeys, Error> {
        use entity::master_key::{Column, Entity};

        let mut known = KnownKeys::default();
        for row in Entity::find().order_by_asc(Column::KeyId).all(self.connection()).await? {
            let entity::master_key::Model { key_id, check_value, is_current } = row;
            let unreadable = || Error::unreadable("master key's name", &key_id);
            let id = KeyId::new(&key_id).ok_or_else(unreadable)?;
            let check_value = CheckValue::from_stored(&check_value).ok_or_else(unreadable)?;
            let key = KnownKey { id, check_value };
            if is_current {
                known.current = Some(key);
            } else {
                known.former.push(key);
            }
        }
        Ok(known)
    }

    /// How many live secrets have their fingerprint under which key; none: those
    /// without a fingerprint. Secrets that were ended together with all of their
    /// account's still count.
    pub async fn secrets_by_key(&self, now: Timestamp) -> Result<HashMap<Option<KeyId>, u64>, Error> {
        use entity::{credential, secret};

        let goes_on = |end: Expr| Condition::any().add(end.clone().is_null()).add(end.gt(now.as_micros()));
        let live = Query::select()
            .column(credential::Column::Id)
            .from(credential::Entity)
            .and_where(Expr::col(credential::Column::RevokeTime).is_null())
            .cond_where(goes_on(Expr::col(credential::Column::ExpireTime)))
            .to_owned();
        let rows: Vec<(Option<String>, i64)> = secret::Entity::find()
            .select_only()
            .column(secret::Column::KeyId)
            .column_as(secret::Column::Id.count(), "secrets")
            .filter(goes_on(Expr::col(secret::Column::EndTime)))
            .filter(secret::Column::Credential.in_subquery(live))
            .group_by(secret::Column::KeyId)
            .into_tuple()
            .all(self.connection())
            .await?;
        let counts = rows.into_iter().map(|(key, count)| {
            let key = key.map(|key| KeyId::new(&key).ok_or_else(|| Error::unreadable("key id", &key))).transpose()?;
            Ok((key, count.unsigned_abs()))
        });
        counts.collect()
    }
}

impl Transaction {
    /// Names the current master key. What was known of the one before it stays.
    pub async fn name_current_key(&self, key: &MasterKey) -> Result<(), Error> {
        use entity::master_key::{ActiveModel, Column, Entity};

        Entity::update_many()
            .col_expr(Column::IsCurrent, Expr::value(false))
            .filter(Column::IsCurrent.eq(true))
            .exec(self.connection())
            .await?;
        let row = ActiveModel {
            key_id: Set(key.id().to_string()),
            check_value: Set(key.check_value().expose()),
            is_current: Set(true),
        };
        let was_current = OnConflict::column(Column::KeyId).update_column(Column::IsCurrent).to_owned();
        Entity::insert(row).on_conflict(was_current).exec_without_returning(self.connection()).await?;
        Ok(())
    }
}
