//! What is true at one moment? Reads that belong together, from one snapshot
//! of the database.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use sea_orm::{DatabaseConnection, DatabaseTransaction};

use super::{Error, Store, transaction::Access};
use crate::domain::{
    account::Holder,
    id::{AccountKey, CredentialId},
    policy::{Policy, Room},
    record::Record,
    time::Timestamp,
};

/// One view of the database: all that is read from it belongs together.
#[derive(Debug)]
pub struct Snapshot {
    connection: DatabaseTransaction,
    store: Store,
}

/// What is known of some credentials, all of one snapshot.
#[derive(Debug)]
pub struct Found {
    /// The database's time when the snapshot was taken.
    pub now: Timestamp,
    /// The policy in force.
    pub policy: Arc<Policy>,
    records: HashMap<CredentialId, Record>,
    holders: HashMap<AccountKey, Holder>,
}

impl Found {
    /// The credential's record and whom it belongs to.
    pub fn get(&self, id: CredentialId) -> Option<(&Record, Option<&Holder>)> {
        let record = self.records.get(&id)?;
        Some((record, record.account.and_then(|account| self.holders.get(&account))))
    }
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

    /// Reads all that judging these credentials takes. What was committed
    /// before the call is in it.
    pub async fn find(&self, ids: BTreeSet<CredentialId>) -> Result<Found, Error> {
        let store = self.clone();
        self.read(async move {
            let snapshot = store.snapshot().await?;
            let found = snapshot.find(&ids).await?;
            snapshot.end().await?;
            Ok(found)
        })
        .await
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

    /// Reads all that judging these credentials takes.
    pub async fn find(&self, ids: &BTreeSet<CredentialId>) -> Result<Found, Error> {
        let policy = self.policy().await?;
        let now = self.now().await?;
        let records = self.credentials(ids).await?;
        let keys: BTreeSet<AccountKey> = records.iter().filter_map(|record| record.account).collect();
        let mut holders = HashMap::new();
        for account in self.accounts_by_key(&keys).await? {
            holders.insert(account.key, self.holder(account, &policy, now).await?);
        }
        let records = records.into_iter().map(|record| (record.id, record)).collect();
        Ok(Found { now, policy, records, holders })
    }

    /// An account with its counted live tokens, where those are over its cap.
    pub async fn holder(
        &self,
        account: crate::domain::account::Account,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Holder, Error> {
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
