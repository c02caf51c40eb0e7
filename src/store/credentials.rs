//! Credentials and their secrets: found by id, locked before they are changed.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, prelude::Expr,
};
use uuid::Uuid;

use super::{
    Error, Snapshot, Transaction,
    convert::{self, kind_code, reason_code},
    entity,
};
use crate::domain::{
    credential::Kind,
    id::{CredentialId, SecretId},
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
    /// The request that it was made for, if that said so.
    pub request: Option<SecretRequest<'a>>,
}

/// What tells a request for a secret from others: its id, and who gave it that.
#[derive(Clone, Copy, Debug)]
pub struct SecretRequest<'a> {
    /// The caller's name.
    pub created_by: &'a str,
    /// The id.
    pub request_id: &'a str,
}

impl SecretRequest<'_> {
    /// Neither has a space in it.
    fn words(self) -> String {
        convert::words([self.created_by, self.request_id])
    }
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

    /// Which of a credential's secrets the same caller's earlier request made.
    pub async fn secrets_by_request(
        &self,
        credential: CredentialId,
        request: SecretRequest<'_>,
    ) -> Result<Vec<SecretId>, Error> {
        use entity::secret::{Column, Entity};

        let ids: Vec<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Credential.eq(credential.uuid()))
            .filter(Column::RequestId.eq(request.words()))
            .into_tuple()
            .all(self.connection())
            .await?;
        Ok(ids.into_iter().map(SecretId::from_uuid).collect())
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
            self.insert_secret(record.id, secret, None).await?;
        }
        Ok(())
    }

    async fn insert_secret(
        &self,
        credential: CredentialId,
        secret: &SecretRecord,
        request: Option<SecretRequest<'_>>,
    ) -> Result<(), Error> {
        let row = convert::secret_row(credential, secret, request.map(SecretRequest::words), None).into_active_model();
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

    /// Writes what can be changed of a credential.
    pub async fn update_credential(&self, record: &Record) -> Result<(), Error> {
        use entity::credential::{Column, Entity};

        let entity::credential::Model { label, inherits_permissions, scopes, networks, expire_time, .. } =
            convert::record_row(record, None);
        Entity::update_many()
            .col_expr(Column::Label, Expr::value(label))
            .col_expr(Column::InheritsPermissions, Expr::value(inherits_permissions))
            .col_expr(Column::Scopes, Expr::value(scopes))
            .col_expr(Column::Networks, Expr::value(networks))
            .col_expr(Column::ExpireTime, Expr::value(expire_time))
            .filter(Column::Id.eq(record.id.uuid()))
            .exec(self.connection())
            .await?;
        Ok(())
    }

    /// Gives a credential a new secret beside those that it has.
    pub async fn add_secret(&self, new: NewSecret<'_>, now: Timestamp) -> Result<(), Error> {
        use entity::credential::{Column, Entity};

        let NewSecret { credential, secret, hint, request } = new;
        self.insert_secret(credential, secret, request).await?;
        Entity::update_many()
            .col_expr(Column::RotateTime, Expr::value(now.as_micros()))
            .col_expr(Column::Hint, Expr::value(hint))
            .filter(Column::Id.eq(credential.uuid()))
            .exec(self.connection())
            .await?;
        Ok(())
    }

    /// Ends a credential's secrets at `end_time`, but for those that end earlier
    /// anyway.
    pub async fn end_secrets(&self, credential: CredentialId, end_time: Timestamp) -> Result<(), Error> {
        use entity::secret::Column;

        self.end_where(Condition::all().add(Column::Credential.eq(credential.uuid())), end_time).await
    }

    /// Ends one secret at `end_time`, unless it ends earlier anyway.
    pub async fn end_secret(&self, secret: SecretId, end_time: Timestamp) -> Result<(), Error> {
        use entity::secret::Column;

        self.end_where(Condition::all().add(Column::Id.eq(secret.uuid())), end_time).await
    }

    async fn end_where(&self, which: Condition, end_time: Timestamp) -> Result<(), Error> {
        use entity::secret::{Column, Entity};

        let later = Condition::any().add(Column::EndTime.is_null()).add(Column::EndTime.gt(end_time.as_micros()));
        Entity::update_many()
            .col_expr(Column::EndTime, Expr::value(end_time.as_micros()))
            .filter(which.add(later))
            .exec(self.connection())
            .await?;
        Ok(())
    }
}
