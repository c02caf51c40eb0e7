//! SQL beside the service, the same on both databases: what the tables hold
//! that no RPC tells, and faults that no RPC makes.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::Database;

impl Database {
    /// A connection of the test's own.
    #[expect(clippy::disallowed_methods, reason = "the driver's upkeep is turned off")]
    pub(crate) async fn connect(&self) -> DatabaseConnection {
        let url = match self.url() {
            None => format!("sqlite://{}", self.data_dir().join("token-authority.db").display()),
            Some(url) => url.to_owned(),
        };
        let mut options = sea_orm::ConnectOptions::new(url);
        options.max_connections(1).idle_timeout(None).max_lifetime(None).sqlx_logging(false);
        sea_orm::Database::connect(options).await.expect("the database is there")
    }

    /// The one value, as text, that a query yields.
    pub(crate) async fn scalar(&self, query: &str) -> String {
        let connection = self.connect().await;
        let query = format!("SELECT CAST(({query}) AS TEXT) AS value");
        let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), query)).await;
        let value = row.expect("the query runs").expect("there is a row").try_get("", "value");
        connection.close().await.expect("the connection is closed");
        value.expect("there is a value")
    }

    /// How many rows a query's `FROM` and `WHERE` clauses yield.
    pub(crate) async fn count(&self, from: &str) -> u64 {
        self.scalar(&format!("SELECT count(*) FROM {from}")).await.parse().expect("a number")
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, statement: &str) {
        let connection = self.connect().await;
        connection.execute_unprepared(statement).await.expect("the statement runs");
        connection.close().await.expect("the connection is closed");
    }

    /// What must be true of every database that no transaction is at work on:
    /// nothing is half there.
    pub(crate) async fn assert_whole(&self) {
        let log =
            self.scalar("SELECT count(*) || ' ' || count(DISTINCT tag) || ' ' || max(revision) FROM changes").await;
        let revision = self.scalar("SELECT revision FROM head").await;
        assert_eq!(log, format!("{revision} {revision} {revision}"), "the log of changes has a gap");
        let last = "changes JOIN head ON changes.revision = head.revision AND changes.tag = head.tag";
        assert_eq!(self.count(last).await, 1, "the head is not the log's last row");
        let half = "credentials c WHERE (SELECT count(*) FROM secrets s WHERE s.credential = c.id) = 0";
        assert_eq!(self.count(half).await, 0, "a credential is without a secret");
    }
}
