//! Tokens that another system issued: how a secret is found that does not say
//! whose it is.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const HASH: &str = "secrets_by_imported_hash";
const FINGERPRINT: &str = "secrets_by_imported_fingerprint";
const HINT: &str = "secrets_by_lookup_hint";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Null for secrets that were minted here. Empty for imported ones that are
        // found by their digest.
        let column = ColumnDef::new(Alias::new("lookup_hint")).text().to_owned();
        manager.alter_table(Table::alter().table(Alias::new("secrets")).add_column(column).to_owned()).await?;
        // The same hash again is the same token.
        manager.create_index(index(HASH, "bcrypt_hash").unique().to_owned()).await?;
        manager.create_index(index(FINGERPRINT, "fingerprint")).await?;
        manager.create_index(index(HINT, "lookup_hint")).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [HASH, FINGERPRINT, HINT] {
            manager.drop_index(Index::drop().name(name).table(Alias::new("secrets")).to_owned()).await?;
        }
        let column = Alias::new("lookup_hint");
        manager.alter_table(Table::alter().table(Alias::new("secrets")).drop_column(column).to_owned()).await
    }
}

/// Of imported secrets alone: the others are found by their credential's id.
fn index(name: &str, column: &str) -> IndexCreateStatement {
    Index::create()
        .name(name)
        .table(Alias::new("secrets"))
        .col(Alias::new(column))
        .and_where(Expr::col(Alias::new("lookup_hint")).is_not_null())
        .to_owned()
}
