//! How many failed to sign in, so that all replicas agree on it.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(sign_in_attempts()).await?;
        // Purging windows that are over.
        let by_window = Index::create()
            .name("sign_in_attempts_by_window_start")
            .table(Alias::new("sign_in_attempts"))
            .col(Alias::new("window_start"))
            .to_owned();
        manager.create_index(by_window).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("sign_in_attempts")).to_owned()).await
    }
}

/// One row a bucket: whose failures it counts, as a digest; since when; how many
/// it was charged; and whether the audit trail was told of its first failure and
/// of its first refusal.
fn sign_in_attempts() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("sign_in_attempts"))
        .col(ColumnDef::new(Alias::new("bucket")).binary().not_null().primary_key())
        .col(ColumnDef::new(Alias::new("window_start")).big_integer().not_null())
        .col(ColumnDef::new(Alias::new("charged")).big_integer().not_null())
        .col(ColumnDef::new(Alias::new("failure_told")).boolean().not_null())
        .col(ColumnDef::new(Alias::new("refusal_told")).boolean().not_null())
        .to_owned()
}
