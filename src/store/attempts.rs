//! How many failed to sign in? A row for each bucket, to which every replica
//! charges an attempt before it is looked into.
//!
//! No answer depends on it: neither the head nor the log of changes knows of it,
//! and on PostgreSQL no commit waits for the disk. Buckets are charged in the order of their
//! names, so that no two transactions wait for each other.

use std::{collections::HashMap, time::Duration};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DbErr, EntityTrait as _, ExprTrait as _, FromQueryResult, QueryFilter as _,
    Statement, prelude::Expr,
};

use super::{Error, Snapshot, Store, Transaction, convert, entity};
use crate::domain::{
    attempts::{BucketName, window_end},
    time::Timestamp,
};

/// What a bucket counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Since when.
    pub window_start: Timestamp,
    /// How many attempts it was charged, those among them that are under way.
    pub charged: u64,
    /// Whether the audit trail was told of the window's first failure.
    pub failure_told: bool,
    /// Whether the audit trail was told of the window's first refusal.
    pub refusal_told: bool,
}

impl Counted {
    /// Whether its window goes on at `now`.
    pub fn goes_on(&self, window: Duration, now: Timestamp) -> bool {
        now < window_end(self.window_start, window)
    }

    fn of(row: &entity::sign_in_attempt::Model) -> Result<Self, Error> {
        Ok(Self {
            window_start: convert::timestamp(row.window_start)?,
            charged: row.charged.unsigned_abs(),
            failure_told: row.failure_told,
            refusal_told: row.refusal_told,
        })
    }
}

/// What of a bucket's window the audit trail is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its first failure.
    Failure,
    /// Its first refusal.
    Refusal,
}

/// Adds an attempt to the window that goes on, or begins another.
const CHARGE: &str = "\
    INSERT INTO sign_in_attempts (bucket, window_start, charged, failure_told, refusal_told) \
    VALUES ($1, $2, 1, FALSE, FALSE) \
    ON CONFLICT (bucket) DO UPDATE SET \
        window_start = CASE WHEN sign_in_attempts.window_start > $3 \
                            THEN sign_in_attempts.window_start ELSE excluded.window_start END, \
        charged = CASE WHEN sign_in_attempts.window_start > $3 THEN sign_in_attempts.charged + 1 ELSE 1 END, \
        failure_told = sign_in_attempts.failure_told AND sign_in_attempts.window_start > $3, \
        refusal_told = sign_in_attempts.refusal_told AND sign_in_attempts.window_start > $3 \
    RETURNING bucket, window_start, charged, failure_told, refusal_told";

impl Store {
    /// Begins a transaction that counts, and whose commit on PostgreSQL does not wait
    /// for the disk.
    pub async fn begin_counting(&self) -> Result<Transaction, Error> {
        let transaction = self.begin().await?;
        if !self.is_embedded() {
            transaction.connection().execute_unprepared("SET LOCAL synchronous_commit = off").await?;
        }
        Ok(transaction)
    }

    /// Removes what was counted in windows that are over; tells how many buckets
    /// that were.
    pub async fn purge_attempts(&self, window: Duration) -> Result<u64, Error> {
        self.in_batches(move |store| store.purge_windows(window)).await
    }
}

impl Snapshot {
    /// What these buckets counted; one that nothing was charged to is absent.
    pub async fn attempts(&self, buckets: &[BucketName]) -> Result<HashMap<BucketName, Counted>, Error> {
        use entity::sign_in_attempt::{Column, Entity};

        let names = buckets.iter().map(|bucket| bucket.as_bytes().to_vec());
        let rows = Entity::find().filter(Column::Bucket.is_in(names)).all(self.connection()).await?;
        rows.iter()
            .map(|row| {
                let name = BucketName::from_stored(&row.bucket);
                Ok((name.ok_or_else(|| Error::unreadable("bucket of", row.bucket.len()))?, Counted::of(row)?))
            })
            .collect()
    }
}

impl Transaction {
    /// Charges an attempt to a bucket, and tells what it counts with it.
    pub async fn charge_attempt(&self, bucket: BucketName, window: Duration, now: Timestamp) -> Result<Counted, Error> {
        let over = now.saturating_sub(window).as_micros();
        let values = [bucket.as_bytes().to_vec().into(), now.as_micros().into(), over.into()];
        let statement = Statement::from_sql_and_values(self.store().backend(), CHARGE, values);
        let row = entity::sign_in_attempt::Model::find_by_statement(statement).one(self.connection()).await?;
        Counted::of(&row.ok_or_else(|| DbErr::RecordNotFound("the bucket that was charged".to_owned()))?)
    }

    /// Gives back what was charged in a window that may be over by now.
    pub async fn refund_attempt(&self, bucket: BucketName, window_start: Timestamp) -> Result<(), Error> {
        use entity::sign_in_attempt::{Column, Entity};

        Entity::update_many()
            .col_expr(Column::Charged, Expr::col(Column::Charged).sub(1))
            .filter(Column::Bucket.eq(bucket.as_bytes().to_vec()))
            .filter(Column::WindowStart.eq(window_start.as_micros()))
            .filter(Column::Charged.gt(0))
            .exec(self.connection())
            .await?;
        Ok(())
    }

    /// Notes that the audit trail is told; tells whether it was not before.
    pub async fn tell_of_attempts(
        &self,
        bucket: BucketName,
        window_start: Timestamp,
        told: Told,
    ) -> Result<bool, Error> {
        use entity::sign_in_attempt::{Column, Entity};

        let column = match told {
            Told::Failure => Column::FailureTold,
            Told::Refusal => Column::RefusalTold,
        };
        let noted = Entity::update_many()
            .col_expr(column, Expr::value(true))
            .filter(Column::Bucket.eq(bucket.as_bytes().to_vec()))
            .filter(Column::WindowStart.eq(window_start.as_micros()))
            .filter(column.eq(false))
            .exec(self.connection())
            .await?;
        Ok(noted.rows_affected > 0)
    }
}
