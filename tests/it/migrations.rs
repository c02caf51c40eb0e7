//! Does the binary before a migration work on the schema after it? Migrations only
//! expand: what the tables have stays as it is, and what is new asks nothing of a
//! writer who does not know it. Triggers, checks and foreign keys are not compared:
//! whether one refuses what the binary before writes, no schema says.

use std::collections::{BTreeMap, BTreeSet};

use migrations::{Migrator, MigratorTrait as _};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, QueryResult, Statement};

use crate::support::{Backend, Database};

/// What migrations have taken away once no binary of the release before used it any
/// more, as `migration: offence`. Nothing: there was no release before the first.
const CONTRACTED: [&str; 0] = [];

/// A database's tables by their names.
type Schema = BTreeMap<String, Table>;

#[derive(Default)]
struct Table {
    columns: BTreeMap<String, Column>,
    /// What is unique, by index or constraint, whatever its name: columns, and of which rows.
    unique: BTreeSet<String>,
}

struct Column {
    /// Type, and whether it may be null.
    kind: String,
    nullable: bool,
    has_default: bool,
}

impl Column {
    fn may_be_left_out(&self) -> bool {
        self.nullable || self.has_default
    }
}

/// What a binary that knows the one schema meets on the other.
fn offences(before: &Schema, after: &Schema) -> Vec<String> {
    let mut offences = Vec::new();
    for (table, old) in before {
        let Some(new) = after.get(table) else {
            offences.push(format!("{table} is gone"));
            continue;
        };
        for (name, was) in &old.columns {
            match new.columns.get(name) {
                None => offences.push(format!("{table}.{name} is gone")),
                Some(is) if is.kind == was.kind => {}
                // Null where it was not is a change too: a reader does not expect it.
                Some(is) => offences.push(format!("{table}.{name} is {} and was {}", is.kind, was.kind)),
            }
        }
        for (name, is) in &new.columns {
            // Nor may a default go: the release before may be older than the column.
            if !is.may_be_left_out() && old.columns.get(name).is_none_or(Column::may_be_left_out) {
                offences.push(format!("{table}.{name} may not be left out"));
            }
        }
        // ON CONFLICT is an error where nothing is unique.
        offences.extend(old.unique.difference(&new.unique).map(|unique| format!("{table} lost unique {unique}")));
        for unique in new.unique.difference(&old.unique) {
            // A column that the binary before does not know is null in its rows: they are not
            // among those that must differ.
            let is_of_new_rows = new.columns.iter().any(|(name, is)| {
                let is_null = !old.columns.contains_key(name) && is.nullable && !is.has_default;
                is_null && unique.ends_with(&format!(" WHERE {name} IS NOT NULL"))
            });
            if !is_of_new_rows {
                offences.push(format!("{table} has unique {unique}"));
            }
        }
    }
    offences
}

async fn schema(connection: &DatabaseConnection, backend: Backend) -> Schema {
    let (columns, unique) = match backend {
        Backend::Sqlite => (
            r#"SELECT t.name AS "table", c.name AS name, lower(c.type) || iif(c."notnull", ' not null', ' null') AS kind,
                   c."notnull" = 0 AS nullable, c.dflt_value IS NOT NULL AS has_default
               FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'"#,
            // A constraint's index has no statement.
            r#"SELECT t.name AS "table", coalesce(substr(s.sql, instr(s.sql, '(')),
                   (SELECT group_concat(name, ', ') FROM pragma_index_info(i.name))) AS definition
               FROM sqlite_master t JOIN pragma_index_list(t.name) i LEFT JOIN sqlite_master s ON s.name = i.name
               WHERE t.type = 'table' AND i."unique""#,
        ),
        Backend::Postgres => (
            r#"SELECT table_name::text AS "table", column_name::text AS name,
                   concat_ws(' ', udt_name, character_maximum_length, numeric_precision, numeric_scale,
                             CASE is_nullable WHEN 'YES' THEN 'null' ELSE 'not null' END) AS kind,
                   is_nullable = 'YES' AS nullable, column_default IS NOT NULL AS has_default
               FROM information_schema.columns WHERE table_schema = current_schema()"#,
            r#"SELECT tablename::text AS "table", substring(indexdef FROM ' USING btree (.*)') AS definition
               FROM pg_indexes WHERE schemaname = current_schema() AND indexdef LIKE 'CREATE UNIQUE %'"#,
        ),
    };
    let statement = |query| Statement::from_string(connection.get_database_backend(), query);
    let text = |row: &QueryResult, name| row.try_get::<String>("", name).unwrap();
    let mut schema = Schema::new();
    for row in connection.query_all_raw(statement(columns)).await.unwrap() {
        let flag = |name| row.try_get("", name).unwrap();
        let column = Column { kind: text(&row, "kind"), nullable: flag("nullable"), has_default: flag("has_default") };
        schema.entry(text(&row, "table")).or_default().columns.insert(text(&row, "name"), column);
    }
    for row in connection.query_all_raw(statement(unique)).await.unwrap() {
        // Either database quotes and brackets in its own way.
        let definition = text(&row, "definition").replace(['"', '(', ')'], "");
        schema.entry(text(&row, "table")).or_default().unique.insert(definition);
    }
    schema
}

/// A database without a table. A file without a byte is one of SQLite's.
async fn empty(backend: Backend) -> (Database, DatabaseConnection) {
    let database = backend.database();
    if backend == Backend::Sqlite {
        std::fs::write(database.data_dir().join("token-authority.db"), "").unwrap();
    }
    let connection = database.connect().await;
    (database, connection)
}

on_both_databases!(migrations_only_expand, what_breaks_the_binary_before_is_noticed);

async fn migrations_only_expand(backend: Backend) {
    let (_database, connection) = empty(backend).await;
    let mut before = Schema::new();
    let mut found = Vec::new();
    for migration in Migrator::migrations() {
        Migrator::up(&connection, Some(1)).await.unwrap();
        let after = schema(&connection, backend).await;
        found.extend(offences(&before, &after).iter().map(|offence| format!("{}: {offence}", migration.name())));
        before = after;
    }
    connection.close().await.unwrap();
    assert_eq!(found, CONTRACTED);
}

/// What migrations might do, one after the other, and what is said of each.
const STEPS: [(&str, &str); 11] = [
    ("CREATE TABLE future (id bigint PRIMARY KEY, name text NOT NULL UNIQUE)", ""),
    ("CREATE INDEX by_plan ON accounts (plan)", ""),
    ("ALTER TABLE uses ADD COLUMN a bigint NOT NULL DEFAULT 7", ""),
    ("ALTER TABLE uses ADD COLUMN b text; CREATE UNIQUE INDEX i ON uses (use_count) WHERE b IS NOT NULL", ""),
    ("DROP INDEX i", "uses lost unique use_count WHERE b IS NOT NULL"),
    // The binary before knows the column by now; and a default fills one that it does not know.
    ("CREATE UNIQUE INDEX i ON uses (a) WHERE b IS NOT NULL", "uses has unique a WHERE b IS NOT NULL"),
    (
        "ALTER TABLE uses ADD COLUMN c text DEFAULT ''; CREATE UNIQUE INDEX j ON uses (a) WHERE c IS NOT NULL",
        "uses has unique a WHERE c IS NOT NULL",
    ),
    ("CREATE UNIQUE INDEX k ON secrets (create_time)", "secrets has unique create_time"),
    ("ALTER TABLE accounts DROP COLUMN password_hash", "accounts.password_hash is gone"),
    ("ALTER TABLE accounts RENAME roles TO duties", "accounts.roles is gone, accounts.duties may not be left out"),
    ("DROP TABLE desktop_sessions", "desktop_sessions is gone"),
];

/// SQLite changes a column by making its table anew.
const STEPS_ON_SQLITE: [(&str, &str); 1] = [(
    "DROP TABLE policy; CREATE TABLE policy (id smallint NOT NULL PRIMARY KEY, version text NOT NULL, document text)",
    "policy.document is text null and was text not null, policy.version is text not null and was integer not null",
)];

const STEPS_ON_POSTGRES: [(&str, &str); 6] = [
    ("ALTER TABLE policy ALTER version TYPE text", "policy.version is text not null and was int8 64 0 not null"),
    ("ALTER TABLE policy ALTER document DROP NOT NULL", "policy.document is text null and was text not null"),
    (
        "ALTER TABLE policy ALTER document SET NOT NULL",
        "policy.document is text not null and was text null, policy.document may not be left out",
    ),
    ("ALTER TABLE uses ALTER a DROP DEFAULT", "uses.a may not be left out"),
    ("ALTER TABLE future ADD COLUMN more text NOT NULL", "future.more may not be left out"),
    ("ALTER TABLE policy ADD UNIQUE (version)", "policy has unique version"),
];

async fn what_breaks_the_binary_before_is_noticed(backend: Backend) {
    let (_database, connection) = empty(backend).await;
    Migrator::up(&connection, None).await.unwrap();
    let others: &[_] = if backend == Backend::Sqlite { &STEPS_ON_SQLITE } else { &STEPS_ON_POSTGRES };
    let mut before = schema(&connection, backend).await;
    for (statements, expected) in STEPS.iter().chain(others) {
        connection.execute_unprepared(statements).await.unwrap();
        let after = schema(&connection, backend).await;
        assert_eq!(offences(&before, &after).join(", "), *expected, "{statements}");
        before = after;
    }
    connection.close().await.unwrap();
}
