//! A gate in PostgreSQL: a change that concerns a marked subject stops inside
//! its transaction, with the head's lock held, until the gate is opened.

use super::{Database, wait::until};

/// Waits for the gate inside the database, so many seconds at most.
fn wait(seconds: u32) -> String {
    format!(
        "FOR i IN 1..{seconds}00 LOOP \
             EXIT WHEN EXISTS (SELECT FROM test_gate WHERE is_open); \
             PERFORM pg_sleep(0.01); \
         END LOOP;"
    )
}

/// A closed gate.
pub(crate) struct Gate {
    database: Database,
}

impl Gate {
    /// A gate that nobody meets yet.
    pub(crate) fn closed(database: &Database) -> Self {
        database.sql("CREATE TABLE test_gate (is_open boolean); INSERT INTO test_gate VALUES (false)");
        Self { database: database.clone() }
    }

    /// Changes that name `subject` stop here from now on, after they have
    /// locked the head.
    pub(crate) fn stop_changes_of(&self, subject: &str) {
        let wait = wait(8);
        self.database.sql(&format!(
            "CREATE FUNCTION test_stop() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
                 IF position('{subject}' in NEW.subjects) > 0 THEN {wait} END IF; \
                 RETURN NEW; \
             END $$; \
             CREATE TRIGGER test_stop BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION test_stop()"
        ));
    }

    /// Locks an account's row until the gate is opened, as a change at work on
    /// it does. The handle ends when the lock is gone.
    pub(crate) fn lock_account(&self, account_id: &str) -> std::thread::JoinHandle<String> {
        let (database, wait) = (self.database.clone(), wait(18));
        let sql =
            format!("SELECT 1 FROM accounts WHERE account_id = '{account_id}' FOR UPDATE; DO $$ BEGIN {wait} END $$");
        std::thread::spawn(move || database.sql(&sql))
    }

    /// Locks a whole table until the gate is opened: nobody reads it meanwhile.
    pub(crate) fn lock_table(&self, table: &str) -> std::thread::JoinHandle<String> {
        let (database, wait) = (self.database.clone(), wait(18));
        let sql = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; DO $$ BEGIN {wait} END $$; COMMIT");
        std::thread::spawn(move || database.sql(&sql))
    }

    /// Keeps everybody from reading the head, and so from confirming or loading
    /// anything, until the gate is opened. The handle ends when the lock is gone.
    pub(crate) fn hold_head(&self) -> std::thread::JoinHandle<String> {
        self.lock_table("head")
    }

    /// Returns once somebody stands at the gate.
    pub(crate) async fn is_reached(&self) {
        until("somebody stands at the gate", async || self.backends("wait_event = 'PgSleep'") > 0).await;
    }

    /// How many of this database's backends match a condition on
    /// `pg_stat_activity`, the one that asks aside.
    pub(crate) fn backends(&self, condition: &str) -> u64 {
        backends(&self.database, condition)
    }

    /// Lets everybody through.
    pub(crate) fn open(&self) {
        self.database.sql("UPDATE test_gate SET is_open = true");
    }
}

/// How many backends of a database match a condition on `pg_stat_activity`, the
/// one that asks aside.
pub(crate) fn backends(database: &Database, condition: &str) -> u64 {
    let count = database.sql(&format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    ));
    count.parse().expect("a number")
}
