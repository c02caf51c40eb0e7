//! How long do calls take, and how do they end? One handle for each RPC and
//! status, bound when it is first wanted: no name is looked up for a call.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use foldhash::HashMap;
use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Histogram},
};

use super::{Meters, metrics};
use crate::counter::Counter;

/// What calls of methods that are not ours are counted as, by the semantic
/// conventions for RPC: their names are their callers' choice.
const OTHER: &str = "_OTHER";

/// The statuses of gRPC, by their codes.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const CANCELLED: usize = 1;
const UNKNOWN: usize = 2;

/// Measures calls.
#[derive(Clone, Debug)]
pub struct Calls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    durations: Histogram<f64>,
    // By full names, with a slash between service and method; where `methods` has
    // them.
    places: HashMap<Box<str>, usize>,
    methods: Vec<Method>,
    begun: Counter,
    ended: Counter,
}

#[derive(Debug)]
struct Method {
    name: Box<str>,
    durations: [OnceLock<BoundHistogram<f64>>; STATUSES.len()],
}

/// A status of gRPC, as a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallStatus(usize);

impl CallStatus {
    /// By its code.
    pub fn of(code: i32) -> Self {
        Self(usize::try_from(code).ok().filter(|code| *code < STATUSES.len()).unwrap_or(UNKNOWN))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        STATUSES[self.0]
    }

    /// Whether it is the server's fault (semantic conventions for gRPC).
    pub fn is_servers_fault(self) -> bool {
        matches!(
            self.name(),
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        )
    }
}

/// A call in flight. Dropped before it was answered, it was cancelled.
#[derive(Debug)]
pub struct Flight {
    calls: Calls,
    method: usize,
    began: Instant,
    status: CallStatus,
}

impl Calls {
    /// Measures calls of these methods, by their full names
    /// (`package.Service/Method`).
    pub fn new(meters: &Meters, methods: impl IntoIterator<Item = String>) -> Self {
        let names = [OTHER.to_owned()].into_iter().chain(methods);
        let methods: Vec<_> = names
            .map(|name| Method { name: name.into(), durations: std::array::from_fn(|_| OnceLock::new()) })
            .collect();
        let places = methods.iter().enumerate().map(|(place, method)| (method.name.clone(), place)).collect();
        let durations = meters.histogram(&metrics::CALL_DURATION);
        Self(Arc::new(Inner { durations, places, methods, begun: Counter::default(), ended: Counter::default() }))
    }

    /// A call of this method begins.
    pub fn begin(&self, method: &str) -> Flight {
        self.0.begun.count();
        let method = self.0.places.get(method).copied().unwrap_or(0);
        Flight { calls: self.clone(), method, began: Instant::now(), status: CallStatus(CANCELLED) }
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> u64 {
        // Those that end while this is read are counted as begun as well.
        let ended = self.0.ended.total();
        self.0.begun.total().saturating_sub(ended)
    }

    fn durations(&self, method: usize, status: CallStatus) -> &BoundHistogram<f64> {
        let method = &self.0.methods[method];
        method.durations[status.0].get_or_init(|| {
            self.0.durations.bind(&[
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method.name.to_string()),
                KeyValue::new("rpc.response.status_code", status.name()),
            ])
        })
    }
}

impl Flight {
    /// The method's name, or that it is another's.
    pub fn method(&self) -> &str {
        &self.calls.0.methods[self.method].name
    }

    /// It is answered.
    pub fn answered(mut self, status: CallStatus) {
        self.status = status;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let took = self.began.elapsed().as_secs_f64();
        self.calls.durations(self.method, self.status).record(took);
        self.calls.0.ended.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Telemetry;

    #[test]
    fn calls_are_in_flight_until_they_are_answered_or_given_up_and_strangers_share_a_name() {
        let meters = Meters::new(&Telemetry::default()).expect("it can be set up");
        let calls = Calls::new(&meters, ["a.B/C".to_owned()]);
        let (one, other) = (calls.begin("a.B/C"), calls.begin("x.Y/Z?secret"));
        assert_eq!(calls.in_flight(), 2);
        assert_eq!((one.method(), other.method()), ("a.B/C", OTHER));
        one.answered(CallStatus::of(0));
        drop(other);
        assert_eq!(calls.in_flight(), 0);

        let told = meters.prometheus().expect("it can be told");
        let count = "rpc_server_call_duration_seconds_count";
        for series in [
            format!(r#"{count}{{rpc_method="a.B/C",rpc_response_status_code="OK",rpc_system_name="grpc"}} 1"#),
            format!(r#"{count}{{rpc_method="_OTHER",rpc_response_status_code="CANCELLED",rpc_system_name="grpc"}} 1"#),
        ] {
            assert!(told.contains(&series), "{told}");
        }
    }
}
