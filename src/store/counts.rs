//! How much is the database asked for? What is counted of work, and what pools
//! have.

use std::time::Duration;

use sea_orm::DatabaseConnection;

use super::{MAX_WORK, Store, connect::Connections};
use crate::counter::Counter;

/// What work is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Change,
}

impl Purpose {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change => "change",
        }
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    reads: WorkCounts,
    changes: WorkCounts,
    succeeded: Counter,
    failed: Counter,
    nanos: Counter,
}

#[derive(Debug, Default)]
pub(super) struct WorkCounts {
    pub(super) ended: Counter,
    pub(super) timed_out: Counter,
    pub(super) overloaded: Counter,
    nanos: Counter,
}

impl WorkCounts {
    pub(super) fn end(&self, took: Duration) {
        self.ended.count();
        self.nanos.add(nanos(took));
    }
}

impl Counts {
    pub(super) fn of(&self, purpose: Purpose) -> &WorkCounts {
        match purpose {
            Purpose::Read => &self.reads,
            Purpose::Change => &self.changes,
        }
    }

    fn statement(&self, took: Duration, failed: bool) {
        if failed { &self.failed } else { &self.succeeded }.count();
        self.nanos.add(nanos(took));
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Has the statements of new connections counted.
pub(super) fn count_statements(connections: &mut Connections, counts: &std::sync::Arc<Counts>) {
    for connection in [&mut connections.read, &mut connections.write, &mut connections.watch] {
        let counts = counts.clone();
        connection.set_metric_callback(move |statement| counts.statement(statement.elapsed, statement.failed));
    }
}

/// What a pool has.
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    /// Which.
    pub name: &'static str,
    /// Connections that nobody uses.
    pub idle: u32,
    /// Connections in use.
    pub used: u32,
    /// How many there may be.
    pub max: u32,
}

/// What became of work of one kind since the start, and what is under way.
#[derive(Clone, Copy, Debug)]
pub struct WorkDone {
    /// `read` or `change`.
    pub kind: &'static str,
    /// By how it ended.
    pub outcomes: [(&'static str, u64); 3],
    /// How long callers waited for what ended, all together.
    pub time: Duration,
    /// What waits or is under way.
    pub in_flight: usize,
    /// How much may be.
    pub limit: usize,
}

/// What became of statements since the start.
#[derive(Clone, Copy, Debug)]
pub struct StatementsDone {
    /// By how they ended.
    pub outcomes: [(&'static str, u64); 2],
    /// How long they took, all together.
    pub time: Duration,
}

impl Store {
    /// What the pools have now.
    pub fn pools(&self) -> [PoolSize; 3] {
        let connections = self.connections();
        [("read", &connections.read), ("write", &connections.write), ("watch", &connections.watch)]
            .map(|(name, connection)| self.pool(name, connection))
    }

    fn pool(&self, name: &'static str, connection: &DatabaseConnection) -> PoolSize {
        let (size, idle, max) = if self.is_embedded() {
            let pool = connection.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        } else {
            let pool = connection.get_postgres_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        };
        // They are read one after the other.
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
        PoolSize { name, idle, used: size - idle, max }
    }

    /// What became of work, and what is under way.
    pub fn work_done(&self) -> [WorkDone; 2] {
        [Purpose::Read, Purpose::Change].map(|purpose| {
            let WorkCounts { ended, timed_out, overloaded, nanos } = self.0.counts.of(purpose);
            WorkDone {
                kind: purpose.name(),
                outcomes: [
                    ("ended", ended.total()),
                    ("timed_out", timed_out.total()),
                    ("overloaded", overloaded.total()),
                ],
                time: Duration::from_nanos(nanos.total()),
                in_flight: MAX_WORK.saturating_sub(self.places(purpose).available_permits()),
                limit: MAX_WORK,
            }
        })
    }

    /// What became of statements.
    pub fn statements_done(&self) -> StatementsDone {
        let Counts { reads: _, changes: _, succeeded, failed, nanos } = &*self.0.counts;
        StatementsDone {
            outcomes: [("ok", succeeded.total()), ("failed", failed.total())],
            time: Duration::from_nanos(nanos.total()),
        }
    }
}
