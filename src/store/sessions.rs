//! What do desktop sessions have beside their credentials? A device, and an end
//! that moves on while they are used.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, prelude::Expr};

use super::{Change, Error, Event, Lock, Store, Subject, Transaction, entity};
use crate::domain::{
    credential::Kind,
    id::CredentialId,
    session::{DesktopDevice, Sliding},
};

impl Store {
    /// Moves the end of a desktop session on, where it goes on and a use now does
    /// so; tells whether it did. It revives nothing: what ended stays so, whatever
    /// was known of it when it was used.
    pub async fn extend_session(&self, id: CredentialId, sliding: Sliding) -> Result<bool, Error> {
        let store = self.clone();
        self.change(async move {
            let transaction = store.begin().await?;
            let record = transaction.lock_credential(id, Lock::Exclusive).await?;
            let record = record.filter(|record| record.kind == Kind::DesktopSession && record.revocation.is_none());
            let Some((record, key)) = record.and_then(|record| record.account.map(|key| (record, key))) else {
                transaction.abandon().await?;
                return Ok(false);
            };
            let now = transaction.now().await?;
            // Its account may lose it meanwhile, which no expiry undoes.
            let account = transaction.account_by_key(key).await?;
            let goes_on = |generation| record.generation >= generation;
            let account = account.filter(|account| !account.suspended && goes_on(account.generations.sessions));
            let Some((account, expire_time)) = account.zip(sliding.moved(record.create_time, record.expire_time, now))
            else {
                transaction.abandon().await?;
                return Ok(false);
            };
            entity::credential::Entity::update_many()
                .col_expr(entity::credential::Column::ExpireTime, Expr::value(expire_time.as_micros()))
                .filter(entity::credential::Column::Id.eq(id.uuid()))
                .exec(transaction.connection())
                .await?;
            let event = Event {
                account_id: Some(account.id.to_string()),
                ..Event::new("system:sessions", "session.extend", id.to_string())
            };
            transaction.commit(Change::new([Subject::Credential(id)], event)).await?;
            Ok(true)
        })
        .await
    }
}

impl Transaction {
    /// Stores where a desktop session, whose credential is stored, was opened.
    pub async fn insert_desktop_session(&self, id: CredentialId, device: &DesktopDevice) -> Result<(), Error> {
        let row = entity::desktop_session::ActiveModel {
            id: Set(id.uuid()),
            device_name: Set(device.device_name().to_owned()),
            platform: Set(device.platform().to_owned()),
            app_version: Set(device.app_version().to_owned()),
        };
        entity::desktop_session::Entity::insert(row).exec_without_returning(self.connection()).await?;
        Ok(())
    }
}
