//! Which spans are there? One for each call, which the log's lines stand in; and
//! within a call that is traced, one for each of the things that it waits for, by
//! the semantic conventions. Within others, those are not even made.

use http::StatusCode;
use opentelemetry::trace::TraceContextExt as _;
use tracing::{Metadata, Span, Subscriber, field::Empty, level_filters::LevelFilter, subscriber::Interest};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    layer::{Context, Filter},
    registry::LookupSpan,
};

use super::{CallStatus, Decision};

/// The target of spans that are exported; those within a call are made with
/// `tracing::info_span!(target: TRACED, …)`.
pub const TRACED: &str = "token_authority::traced";
/// The target of a call's own span where it is traced.
const TRACED_CALL: &str = "token_authority::traced::call";
/// The database library's spans, one for each statement, have targets below this.
const STATEMENTS: &str = "sea_orm";

/// Whether a span is there for traces alone.
pub(super) fn is_of_traces(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with(TRACED) || metadata.target().starts_with(STATEMENTS)
}

/// The span of a call. Its lines tell the trace that it belongs to, its own or its
/// caller's.
pub fn call_span(path: &str, method: &str, request_id: &dyn std::fmt::Display, decision: &Decision) -> Span {
    if !decision.is_traced {
        let span = tracing::info_span!("call", rpc.method = path, %request_id, trace_id = Empty);
        name_trace(&span, decision);
        return span;
    }
    let span = tracing::info_span!(
        target: TRACED_CALL,
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        "error.type" = Empty,
        %request_id,
        trace_id = Empty,
        span_id = Empty,
    );
    place(&span, decision);
    span
}

/// The span of a request at the HTTP doors; `route` is none where its path is none
/// of ours.
pub fn request_span(
    method: &str,
    route: Option<&str>,
    request_id: &dyn std::fmt::Display,
    decision: &Decision,
) -> Span {
    if !decision.is_traced {
        let span = tracing::info_span!(
            "request",
            http.request.method = method,
            http.route = route,
            %request_id,
            trace_id = Empty
        );
        name_trace(&span, decision);
        return span;
    }
    let span = tracing::info_span!(
        target: TRACED_CALL,
        "request",
        otel.name = %format_args!("{method} {}", route.unwrap_or_default()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        "error.type" = Empty,
        %request_id,
        trace_id = Empty,
        span_id = Empty,
    );
    place(&span, decision);
    span
}

/// Tells the span of a request that is traced how it ended.
pub fn request_ended(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
}

/// Has the log name the trace that the caller of an untraced call is in.
fn name_trace(span: &Span, decision: &Decision) {
    if let Some(caller) = &decision.caller {
        span.record("trace_id", tracing::field::display(caller.trace_id()));
    }
}

/// Gives the span of a traced call its place in its trace.
fn place(span: &Span, decision: &Decision) {
    if let Some(parent) = decision.parent() {
        // Only a subscriber that exports nothing refuses.
        let _ = span.set_parent(parent);
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    if own.is_valid() {
        span.record("trace_id", tracing::field::display(own.trace_id()));
        span.record("span_id", tracing::field::display(own.span_id()));
    }
}

/// Tells the span of a call that is traced how it ended.
pub fn call_ended(span: &Span, status: CallStatus) {
    span.record("rpc.response.status_code", status.name());
    if status.is_servers_fault() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.name());
    }
}

/// Lets spans of traces be made within a call that is traced, and nowhere else.
pub(super) enum OfTraced {
    /// Beside all others.
    AndOthers,
    /// And no others.
    Alone,
}

/// What is to be decided on.
enum Sort {
    /// The span of a call that is traced.
    Call,
    /// A span that is wanted within one.
    Within,
    Other,
}

impl Sort {
    fn of(metadata: &Metadata<'_>) -> Self {
        if !metadata.is_span() || !is_of_traces(metadata) {
            Self::Other
        } else if metadata.target() == TRACED_CALL {
            Self::Call
        } else {
            Self::Within
        }
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Filter<S> for OfTraced {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        match Sort::of(metadata) {
            Sort::Call => true,
            Sort::Within => context.lookup_current().is_some_and(|current| is_of_traces(current.metadata())),
            Sort::Other => matches!(self, Self::AndOthers),
        }
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match (Sort::of(metadata), self) {
            (Sort::Call, _) | (Sort::Other, Self::AndOthers) => Interest::always(),
            (Sort::Within, _) => Interest::sometimes(),
            (Sort::Other, Self::Alone) => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Without it, what others disable were asked about each time.
        Some(match self {
            Self::AndOthers => LevelFilter::TRACE,
            Self::Alone => LevelFilter::INFO,
        })
    }
}
