//! What is true at one moment? Reads that belong together, from one snapshot
//! of the database.

use sea_orm::{DatabaseConnection, DatabaseTransaction};

use super::{Error, Store, transaction::Access};
use crate::domain::{
    account::{Account, Holder},
    policy::{Policy, Room},
    time::Timestamp,
};

/// One view of the database: all that is read from it belongs together.
#[derive(Debug)]
pub struct Snapshot {
    connection: DatabaseTransaction,
    store: Store,
}

impl Store {
    /// Takes a snapshot.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.snapshot_on(&self.reader()).await
    }

    pub(super) async fn snapshot_on(&self, connection: &DatabaseConnection) -> Result<Snapshot, Error> {
        let connection = self.open_transaction(connection, Access::Read).await?;
        Ok(Snapshot { connection, store: self.clone() })
    }
}

impl Snapshot {
    pub(super) fn of(connection: DatabaseTransaction, store: Store) -> Self {
        Self { connection, store }
    }

    pub(super) fn connection(&self) -> &DatabaseTransaction {
        &self.connection
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Gives the connection back.
    pub async fn end(self) -> Result<(), Error> {
        Ok(self.connection.rollback().await?)
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        Ok(self.connection.commit().await?)
    }

    /// An account with its counted live tokens, where those are over its cap.
    pub async fn holder(&self, account: Account, policy: &Policy, now: Timestamp) -> Result<Holder, Error> {
        let live_over_cap = match policy.room(account.plan.as_ref()) {
            Room::Unbounded | Room::UnknownPlan => Vec::new(),
            Room::AtMost(max_tokens) => {
                let live = self.live_tokens(&account, policy.counts_imported(), now).await?;
                if live.len() > usize::try_from(max_tokens).unwrap_or(usize::MAX) { live } else { Vec::new() }
            }
        };
        Ok(Holder { account, live_over_cap })
    }
}
