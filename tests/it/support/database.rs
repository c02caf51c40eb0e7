//! A database for one test, with a data directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use token_authority::settings::{DatabaseUrl, Flags, Settings, Span};

use super::postgres::Postgres;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// A new, empty database and a data directory; both go when the last clone
/// does.
#[derive(Clone)]
pub(crate) struct Database {
    directory: Arc<TempDir>,
    // None: SQLite in the data directory.
    url: Option<String>,
    // None: the cluster that all tests share.
    cluster: Option<Arc<Postgres>>,
}

impl Backend {
    pub(crate) fn database(self) -> Database {
        let url = match self {
            Self::Sqlite => None,
            Self::Postgres => Some(Postgres::shared().create_database()),
        };
        Database { directory: directory(), url, cluster: None }
    }
}

fn directory() -> Arc<TempDir> {
    Arc::new(tempfile::Builder::new().prefix("token-authority-test-").tempdir().expect("a temporary directory"))
}

impl Database {
    /// A database on a cluster of the test's own, which it may stop.
    pub(crate) fn on(cluster: &Arc<Postgres>) -> Self {
        Self { directory: directory(), url: Some(cluster.create_database()), cluster: Some(cluster.clone()) }
    }

    /// The same database with an empty data directory, as a second server on
    /// another host has it.
    pub(crate) fn with_other_data_dir(&self) -> Self {
        Self { directory: directory(), ..self.clone() }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub(crate) fn backend(&self) -> Backend {
        match self.url {
            None => Backend::Sqlite,
            Some(_) => Backend::Postgres,
        }
    }

    /// The same under another URL.
    pub(crate) fn at(&self, url: String) -> Self {
        Self { url: Some(url), ..self.clone() }
    }

    /// This database as it is now, beside it, as a backup or a standby has it.
    /// Whoever is connected to it is cut off.
    pub(crate) fn copied(&self) -> Self {
        self.at(self.cluster().copy_database(self.postgres_url()))
    }

    /// Puts another database of the same cluster in the place of this one.
    pub(crate) fn replace_by(&self, other: &Self) {
        self.cluster().rename_database(other.postgres_url(), self.postgres_url());
    }

    /// Quick settings for a test: any port, cheap hashes; the rest from `file`
    /// (a path below the repository) or the defaults.
    pub(crate) fn settings(&self, file: Option<&str>) -> Settings {
        let file = file.map(|file| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file));
        let flags = Flags {
            data_dir: Some(self.data_dir().to_owned()),
            grpc_listen: Some("127.0.0.1:0".parse().expect("an address")),
            http_listen: Some("127.0.0.1:0".parse().expect("an address")),
            ..Flags::default()
        };
        let mut settings = Settings::load(file.as_deref(), &flags).expect("the settings are valid");
        settings.database.url = self.url.clone().map(DatabaseUrl::new);
        settings.database.migrate_on_start = true;
        settings.credentials.bcrypt_cost = 4;
        settings.credentials.bcrypt_threads = 2;
        // What is told of a token does not change under a test.
        settings.introspection.use_interval = Span(Duration::from_hours(1));
        settings
    }

    /// The same database with a data directory that holds what an operator
    /// gives to a replica: the master key, and here the admin's token too.
    pub(crate) fn replica(&self) -> Self {
        let replica = self.with_other_data_dir();
        for file in ["master.key", "admin.token"] {
            fs::copy(self.data_dir().join(file), replica.data_dir().join(file)).expect("the first start wrote it");
        }
        replica
    }

    pub(crate) fn admin_token(&self) -> String {
        self.find_admin_token().expect("the first start wrote it")
    }

    /// None where this data directory has no admin's token.
    pub(crate) fn find_admin_token(&self) -> Option<String> {
        let text = fs::read_to_string(self.data_dir().join("admin.token")).ok()?;
        Some(text.trim().to_owned())
    }

    /// All that the database holds, for secrets to be looked for in it.
    pub(crate) fn dump(&self) -> Vec<u8> {
        match &self.url {
            None => ["token-authority.db", "token-authority.db-wal"]
                .into_iter()
                .filter_map(|name| fs::read(self.data_dir().join(name)).ok())
                .flatten()
                .collect(),
            Some(url) => self.cluster().dump(url).into_bytes(),
        }
    }

    /// Runs SQL as the database's superuser, beside the service.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.cluster().sql(self.postgres_url(), sql)
    }

    fn cluster(&self) -> &Postgres {
        self.cluster.as_deref().unwrap_or_else(|| Postgres::shared())
    }

    fn postgres_url(&self) -> &str {
        self.url.as_deref().expect("only PostgreSQL is asked beside the service")
    }
}
