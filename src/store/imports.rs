//! Whose is a token that another system issued? It does not say itself: it is
//! searched for by what is kept of it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
    time::Duration,
};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbBackend, EntityTrait as _, ExprTrait as _, FromQueryResult,
    IntoActiveModel as _, JoinType, QueryFilter as _, QuerySelect as _, QueryTrait, Statement, Value, prelude::Expr,
};
use uuid::Uuid;

use super::{Error, Lock, Snapshot, Store, Transaction, convert, entity};
use crate::domain::{
    digest::{Fingerprint, Sha256Digest},
    id::{AccountKey, CredentialId},
    record::Record,
    time::Timestamp,
};

/// The name of the lock that imports take: "imports".
const LOCK: i64 = 0x0069_6d70_6f72_7473;
/// So many rows are inserted by a statement: few enough for SQLite's bound on
/// values.
const ROWS: usize = 500;

/// What imported tokens are searched for by.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// Under each key at hand.
    pub fingerprints: Vec<Fingerprint>,
    /// Of the whole token.
    pub digests: Vec<Sha256Digest>,
    /// Its first characters.
    pub hints: BTreeSet<String>,
}

/// A secret that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whose it is.
    pub credential: CredentialId,
    /// By what.
    pub by: FoundBy,
}

/// By what a secret was found.
#[derive(Clone, Debug)]
pub enum FoundBy {
    /// Its fingerprint.
    Fingerprint(Fingerprint),
    /// Its digest.
    Digest(Sha256Digest),
    /// Its hint: it is one of few, and had not ended.
    Hint(String),
}

/// An imported token, to be stored.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its record.
    pub record: Record,
    /// What it is searched for by until it has a fingerprint; empty where its
    /// digest does.
    pub lookup_hint: String,
}

#[derive(FromQueryResult)]
struct Row {
    way: Option<i32>,
    credential: Option<Uuid>,
    fingerprint: Option<Vec<u8>>,
    bcrypt_hash: Option<String>,
    lookup_hint: Option<String>,
}

impl Store {
    /// Searches for imported tokens. What was committed before the call is found.
    pub async fn search_imported(&self, sought: Sought, limit: Duration) -> Result<Vec<Found>, Error> {
        let store = self.clone();
        self.read_within(limit, async move {
            // Through a pooler in transaction mode, statements are prepared in
            // transactions alone.
            if store.is_embedded() || store.0.config.prepared_statements {
                return store.search_imported_on(&store.reader(), sought).await;
            }
            let snapshot = store.snapshot().await?;
            let found = store.search_imported_on(snapshot.connection(), sought).await?;
            snapshot.end().await?;
            Ok(found)
        })
        .await
    }

    async fn search_imported_on(
        &self,
        connection: &impl ConnectionTrait,
        Sought { fingerprints, digests, hints }: Sought,
    ) -> Result<Vec<Found>, Error> {
        let fingerprints: Vec<Vec<u8>> = fingerprints.iter().map(|fingerprint| fingerprint.expose().to_vec()).collect();
        let digests: Vec<String> = digests.iter().map(Sha256Digest::expose).collect();
        let hints: Vec<String> = hints.into_iter().collect();
        let statement = match self.backend() {
            DbBackend::Postgres => Statement::from_sql_and_values(
                DbBackend::Postgres,
                &*POSTGRES,
                [fingerprints.into(), digests.into(), hints.into()],
            ),
            backend => {
                let query = embedded_query(fingerprints.len(), digests.len(), hints.len());
                let now = [Value::from(self.embedded_time())].into_iter().cycle().take(2);
                let values = padded(fingerprints).chain(padded(digests)).chain(padded(hints)).chain(now);
                Statement::from_sql_and_values(backend, query, values)
            }
        };
        let rows = connection.query_all_raw(statement).await?;
        if self.backend() == DbBackend::Postgres {
            let first = rows.first().ok_or_else(|| Error::unreadable("search", "no row"))?;
            if first.try_get("", "standby")? {
                return Err(self.standby());
            }
        }
        let found = rows.iter().map(|row| Ok(found(Row::from_query_result(row, "")?)));
        found.filter_map(Result::transpose).collect()
    }
}

/// None: a row that says nothing but that the database is a primary, or that
/// cannot be read, which another search would not mend.
fn found(row: Row) -> Option<Found> {
    let Row { way, credential, fingerprint, bcrypt_hash, lookup_hint } = row;
    let by = match way? {
        1 => FoundBy::Fingerprint(Fingerprint::from_bytes(fingerprint?.try_into().ok()?)),
        2 => FoundBy::Digest(Sha256Digest::from_stored(&bcrypt_hash?)?),
        _ => FoundBy::Hint(lookup_hint?),
    };
    Some(Found { credential: CredentialId::from_uuid(credential?), by })
}

/// Three ways, each by an index of its own. By a hint only what has not ended is
/// found: bcrypt does not run for what has.
fn query(fingerprints: &str, digests: &str, hints: &str, now: &str) -> String {
    let columns = "s.credential, s.fingerprint, s.bcrypt_hash, s.lookup_hint";
    format!(
        "SELECT 1 AS way, {columns} FROM secrets s WHERE s.lookup_hint IS NOT NULL AND s.fingerprint {fingerprints} \
         UNION ALL \
         SELECT 2, {columns} FROM secrets s WHERE s.lookup_hint IS NOT NULL AND s.bcrypt_hash {digests} \
         UNION ALL \
         SELECT 3, {columns} FROM secrets s \
         JOIN credentials c ON c.id = s.credential JOIN accounts a ON a.id = c.account \
         WHERE s.lookup_hint IS NOT NULL AND s.lookup_hint {hints} AND c.revoke_time IS NULL \
         AND c.generation >= a.token_generation AND (c.expire_time IS NULL OR c.expire_time > {now}) \
         AND (s.end_time IS NULL OR s.end_time > {now})"
    )
}

static POSTGRES: LazyLock<String> = LazyLock::new(|| {
    let now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let query = query("= ANY($1)", "= ANY($2)", "= ANY($3)", now);
    format!(
        "SELECT pg_is_in_recovery() AS standby, found.* FROM (SELECT 1) AS one LEFT JOIN ({query}) AS found ON true"
    )
});

fn embedded_query(fingerprints: usize, digests: usize, hints: usize) -> String {
    let places = |count: usize| format!("IN ({})", vec!["?"; count.next_power_of_two()].join(", "));
    query(&places(fingerprints), &places(digests), &places(hints), "?")
}

/// Few different lengths, so that few statements are prepared.
fn padded<T: Into<Value> + sea_orm::sea_query::Nullable>(items: Vec<T>) -> impl Iterator<Item = Value> {
    let places = items.len().next_power_of_two();
    let padding = std::iter::repeat_with(|| T::null()).take(places - items.len());
    items.into_iter().map(Into::into).chain(padding)
}

impl Snapshot {
    /// Which imported tokens have these hashes, and whose they are.
    pub async fn imported_by_hash(
        &self,
        hashes: &[String],
    ) -> Result<HashMap<String, (CredentialId, Option<AccountKey>)>, Error> {
        use entity::{
            credential,
            secret::{Column, Entity},
        };

        let its_credential =
            Expr::col((Entity, Column::Credential)).equals((credential::Entity, credential::Column::Id));
        let mut query = Entity::find()
            .select_only()
            .column(Column::BcryptHash)
            .column(Column::Credential)
            .expr(Expr::col((credential::Entity, credential::Column::Account)))
            .filter(Column::LookupHint.is_not_null())
            .filter(Column::BcryptHash.is_in(hashes));
        QueryTrait::query(&mut query).join(JoinType::InnerJoin, credential::Entity, its_credential);
        let rows: Vec<(String, Uuid, Option<Uuid>)> = query.into_tuple().all(self.connection()).await?;
        let known = rows.into_iter().map(|(hash, credential, account)| {
            (hash, (CredentialId::from_uuid(credential), account.map(AccountKey::from_uuid)))
        });
        Ok(known.collect())
    }

    /// How many imported tokens that have not ended have each of these hints; one
    /// that none has is absent.
    pub async fn live_with_hints(
        &self,
        hints: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<HashMap<String, usize>, Error> {
        use entity::{
            account, credential,
            secret::{Column, Entity},
        };

        if hints.is_empty() {
            return Ok(HashMap::new());
        }
        let unexpired = |column: Expr| column.clone().is_null().or(column.gt(now.as_micros()));
        let of_credential = |column| Expr::col((credential::Entity, column));
        let its_credential = of_credential(credential::Column::Id).equals((Entity, Column::Credential));
        let its_account = of_credential(credential::Column::Account).equals((account::Entity, account::Column::Id));
        let of_this_generation = of_credential(credential::Column::Generation)
            .gte(Expr::col((account::Entity, account::Column::TokenGeneration)));
        let mut query = Entity::find()
            .select_only()
            .column(Column::LookupHint)
            .column_as(Column::Id.count(), "tokens")
            .filter(Column::LookupHint.is_not_null())
            .filter(Column::LookupHint.is_in(hints))
            .filter(of_credential(credential::Column::RevokeTime).is_null())
            .filter(of_this_generation)
            .filter(unexpired(of_credential(credential::Column::ExpireTime)))
            .filter(unexpired(Expr::col((Entity, Column::EndTime))))
            .group_by(Column::LookupHint);
        QueryTrait::query(&mut query).join(JoinType::InnerJoin, credential::Entity, its_credential).join(
            JoinType::InnerJoin,
            account::Entity,
            its_account,
        );
        let rows: Vec<(String, i64)> = query.into_tuple().all(self.connection()).await?;
        Ok(rows.into_iter().map(|(hint, tokens)| (hint, usize::try_from(tokens).unwrap_or(usize::MAX))).collect())
    }
}

impl Transaction {
    /// Lets one import at a time go on, until the commit: what it finds to be
    /// there, or not, stays so. It comes before all other locks, and nothing else
    /// takes it.
    pub async fn lock_imports(&self) -> Result<(), Error> {
        self.advisory_lock(LOCK, Lock::Exclusive).await
    }

    /// Stores imported tokens with their secrets.
    pub async fn insert_imported(&self, tokens: &[Imported]) -> Result<(), Error> {
        for tokens in tokens.chunks(ROWS) {
            let rows = tokens.iter().map(|token| convert::record_row(&token.record, None).into_active_model());
            entity::credential::Entity::insert_many(rows).exec_without_returning(self.connection()).await?;
            let rows = tokens.iter().flat_map(|Imported { record, lookup_hint }| {
                let row = |secret| convert::secret_row(record.id, secret, None, Some(lookup_hint)).into_active_model();
                record.secrets.iter().map(row)
            });
            entity::secret::Entity::insert_many(rows).exec_without_returning(self.connection()).await?;
        }
        Ok(())
    }
}
