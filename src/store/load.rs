//! What is known of these credentials? Records, secrets and accounts, policy and
//! head, all of one moment: one statement, where no plan has a cap.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, LazyLock},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult as _, Iterable as _, QueryResult, Statement, Value};
use uuid::Uuid;

use super::{
    Error, Head, Snapshot, Store,
    arrays::{EACH_OF_HEX, hex_array},
    convert, entity,
};
use crate::domain::{
    account::{Account, Holder},
    id::{AccountKey, CredentialId},
    policy::{Policy, Room},
    record::{Grant, Record, Secrets},
    scope::Scopes,
    time::Timestamp,
};

/// What was loaded of some credentials, all of one moment. One that is absent
/// was not there.
#[derive(Debug)]
pub struct Fill {
    /// How far the database had come at that moment.
    pub head: Head,
    /// What time it was there.
    pub time: Timestamp,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// The credentials.
    pub records: HashMap<CredentialId, Arc<Record>>,
    /// Whom they belong to.
    pub holders: HashMap<AccountKey, Arc<Holder>>,
}

/// The rows of a fill, before plans are looked at.
struct Loaded {
    head: Head,
    time: Timestamp,
    policy: Arc<Policy>,
    records: Vec<Record>,
    accounts: Vec<Account>,
}

impl Store {
    /// Loads all that judging these credentials takes. What was committed before
    /// the call is in it.
    pub async fn load(&self, ids: BTreeSet<CredentialId>, limit: Duration) -> Result<Fill, Error> {
        let store = self.clone();
        self.read_within(limit, async move {
            // Through a pooler in transaction mode, statements are prepared in
            // transactions alone.
            if store.is_embedded() || store.0.config.prepared_statements {
                let loaded = store.load_rows(&store.reader(), &ids).await?;
                if !loaded.policy.has_caps() {
                    return Ok(loaded.without_caps());
                }
            }
            let snapshot = store.snapshot().await?;
            let loaded = store.load_rows(snapshot.connection(), &ids).await?;
            let fill = loaded.with_caps(&snapshot).await?;
            snapshot.end().await?;
            Ok(fill)
        })
        .await
    }

    async fn load_rows(
        &self,
        connection: &impl ConnectionTrait,
        ids: &BTreeSet<CredentialId>,
    ) -> Result<Loaded, Error> {
        let known = self.known_policy();
        let text: Value = known.as_ref().map(|known| known.text.to_string()).into();
        let ids = ids.iter().map(|id| id.uuid());
        let statement = match self.backend() {
            DbBackend::Postgres => {
                let ids: Vec<Uuid> = ids.collect();
                Statement::from_sql_and_values(DbBackend::Postgres, &*POSTGRES, [text, ids.into()])
            }
            backend => {
                Statement::from_sql_and_values(backend, &*EMBEDDED, [text, hex_array(ids.map(Uuid::into_bytes))])
            }
        };
        let rows = connection.query_all_raw(statement).await?;
        let first = rows.first().ok_or_else(|| Error::unreadable("head", "no row"))?;
        let time = match self.backend() {
            DbBackend::Postgres if first.try_get("", "standby")? => return Err(self.standby()),
            DbBackend::Postgres => first.try_get("", "time")?,
            _ => self.embedded_time(),
        };
        let entity::head::Model { id: _, epoch, revision, tag } = entity::head::Model::from_query_result(first, "h_")?;
        let (mut records, mut accounts) = records(&rows)?;
        for record in &mut records {
            if let Grant::Explicit(scopes) = &mut record.grant {
                *scopes = self.share_names(scopes);
            }
        }
        for account in &mut accounts {
            account.permissions = self.share_names(&account.permissions);
        }
        Ok(Loaded {
            head: Head { epoch, revision, tag },
            time: convert::timestamp(time)?,
            policy: self.understand_policy(known, first.try_get("", "policy")?)?,
            records,
            accounts,
        })
    }

    /// The same scopes. Many records name the same few: judging them touches less
    /// memory where each name is there once.
    fn share_names(&self, scopes: &Scopes) -> Scopes {
        let names = &self.0.scope_names;
        let shared = scopes.iter().map(|scope| {
            names.get(scope).unwrap_or_else(|| {
                names.insert(scope.clone(), scope.clone());
                scope.clone()
            })
        });
        shared.collect()
    }
}

impl Loaded {
    fn without_caps(self) -> Fill {
        let Self { head, time, policy, records, accounts } = self;
        let holders = accounts.into_iter().map(|account| Holder { account, live_over_cap: Vec::new() });
        fill(head, time, policy, records, holders)
    }

    /// Reads, in the same snapshot, the live tokens of accounts that are over
    /// their cap.
    async fn with_caps(self, snapshot: &Snapshot) -> Result<Fill, Error> {
        let Self { head, time, policy, records, accounts } = self;
        let capped = accounts.iter().filter(|account| match policy.room(account.plan.as_ref()) {
            Room::AtMost(_) => true,
            Room::Unbounded | Room::UnknownPlan => false,
        });
        let capped: Vec<_> = capped.map(|account| account.key).collect();
        let counts = if capped.is_empty() {
            HashMap::new()
        } else {
            snapshot.token_counts(capped, policy.counts_imported(), time).await?
        };
        let mut holders = Vec::with_capacity(accounts.len());
        for account in accounts {
            let count = counts.get(&account.key).copied().unwrap_or_default();
            holders.push(match policy.room(account.plan.as_ref()) {
                Room::AtMost(max_tokens) if count > u64::from(max_tokens) => {
                    snapshot.holder(account, &policy, time).await?
                }
                Room::AtMost(_) | Room::Unbounded | Room::UnknownPlan => Holder { account, live_over_cap: Vec::new() },
            });
        }
        Ok(fill(head, time, policy, records, holders))
    }
}

fn fill(
    head: Head,
    time: Timestamp,
    policy: Arc<Policy>,
    records: Vec<Record>,
    holders: impl IntoIterator<Item = Holder>,
) -> Fill {
    Fill {
        head,
        time,
        policy,
        records: records.into_iter().map(|record| (record.id, Arc::new(record))).collect(),
        holders: holders.into_iter().map(|holder| (holder.account.key, Arc::new(holder))).collect(),
    }
}

/// A row is a secret, with its credential's and account's columns beside it.
fn records(rows: &[QueryResult]) -> Result<(Vec<Record>, Vec<Account>), Error> {
    let mut credentials: BTreeMap<Uuid, (entity::credential::Model, Secrets)> = BTreeMap::new();
    let mut accounts: BTreeMap<Uuid, entity::account::Model> = BTreeMap::new();
    for row in rows {
        let Some(id) = row.try_get::<Option<Uuid>>("c_", "id")? else {
            continue;
        };
        if let Some(account) = row.try_get::<Option<Uuid>>("a_", "id")?
            && !accounts.contains_key(&account)
        {
            accounts.insert(account, entity::account::Model::from_query_result(row, "a_")?);
        }
        let secrets = if let Some((_, secrets)) = credentials.get_mut(&id) {
            secrets
        } else {
            let credential = entity::credential::Model::from_query_result(row, "c_")?;
            &mut credentials.entry(id).or_insert((credential, Secrets::new())).1
        };
        if row.try_get::<Option<Uuid>>("s_", "id")?.is_some() {
            secrets.push(convert::secret(entity::secret::Model::from_query_result(row, "s_")?)?);
        }
    }
    let records = credentials.into_values().map(|(credential, mut secrets)| {
        // Newest first.
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.id));
        convert::record(credential, secrets)
    });
    let accounts = accounts.into_values().map(convert::account);
    Ok((records.collect::<Result<_, _>>()?, accounts.collect::<Result<_, _>>()?))
}

/// The columns of all tables, each table's under a prefix of its own; the
/// policy's text only where it is not the known one, the first value. Head and
/// policy are named by their keys, although they have one row: PostgreSQL, which
/// may never have analyzed so small a table, would else expect a million rows of
/// the two, and compile the query each time.
fn query(backend_columns: &str, known_text: &str, which: &str) -> String {
    let columns = |prefix: &str, names: Vec<String>| {
        names.into_iter().map(|name| format!("{prefix}.{name} AS {prefix}_{name}")).collect::<Vec<_>>().join(", ")
    };
    let names = [
        columns("h", entity::head::Column::iter().map(|column| column_name(&column)).collect()),
        columns("c", entity::credential::Column::iter().map(|column| column_name(&column)).collect()),
        columns("s", entity::secret::Column::iter().map(|column| column_name(&column)).collect()),
        columns("a", entity::account::Column::iter().map(|column| column_name(&column)).collect()),
    ]
    .join(", ");
    format!(
        "SELECT {backend_columns}NULLIF(p.document, {known_text}) AS policy, {names} \
         FROM head h CROSS JOIN policy p \
         LEFT JOIN credentials c ON c.id {which} \
         LEFT JOIN secrets s ON s.credential = c.id \
         LEFT JOIN accounts a ON a.id = c.account \
         WHERE h.id = 1 AND p.id = 1"
    )
}

fn column_name(column: &impl sea_orm::IdenStatic) -> String {
    column.as_str().to_owned()
}

static POSTGRES: LazyLock<String> = LazyLock::new(|| {
    let columns = "pg_is_in_recovery() AS standby, \
                   (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS time, ";
    query(columns, "$1", "= ANY($2)")
});

static EMBEDDED: LazyLock<String> = LazyLock::new(|| query("", "?", &format!("IN {EACH_OF_HEX}")));
