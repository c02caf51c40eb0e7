//! How is the embedded database copied while it is in use? By SQLite itself, in
//! one snapshot, and as the beginning of another history: whoever starts on the
//! copy takes nothing for known that came after it.
//!
//! And how does a restored database begin another history? By its epoch, which
//! every replica asks for.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sea_orm::{
    EntityTrait as _, ExprTrait as _, QueryFilter as _,
    prelude::Expr,
    sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions},
};
use uuid::Uuid;

use super::{Change, Config, Error, Event, Location, Store, Subject, entity};

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is not embedded.
    #[error("only the embedded database is backed up by this command; back PostgreSQL up with its own tools")]
    NotEmbedded,
    /// There is no database.
    #[error("there is no database at {0}")]
    NoDatabase(PathBuf),
    /// The copy's file cannot be made, or is there already.
    #[error("cannot make {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The driver's own failure.
    #[error("cannot copy the database")]
    Driver(#[from] sqlx::Error),
}

impl Config {
    /// Copies the embedded database into a new file, for its owner alone. A server
    /// may be at work on it.
    pub async fn back_up(&self, copy: &Path) -> Result<(), BackupError> {
        let Location::Sqlite(database) = &self.location else {
            return Err(BackupError::NotEmbedded);
        };
        if !database.exists() {
            return Err(BackupError::NoDatabase(database.clone()));
        }
        let made = File::options().create_new(true).write(true).mode(0o600).open(copy);
        made.map_err(|source| BackupError::File { path: copy.to_owned(), source })?;
        let copied = copy_into(database, copy).await;
        if copied.is_err() {
            // Half a copy is none; that it cannot be removed, its failure says already.
            let _ = std::fs::remove_file(copy);
        }
        Ok(copied?)
    }
}

async fn copy_into(database: &Path, copy: &Path) -> Result<(), sqlx::Error> {
    // Of another process's database, nothing but what it wrote: no schema is
    // changed, and no lock is held longer than the snapshot.
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(false).disable_statement_logging();
    let mut connection = options.connect().await?;
    let name = copy.to_string_lossy().into_owned();
    // It takes an empty file for none.
    sqlx::query("VACUUM INTO $1").bind(name).execute(&mut connection).await?;
    connection.close().await?;

    let options = SqliteConnectOptions::new().filename(copy).disable_statement_logging();
    let mut connection = options.connect().await?;
    let epoch = Uuid::new_v4();
    sqlx::query("UPDATE head SET epoch = $1").bind(epoch).execute(&mut connection).await?;
    connection.close().await?;
    File::open(copy)?.sync_all()?;
    Ok(())
}

impl Store {
    /// Begins another history, and tells its epoch. Every replica drops what it
    /// knows.
    pub async fn begin_epoch(&self, event: Event) -> Result<Uuid, Error> {
        use entity::head::{Column, Entity};

        let store = self.clone();
        self.change(async move {
            let transaction = store.begin().await?;
            let epoch = Uuid::new_v4();
            Entity::update_many()
                .col_expr(Column::Epoch, Expr::value(epoch))
                .filter(Expr::col(Column::Id).eq(1))
                .exec(transaction.connection())
                .await?;
            transaction.commit(Change::new([Subject::Policy, Subject::Keys], event)).await?;
            Ok(epoch)
        })
        .await
    }
}
