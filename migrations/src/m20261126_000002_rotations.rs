//! Which request made a secret: what makes the retry of a rotation safe.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// `request_id` is null where the rotation had none, and for a credential's
    /// first secret. Beside the caller's own id it names the caller, since
    /// another's of the same id is another request. It is looked up among a
    /// credential's few secrets alone.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(secrets().add_column(request_id().text()).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(secrets().drop_column(Alias::new("request_id")).to_owned()).await
    }
}

fn secrets() -> TableAlterStatement {
    Table::alter().table(Alias::new("secrets")).to_owned()
}

fn request_id() -> ColumnDef {
    ColumnDef::new(Alias::new("request_id"))
}
