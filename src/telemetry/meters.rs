//! Where do measurements go? One set of instruments for each server, which
//! `/metrics` and the collector are both told of.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    metrics::{AsyncInstrument, BoundHistogram, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use super::{
    Error,
    exporters::{self, Telling},
    metrics::{self, Kind, Metric},
};
use crate::settings::Telemetry;

/// What a series is observed to be, and its labels' values.
pub type Series<T> = (T, Vec<KeyValue>);

/// The instruments of one server.
#[derive(Clone, Debug)]
pub struct Meters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: SdkMeterProvider,
    meter: Meter,
    registry: Registry,
}

impl Meters {
    /// Instruments that `/metrics` tells of and, where the settings name one, a
    /// collector. It is called in the runtime that is to reach the collector.
    pub fn new(settings: &Telemetry) -> Result<Self, Error> {
        let registry = Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(Error::Metrics)?;
        let mut provider = SdkMeterProvider::builder().with_resource(super::resource()).with_reader(prometheus);
        if let Some(endpoint) = settings.endpoint() {
            let exporter = exporters::to(MetricExporter::builder().with_tonic(), endpoint).build()?;
            let reader = PeriodicReader::builder(Telling::new(exporter, &exporters::METRICS))
                .with_interval(settings.metrics_interval.0)
                .build();
            provider = provider.with_reader(reader);
        }
        let provider = provider.build();
        let scope = InstrumentationScope::builder(super::NAME).with_version(env!("CARGO_PKG_VERSION")).build();
        let meter = provider.meter_with_scope(scope);
        Ok(Self(Arc::new(Inner { provider, meter, registry })))
    }

    /// All of it, in Prometheus's text format.
    pub fn prometheus(&self) -> Result<String, Error> {
        TextEncoder::new().encode_to_string(&self.0.registry.gather()).map_err(Error::Encode)
    }

    /// Tells the collector a last time.
    pub async fn end(self, within: Duration) {
        exporters::end(move || self.0.provider.shutdown_with_timeout(within), within).await;
    }

    pub(super) fn histogram(&self, metric: &Metric) -> Histogram<f64> {
        debug_assert_eq!(metric.kind, Kind::Histogram);
        self.0
            .meter
            .f64_histogram(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.help)
            .with_boundaries(metric.buckets.to_vec())
            .build()
    }

    /// Counts of whole things, or seconds.
    pub fn observe_counter(&self, metric: &Metric, read: impl Fn() -> Vec<Series<u64>> + Send + Sync + 'static) {
        debug_assert_eq!(metric.kind, Kind::Counter);
        let counter = self.0.meter.u64_observable_counter(metric.name).with_description(metric.help);
        counter.with_unit(metric.unit).with_callback(move |observer| tell(observer, read())).build();
    }

    /// Seconds that add up.
    pub fn observe_time(&self, metric: &Metric, read: impl Fn() -> Vec<Series<f64>> + Send + Sync + 'static) {
        debug_assert_eq!(metric.kind, Kind::Counter);
        let counter = self.0.meter.f64_observable_counter(metric.name).with_description(metric.help);
        counter.with_unit(metric.unit).with_callback(move |observer| tell(observer, read())).build();
    }

    /// What goes up and down.
    pub fn observe_gauge(&self, metric: &Metric, read: impl Fn() -> Vec<Series<f64>> + Send + Sync + 'static) {
        debug_assert_eq!(metric.kind, Kind::Gauge);
        let gauge = self.0.meter.f64_observable_gauge(metric.name).with_description(metric.help);
        gauge.with_unit(metric.unit).with_callback(move |observer| tell(observer, read())).build();
    }
}

fn tell<T>(observer: &dyn AsyncInstrument<T>, series: Vec<Series<T>>) {
    for (value, labels) in series {
        observer.observe(value, &labels);
    }
}

/// Measures confirmations.
#[derive(Debug)]
pub struct Confirmations {
    confirmed: BoundHistogram<f64>,
    failed: BoundHistogram<f64>,
    waiters: BoundHistogram<f64>,
}

impl Confirmations {
    /// Measures with these instruments.
    pub fn new(meters: &Meters) -> Self {
        let durations = meters.histogram(&metrics::CONFIRMATION_DURATION);
        Self {
            confirmed: durations.bind(&[KeyValue::new("outcome", "ok")]),
            failed: durations.bind(&[KeyValue::new("outcome", "failed")]),
            waiters: meters.histogram(&metrics::CONFIRMATION_WAITERS).bind(&[]),
        }
    }

    /// One ended, which so many waited for.
    pub fn ended(&self, confirmed: bool, took: Duration, waiters: usize) {
        let durations = if confirmed { &self.confirmed } else { &self.failed };
        durations.record(took.as_secs_f64());
        self.waiters.record(u32::try_from(waiters).unwrap_or(u32::MAX).into());
    }
}
