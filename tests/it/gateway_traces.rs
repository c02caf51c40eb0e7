//! One trace leads from a client of a gateway through this service to its database.

use std::collections::HashMap;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use serde_json::{Value, json};
use token_authority::{domain::credential::Kind, proto::v1::IntrospectRequest};
use tonic::IntoRequest as _;

use crate::support::{
    Actor, Backend, Process,
    collector::{Collector, texts},
    envoy::{Envoy, Speaks, bootstrap, cluster, listener, routes},
    forge,
    wait::until,
};

on_both_databases!(an_introspect_through_envoy_is_one_trace);

const METHOD: &str = "token_authority.v1.TokenAuthorityService/Introspect";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACE_ID: [u8; 16] =
    [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];
const CLIENT_ID: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

/// Envoy before a server, that tells the collector of each call.
async fn envoy(server: &Process, collector: &Collector) -> Envoy {
    let front = listener(
        "front",
        json!({
            "codec_type": "HTTP2",
            "route_config": routes(json!([{"match": {"prefix": "/"}, "route": {"cluster": "authority"}}])),
            "tracing": {"provider": tracer()},
        }),
    );
    let clusters = [
        cluster("authority", &[server.grpc], Speaks::Http2),
        cluster("collector", &[collector.address], Speaks::Http2),
    ];
    Envoy::start(&bootstrap(&[front], &clusters)).await
}

fn tracer() -> Value {
    json!({
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "5s"},
            "service_name": "gateway",
        },
    })
}

/// A question about a credential, within the client's trace.
fn within_trace(token: &str) -> tonic::Request<IntrospectRequest> {
    let mut request = IntrospectRequest { token: token.to_owned(), ..Default::default() }.into_request();
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

/// The spans from this one up to the outermost that the collector was told of.
fn upwards<'a>(spans: &'a HashMap<Vec<u8>, Span>, span: &'a Span) -> Vec<&'a Span> {
    std::iter::successors(Some(span), |span| spans.get(&span.parent_span_id)).collect()
}

async fn an_introspect_through_envoy_is_one_trace(backend: Backend) {
    let (database, collector) = (backend.database(), Collector::start().await);
    let server = Process::start_with(&database, |command| {
        collector.is_told_by(command);
        command.env("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "0");
    });
    let issued = server.admin().await.issue("ada", "laptop", &[]).await;
    let envoy = envoy(&server, &collector).await;
    let gateway = format!("http://{}", envoy.address("front"));
    let client = Actor::connect(&gateway, &database.admin_token(), server.seen.clone()).await;

    // It was never asked about: its record is in the database alone.
    let answer = client.call(client.client.tokens().introspect(within_trace(&issued.secret))).await.unwrap();
    assert!(answer.active);
    until("Envoy told of it, and the server", async || {
        let spans = collector.trace(&TRACE_ID);
        spans.values().filter(|span| span.kind() == SpanKind::Server).count() == 2
    })
    .await;

    let spans = collector.trace(&TRACE_ID);
    let call = spans.values().find(|span| span.name == METHOD).expect("the server's span");
    let [_, gateways] = upwards(&spans, call)[..] else {
        panic!("the gateway's span is right above the server's: {spans:?}");
    };
    assert_eq!(gateways.parent_span_id, CLIENT_ID, "the client's span is above the gateway's");
    let statements = spans.values().filter(|span| texts(&span.attributes).contains_key("db.query.text"));
    let statements: Vec<_> = statements.collect();
    assert!(!statements.is_empty(), "{:?}", spans.values().map(|span| &span.name).collect::<Vec<_>>());
    for statement in statements {
        let above = upwards(&spans, statement);
        assert_eq!(above.last().unwrap().parent_span_id, CLIENT_ID, "{statement:?} is within the client's trace");
        assert!(above.iter().any(|span| span.span_id == call.span_id), "{statement:?} is within the call");
        assert_eq!(statement.kind(), SpanKind::Client);
    }

    // What neither of them exports.
    let unknown = forge::unknown(Kind::Personal);
    server.seen.secret(&unknown);
    client.call(client.client.tokens().introspect(within_trace(&unknown))).await.unwrap();
    until("a second call came", async || {
        collector.trace(&TRACE_ID).values().filter(|span| span.kind() == SpanKind::Server).count() == 4
    })
    .await;
    server.seen.look_for_secrets(&collector.bytes(), envoy.log().as_bytes());
    assert!(server.terminate().success());
}
