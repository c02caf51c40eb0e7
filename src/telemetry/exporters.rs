//! What becomes of what a collector is told? It may be away: that is counted,
//! and said in the log once in a while; nobody waits for it.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{Key, KeyValue, trace::Status};
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig, tonic_types::transport::ClientTlsConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};

use super::told_of;

/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the log says that it takes nothing.
const SAID_EVERY: Duration = Duration::from_mins(5);

/// Has an exporter tell the collector there. By TLS, it is believed where an
/// authority vouches for it that this machine trusts, or that `SSL_CERT_FILE` names:
/// left to itself, the exporter trusts none.
pub(super) fn to<B: WithExportConfig + WithTonicConfig>(exporter: B, endpoint: &str) -> B {
    let exporter = exporter.with_endpoint(endpoint).with_timeout(TIMEOUT);
    let is_https = endpoint.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    if is_https { exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots()) } else { exporter }
}

/// Of spans and of metrics: of the process, as its log is.
pub(super) static TRACES: Exports = Exports::new("traces");
pub(super) static METRICS: Exports = Exports::new("metrics");

/// How many batches of traces and of metrics no collector took.
pub fn failures() -> [(&'static str, u64); 2] {
    [&TRACES, &METRICS].map(|exports| (exports.signal, exports.failures.load(Ordering::Relaxed)))
}

/// What became of one signal's batches.
#[derive(Debug)]
pub(super) struct Exports {
    signal: &'static str,
    failures: AtomicU64,
    // When the log last said so; none where the last batch was taken.
    said: Mutex<Option<Instant>>,
}

impl Exports {
    const fn new(signal: &'static str) -> Self {
        Self { signal, failures: AtomicU64::new(0), said: Mutex::new(None) }
    }

    fn note(&self, result: &OTelSdkResult) {
        let signal = self.signal;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if said.take().is_some() {
                    tracing::info!(signal, "the collector takes what it is told again");
                }
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                    *said = Some(Instant::now());
                    tracing::warn!(signal, error = told_of(error), "the collector took nothing");
                }
            }
        }
    }
}

/// An exporter whose failures are noted.
pub(super) struct Telling<E> {
    exporter: E,
    exports: &'static Exports,
}

impl<E> Telling<E> {
    pub(super) fn new(exporter: E, exports: &'static Exports) -> Self {
        Self { exporter, exports }
    }
}

impl<E> fmt::Debug for Telling<E> {
    // Not the exporter, whose headers may hold a credential of the collector's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").field("exports", self.exports).finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch.into_iter().map(tidy).collect()).await;
        self.exports.note(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Telling<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.exports.note(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// A span as the semantic conventions want it. The database library names things
/// by older ones, and adds the driver's errors, which may quote what was sent.
fn tidy(mut span: SpanData) -> SpanData {
    let mut operation = None;
    span.attributes.retain_mut(|KeyValue { key, value, .. }| {
        let renamed = match key.as_str() {
            "db.system" => "db.system.name",
            "db.operation" => {
                operation = Some(value.to_string());
                "db.operation.name"
            }
            "db.statement" => "db.query.text",
            // They say where and when, as the span itself does.
            "trace_id" | "span_id" => return false,
            other => return !other.starts_with("exception."),
        };
        *key = Key::from_static_str(renamed);
        true
    });
    if let Some(operation) = operation.filter(|_| span.name.starts_with("sea_orm.")) {
        // What has no statement of its own says so by its name.
        let step = span.name.trim_start_matches("sea_orm.").to_uppercase();
        span.name = if matches!(step.as_str(), "BEGIN" | "COMMIT" | "ROLLBACK") { step } else { operation }.into();
    }
    if matches!(span.status, Status::Error { .. }) {
        span.status = Status::error("");
    }
    span
}

/// Runs what waits for a collector aside, and gives it up in time.
pub(super) async fn end(shutdown: impl FnOnce() -> OTelSdkResult + Send + 'static, within: Duration) {
    let ended = tokio::task::spawn_blocking(shutdown);
    match tokio::time::timeout(within, ended).await {
        Ok(Ok(Ok(()) | Err(OTelSdkError::AlreadyShutdown))) => {}
        Ok(Ok(Err(error))) => {
            tracing::warn!(error = told_of(&error), "the collector was not told of the last");
        }
        Ok(Err(_)) | Err(_) => tracing::warn!("the collector was not told of the last in time"),
    }
}
