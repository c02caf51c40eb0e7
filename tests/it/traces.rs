//! A call is one trace, from its caller to the database; what is exported holds no
//! secret; and a collector that is away keeps nobody waiting.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind, status::StatusCode};
use token_authority::{domain::credential::Kind, telemetry::metrics};
use tonic::IntoRequest;

use crate::support::{
    Backend, Process,
    calls::question,
    collector::{Collector, tells, texts},
    forge,
    http::{Headers, basic},
    http1, issue_request,
    pki::Authority,
    sign_in::{PASSWORD, by_password},
    wait::until,
    wire::http_text,
};

on_both_databases!(
    a_call_is_one_trace_from_its_caller_to_the_database,
    a_request_is_one_trace_from_its_client_to_the_database,
    nothing_exported_holds_a_secret,
);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACE_ID: [u8; 16] =
    [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c];
const CALLER_ID: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];

/// A request from a caller whose trace is sampled, or is not.
fn within_trace<T>(request: impl IntoRequest<T>, sampled: bool) -> tonic::Request<T> {
    let mut request = request.into_request();
    request.metadata_mut().insert("traceparent", traceparent(sampled).parse().unwrap());
    request
}

/// Where a caller stands in its trace (W3C Trace Context, section 3.2).
fn traceparent(sampled: bool) -> String {
    let flags = if sampled { "01" } else { "00" };
    format!("00-{TRACE}-b7ad6b7169203331-{flags}")
}

fn named<'a>(spans: &'a HashMap<Vec<u8>, Span>, name: &str) -> &'a Span {
    spans
        .values()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", spans.values().map(|span| &span.name).collect::<Vec<_>>()))
}

/// Whether one is below the other.
fn is_within(spans: &HashMap<Vec<u8>, Span>, span: &Span, outer: &Span) -> bool {
    let mut above = std::iter::successors(Some(span), |span| spans.get(&span.parent_span_id));
    above.any(|span| span.span_id == outer.span_id)
}

async fn a_call_is_one_trace_from_its_caller_to_the_database(backend: Backend) {
    const METHOD: &str = "token_authority.v1.TokenAuthorityService/IssueToken";
    let (database, collector) = (backend.database(), Collector::start().await);
    let server = Process::start_with(&database, |command| {
        collector.is_told_by(command);
        command.env("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "0");
    });
    let admin = server.admin().await;
    admin.issue("ada", "not traced", &[]).await;
    let request = within_trace(issue_request("ada", "traced", &[]), true);
    let issued = admin.call(admin.client.tokens().issue_token(request)).await.unwrap();
    server.seen.secret(&issued.secret);

    until("its spans came", async || collector.trace(&TRACE_ID).values().any(|span| span.name == METHOD)).await;
    // Those within it ended before it, and came no later.
    let spans = collector.trace(&TRACE_ID);
    let call = named(&spans, METHOD);
    assert_eq!(call.parent_span_id, CALLER_ID, "its caller's span is above it");
    assert_eq!(call.kind(), SpanKind::Server);
    let attributes = texts(&call.attributes);
    let told = ["rpc.system.name", "rpc.method", "rpc.response.status_code"].map(|key| attributes[key].as_str());
    assert_eq!(told, ["grpc", METHOD, "OK"]);
    for span in spans.values() {
        assert!(is_within(&spans, span, call), "{} is of one trace", span.name);
    }

    let hashing = named(&spans, "bcrypt");
    let change = named(&spans, "change");
    assert!(!is_within(&spans, hashing, change), "nobody's lock is held meanwhile");
    for statement in ["INSERT", "UPDATE"] {
        let statement = named(&spans, statement);
        assert!(is_within(&spans, statement, change));
        assert_eq!(statement.kind(), SpanKind::Client);
        let attributes = texts(&statement.attributes);
        let system = if backend == Backend::Sqlite { "sqlite" } else { "postgresql" };
        assert_eq!(attributes["db.system.name"], system);
        assert_eq!(attributes["db.operation.name"], statement.name);
        assert!(!attributes["db.query.text"].contains("traced"), "no values: {attributes:?}");
    }
    assert_eq!(collector.spans().len(), spans.len(), "no other call was traced");
    let resource = collector.resource();
    assert_eq!(resource["service.name"], "token-authority");
    assert!(resource.contains_key("service.version") && resource.contains_key("service.instance.id"));

    // A line of the log leads to the trace.
    let lines = server.logged("answered");
    let of_trace: Vec<_> = lines.iter().filter(|line| line.to_string().contains(TRACE)).collect();
    assert_eq!(of_trace.len(), 1, "{lines:?}");
    let span_id = call.span_id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert!(of_trace[0].to_string().contains(&span_id), "{of_trace:?}");
    assert!(server.terminate().success());
}

async fn a_request_is_one_trace_from_its_client_to_the_database(backend: Backend) {
    const NAME: &str = "POST /oauth2/revoke";
    let (database, collector) = (backend.database(), Collector::start().await);
    let server = Process::start_with(&database, |command| {
        collector.is_told_by(command);
        command.env("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "0");
    });
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let authorization = basic(&database.admin_token());
    let parent = traceparent(true);
    let revoke = async |secret: &str, more: Headers<'_>| {
        let form = [("content-type", "application/x-www-form-urlencoded"), ("authorization", &authorization)];
        let body = format!("token={secret}");
        let headers = [&form[..], more].concat();
        http1::request(server.http, "POST", "/oauth2/revoke", &headers, body.as_bytes()).await.unwrap().status
    };
    assert_eq!(revoke("junk", &[]).await, 200, "not traced");
    assert_eq!(revoke(&issued.secret, &[("traceparent", &parent)]).await, 200);
    assert!(!admin.introspect(&issued.secret).await.active);

    until("its spans came", async || collector.trace(&TRACE_ID).values().any(|span| span.name == NAME)).await;
    let spans = collector.trace(&TRACE_ID);
    let request = named(&spans, NAME);
    assert_eq!((request.kind(), &request.parent_span_id[..]), (SpanKind::Server, &CALLER_ID[..]));
    let attributes = texts(&request.attributes);
    let told = ["http.request.method", "http.route", "http.response.status_code"].map(|key| attributes[key].as_str());
    assert_eq!(told, ["POST", "/oauth2/revoke", "IntValue(200)"]);
    let change = named(&spans, "change");
    assert!(is_within(&spans, named(&spans, "UPDATE"), change) && is_within(&spans, change, request));
    assert!(spans.values().all(|span| is_within(&spans, span, request)), "all are of one trace");
    assert_eq!(collector.spans().len(), spans.len(), "no other request was traced");
    assert!(server.logged("answered").iter().any(|line| line.to_string().contains(TRACE)), "the log leads to it");
    server.seen.look_for_secrets(&collector.bytes(), &[]);
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_not_traced_is_named_in_the_log_alone() {
    let (database, collector) = (Backend::Sqlite.database(), Collector::start().await);
    let server = Process::start_with(&database, |command| {
        collector.is_told_by(command);
        command.env("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "1");
    });
    let admin = server.admin().await;
    let request = within_trace(issue_request("ada", "laptop", &[]), false);
    let issued = admin.call(admin.client.tokens().issue_token(request)).await.unwrap();
    server.seen.secret(&issued.secret);
    admin.get_token("no id").await.unwrap_err();

    until("another call's span came", async || !collector.spans().is_empty()).await;
    assert!(collector.trace(&TRACE_ID).is_empty());
    let spans = collector.spans();
    let failed = spans.iter().find(|span| span.name.ends_with("/GetToken")).unwrap();
    assert_eq!(texts(&failed.attributes)["rpc.response.status_code"], "INVALID_ARGUMENT");
    let status = failed.status.as_ref().map(Status::code).unwrap_or_default();
    assert_eq!(status, StatusCode::Unset, "it is its caller's fault");
    assert!(server.logged("answered").iter().any(|line| line.to_string().contains(TRACE)));

    until("metrics came", async || collector.metrics().len() >= metrics::ALL.len()).await;
    let known: Vec<_> = metrics::ALL.iter().map(|metric| metric.name).collect();
    let told = collector.metrics();
    assert!(told.iter().all(|name| known.contains(&name.as_str())), "{told:?}");
    assert!(server.terminate().success());
}

async fn nothing_exported_holds_a_secret(backend: Backend) {
    let (database, collector) = (backend.database(), Collector::start().await);
    let mut server = Process::start_with(&database, |command| {
        collector.is_told_by(command);
        command
            .env("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "1")
            .env("TOKEN_AUTHORITY__LOG__FILTER", "debug,token_authority=trace,h2=info");
    });
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert!(admin.introspect(&issued.secret).await.active);
    let forged = forge::wrong_secret(&issued.secret);
    server.seen.secret(&forged);
    for inactive in [forged.clone(), forge::unknown(Kind::Personal), format!("{}x", issued.secret)] {
        assert!(!admin.introspect(&inactive).await.active);
        admin.try_introspect(question(&inactive, &["orders:read"])).await.unwrap();
    }
    admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    admin.sign_in_desktop(by_password("ada", "battery staple")).await.unwrap_err();
    server.actor(&forged).await.who_am_i().await.unwrap_err();
    let rotated = admin.rotate(&issued.token.token_id, Duration::ZERO).await;
    assert!(admin.introspect(&rotated.secret).await.active);

    let (http, metrics) = (server.http, "token_authority_verdicts_total");
    let (_, told) = tokio::task::spawn_blocking(move || http_text(http, "/metrics")).await.unwrap();
    assert!(told.contains(metrics));
    // All that is left is told before it ends.
    assert!(server.end().success());
    let spans = collector.spans();
    assert!(spans.iter().any(|span| span.name.ends_with("/SignInDesktop")), "the last of them came, too");
    assert!(!spans.iter().any(|span| !span.events.is_empty()), "events are for the log");
    for exported in [collector.bytes(), told.into_bytes()] {
        server.seen.look_for_secrets(&exported, &[]);
    }
    server.seen.look_for_secrets(server.log().as_bytes(), &database.dump());
}

/// How many batches of traces and of metrics no collector took.
async fn failures(http: SocketAddr) -> [f64; 2] {
    let (_, told) = tokio::task::spawn_blocking(move || http_text(http, "/metrics")).await.unwrap();
    ["traces", "metrics"].map(|signal| {
        let series = format!(r#"token_authority_export_failures_total{{signal="{signal}"}} "#);
        told.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_is_reached_by_tls_where_its_authority_is_trusted() {
    let (trusted, other) = (Authority::new("collectors"), Authority::new("others"));
    let database = Backend::Sqlite.database();
    let ca = database.data_dir().join("ca.pem");
    std::fs::write(&ca, trusted.pem()).unwrap();
    for (authority, is_trusted) in [(&trusted, true), (&other, false)] {
        let collector = Collector::start_with_tls(&authority.server()).await;
        let server = Process::start_with(&database, |command| {
            collector.is_told_by(command);
            command.env("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "1").env("SSL_CERT_FILE", &ca);
        });
        let admin = server.admin().await;
        admin.issue("ada", "laptop", &[]).await;
        let http = server.http;
        if is_trusted {
            until("traces and metrics came", async || !collector.spans().is_empty() && !collector.metrics().is_empty())
                .await;
            assert!(failures(http).await.into_iter().all(|failures| failures < 1.0));
        } else {
            until("nothing is taken", async || failures(http).await.into_iter().all(|failures| failures >= 1.0)).await;
            assert!(collector.bytes().is_empty(), "nothing is told to whom nobody vouches for");
            admin.who_am_i().await.expect("calls are answered");
        }
        assert!(server.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_keeps_nobody_waiting() {
    let database = Backend::Sqlite.database();
    // A port that somebody has, and where nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = silent.local_addr().unwrap();
    drop(silent);
    let server = Process::start_with(&database, |command| {
        tells(command, &format!("http://{away}"));
        command.env("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "1");
    });
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let http = server.http;
    until("more than one batch failed", async || {
        assert!(admin.introspect(&issued.secret).await.active, "calls are answered");
        failures(http).await.into_iter().all(|failures| failures >= 2.0)
    })
    .await;
    let said = server.logged("the collector took nothing");
    assert_eq!(said.len(), 2, "once for traces, once for metrics: {said:?}");
    assert!(server.terminate().success());
}
