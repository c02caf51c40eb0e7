//! What does the service tell of itself? Its log, structured lines on standard
//! error, for people or for programs; the spans of some calls, for a collector;
//! and what it measures. Never a secret.

mod calls;
mod exporters;
mod meters;
pub mod metrics;
mod requests;
mod sampling;
mod spans;

use std::{
    io::{self, IsTerminal as _},
    sync::LazyLock,
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, ParseError, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

pub use self::{
    calls::{CallStatus, Calls, Flight},
    exporters::failures,
    meters::{Confirmations, Meters, Series},
    requests::{RequestInFlight, Requests},
    sampling::{Decision, Sampling},
    spans::{TRACED, call_ended, call_span, request_ended, request_span},
};
use self::{exporters::Telling, spans::OfTraced};
use crate::settings::{LogFormat, Settings};

/// What this is called, by itself and by collectors.
const NAME: &str = "token-authority";

/// Why the log, traces or metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is malformed.
    #[error("log.filter is malformed")]
    Filter(#[from] ParseError),
    /// There is a log already.
    #[error("the log is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// The collector cannot be told.
    #[error("telemetry.otlp_endpoint: nothing can be sent there")]
    Collector(#[from] ExporterBuildError),
    /// Nothing can be measured.
    #[error("metrics cannot be set up")]
    Metrics(#[source] opentelemetry_sdk::error::OTelSdkError),
    /// Measurements cannot be told.
    #[error("metrics cannot be written")]
    Encode(#[source] prometheus::Error),
}

/// The process's log and traces, until they are ended.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Tells the collector the last spans, within that time.
    pub async fn end(self, within: Duration) {
        if let Some(traces) = self.traces {
            exporters::end(move || traces.shutdown_with_timeout(within), within).await;
        }
    }
}

/// Sets the process's log and traces up, once. It is called in the runtime that is
/// to reach the collector.
pub fn init(settings: &Settings) -> Result<Telemetry, Error> {
    let filter = EnvFilter::try_new(&settings.log.filter)?;
    let registry = tracing_subscriber::registry();
    let Some(endpoint) = settings.telemetry.endpoint() else {
        // Nobody would look at the spans of traces.
        let own = filter_fn(|metadata| !(metadata.is_span() && spans::is_of_traces(metadata)));
        registry.with(filter).with(lines(settings.log.format).with_filter(own)).try_init()?;
        return Ok(Telemetry { traces: None });
    };
    let exporter =
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(exporters::TIMEOUT).build()?;
    let traces = SdkTracerProvider::builder()
        .with_resource(resource())
        // Whose spans come here was decided before.
        .with_sampler(Sampler::AlwaysOn)
        .with_batch_exporter(Telling::new(exporter, &exporters::TRACES))
        .build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer(NAME))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(OfTraced::Alone);
    let lines = lines(settings.log.format).with_filter(filter.and(OfTraced::AndOthers));
    registry.with(lines).with(spans).try_init()?;
    Ok(Telemetry { traces: Some(traces) })
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// What a server says of itself to collectors; the standard's environment
/// variables (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) add to it.
fn resource() -> Resource {
    static INSTANCE: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().to_string());

    let mut own = vec![
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", INSTANCE.as_str()),
    ];
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        own.push(KeyValue::new("service.name", NAME));
    }
    Resource::builder().with_attributes(own).build()
}
