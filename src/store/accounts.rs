//! Accounts: found by their id or their key, locked before they are changed.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _,
    IntoActiveModel as _, JoinType, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait, prelude::Expr, sea_query::OnConflict,
};

use super::{
    Error, Snapshot, Transaction,
    convert::{self, kind_code, reason_code},
    entity,
};
use crate::domain::{
    account::{Account, AccountId, Username},
    credential::Kind,
    digest::BcryptHash,
    id::{AccountKey, CredentialId},
    record::{Record, Revocation, RevocationReason},
    time::Timestamp,
};

/// Which of an account's generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    Tokens,
    Sessions,
}

impl Series {
    const fn code(self) -> i16 {
        match self {
            Self::Tokens => 1,
            Self::Sessions => 2,
        }
    }
}

impl Snapshot {
    /// The account that other systems call so.
    pub async fn account(&self, id: &AccountId) -> Result<Option<Account>, Error> {
        let query = entity::account::Entity::find().filter(entity::account::Column::AccountId.eq(id.as_str()));
        query.one(self.connection()).await?.map(convert::account).transpose()
    }

    /// The accounts that other systems call so; those that are not there are
    /// absent.
    pub async fn accounts_by_id<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a AccountId>,
    ) -> Result<Vec<Account>, Error> {
        let ids = ids.into_iter().map(AccountId::as_str);
        let query = entity::account::Entity::find().filter(entity::account::Column::AccountId.is_in(ids));
        query.all(self.connection()).await?.into_iter().map(convert::account).collect()
    }

    pub(super) async fn accounts_by_key(&self, keys: &BTreeSet<AccountKey>) -> Result<Vec<Account>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.iter().map(|key| key.uuid());
        let query = entity::account::Entity::find().filter(entity::account::Column::Id.is_in(keys));
        query.all(self.connection()).await?.into_iter().map(convert::account).collect()
    }

    /// The account of that key.
    pub async fn account_by_key(&self, key: AccountKey) -> Result<Option<Account>, Error> {
        Ok(self.accounts_by_key(&BTreeSet::from([key])).await?.pop())
    }

    /// The account of that username, and its password's hash, if it has one.
    pub async fn account_by_username(
        &self,
        username: &Username,
    ) -> Result<Option<(Account, Option<BcryptHash>)>, Error> {
        use entity::account::{Column, Entity};

        let query = Entity::find().filter(Column::UsernameCompared.eq(username.compared()));
        let Some(mut row) = query.one(self.connection()).await? else {
            return Ok(None);
        };
        let password = row.password_hash.take().map(BcryptHash::from_stored);
        Ok(Some((convert::account(row)?, password)))
    }

    /// The hash of an account's password, if it has one.
    pub async fn password_hash(&self, account: AccountKey) -> Result<Option<BcryptHash>, Error> {
        use entity::account::{Column, Entity};

        let hash: Option<Option<String>> = Entity::find_by_id(account.uuid())
            .select_only()
            .column(Column::PasswordHash)
            .into_tuple()
            .one(self.connection())
            .await?;
        Ok(hash.flatten().map(BcryptHash::from_stored))
    }

    /// A page of all accounts, in the order of their ids, after the given one.
    pub async fn list_accounts(&self, after: Option<&AccountId>, limit: u64) -> Result<Vec<Account>, Error> {
        use entity::account::{Column, Entity};

        let after = after.map(|after| Column::AccountId.gt(after.as_str()));
        let query =
            Entity::find().filter(Condition::all().add_option(after)).order_by_asc(Column::AccountId).limit(limit);
        query.all(self.connection()).await?.into_iter().map(convert::account).collect()
    }

    /// How many live tokens count against each account's plan; an account
    /// without any is absent.
    pub async fn token_counts(
        &self,
        accounts: impl IntoIterator<Item = AccountKey>,
        counts_imported: bool,
        now: Timestamp,
    ) -> Result<HashMap<AccountKey, u64>, Error> {
        use entity::{
            account,
            credential::{Column, Entity},
        };

        let of_this_generation =
            Expr::col((Entity, Column::Generation)).gte(Expr::col((account::Entity, account::Column::TokenGeneration)));
        let on_account = Expr::col((Entity, Column::Account)).equals((account::Entity, account::Column::Id));
        let mut query = Entity::find()
            .select_only()
            .column(Column::Account)
            .column_as(Column::Id.count(), "tokens")
            .filter(Column::Account.is_in(accounts.into_iter().map(AccountKey::uuid)))
            .filter(counted(counts_imported, now))
            .filter(of_this_generation)
            .group_by(Column::Account);
        QueryTrait::query(&mut query).join(JoinType::InnerJoin, account::Entity, on_account);
        let rows: Vec<(uuid::Uuid, i64)> = query.into_tuple().all(self.connection()).await?;
        Ok(rows.into_iter().map(|(account, tokens)| (AccountKey::from_uuid(account), tokens.unsigned_abs())).collect())
    }

    /// The live tokens that count against an account's plan, by id, each with
    /// its expiry.
    pub async fn live_tokens(
        &self,
        account: &Account,
        counts_imported: bool,
        now: Timestamp,
    ) -> Result<Vec<(CredentialId, Option<Timestamp>)>, Error> {
        use entity::credential::Column;

        let rows: Vec<(uuid::Uuid, Option<i64>)> = live_tokens_of(account, counts_imported, now)
            .select_only()
            .column(Column::Id)
            .column(Column::ExpireTime)
            .order_by_asc(Column::Id)
            .into_tuple()
            .all(self.connection())
            .await?;
        rows.into_iter()
            .map(|(id, expire_time)| Ok((CredentialId::from_uuid(id), convert::optional_timestamp(expire_time)?)))
            .collect()
    }

    /// How many live tokens count against an account's plan.
    pub async fn count_live_tokens(
        &self,
        account: &Account,
        counts_imported: bool,
        now: Timestamp,
    ) -> Result<u64, Error> {
        Ok(live_tokens_of(account, counts_imported, now).count(self.connection()).await?)
    }

    /// How many of an account's credentials of a kind go on at `now`.
    pub async fn count_live(&self, account: &Account, kind: Kind, now: Timestamp) -> Result<u64, Error> {
        use entity::credential::{Column, Entity};

        let generation = match kind {
            Kind::Personal | Kind::Service => account.generations.tokens,
            Kind::DesktopSession | Kind::WebSession => account.generations.sessions,
        };
        let query = Entity::find()
            .filter(Column::Account.eq(account.key.uuid()))
            .filter(Column::Kind.eq(kind_code(kind)))
            .filter(Column::Generation.gte(generation))
            .filter(going_on(now));
        Ok(query.count(self.connection()).await?)
    }

    /// When and why these records were ended with all of their account's: by
    /// the generation that each was made under. One that goes on is absent.
    pub async fn generation_ends(
        &self,
        account: AccountKey,
        kind: Kind,
        records: &[Record],
    ) -> Result<HashMap<i64, Revocation>, Error> {
        use entity::generation_raise::{Column, Entity};

        let series = match kind {
            Kind::Personal | Kind::Service => Series::Tokens,
            Kind::DesktopSession | Kind::WebSession => Series::Sessions,
        };
        let query = Entity::find()
            .filter(Column::Account.eq(account.uuid()))
            .filter(Column::Series.eq(series.code()))
            .filter(Column::Generation.is_in(records.iter().map(|record| record.generation + 1)));
        query
            .all(self.connection())
            .await?
            .into_iter()
            .map(|row| {
                let revocation =
                    Revocation { time: convert::timestamp(row.raise_time)?, reason: convert::reason(row.reason)? };
                Ok((row.generation - 1, revocation))
            })
            .collect()
    }
}

/// Neither revoked by itself nor expired.
fn going_on(now: Timestamp) -> Condition {
    use entity::credential::Column;

    let unexpired = Condition::any().add(Column::ExpireTime.is_null()).add(Column::ExpireTime.gt(now.as_micros()));
    Condition::all().add(Column::RevokeTime.is_null()).add(unexpired)
}

/// Tokens that count against a plan, of whatever generation.
fn counted(counts_imported: bool, now: Timestamp) -> Condition {
    use entity::credential::Column;

    let imported = (!counts_imported).then(|| Column::Imported.eq(false));
    Condition::all().add(Column::Kind.eq(kind_code(Kind::Personal))).add(going_on(now)).add_option(imported)
}

fn live_tokens_of(
    account: &Account,
    counts_imported: bool,
    now: Timestamp,
) -> sea_orm::Select<entity::credential::Entity> {
    use entity::credential::{Column, Entity};

    Entity::find()
        .filter(Column::Account.eq(account.key.uuid()))
        .filter(Column::Generation.gte(account.generations.tokens))
        .filter(counted(counts_imported, now))
}

impl Transaction {
    /// Locks accounts, each alone and in the order of their keys, and reads
    /// them.
    pub async fn lock_accounts(&self, keys: &BTreeSet<AccountKey>) -> Result<Vec<Account>, Error> {
        use entity::account::{Column, Entity};

        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let query = Entity::find()
            .filter(Column::Id.is_in(keys.iter().map(|key| key.uuid())))
            .order_by_asc(Column::Id)
            .lock_exclusive();
        query.all(self.connection()).await?.into_iter().map(convert::account).collect()
    }

    /// Makes an account, unless there is one of that id by now; tells whether
    /// it did.
    pub async fn insert_account_unless_known(&self, account: &Account) -> Result<bool, Error> {
        let row = convert::account_row(account).into_active_model();
        let unless_known = OnConflict::column(entity::account::Column::AccountId).do_nothing().to_owned();
        let inserted = entity::account::Entity::insert(row)
            .on_conflict(unless_known)
            .exec_without_returning(self.connection())
            .await?;
        Ok(inserted > 0)
    }

    /// Writes what an account is now, all but its password and generations.
    pub async fn update_account(&self, account: &Account) -> Result<(), Error> {
        use sea_orm::ActiveValue::{NotSet, Unchanged};

        let mut row = convert::account_row(account).into_active_model().reset_all();
        row.id = Unchanged(account.key.uuid());
        row.password_hash = NotSet;
        row.token_generation = NotSet;
        row.session_generation = NotSet;
        row.update(self.connection()).await?;
        Ok(())
    }

    /// Gives an account another password, or none.
    pub async fn set_password(&self, account: AccountKey, hash: Option<&BcryptHash>) -> Result<(), Error> {
        use entity::account::{Column, Entity};

        Entity::update_many()
            .col_expr(Column::PasswordHash, Expr::value(hash.map(|hash| hash.expose().to_owned())))
            .filter(Column::Id.eq(account.uuid()))
            .exec(self.connection())
            .await?;
        Ok(())
    }

    /// Erases an account and all that it holds.
    pub async fn delete_account(&self, key: AccountKey) -> Result<(), Error> {
        entity::account::Entity::delete_by_id(key.uuid()).exec(self.connection()).await?;
        Ok(())
    }

    /// Ends all of an account's tokens at once.
    pub async fn raise_token_generation(
        &self,
        account: &Account,
        now: Timestamp,
        reason: RevocationReason,
    ) -> Result<(), Error> {
        let generation = account.generations.tokens + 1;
        self.raise(account.key, Series::Tokens, entity::account::Column::TokenGeneration, generation, now, reason).await
    }

    /// Ends all of an account's sessions at once.
    pub async fn raise_session_generation(
        &self,
        account: &Account,
        now: Timestamp,
        reason: RevocationReason,
    ) -> Result<(), Error> {
        let generation = account.generations.sessions + 1;
        let column = entity::account::Column::SessionGeneration;
        self.raise(account.key, Series::Sessions, column, generation, now, reason).await
    }

    async fn raise(
        &self,
        account: AccountKey,
        series: Series,
        column: entity::account::Column,
        generation: i64,
        now: Timestamp,
        reason: RevocationReason,
    ) -> Result<(), Error> {
        entity::account::Entity::update_many()
            .col_expr(column, Expr::value(generation))
            .filter(entity::account::Column::Id.eq(account.uuid()))
            .exec(self.connection())
            .await?;
        let row = entity::generation_raise::ActiveModel {
            account: Set(account.uuid()),
            series: Set(series.code()),
            generation: Set(generation),
            raise_time: Set(now.as_micros()),
            reason: Set(reason_code(reason)),
        };
        entity::generation_raise::Entity::insert(row).exec_without_returning(self.connection()).await?;
        Ok(())
    }
}

impl Error {
    /// Whether another account has the username.
    pub fn is_username_taken(&self) -> bool {
        self.is_duplicate_of("username_compared")
    }
}
