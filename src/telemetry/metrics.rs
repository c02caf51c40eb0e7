//! What is measured? Every metric by its name: the one place that names them.
//! `docs/metrics.md` lists the same, and a test holds it to this.
//!
//! No label has values without a bound, nor any that tell of an account or of a
//! credential.

#![expect(missing_docs, reason = "each metric says itself what it tells")]

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are spread over buckets.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name for OpenTelemetry.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit (UCUM); braces say what is counted.
    pub unit: &'static str,
    /// Its attributes.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
    /// Of a histogram: the upper bounds of its buckets.
    pub buckets: &'static [f64],
}

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help, buckets: &[] }
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    metric(name, Kind::Counter, unit, labels, help)
}

const fn gauge(name: &'static str, unit: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(name, Kind::Gauge, unit, labels, help)
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    buckets: &'static [f64],
) -> Metric {
    Metric { buckets, ..metric(name, Kind::Histogram, unit, labels, help) }
}

/// Of calls, and of what they wait for: from an introspection out of memory to a
/// call that ran out of time.
const SECONDS: &[f64] =
    &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// By the semantic conventions for RPC.
pub const CALL_DURATION: Metric = histogram(
    "rpc.server.call.duration",
    "s",
    &["rpc.method", "rpc.response.status_code", "rpc.system.name"],
    "How long calls took, by method and gRPC status; methods that are not ours are `_OTHER`.",
    SECONDS,
);
/// By the semantic conventions for HTTP.
pub const REQUEST_DURATION: Metric = histogram(
    "http.server.request.duration",
    "s",
    &["http.request.method", "http.response.status_code", "http.route", "url.scheme"],
    "How long requests took on the HTTP port, by method, route and status; those to no route of ours have none, and \
     those that their clients gave up no status.",
    SECONDS,
);
pub const CALLS_IN_FLIGHT: Metric =
    gauge("token_authority.calls.in_flight", "{call}", &[], "Calls that were begun and not answered yet.");

pub const VERDICTS: Metric = counter(
    "token_authority.verdicts",
    "{verdict}",
    &["verdict"],
    "What introspections answered: `active`, `insufficient_scope`, `busy`, or why the credential is inactive: \
     `malformed`, `unknown`, `wrong_secret`, `expired`, `revoked`, `address_not_allowed`, `account_suspended`, \
     `over_plan_limit`, `signed_out`, `kind_not_accepted`.",
);

pub const CONFIRMATION_DURATION: Metric = histogram(
    "token_authority.confirmation.duration",
    "s",
    &["outcome"],
    "How long the database took to confirm what is held in memory, catching up included: `ok`, `failed`.",
    SECONDS,
);
pub const CONFIRMATION_WAITERS: Metric = histogram(
    "token_authority.confirmation.waiters",
    "{call}",
    &[],
    "How many calls shared one confirmation.",
    &[0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0],
);
pub const CONFIRMATION_AGE: Metric = gauge(
    "token_authority.confirmation.age",
    "s",
    &[],
    "How long ago the last confirmation began. It grows where nobody asks, and where nobody is answered; with the \
     embedded database answers mostly need none.",
);
pub const CATCH_UPS: Metric =
    counter("token_authority.catch_ups", "{confirmation}", &[], "Confirmations that found changes, and read them.");
pub const CHANGES_APPLIED: Metric =
    counter("token_authority.changes.applied", "{change}", &[], "Changes that were read from the log and applied.");
pub const START_OVERS: Metric = counter(
    "token_authority.start_overs",
    "{start_over}",
    &["reason"],
    "How often all that was held in memory was dropped: `first`, `other_epoch`, `other_history`, `log_trimmed`, `gap`, \
     `too_many`, `unknown_subject`, `too_much`.",
);
pub const REVISION_HEAD: Metric = gauge(
    "token_authority.revision.head",
    "{change}",
    &[],
    "How many changes the database had when it was last asked.",
);
pub const REVISION_APPLIED: Metric = gauge(
    "token_authority.revision.applied",
    "{change}",
    &[],
    "How many of them memory reflects; the difference is the lag.",
);

pub const CACHE_LOOKUPS: Metric = counter(
    "token_authority.cache.lookups",
    "{call}",
    &["result"],
    "Calls whose caller and subjects were all held in memory, `hit`, or had to be loaded, `miss`.",
);
pub const CACHE_ENTRIES: Metric =
    gauge("token_authority.cache.entries", "{entry}", &[], "Records and accounts held in memory.");
pub const CACHE_SIZE: Metric = gauge("token_authority.cache.size", "By", &[], "What they take.");
pub const CACHE_CAPACITY: Metric =
    gauge("token_authority.cache.capacity", "By", &[], "What they may take (`introspection.cache_mib`).");
pub const CACHE_EVICTIONS: Metric =
    counter("token_authority.cache.evictions", "{entry}", &[], "Records and accounts that had to go for others.");

pub const BCRYPT_RUNNING: Metric = gauge("token_authority.bcrypt.running", "{run}", &[], "bcrypt runs under way.");
pub const BCRYPT_QUEUED: Metric =
    gauge("token_authority.bcrypt.queued", "{run}", &[], "bcrypt runs that wait for a thread.");
pub const BCRYPT_THREADS: Metric = gauge(
    "token_authority.bcrypt.threads",
    "{thread}",
    &[],
    "How many may be under way (`credentials.bcrypt_threads`).",
);
pub const BCRYPT_QUEUE_LIMIT: Metric =
    gauge("token_authority.bcrypt.queue.limit", "{run}", &[], "How many may wait (`credentials.bcrypt_queue`).");
pub const BCRYPT_RUNS: Metric = counter("token_authority.bcrypt.runs", "{run}", &[], "bcrypt runs.");
pub const BCRYPT_TIME: Metric = counter("token_authority.bcrypt.time", "s", &[], "How long they took, all together.");
pub const BCRYPT_REFUSED: Metric =
    counter("token_authority.bcrypt.refused", "{run}", &[], "Runs refused because the queue was full.");

pub const SIGN_INS: Metric = counter(
    "token_authority.sign_ins",
    "{sign_in}",
    &["outcome"],
    "Attempts to sign in by a password: `verified`, `no_such_username`, `no_password`, `wrong_password`, `suspended`, \
     `throttled`, `fault`.",
);

pub const DATABASE_CONNECTIONS: Metric = gauge(
    "token_authority.database.connections",
    "{connection}",
    &["pool", "state"],
    "Connections of the pools `read`, `write`, `watch`: `idle`, `used`.",
);
pub const DATABASE_CONNECTIONS_MAX: Metric =
    gauge("token_authority.database.connections.max", "{connection}", &["pool"], "How many a pool may have.");
pub const DATABASE_STATEMENTS: Metric = counter(
    "token_authority.database.statements",
    "{statement}",
    &["outcome"],
    "Statements sent to the database, but for confirmations: `ok`, `failed`; a violated constraint is a failure.",
);
pub const DATABASE_STATEMENTS_TIME: Metric =
    counter("token_authority.database.statements.time", "s", &[], "How long they took, all together.");
pub const DATABASE_WORK: Metric = counter(
    "token_authority.database.work",
    "{piece}",
    &["kind", "outcome"],
    "Pieces of work on the database, `read` or `change`: `ended`, well or not; `timed_out`, its caller was told \
     UNAVAILABLE; `overloaded`, refused since there was too much.",
);
pub const DATABASE_WORK_TIME: Metric = counter(
    "token_authority.database.work.time",
    "s",
    &["kind"],
    "How long callers waited for those that ended, all together.",
);
pub const DATABASE_WORK_IN_FLIGHT: Metric = gauge(
    "token_authority.database.work.in_flight",
    "{piece}",
    &["kind"],
    "Pieces of work that wait for the database or are under way; those beyond the connections in use wait.",
);
pub const DATABASE_WORK_LIMIT: Metric =
    gauge("token_authority.database.work.limit", "{piece}", &["kind"], "How many there may be; more are refused.");

pub const USES_WRITTEN: Metric =
    counter("token_authority.uses.written", "{use}", &[], "Uses of credentials written down.");
pub const USES_PENDING: Metric =
    gauge("token_authority.uses.pending", "{secret}", &[], "Secrets whose uses are still to be written down.");
pub const USES_LOST: Metric =
    counter("token_authority.uses.lost", "{use}", &[], "Uses that found no room in memory, and were not counted.");
pub const USES_WRITE_FAILURES: Metric = counter(
    "token_authority.uses.write.failures",
    "{batch}",
    &[],
    "Batches of uses that could not be written; they are kept and tried again.",
);

pub const CURRENT_KEY_AT_HAND: Metric = gauge(
    "token_authority.keys.current_at_hand",
    "",
    &[],
    "Whether the master key that the database names current is here: 1 or 0.",
);
pub const SIGNING_KEY_AGE: Metric =
    gauge("token_authority.signing_key.age", "s", &[], "How old the key is that signs web sessions' tokens.");
pub const CERTIFICATE_EXPIRE_TIME: Metric = gauge(
    "token_authority.certificate.expire_time",
    "s",
    &["listener"],
    "When the certificate expires that a listener with TLS shows, `grpc` or `http`, in seconds since 1970.",
);
pub const READY: Metric =
    gauge("token_authority.ready", "", &[], "Whether the service answers, as `/readyz` and health checks say: 1 or 0.");

pub const BUILD_INFO: Metric = gauge(
    "token_authority.build.info",
    "",
    &["database", "version"],
    "Always 1; its labels tell the version and the kind of database, `sqlite` or `postgresql`.",
);
pub const PROCESS_START_TIME: Metric =
    gauge("process.start_time", "s", &[], "When the service was started, in seconds since 1970.");

pub const CALLS_TRACED: Metric = counter(
    "token_authority.calls.traced",
    "{call}",
    &["cause"],
    "Calls whose spans are exported: by chance, `ratio`, or since their caller's are, `caller`.",
);
pub const CALLS_NOT_FOLLOWED: Metric = counter(
    "token_authority.calls.not_followed",
    "{call}",
    &[],
    "Calls whose caller's spans are exported and whose own are not, since there were too many.",
);
pub const EXPORT_FAILURES: Metric = counter(
    "token_authority.export.failures",
    "{batch}",
    &["signal"],
    "Batches of `traces` or `metrics` that the collector did not take.",
);

/// All of them, in the order of the document.
pub const ALL: &[Metric] = &[
    CALL_DURATION,
    REQUEST_DURATION,
    CALLS_IN_FLIGHT,
    VERDICTS,
    CONFIRMATION_DURATION,
    CONFIRMATION_WAITERS,
    CONFIRMATION_AGE,
    CATCH_UPS,
    CHANGES_APPLIED,
    START_OVERS,
    REVISION_HEAD,
    REVISION_APPLIED,
    CACHE_LOOKUPS,
    CACHE_ENTRIES,
    CACHE_SIZE,
    CACHE_CAPACITY,
    CACHE_EVICTIONS,
    BCRYPT_RUNNING,
    BCRYPT_QUEUED,
    BCRYPT_THREADS,
    BCRYPT_QUEUE_LIMIT,
    BCRYPT_RUNS,
    BCRYPT_TIME,
    BCRYPT_REFUSED,
    SIGN_INS,
    DATABASE_CONNECTIONS,
    DATABASE_CONNECTIONS_MAX,
    DATABASE_STATEMENTS,
    DATABASE_STATEMENTS_TIME,
    DATABASE_WORK,
    DATABASE_WORK_TIME,
    DATABASE_WORK_IN_FLIGHT,
    DATABASE_WORK_LIMIT,
    USES_WRITTEN,
    USES_PENDING,
    USES_LOST,
    USES_WRITE_FAILURES,
    CURRENT_KEY_AT_HAND,
    SIGNING_KEY_AGE,
    CERTIFICATE_EXPIRE_TIME,
    READY,
    BUILD_INFO,
    PROCESS_START_TIME,
    CALLS_TRACED,
    CALLS_NOT_FOLLOWED,
    EXPORT_FAILURES,
];

impl Metric {
    /// Its name for Prometheus, as the exporter makes it of name, unit and kind.
    pub fn prometheus_name(&self) -> String {
        let mut name = self.name.replace('.', "_");
        match self.unit {
            "s" => name.push_str("_seconds"),
            "By" => name.push_str("_bytes"),
            _ => {}
        }
        if self.kind == Kind::Counter {
            name.push_str("_total");
        }
        name
    }
}

/// The document's table.
#[cfg(test)]
fn table() -> String {
    use std::fmt::Write as _;

    let mut table =
        "| Prometheus | OpenTelemetry | type | labels | what it tells |\n|---|---|---|---|---|\n".to_owned();
    for metric in ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{}`", label.replace('.', "_"))).collect();
        let (name, labels) = (metric.prometheus_name(), labels.join(", "));
        writeln!(table, "| `{name}` | `{}` | {kind} | {labels} | {} |", metric.name, metric.help).expect("infallible");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_metric_as_it_is() {
        let document = include_str!("../../docs/metrics.md");
        assert!(document.contains(&table()), "docs/metrics.md is to hold:\n{}", table());
    }

    #[test]
    fn names_and_labels_follow_the_rules() {
        for metric in ALL {
            let ours = metric.name.starts_with("token_authority.");
            let conventional = ["rpc.", "http.", "process."].iter().any(|prefix| metric.name.starts_with(prefix));
            assert!(ours || conventional, "{}", metric.name);
            assert!(metric.labels.is_sorted(), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
        }
    }
}
