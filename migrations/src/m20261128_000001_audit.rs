//! The audit trail is read, tells of refusals as well, and cannot be rewritten.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DbBackend, DbErr},
};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// What the trail is looked through by, besides the time, which the ids order.
const INDEXES: [(&str, &str); 3] = [
    ("audit_events_by_account", "account_id"),
    ("audit_events_by_actor", "actor"),
    ("audit_events_by_target", "target"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The reason of a refusal; null: it was done. SQLite adds one column at a time.
        let mut refusal = ColumnDef::new(Alias::new("refusal"));
        refusal.text();
        // How many attempts were refused alike.
        let mut count = ColumnDef::new(Alias::new("count"));
        count.big_integer().not_null().default(1);
        for column in [refusal, count] {
            manager.alter_table(Table::alter().table(Alias::new("audit_events")).add_column(column).to_owned()).await?;
        }
        for (name, column) in INDEXES {
            let index = Index::create()
                .name(name)
                .table(Alias::new("audit_events"))
                .col(Alias::new(column))
                .col(Alias::new("id"))
                .to_owned();
            manager.create_index(index).await?;
        }
        for statement in keep_as_written(manager.get_database_backend()) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in let_be_changed(manager.get_database_backend()) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        for (name, _) in INDEXES {
            manager.drop_index(Index::drop().name(name).table(Alias::new("audit_events")).to_owned()).await?;
        }
        for column in ["count", "refusal"] {
            let column = Alias::new(column);
            manager
                .alter_table(Table::alter().table(Alias::new("audit_events")).drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}

/// Rows are added, and removed once they are past their retention; none is ever
/// changed.
fn keep_as_written(backend: DbBackend) -> &'static [&'static str] {
    match backend {
        DbBackend::Sqlite => &["CREATE TRIGGER audit_events_stay_as_written BEFORE UPDATE ON audit_events \
             BEGIN SELECT RAISE(ABORT, 'audit events stay as they were written'); END"],
        _ => &[
            "CREATE FUNCTION audit_events_stay_as_written() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'audit events stay as they were written'; END $$",
            "CREATE TRIGGER audit_events_stay_as_written BEFORE UPDATE ON audit_events \
             FOR EACH ROW EXECUTE FUNCTION audit_events_stay_as_written()",
        ],
    }
}

fn let_be_changed(backend: DbBackend) -> &'static [&'static str] {
    match backend {
        DbBackend::Sqlite => &["DROP TRIGGER audit_events_stay_as_written"],
        _ => &[
            "DROP TRIGGER audit_events_stay_as_written ON audit_events",
            "DROP FUNCTION audit_events_stay_as_written()",
        ],
    }
}
