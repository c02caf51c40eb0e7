//! How are uses kept? A row for each secret, to which batches are added, from
//! all replicas. No use is a change: neither the head nor the log of changes
//! knows of them, and a crash may lose the last ones.

use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use super::{Error, Store};
use crate::domain::{id::SecretId, network::ClientAddress, time::Timestamp};

/// How many secrets' uses one transaction adds: SQLite's only writer is kept for
/// milliseconds.
pub const MAX_USES: usize = 1_000;

/// What became known of a secret's uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretUses {
    /// Whose.
    pub secret: SecretId,
    /// How many.
    pub count: u64,
    /// The last one's time.
    pub last_used_time: Timestamp,
    /// The last one's address, if that was known.
    pub last_used_address: Option<ClientAddress>,
}

/// Rows are locked in the order of secrets, so that replicas which add to the
/// same ones never wait in a circle. A secret that is being deleted is passed
/// over, since its deletion takes locks in another order; the others are held
/// until the commit, so that the foreign key finds them.
const POSTGRES: &str = "\
    INSERT INTO uses (secret, last_used_time, last_used_ip, use_count) \
    SELECT s.id, u.last_used_time, NULLIF(u.last_used_ip, ''), u.use_count \
    FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[]) \
             AS u (secret, last_used_time, last_used_ip, use_count) \
    JOIN secrets s ON s.id = u.secret \
    ORDER BY s.id \
    FOR KEY SHARE OF s SKIP LOCKED \
    ON CONFLICT (secret) DO UPDATE SET \
        last_used_time = GREATEST(uses.last_used_time, excluded.last_used_time), \
        last_used_ip = CASE WHEN excluded.last_used_time >= uses.last_used_time \
                            THEN excluded.last_used_ip ELSE uses.last_used_ip END, \
        use_count = uses.use_count + excluded.use_count";

/// The same of one JSON text, since SQLite knows no arrays.
const SQLITE: &str = "\
    INSERT INTO uses (secret, last_used_time, last_used_ip, use_count) \
    SELECT s.id, u.value ->> 1, NULLIF(u.value ->> 2, ''), u.value ->> 3 \
    FROM json_each(?) u CROSS JOIN secrets s \
    WHERE s.id = unhex(u.value ->> 0) \
    ORDER BY s.id \
    ON CONFLICT (secret) DO UPDATE SET \
        last_used_time = max(uses.last_used_time, excluded.last_used_time), \
        last_used_ip = CASE WHEN excluded.last_used_time >= uses.last_used_time \
                            THEN excluded.last_used_ip ELSE uses.last_used_ip END, \
        use_count = uses.use_count + excluded.use_count";

impl Store {
    /// Adds to what is kept of each secret: counts add up, and the later time
    /// brings its address. At most [`MAX_USES`], each secret once; those that
    /// are no more are passed over.
    pub async fn add_uses(&self, uses: &[SecretUses]) -> Result<(), Error> {
        let store = self.clone();
        let statement = match self.backend() {
            DbBackend::Postgres => for_postgres(uses),
            backend => for_sqlite(backend, uses),
        };
        self.change(async move {
            let transaction = store.begin().await?;
            if !store.is_embedded() {
                // No use is worth a wait for the disk.
                transaction.connection().execute_unprepared("SET LOCAL synchronous_commit = off").await?;
            }
            transaction.connection().execute_raw(statement).await?;
            transaction.commit_unrecorded().await
        })
        .await
    }
}

fn for_postgres(uses: &[SecretUses]) -> Statement {
    let secrets: Vec<_> = uses.iter().map(|uses| uses.secret.uuid()).collect();
    let times: Vec<_> = uses.iter().map(|uses| uses.last_used_time.as_micros()).collect();
    let addresses: Vec<_> = uses.iter().map(address).collect();
    let counts: Vec<_> = uses.iter().map(count).collect();
    let values = [secrets.into(), times.into(), addresses.into(), counts.into()];
    Statement::from_sql_and_values(DbBackend::Postgres, POSTGRES, values)
}

fn for_sqlite(backend: DbBackend, uses: &[SecretUses]) -> Statement {
    let rows: serde_json::Value = uses
        .iter()
        .map(|uses| {
            let secret = uses.secret.uuid().simple().to_string();
            serde_json::json!([secret, uses.last_used_time.as_micros(), address(uses), count(uses)])
        })
        .collect();
    Statement::from_sql_and_values(backend, SQLITE, [rows.to_string().into()])
}

fn address(uses: &SecretUses) -> String {
    uses.last_used_address.map(|address| address.to_string()).unwrap_or_default()
}

fn count(uses: &SecretUses) -> i64 {
    i64::try_from(uses.count).unwrap_or(i64::MAX)
}
