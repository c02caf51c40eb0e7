//! The first schema: accounts, credentials and their secrets, policy, audit,
//! and the head and log of changes.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbErr},
};
use uuid::Uuid;

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            head(),
            changes(),
            policy(),
            master_keys(),
            accounts(),
            generation_raises(),
            credentials(),
            secrets(),
            uses(),
            desktop_sessions(),
            audit_events(),
        ] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        first_rows(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            "audit_events",
            "desktop_sessions",
            "uses",
            "secrets",
            "credentials",
            "generation_raises",
            "accounts",
            "master_keys",
            "policy",
            "changes",
            "head",
        ] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}

/// One row: which history this is, and how many changes it holds.
fn head() -> TableCreateStatement {
    table("head")
        .col(column("id").small_integer().not_null().primary_key().check(Expr::col(Alias::new("id")).eq(1)))
        .col(column("epoch").uuid().not_null())
        .col(column("revision").big_integer().not_null())
        .col(column("tag").uuid().not_null())
        .to_owned()
}

/// One row a revision: whom the change concerns.
fn changes() -> TableCreateStatement {
    table("changes")
        .col(column("revision").big_integer().not_null().primary_key())
        .col(column("tag").uuid().not_null())
        .col(column("commit_time").big_integer().not_null())
        .col(column("subjects").text().not_null())
        .to_owned()
}

/// One row: the policy document, in JSON.
fn policy() -> TableCreateStatement {
    table("policy")
        .col(column("id").small_integer().not_null().primary_key().check(Expr::col(Alias::new("id")).eq(1)))
        .col(column("version").big_integer().not_null())
        .col(column("document").text().not_null())
        .to_owned()
}

/// Which master key is current: its name and a check value, never the key.
fn master_keys() -> TableCreateStatement {
    table("master_keys")
        .col(column("key_id").text().not_null().primary_key())
        .col(column("check_value").text().not_null())
        .col(column("is_current").boolean().not_null())
        .to_owned()
}

fn accounts() -> TableCreateStatement {
    table("accounts")
        .col(column("id").uuid().not_null().primary_key())
        .col(column("account_id").text().not_null().unique_key())
        .col(column("username").text())
        .col(column("username_compared").text().unique_key())
        .col(column("email").text().not_null())
        .col(column("plan").text())
        .col(column("roles").text().not_null())
        .col(column("permissions").text().not_null())
        .col(column("limit_permissions").boolean().not_null())
        .col(column("suspended").boolean().not_null())
        .col(column("password_hash").text())
        .col(column("token_generation").big_integer().not_null())
        .col(column("session_generation").big_integer().not_null())
        .col(column("create_time").big_integer().not_null())
        .col(column("update_time").big_integer().not_null())
        .col(column("etag").uuid().not_null())
        .to_owned()
}

/// One row each time all of an account's tokens or sessions were ended.
fn generation_raises() -> TableCreateStatement {
    table("generation_raises")
        .col(column("account").uuid().not_null())
        .col(column("series").small_integer().not_null())
        .col(column("generation").big_integer().not_null())
        .col(column("raise_time").big_integer().not_null())
        .col(column("reason").small_integer().not_null())
        .primary_key(Index::create().col(Alias::new("account")).col(Alias::new("series")).col(Alias::new("generation")))
        .foreign_key(&mut reference("generation_raises", "account", "accounts", "id"))
        .to_owned()
}

/// Tokens, service credentials and sessions: whatever is presented.
fn credentials() -> TableCreateStatement {
    table("credentials")
        .col(column("id").uuid().not_null().primary_key())
        .col(column("kind").small_integer().not_null())
        .col(column("account").uuid())
        .col(column("label").text().not_null())
        .col(column("inherits_permissions").boolean().not_null())
        .col(column("scopes").text().not_null())
        .col(column("roles").text().not_null())
        .col(column("networks").text().not_null())
        .col(column("hint").text().not_null())
        .col(column("generation").big_integer().not_null())
        .col(column("created_by").text().not_null())
        .col(column("request_id").text())
        .col(column("imported").boolean().not_null())
        .col(column("create_time").big_integer().not_null())
        .col(column("expire_time").big_integer())
        .col(column("rotate_time").big_integer())
        .col(column("revoke_time").big_integer())
        .col(column("revocation_reason").small_integer())
        .foreign_key(&mut reference("credentials", "account", "accounts", "id"))
        .to_owned()
}

/// A credential's one or two secrets: hashes alone.
fn secrets() -> TableCreateStatement {
    table("secrets")
        .col(column("id").uuid().not_null().primary_key())
        .col(column("credential").uuid().not_null())
        .col(column("bcrypt_hash").text().not_null())
        .col(column("fingerprint").binary())
        .col(column("key_id").text())
        .col(column("create_time").big_integer().not_null())
        .col(column("end_time").big_integer())
        .foreign_key(&mut reference("secrets", "credential", "credentials", "id"))
        .to_owned()
}

/// When a secret was last used: written in batches, and no change.
fn uses() -> TableCreateStatement {
    table("uses")
        .col(column("secret").uuid().not_null().primary_key())
        .col(column("last_used_time").big_integer().not_null())
        .col(column("last_used_ip").text())
        .col(column("use_count").big_integer().not_null())
        .foreign_key(&mut reference("uses", "secret", "secrets", "id"))
        .to_owned()
}

/// What a desktop session has beside its credential.
fn desktop_sessions() -> TableCreateStatement {
    table("desktop_sessions")
        .col(column("id").uuid().not_null().primary_key())
        .col(column("device_name").text().not_null())
        .col(column("platform").text().not_null())
        .col(column("app_version").text().not_null())
        .foreign_key(&mut reference("desktop_sessions", "id", "credentials", "id"))
        .to_owned()
}

/// Every change, by whom and on what. Nothing refers to it and it refers to
/// nothing: what is erased leaves its trail.
fn audit_events() -> TableCreateStatement {
    table("audit_events")
        .col(column("id").uuid().not_null().primary_key())
        .col(column("event_time").big_integer().not_null())
        .col(column("actor").text().not_null())
        .col(column("actor_ip").text())
        .col(column("action").text().not_null())
        .col(column("target").text().not_null())
        .col(column("account_id").text())
        .col(column("request_id").text())
        .col(column("detail").text().not_null())
        .to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        // Lists, counts and the first live ones up to a cap.
        index("credentials_by_account", "credentials", &["account", "kind", "id"]),
        // A retried request mints nothing.
        index("credentials_by_request", "credentials", &["created_by", "request_id"])
            .unique()
            .and_where(Expr::col(Alias::new("request_id")).is_not_null())
            .to_owned(),
        // A service credential's name is its own until it is revoked. Kind 2 is
        // a service credential.
        index("credentials_by_service_name", "credentials", &["label"])
            .unique()
            .and_where(Expr::col(Alias::new("kind")).eq(2))
            .and_where(Expr::col(Alias::new("revoke_time")).is_null())
            .to_owned(),
        // Purging what has ended.
        index("credentials_by_revoke_time", "credentials", &["revoke_time"])
            .and_where(Expr::col(Alias::new("revoke_time")).is_not_null())
            .to_owned(),
        index("credentials_by_expire_time", "credentials", &["expire_time"])
            .and_where(Expr::col(Alias::new("expire_time")).is_not_null())
            .to_owned(),
        index("secrets_by_credential", "secrets", &["credential"]),
        index("secrets_by_end_time", "secrets", &["end_time"])
            .and_where(Expr::col(Alias::new("end_time")).is_not_null())
            .to_owned(),
        index("changes_by_commit_time", "changes", &["commit_time"]),
        // One key is current.
        index("master_keys_by_current", "master_keys", &["is_current"])
            .unique()
            .and_where(Expr::col(Alias::new("is_current")).eq(true))
            .to_owned(),
    ]
}

/// A new history with a random epoch, at revision zero, and an empty policy.
async fn first_rows(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let head = Query::insert()
        .into_table(Alias::new("head"))
        .columns(["id", "epoch", "revision", "tag"].map(Alias::new))
        .values_panic([1.into(), Uuid::new_v4().into(), 0_i64.into(), Uuid::new_v4().into()])
        .to_owned();
    connection.execute(&head).await?;
    let policy = Query::insert()
        .into_table(Alias::new("policy"))
        .columns(["id", "version", "document"].map(Alias::new))
        .values_panic([1.into(), 0_i64.into(), "{}".into()])
        .to_owned();
    connection.execute(&policy).await?;
    Ok(())
}

fn table(name: &str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).to_owned()
}

fn column(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn reference(table: &str, column: &str, to: &str, to_column: &str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from(Alias::new(table), Alias::new(column))
        .to(Alias::new(to), Alias::new(to_column))
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

fn index(name: &str, table: &str, columns: &[&str]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(Alias::new(table)).to_owned();
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}
