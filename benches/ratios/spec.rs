//! What does a load generator do, and what did it see? It is told on standard
//! input and tells on standard output, both in JSON.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::doors::Door;

/// What a load generator is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The servers' addresses; connections are spread over them.
    pub(crate) servers: Vec<SocketAddr>,
    /// The processes whose CPU time is asked for: the servers', or others.
    pub(crate) processes: Vec<u32>,
    /// The caller's credential.
    pub(crate) caller: String,
    /// The credentials to ask about, one a line.
    pub(crate) credentials: Option<PathBuf>,
    /// What is asked.
    pub(crate) ask: Ask,
    /// How often.
    pub(crate) load: Load,
    /// How many connections.
    pub(crate) connections: usize,
    /// How long calls are made that do not count yet.
    pub(crate) warm_up: f64,
    /// How long calls count, in seconds.
    pub(crate) seconds: f64,
}

/// What is asked, and how it must be answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// `grpc.health.v1.Health/Check`.
    Check,
    /// Introspect.
    Introspect { expected: Expected, max_staleness: u32 },
    /// BatchIntrospect of so many.
    Batch(usize),
    /// Envoy's Check of a request as a browser sends it, which must go on.
    ExtAuthz,
    /// A door that is asked over HTTP/1.1, which must find the credential good.
    Door(Door),
    /// SignIn with a wrong password, which must be refused; the credentials are
    /// usernames.
    WrongSignIn,
    /// The question of a round, on a connection to this database of the
    /// generator's own.
    Query(String),
}

/// How an introspection must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expected {
    Active,
    /// Inactive, or busy.
    InactiveOrBusy,
    /// Active; or busy: that the server is too busy to prove it (RESOURCE_EXHAUSTED), or
    /// did not come to it in time (UNAVAILABLE).
    ActiveOrBusy,
}

/// How often calls are made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Load {
    /// So many in flight, each followed by the next (a closed loop).
    InFlight(usize),
    /// So many a second, whether or not those before were answered (an open
    /// loop). They start at most `tick_micros` late, and their latencies count
    /// from when they should have started. Credentials are asked about at random,
    /// or in order, so that each is a new one.
    Rate { per_second: f64, tick_micros: u64, in_order: bool },
    /// Each credential once, so many in flight; neither warm-up nor end but
    /// theirs.
    Once(usize),
}

/// What a load generator saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Calls that count.
    pub(crate) calls: u64,
    /// Of those, the ones that were told that the server is busy, as expected.
    pub(crate) busy: u64,
    /// Over how long.
    pub(crate) seconds: f64,
    /// Latencies, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// CPU time of the processes that were asked for, in seconds.
    pub(crate) cpu: f64,
    /// The generator's own.
    pub(crate) own_cpu: f64,
    /// Calls that were answered in another way than expected, or not at all;
    /// whether or not they count otherwise.
    pub(crate) wrong: u64,
    /// What the first such was.
    pub(crate) first_wrong: Option<String>,
}

impl Seen {
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// CPU time a call, in microseconds.
    pub(crate) fn cpu_per_call(&self) -> f64 {
        self.cpu * 1e6 / self.calls.max(1) as f64
    }
}
