//! What is each part of the service asked when it is measured? Parts count for
//! themselves; here they are read, when somebody wants to know.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use opentelemetry::KeyValue;
use tokio::sync::watch;

use super::{signing, tls::Tls};
use crate::{
    authority::SignIns,
    introspection::{Bcrypt, Introspector},
    keys::KeysAtHand,
    store::{Store, WorkDone},
    telemetry::{
        self, Calls, Meters, Sampling, Series,
        metrics::{self as names, Metric},
    },
};

/// The parts that are measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) store: Store,
    pub(super) introspector: Arc<Introspector>,
    pub(super) bcrypt: Bcrypt,
    pub(super) sign_ins: SignIns,
    pub(super) keys: Arc<KeysAtHand>,
    pub(super) signing_key: signing::Age,
    pub(super) tls: Vec<Arc<Tls>>,
    pub(super) calls: Calls,
    pub(super) sampling: Sampling,
    pub(super) ready: watch::Receiver<bool>,
    /// When the service was started, since 1970.
    pub(super) start_time: Duration,
}

/// A value, and those of its labels in their order.
type Row<T> = (T, Vec<&'static str>);

/// Has these parts measured for as long as they are there. The meters outlive
/// them: the database is to be closed.
pub(super) fn measure(meters: &Meters, measured: &Arc<Measured>) {
    let reader = Reader { meters, measured: Arc::downgrade(measured) };
    reader.calls();
    reader.introspections();
    reader.cache();
    reader.bcrypt();
    reader.database();
    reader.uses();
    reader.state();
    reader.traces();
}

struct Reader<'a> {
    meters: &'a Meters,
    measured: Weak<Measured>,
}

impl Reader<'_> {
    fn calls(&self) {
        self.gauge(&names::CALLS_IN_FLIGHT, |parts| one(float(parts.calls.in_flight())));
        self.counter(&names::SIGN_INS, |parts| each(parts.sign_ins.totals()));
    }

    fn introspections(&self) {
        self.counter(&names::VERDICTS, |parts| each(parts.introspector.counts().verdicts()));
        self.counter(&names::CATCH_UPS, |parts| one(parts.introspector.counts().catch_ups()));
        self.counter(&names::CHANGES_APPLIED, |parts| one(parts.introspector.counts().changes()));
        self.counter(&names::START_OVERS, |parts| each(parts.introspector.counts().start_overs()));
        self.gauge(&names::CONFIRMATION_AGE, |parts| {
            parts.introspector.confirmation_age().map_or_else(Vec::new, |age| one(age.as_secs_f64()))
        });
        let revision = |revision: i64| one(float(u64::try_from(revision).unwrap_or_default()));
        self.gauge(&names::REVISION_HEAD, move |parts| revision(parts.introspector.counts().head()));
        self.gauge(&names::REVISION_APPLIED, move |parts| revision(parts.introspector.applied()));
    }

    fn cache(&self) {
        self.counter(&names::CACHE_LOOKUPS, |parts| each(parts.introspector.counts().lookups()));
        self.gauge(&names::CACHE_ENTRIES, |parts| one(float(parts.introspector.held().entries as u64)));
        self.gauge(&names::CACHE_SIZE, |parts| one(float(parts.introspector.held().bytes)));
        self.gauge(&names::CACHE_CAPACITY, |parts| one(float(parts.introspector.held().capacity)));
        self.counter(&names::CACHE_EVICTIONS, |parts| one(parts.introspector.held().evictions));
    }

    fn bcrypt(&self) {
        self.gauge(&names::BCRYPT_RUNNING, |parts| one(float(parts.bcrypt.load().running as u64)));
        self.gauge(&names::BCRYPT_QUEUED, |parts| one(float(parts.bcrypt.load().queued as u64)));
        self.gauge(&names::BCRYPT_THREADS, |parts| one(float(parts.bcrypt.load().threads as u64)));
        self.gauge(&names::BCRYPT_QUEUE_LIMIT, |parts| one(float(parts.bcrypt.load().queue as u64)));
        self.counter(&names::BCRYPT_RUNS, |parts| one(parts.bcrypt.runs()));
        self.time(&names::BCRYPT_TIME, |parts| one(parts.bcrypt.load().time.as_secs_f64()));
        self.counter(&names::BCRYPT_REFUSED, |parts| one(parts.bcrypt.load().refused));
    }

    fn database(&self) {
        self.gauge(&names::DATABASE_CONNECTIONS, |parts| {
            let pools = parts.store.pools().into_iter();
            let states = pools.flat_map(|pool| [(pool.name, "idle", pool.idle), (pool.name, "used", pool.used)]);
            states.map(|(pool, state, count)| (f64::from(count), vec![pool, state])).collect()
        });
        self.gauge(&names::DATABASE_CONNECTIONS_MAX, |parts| {
            each(parts.store.pools().map(|pool| (pool.name, f64::from(pool.max))))
        });
        self.counter(&names::DATABASE_STATEMENTS, |parts| each(parts.store.statements_done().outcomes));
        self.time(&names::DATABASE_STATEMENTS_TIME, |parts| one(parts.store.statements_done().time.as_secs_f64()));
        self.counter(&names::DATABASE_WORK, |parts| {
            let outcomes = |work: WorkDone| work.outcomes.map(|(outcome, count)| (count, vec![work.kind, outcome]));
            parts.store.work_done().into_iter().flat_map(outcomes).collect()
        });
        let of_work = |read: fn(WorkDone) -> f64| {
            move |parts: &Measured| each(parts.store.work_done().map(|work| (work.kind, read(work))))
        };
        self.time(&names::DATABASE_WORK_TIME, of_work(|work| work.time.as_secs_f64()));
        self.gauge(&names::DATABASE_WORK_IN_FLIGHT, of_work(|work| float(work.in_flight as u64)));
        self.gauge(&names::DATABASE_WORK_LIMIT, of_work(|work| float(work.limit as u64)));
    }

    fn uses(&self) {
        self.counter(&names::USES_WRITTEN, |parts| one(parts.introspector.uses().counts().written));
        self.gauge(&names::USES_PENDING, |parts| one(float(parts.introspector.uses().counts().pending as u64)));
        self.counter(&names::USES_LOST, |parts| one(parts.introspector.uses().counts().lost));
        self.counter(&names::USES_WRITE_FAILURES, |parts| one(parts.introspector.uses().counts().failures));
    }

    fn state(&self) {
        let whether = |is_so: bool| one(f64::from(u8::from(is_so)));
        self.gauge(&names::CURRENT_KEY_AT_HAND, move |parts| whether(parts.keys.now().current().is_ok()));
        self.gauge(&names::SIGNING_KEY_AGE, |parts| {
            parts.signing_key.now().map_or_else(Vec::new, |age| one(age.as_secs_f64()))
        });
        self.gauge(&names::CERTIFICATE_EXPIRE_TIME, |parts| {
            each(parts.tls.iter().map(|tls| (tls.listener(), tls.expire_time().as_secs_f64())))
        });
        self.gauge(&names::READY, move |parts| whether(*parts.ready.borrow()));
        self.gauge(&names::BUILD_INFO, |parts| {
            let database = if parts.store.is_embedded() { "sqlite" } else { "postgresql" };
            vec![(1.0, vec![database, env!("CARGO_PKG_VERSION")])]
        });
        self.gauge(&names::PROCESS_START_TIME, |parts| one(parts.start_time.as_secs_f64()));
    }

    fn traces(&self) {
        self.counter(&names::CALLS_TRACED, |parts| each(parts.sampling.traced()));
        self.counter(&names::CALLS_NOT_FOLLOWED, |parts| one(parts.sampling.not_followed()));
        self.counter(&names::EXPORT_FAILURES, |_| each(telemetry::failures()));
    }

    fn counter(&self, metric: &Metric, read: impl Fn(&Measured) -> Vec<Row<u64>> + Send + Sync + 'static) {
        self.meters.observe_counter(metric, self.series(metric, read));
    }

    fn time(&self, metric: &Metric, read: impl Fn(&Measured) -> Vec<Row<f64>> + Send + Sync + 'static) {
        self.meters.observe_time(metric, self.series(metric, read));
    }

    fn gauge(&self, metric: &Metric, read: impl Fn(&Measured) -> Vec<Row<f64>> + Send + Sync + 'static) {
        self.meters.observe_gauge(metric, self.series(metric, read));
    }

    fn series<T>(
        &self,
        metric: &Metric,
        read: impl Fn(&Measured) -> Vec<Row<T>> + Send + Sync + 'static,
    ) -> impl Fn() -> Vec<Series<T>> + Send + Sync + 'static {
        let (measured, labels) = (self.measured.clone(), metric.labels);
        move || {
            let rows = measured.upgrade().map(|measured| read(&measured)).unwrap_or_default();
            let labelled = |values: Vec<&'static str>| {
                labels.iter().zip(values).map(|(label, value)| KeyValue::new(*label, value)).collect()
            };
            rows.into_iter().map(|(value, values)| (value, labelled(values))).collect()
        }
    }
}

/// The one series of a metric without labels.
fn one<T>(value: T) -> Vec<Row<T>> {
    vec![(value, Vec::new())]
}

/// A series for each value of the one label.
fn each<T>(values: impl IntoIterator<Item = (&'static str, T)>) -> Vec<Row<T>> {
    values.into_iter().map(|(label, value)| (value, vec![label])).collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in floats; what is counted stays below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
