//! What signs the tokens of sessions.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(signing_keys()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("signing_keys")).to_owned()).await
    }
}

/// One row a key: its public half; the private one, sealed under a master key,
/// and gone once another took its place; and until when tokens may be that it
/// signed.
fn signing_keys() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("signing_keys"))
        .col(ColumnDef::new(Alias::new("kid")).text().not_null().primary_key())
        .col(ColumnDef::new(Alias::new("public_key")).binary().not_null())
        .col(ColumnDef::new(Alias::new("sealed")).binary())
        .col(ColumnDef::new(Alias::new("master_key")).text())
        .col(ColumnDef::new(Alias::new("create_time")).big_integer().not_null())
        .col(ColumnDef::new(Alias::new("retire_time")).big_integer())
        .col(ColumnDef::new(Alias::new("expire_time")).big_integer())
        .to_owned()
}
