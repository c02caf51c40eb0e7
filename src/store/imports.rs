//! Whose is a token that another system issued? It does not say itself: it is
//! searched for by what is kept of it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
    time::Duration,
};

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait as _, FromQueryResult, IntoActiveModel as _, Statement, Value};
use uuid::Uuid;

use super::{
    Error, Lock, Snapshot, Store, Transaction,
    arrays::{EACH_OF_HEX, EACH_OF_TEXTS, hex_array, text_array},
    convert, entity,
};
use crate::domain::{
    digest::{Fingerprint, Sha256Digest},
    id::{AccountKey, CredentialId},
    legacy::MAX_CANDIDATES,
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
                let now = Value::from(self.embedded_time());
                let values = [hex_array(fingerprints), text_array(digests), text_array(hints), now.clone(), now];
                Statement::from_sql_and_values(backend, &*EMBEDDED, values)
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

const COLUMNS: &str = "s.credential, s.fingerprint, s.bcrypt_hash, s.lookup_hint";
const BY_FINGERPRINT: &str = "FROM secrets s WHERE s.lookup_hint IS NOT NULL AND s.fingerprint";
const BY_DIGEST: &str = "FROM secrets s WHERE s.lookup_hint IS NOT NULL AND s.bcrypt_hash";
const BY_HINT: &str = "FROM secrets s JOIN credentials c ON c.id = s.credential JOIN accounts a ON a.id = c.account \
                       WHERE s.lookup_hint IS NOT NULL AND s.lookup_hint";

/// What has not ended: bcrypt does not run for what has.
fn is_live(now: &str) -> String {
    format!(
        "c.revoke_time IS NULL AND c.generation >= a.token_generation \
         AND (c.expire_time IS NULL OR c.expire_time > {now}) AND (s.end_time IS NULL OR s.end_time > {now})"
    )
}

/// Three ways, each by an index of its own, a value at a time: PostgreSQL, which may
/// not have analyzed the table yet, would else expect many rows for each value, and
/// read all of it.
static POSTGRES: LazyLock<String> = LazyLock::new(|| {
    let each = |way: u8, values: &str, found: String| {
        format!(
            "SELECT {way} AS way, m.* FROM unnest({values}) AS sought(v) \
             CROSS JOIN LATERAL (SELECT {COLUMNS} {found} LIMIT {MAX_CANDIDATES}) AS m"
        )
    };
    let now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let found = [
        each(1, "$1::bytea[]", format!("{BY_FINGERPRINT} = sought.v")),
        each(2, "$2::text[]", format!("{BY_DIGEST} = sought.v")),
        each(3, "$3::text[]", format!("{BY_HINT} = sought.v AND {}", is_live(now))),
    ]
    .join(" UNION ALL ");
    format!(
        "SELECT pg_is_in_recovery() AS standby, found.* FROM (SELECT 1) AS one LEFT JOIN ({found}) AS found ON true"
    )
});

static EMBEDDED: LazyLock<String> = LazyLock::new(|| {
    [
        format!("SELECT 1 AS way, {COLUMNS} {BY_FINGERPRINT} IN {EACH_OF_HEX}"),
        format!("SELECT 2, {COLUMNS} {BY_DIGEST} IN {EACH_OF_TEXTS}"),
        format!("SELECT 3, {COLUMNS} {BY_HINT} IN {EACH_OF_TEXTS} AND {}", is_live("?")),
    ]
    .join(" UNION ALL ")
});

#[derive(FromQueryResult)]
struct KnownHash {
    hash: String,
    credential: Uuid,
    account: Option<Uuid>,
}

#[derive(FromQueryResult)]
struct HintCount {
    hint: String,
    tokens: i64,
}

impl Snapshot {
    /// Which imported tokens have these hashes, and whose they are.
    pub async fn imported_by_hash(
        &self,
        hashes: &[String],
    ) -> Result<HashMap<String, (CredentialId, Option<AccountKey>)>, Error> {
        let which = self.each_of(
            hashes,
            |hash| format!("JOIN secrets s ON s.lookup_hint IS NOT NULL AND s.bcrypt_hash = {hash} JOIN credentials c ON c.id = s.credential"),
            |hash| format!("{hash} AS hash, s.credential, c.account"),
        );
        let rows = KnownHash::find_by_statement(which).all(self.connection()).await?;
        let known = rows.into_iter().map(|KnownHash { hash, credential, account }| {
            (hash, (CredentialId::from_uuid(credential), account.map(AccountKey::from_uuid)))
        });
        Ok(known.collect())
    }

    /// How many imported tokens that have not ended have each of these hints.
    pub async fn live_with_hints(
        &self,
        hints: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<HashMap<String, usize>, Error> {
        let hints: Vec<String> = hints.iter().cloned().collect();
        let live = is_live(&now.as_micros().to_string());
        let counts = self.each_of(
            &hints,
            |_| String::new(),
            |hint| format!("{hint} AS hint, (SELECT count(*) {BY_HINT} = {hint} AND {live}) AS tokens"),
        );
        let rows = HintCount::find_by_statement(counts).all(self.connection()).await?;
        let count = |HintCount { hint, tokens }| (hint, usize::try_from(tokens).unwrap_or(usize::MAX));
        Ok(rows.into_iter().map(count).collect())
    }

    /// A statement that looks into the table a value at a time, as a search does.
    fn each_of(&self, values: &[String], from: impl Fn(&str) -> String, columns: impl Fn(&str) -> String) -> Statement {
        let backend = self.store().backend();
        let (sought, value, values): (_, _, Value) = match backend {
            DbBackend::Postgres => ("unnest($1::text[]) AS sought(value)", "sought.value", values.to_vec().into()),
            _ => ("json_each(?) AS sought", "sought.value", serde_json::json!(values).to_string().into()),
        };
        let query = format!("SELECT {} FROM {sought} {}", columns(value), from(value));
        Statement::from_sql_and_values(backend, query, [values])
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
