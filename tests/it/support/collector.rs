//! An OpenTelemetry collector: takes what it is told over OTLP, and keeps it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Identity, ServerTlsConfig, server::TcpIncoming},
};

use super::pki::Pair;

/// A collector, for as long as this is kept.
pub(crate) struct Collector {
    kept: Kept,
    url: String,
    pub(crate) address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<KeptInner>>);

#[derive(Default)]
struct KeptInner {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::serving(tonic::transport::Server::builder(), "http").await
    }

    /// One that is reached by TLS alone, and shows this.
    pub(crate) async fn start_with_tls(pair: &Pair) -> Self {
        // Which one, it asks the process; another test may have said so before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(&pair.certificate, &pair.key));
        let server = tonic::transport::Server::builder().tls_config(tls).expect("a certificate and its key");
        Self::serving(server, "https").await
    }

    async fn serving(mut server: tonic::transport::Server, scheme: &'static str) -> Self {
        let kept = Kept::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let serve = server
            .add_service(TraceServiceServer::new(kept.clone()))
            .add_service(MetricsServiceServer::new(kept.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        let serving = tokio::spawn(async move { serve.await.expect("it serves") });
        Self { kept, url: format!("{scheme}://{address}"), address, serving }
    }

    /// Has a server tell this one, soon.
    pub(crate) fn is_told_by(&self, command: &mut Command) {
        tells(command, &self.url);
    }

    /// All spans that came.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = self.kept.lock();
        let resources = kept.traces.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).cloned().collect()
    }

    /// Those of one trace, by their ids.
    pub(crate) fn trace(&self, id: &[u8]) -> HashMap<Vec<u8>, Span> {
        let spans = self.spans().into_iter().filter(|span| span.trace_id == id);
        spans.map(|span| (span.span_id.clone(), span)).collect()
    }

    /// The names of all metrics that came.
    pub(crate) fn metrics(&self) -> Vec<String> {
        let kept = self.kept.lock();
        let resources = kept.metrics.iter().flat_map(|request| &request.resource_metrics);
        let metrics = resources.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
        metrics.map(|metric| metric.name.clone()).collect()
    }

    /// What a server said of itself.
    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        let kept = self.kept.lock();
        let mut resources = kept.traces.iter().flat_map(|request| &request.resource_spans);
        resources
            .next()
            .and_then(|spans| spans.resource.as_ref())
            .map(|told| texts(&told.attributes))
            .unwrap_or_default()
    }

    /// All that came, as it was sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let kept = self.kept.lock();
        let traces = kept.traces.iter().flat_map(prost::Message::encode_to_vec);
        traces.chain(kept.metrics.iter().flat_map(prost::Message::encode_to_vec)).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Has a server tell whoever listens there.
pub(crate) fn tells(command: &mut Command, url: &str) {
    command
        .env("TOKEN_AUTHORITY__TELEMETRY__OTLP_ENDPOINT", url)
        .env("TOKEN_AUTHORITY__TELEMETRY__METRICS_INTERVAL", "50ms")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
}

/// Attributes as texts.
pub(crate) fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, KeptInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.lock().traces.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Kept {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.lock().metrics.push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
