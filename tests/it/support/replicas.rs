//! Three servers on one PostgreSQL, each in a process of its own.

use std::process::Command;

use super::{Actor, Backend, Process, server::Seen, settings::set_patience};

/// Three replicas, and an administrator at each.
pub(crate) struct Replicas {
    pub(crate) processes: [Process; 3],
    /// Secrets that these are shown are not looked for at the end: there are
    /// thousands of them.
    pub(crate) admins: [Actor; 3],
}

impl Replicas {
    /// Starts them on a new database, as `change` changes their commands.
    pub(crate) async fn start(change: impl Fn(&mut Command)) -> Self {
        let database = Backend::Postgres.database();
        let start = |database| {
            Process::start_with(database, |command| {
                set_patience(command);
                command.env("TOKEN_AUTHORITY__LOG__FILTER", "info");
                change(command);
            })
        };
        let processes = [start(&database), start(&database.replica()), start(&database.replica())];
        let admin =
            async |process: &Process| Actor::connect(&process.url(), &database.admin_token(), Seen::default()).await;
        let admins = [admin(&processes[0]).await, admin(&processes[1]).await, admin(&processes[2]).await];
        Self { processes, admins }
    }

    /// The administrators at the other two.
    pub(crate) fn others(&self, index: usize) -> [&Actor; 2] {
        [&self.admins[(index + 1) % 3], &self.admins[(index + 2) % 3]]
    }

    /// Ends them.
    pub(crate) fn end(self) {
        for process in self.processes {
            assert!(process.terminate().success());
        }
    }
}
