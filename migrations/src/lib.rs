//! The schema, one file per migration, the same on SQLite and PostgreSQL.
//!
//! Migrations expand, then contract: the binary before and the binary after
//! both run on every schema in between. Times are microseconds since the epoch,
//! lists of words are separated by spaces.

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;

mod m20261123_000001_spine;
mod m20261126_000001_imports;
mod m20261126_000002_rotations;
mod m20261126_000003_sign_in_attempts;
mod m20261126_000004_signing_keys;
mod m20261128_000001_audit;

/// All migrations, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_spine::Migration),
            Box::new(m20261126_000001_imports::Migration),
            Box::new(m20261126_000002_rotations::Migration),
            Box::new(m20261126_000003_sign_in_attempts::Migration),
            Box::new(m20261126_000004_signing_keys::Migration),
            Box::new(m20261128_000001_audit::Migration),
        ]
    }
}
