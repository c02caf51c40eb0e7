//! What signs the tokens of sessions, and what signed those that still live? One
//! key is current; of those before it, the public half is kept until the last of
//! their tokens has expired.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    prelude::Expr,
};

use super::{
    Error, Snapshot, Store, Transaction,
    convert::{self, kind_code},
    entity,
};
use crate::domain::{
    credential::Kind,
    keys::{KeyId, SealedSigningKey},
    signing::{PublicKey, SigningKeyId},
    time::Timestamp,
};

/// A signing key, as it is kept.
#[derive(Clone, Debug)]
pub struct SigningKeyRecord {
    /// Its public half.
    pub public: PublicKey,
    /// Its private half; none once another key took its place.
    pub sealed: Option<SealedSigningKey>,
    /// When it was made.
    pub create_time: Timestamp,
    /// When another took its place, and when the last token that it signed
    /// expires.
    pub retired: Option<Retired>,
}

/// That another key took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// When.
    pub time: Timestamp,
    /// When the last token that it signed expires.
    pub last_expiry: Timestamp,
}

impl SigningKeyRecord {
    /// Whether it may have signed a token that lives at `now`.
    pub fn verifies(&self, now: Timestamp) -> bool {
        self.retired.is_none_or(|retired| now < retired.last_expiry)
    }
}

impl Snapshot {
    /// All signing keys that are known, the newest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRecord>, Error> {
        use entity::signing_key::{Column, Entity};

        let query = Entity::find().order_by_desc(Column::CreateTime).order_by_asc(Column::Kid);
        query.all(self.connection()).await?.into_iter().map(read).collect()
    }

    /// The key that signs now.
    pub async fn current_signing_key(&self) -> Result<Option<SigningKeyRecord>, Error> {
        use entity::signing_key::{Column, Entity};

        let query = Entity::find().filter(Column::RetireTime.is_null());
        query.one(self.connection()).await?.map(read).transpose()
    }

    /// When the last of the web sessions that live at `now` expires, none of which
    /// lives longer than `longest`.
    async fn last_web_expiry(&self, now: Timestamp, longest: Duration) -> Result<Timestamp, Error> {
        use entity::credential::{Column, Entity};

        let latest = now.checked_add(longest).unwrap_or(Timestamp::MAX);
        // Within these bounds, the index of expiries finds few.
        let last: Option<Option<i64>> = Entity::find()
            .select_only()
            .column_as(Column::ExpireTime.max(), "last")
            .filter(Column::Kind.eq(kind_code(Kind::WebSession)))
            .filter(Column::ExpireTime.gt(now.as_micros()))
            .filter(Column::ExpireTime.lte(latest.as_micros()))
            .into_tuple()
            .one(self.connection())
            .await?;
        last.flatten().map_or(Ok(now), convert::timestamp)
    }
}

impl Transaction {
    /// Puts another signing key in the place of the current one, if there is one.
    /// The private half of that is erased; none of its tokens lives longer than
    /// `longest`.
    pub async fn replace_signing_key(
        &self,
        public: &PublicKey,
        sealed: SealedSigningKey,
        now: Timestamp,
        longest: Duration,
    ) -> Result<(), Error> {
        use entity::signing_key::{ActiveModel, Column, Entity};

        let retired = ActiveModel {
            sealed: Set(None),
            master_key: Set(None),
            retire_time: Set(Some(now.as_micros())),
            expire_time: Set(Some(self.last_web_expiry(now, longest).await?.as_micros())),
            ..Default::default()
        };
        Entity::update_many().set(retired).filter(Column::RetireTime.is_null()).exec(self.connection()).await?;
        let row = ActiveModel {
            kid: Set(public.id().to_string()),
            public_key: Set(public.as_bytes().to_vec()),
            sealed: Set(Some(sealed.sealed)),
            master_key: Set(Some(sealed.under.to_string())),
            create_time: Set(now.as_micros()),
            retire_time: Set(None),
            expire_time: Set(None),
        };
        Entity::insert(row).exec_without_returning(self.connection()).await?;
        Ok(())
    }

    /// Stores the private half of a signing key as another master key sealed it.
    pub async fn reseal_signing_key(&self, id: &SigningKeyId, sealed: SealedSigningKey) -> Result<(), Error> {
        use entity::signing_key::{Column, Entity};

        Entity::update_many()
            .col_expr(Column::Sealed, Expr::value(sealed.sealed))
            .col_expr(Column::MasterKey, Expr::value(sealed.under.to_string()))
            .filter(Column::Kid.eq(id.as_str()))
            .exec(self.connection())
            .await?;
        Ok(())
    }
}

impl Store {
    /// Removes signing keys whose last token has expired: a transaction that finds
    /// none changes nothing. Nothing is judged by them, so it is no change.
    pub(super) async fn purge_signing_keys(&self) -> Result<u64, Error> {
        use entity::signing_key::{Column, Entity};

        let store = self.clone();
        self.change(async move {
            let transaction = store.begin().await?;
            let now = transaction.now().await?;
            let removed = Entity::delete_many()
                .filter(Column::ExpireTime.lte(now.as_micros()))
                .exec(transaction.connection())
                .await?;
            transaction.commit_unrecorded().await?;
            Ok(removed.rows_affected)
        })
        .await
    }
}

fn read(row: entity::signing_key::Model) -> Result<SigningKeyRecord, Error> {
    let entity::signing_key::Model { kid, public_key, sealed, master_key, create_time, retire_time, expire_time } = row;
    let unreadable = || Error::unreadable("signing key", &kid);
    let public = PublicKey::from_bytes(public_key.try_into().map_err(|_| unreadable())?);
    if public.id().as_str() != kid {
        return Err(unreadable());
    }
    let sealed = match sealed.zip(master_key) {
        Some((sealed, master_key)) => {
            Some(SealedSigningKey { under: KeyId::new(master_key).ok_or_else(unreadable)?, sealed })
        }
        None => None,
    };
    let retired = match retire_time.zip(expire_time) {
        Some((time, last_expiry)) => {
            Some(Retired { time: convert::timestamp(time)?, last_expiry: convert::timestamp(last_expiry)? })
        }
        None => None,
    };
    Ok(SigningKeyRecord { public, sealed, create_time: convert::timestamp(create_time)?, retired })
}
