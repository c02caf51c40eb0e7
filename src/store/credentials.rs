//! Credentials and their secrets: found by id, locked before they are changed.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    prelude::Expr,
};
use uuid::Uuid;

use super::{
    Error, Snapshot, Transaction,
    convert::{self, kind_code, reason_code},
    entity,
};
use crate::domain::{
    credential::Kind,
    id::CredentialId,
    record::{Record, Revocation, SecretRecord, Secrets},
    role::Role,
    time::Timestamp,
};

/// How something is held until the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// Beside others who read it: nobody changes it meanwhile.
    Shared,
    /// Alone, to change it.
    Exclusive,
}

/// The name of a credential's advisory lock. Two credentials may share one, by
/// a rare chance: that costs a wait, and PostgreSQL ends a wait in a circle.
fn lock_name(id: CredentialId) -> i64 {
    let (high, low) = id.uuid().as_u64_pair();
    (high ^ low).cast_signed()
}

/// A secret for an existing credential.
#[derive(Debug)]
pub struct NewSecret<'a> {
    /// Whose it is.
    pub credential: CredentialId,
    /// What is kept of it.
    pub secret: &'a SecretRecord,
    /// How to recognise the credential from now on.
    pub hint: &'a str,
}

impl Snapshot {
    pub(super) async fn credentials(&self, ids: &BTreeSet<CredentialId>) -> Result<Vec<Record>, Error> {
        use entity::credential::{Column, Entity};

        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = Entity::find().filter(Column::Id.is_in(ids.iter().map(|id| id.uuid())));
        let rows = query.all(self.connection()).await?;
        self.with_secrets(rows).await
    }

    /// The credential of that id.
    pub async fn credential(&self, id: CredentialId) -> Result<Option<Record>, Error> {
        Ok(self.credentials(&BTreeSet::from([id])).await?.pop())
    }

    /// Which credential the same caller's earlier request made.
    pub async fn credential_by_request(
        &self,
        created_by: &str,
        request_id: &str,
    ) -> Result<Option<CredentialId>, Error> {
        use entity::credential::{Column, Entity};

        let id: Option<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::CreatedBy.eq(created_by))
            .filter(Column::RequestId.eq(request_id))
            .into_tuple()
            .one(self.connection())
            .await?;
        Ok(id.map(CredentialId::from_uuid))
    }

    /// The service credentials with the role admin that were not revoked.
    pub async fn admins(&self) -> Result<Vec<Record>, Error> {
        use entity::credential::{Column, Entity};

        let query = Entity::find()
            .filter(Column::Kind.eq(kind_code(Kind::Service)))
            .filter(Column::Roles.contains(Role::Admin.as_str()))
            .filter(Column::RevokeTime.is_null())
            .order_by_asc(Column::Id);
        let rows = query.all(self.connection()).await?;
        let mut records = self.with_secrets(rows).await?;
        records.retain(|record| record.roles.contains(Role::Admin));
        Ok(records)
    }

    /// Whether a service credential that was not revoked has this name.
    pub async fn is_service_name_taken(&self, name: &str) -> Result<bool, Error> {
        Ok(self.service_by_name(name).await?.is_some())
    }

    /// The service credential of that name that was not revoked.
    pub async fn service_by_name(&self, name: &str) -> Result<Option<CredentialId>, Error> {
        use entity::credential::{Column, Entity};

        let id: Option<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Kind.eq(kind_code(Kind::Service)))
            .filter(Column::Label.eq(name))
            .filter(Column::RevokeTime.is_null())
            .into_tuple()
            .one(self.connection())
            .await?;
        Ok(id.map(CredentialId::from_uuid))
    }

    pub(super) async fn with_secrets(&self, rows: Vec<entity::credential::Model>) -> Result<Vec<Record>, Error> {
        use entity::secret::{Column, Entity};

        let mut secrets: HashMap<Uuid, Secrets> = HashMap::new();
        let query =
            Entity::find().filter(Column::Credential.is_in(rows.iter().map(|row| row.id))).order_by_desc(Column::Id);
        for row in query.all(self.connection()).await? {
            secrets.entry(row.credential).or_default().push(convert::secret(row)?);
        }
        rows.into_iter()
            .map(|row| {
                let secrets = secrets.remove(&row.id).unwrap_or_default();
                convert::record(row, secrets)
            })
            .collect()
    }
}

impl Transaction {
    /// Locks a credential and reads it. Several are locked in the order of
    /// their ids. Those who call with it hold it shared, and cannot keep away
    /// whoever is to end it.
    pub async fn lock_credential(&self, id: CredentialId, lock: Lock) -> Result<Option<Record>, Error> {
        self.advisory_lock(lock_name(id), lock).await?;
        let query = entity::credential::Entity::find_by_id(id.uuid());
        let query = match lock {
            Lock::Shared => query,
            // Its account's deletion and the purge hold the row alone.
            Lock::Exclusive => query.lock_exclusive(),
        };
        let row = query.one(self.connection()).await?;
        Ok(self.with_secrets(row.into_iter().collect()).await?.pop())
    }

    /// Stores a new credential with its secrets.
    pub async fn insert_credential(&self, record: &Record, request_id: Option<&str>) -> Result<(), Error> {
        let row = convert::record_row(record, request_id).into_active_model();
        entity::credential::Entity::insert(row).exec_without_returning(self.connection()).await?;
        for secret in &record.secrets {
            self.insert_secret(record.id, secret).await?;
        }
        Ok(())
    }

    async fn insert_secret(&self, credential: CredentialId, secret: &SecretRecord) -> Result<(), Error> {
        let row = convert::secret_row(credential, secret, None).into_active_model();
        entity::secret::Entity::insert(row).exec_without_returning(self.connection()).await?;
        Ok(())
    }

    /// Ends a credential for good.
    pub async fn revoke_credential(&self, id: CredentialId, revocation: Revocation) -> Result<(), Error> {
        use entity::credential::{Column, Entity};

        Entity::update_many()
            .col_expr(Column::RevokeTime, Expr::value(revocation.time.as_micros()))
            .col_expr(Column::RevocationReason, Expr::value(reason_code(revocation.reason)))
            .filter(Column::Id.eq(id.uuid()))
            .exec(self.connection())
            .await?;
        Ok(())
    }

    /// Gives a credential a new secret. Its other ones end at `others_end`,
    /// unless they end earlier anyway.
    pub async fn rotate_secret(&self, new: NewSecret<'_>, now: Timestamp, others_end: Timestamp) -> Result<(), Error> {
        use entity::{credential, secret};

        secret::Entity::update_many()
            .col_expr(secret::Column::EndTime, Expr::value(others_end.as_micros()))
            .filter(secret::Column::Credential.eq(new.credential.uuid()))
            .filter(
                sea_orm::Condition::any()
                    .add(secret::Column::EndTime.is_null())
                    .add(secret::Column::EndTime.gt(others_end.as_micros())),
            )
            .exec(self.connection())
            .await?;
        self.insert_secret(new.credential, new.secret).await?;
        credential::Entity::update_many()
            .col_expr(credential::Column::RotateTime, Expr::value(now.as_micros()))
            .col_expr(credential::Column::Hint, Expr::value(new.hint))
            .filter(credential::Column::Id.eq(new.credential.uuid()))
            .exec(self.connection())
            .await?;
        Ok(())
    }
}
