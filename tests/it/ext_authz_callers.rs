//! Who may ask for Envoy, and within which bounds: as for Introspect.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use token_authority::{
    proto::v1::{IssueTokenRequest, ServiceRole},
    settings::{CertificateRole, Span},
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{
    Backend, Database, TestServer, assert_refused,
    calls::{service_request, texts},
    ext_authz::{CHECK, Held},
    issue_request,
    pki::{Authority, Files},
    postgres::Postgres,
    wait::until,
    wire::{Wire, framed, http_text},
};

on_both_databases!(whoever_may_introspect_may_ask);

async fn whoever_may_introspect_may_ask(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    for (role, may) in [
        (ServiceRole::Introspector, true),
        (ServiceRole::Auditor, true),
        (ServiceRole::Admin, true),
        (ServiceRole::Issuer, false),
        (ServiceRole::Login, false),
        (ServiceRole::TrustedLogin, false),
        (ServiceRole::AccountWriter, false),
    ] {
        let service = admin.create_service(service_request(role.as_str_name(), &[role])).await.unwrap();
        let gateway = server.gateway(&service.secret).await;
        if may {
            assert_eq!(gateway.check(Held::bearer(&issued.secret)).await.status, 200, "{role:?}");
            continue;
        }
        // Whatever it asks, and whether or not that makes sense.
        for held in [Held::bearer(&issued.secret), Held::with(&[]), Held::with(&[]).wanting("\"")] {
            let refused = gateway.try_check(held.request()).await;
            assert_refused(refused, Code::PermissionDenied, "NOT_PERMITTED");
        }
    }
    for credential in [issued.secret.as_str(), "junk", ""] {
        let stranger = server.gateway(credential).await;
        let refused = stranger.try_check(Held::bearer(&issued.secret).request()).await.unwrap_err();
        let expected = if credential == issued.secret { "NOT_PERMITTED" } else { "CREDENTIAL_INVALID" };
        assert_eq!(refused.reason.as_deref(), Some(expected), "{credential:?}");
    }

    // One that ended is told so before anything else, also where no verdict is asked
    // for.
    let service = admin.create_service(service_request("short-lived", &[ServiceRole::Introspector])).await.unwrap();
    let gateway = server.gateway(&service.secret).await;
    assert_eq!(gateway.check(Held::with(&[])).await.status, 401);
    admin.revoke_service(&service.credential.credential_id).await.unwrap();
    for held in [Held::with(&[]), Held::with(&[]).wanting("\""), Held::bearer(&issued.secret)] {
        let refused = gateway.try_check(held.request()).await;
        assert_refused(refused, Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_unknown_has_a_question_read_and_every_refusal_has_a_reason() {
    let server = TestServer::start(Backend::Sqlite).await;
    let wire = Wire::connect(server.server.grpc_address()).await;
    let authorization = format!("Bearer {}", server.database.admin_token());
    let known = [("authorization", authorization.as_str())];

    let headers = wire.headers_alone(CHECK, &[]).await.unwrap();
    assert_eq!(headers["grpc-status"], "16", "it is answered without its body");
    let headers = wire.headers_alone(CHECK, &[("authorization", "Bearer junk")]).await.unwrap();
    assert_eq!(headers["grpc-status"], "16");

    let too_large = framed(&vec![0; server.database.settings(None).grpc.max_message_bytes + 1]);
    let guess = "/envoy.service.auth.v3.Authorization/Guess";
    for (path, headers, body, code, reason) in [
        (guess, &known[..], framed(b""), Code::Unimplemented, "UNKNOWN_METHOD"),
        (guess, &[], framed(b""), Code::Unauthenticated, "CREDENTIAL_REQUIRED"),
        ("/envoy.service.auth.v2.Authorization/Check", &known, framed(b""), Code::Unimplemented, "UNKNOWN_METHOD"),
        (CHECK, &known, framed(b"\xff\xff\xff"), Code::InvalidArgument, "MALFORMED_REQUEST"),
        (CHECK, &known, Bytes::new(), Code::InvalidArgument, "MALFORMED_REQUEST"),
        (CHECK, &known, too_large, Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
    ] {
        let refusal = wire.call(path, headers, body).await.unwrap().refusal();
        assert_eq!((refusal.code, refusal.reason.as_deref()), (code, Some(reason)), "{path}: {refusal:?}");
    }
    // Nothing at all is a question about nobody.
    let answer = wire.call(CHECK, &known, framed(b"")).await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("0"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_has_as_many_calls_in_flight_as_any_caller() {
    let server = TestServer::configured(Backend::Sqlite, None, |settings| settings.grpc.max_calls_per_caller = 2).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap();
    let authorization = format!("Bearer {}", service.secret);
    let headers = [("authorization", authorization.as_str())];
    let wire = Wire::connect(server.server.grpc_address()).await;
    let question = framed(&Held::with(&[]).request().encode_to_vec());
    // Until it was recognized once, a call waits for that, and takes no place.
    assert_eq!(wire.call(CHECK, &headers, question.clone()).await.unwrap().header("grpc-status"), Some("0"));

    let begun = [wire.begin(CHECK, &headers).await.unwrap(), wire.begin(CHECK, &headers).await.unwrap()];
    let told = server.server.http_address();
    until("both are in flight", async || {
        let metrics = tokio::task::spawn_blocking(move || http_text(told, "/metrics").1).await.unwrap();
        metrics.lines().any(|line| line == "token_authority_calls_in_flight 2")
    })
    .await;
    let refusal = wire.call(CHECK, &headers, question.clone()).await.unwrap().refusal();
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::ResourceExhausted, Some("TOO_MANY_CALLS")));
    for call in begun {
        let answer = call.finish(question.clone()).await.unwrap();
        assert_eq!(answer.header("grpc-status"), Some("0"));
    }
    assert_eq!(wire.call(CHECK, &headers, question).await.unwrap().header("grpc-status"), Some("0"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_may_show_a_certificate() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let database = Backend::Sqlite.database();
    let files = Files::new(database.data_dir(), &authority.server(), Some(&clients));
    let mut settings = database.settings(None);
    files.set(&mut settings);
    let role = |san: &str, role: &str| CertificateRole { san: san.to_owned(), roles: texts(&[role]) };
    settings.grpc.certificate_roles =
        vec![role("spiffe://example.org/envoy", "introspector"), role("spiffe://example.org/issuer", "issuer")];
    let server = TestServer::on(database, &settings).await;
    let question = framed(&Held::with(&[("x-api-key", "dt_junk")]).request().encode_to_vec());
    for (name, status) in
        [("spiffe://example.org/envoy", "0"), ("spiffe://example.org/issuer", "7"), ("spiffe://example.org/x", "16")]
    {
        let pair = clients.client(&[name]);
        let stream = authority.connect(server.server.grpc_address(), Some(&pair)).await.unwrap();
        let wire = Wire::over(stream, server.server.grpc_address()).await;
        let answer = wire.call(CHECK, &[], question.clone()).await.unwrap();
        assert_eq!(answer.header("grpc-status"), Some(status), "{name}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_no_answer() {
    let cluster = Arc::new(Postgres::start());
    let database = Database::on(&cluster);
    let mut settings = database.settings(None);
    settings.database.acquire_timeout = Span(Duration::from_secs(1));
    let server = TestServer::on(database, &settings).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let issued = admin.issue("ada", "laptop", &[]).await;
    let question = || Held::bearer(&issued.secret).request();
    assert_eq!(gateway.check(Held::bearer(&issued.secret)).await.status, 200);

    let stopped = cluster.clone();
    tokio::task::spawn_blocking(move || stopped.stop()).await.unwrap();
    for held in [question(), Held::with(&[]).request(), Held::with(&[]).wanting("\"").request()] {
        let error = assert_refused(gateway.try_check(held).await, Code::Unavailable, "DATABASE_UNAVAILABLE");
        assert!(error.retry_after.is_some(), "it says when to try again: {error:?}");
    }
    let started = cluster.clone();
    tokio::task::spawn_blocking(move || started.start_again()).await.unwrap();
    until("there are answers again", async || gateway.try_check(question()).await.is_ok()).await;
    assert_eq!(gateway.check(Held::bearer(&issued.secret)).await.status, 200);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_is_measured_and_health_is_told() {
    let server = TestServer::start(Backend::Sqlite).await;
    let (admin, gateway) = (server.admin().await, server.new_gateway().await);
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    for (held, status) in [
        (Held::bearer(&issued.secret), 200),
        (Held::bearer(&issued.secret), 200),
        (Held::bearer(&issued.secret).wanting("write"), 403),
        (Held::bearer("junk"), 401),
        (Held::with(&[]), 401),
    ] {
        assert_eq!(gateway.check(held).await.status, status);
    }
    let address = server.server.http_address();
    let (_, told) = tokio::task::spawn_blocking(move || http_text(address, "/metrics")).await.unwrap();
    let calls = r#"rpc_method="envoy.service.auth.v3.Authorization/Check",rpc_response_status_code="OK""#;
    for series in [
        &format!(r#"rpc_server_call_duration_seconds_count{{{calls},rpc_system_name="grpc"}} 5"#),
        r#"token_authority_verdicts_total{verdict="active"} 2"#,
        r#"token_authority_verdicts_total{verdict="insufficient_scope"} 1"#,
        r#"token_authority_verdicts_total{verdict="malformed"} 1"#,
    ] {
        assert!(told.lines().any(|line| line == series), "{series}:\n{told}");
    }

    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: token_authority::grpc::AUTHORIZATION.to_owned() };
    let health = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_own_address_is_what_trusted_proxies_say() {
    let server = TestServer::configured(Backend::Sqlite, None, |settings| {
        settings.grpc.trusted_proxies = texts(&["127.0.0.1", "10.0.0.0/8"]);
    })
    .await;
    let admin = server.admin().await;
    let bound = IssueTokenRequest { allowed_cidrs: texts(&["192.0.2.0/24"]), ..issue_request("ada", "bound", &[]) };
    let bound = admin.try_issue(bound).await.unwrap();
    let wire = Wire::connect(server.server.grpc_address()).await;
    let authorization = format!("Bearer {}", bound.secret);
    for (forwarded, status) in [
        (&["192.0.2.7"][..], "0"),
        (&["198.51.100.7", "192.0.2.7, 10.0.0.1"], "0"),
        (&["192.0.2.7, 198.51.100.7"], "16"),
        (&["unknown"], "16"),
        // A proxy that says nothing leaves it open where the call came from.
        (&[], "16"),
    ] {
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(forwarded.iter().map(|line| ("x-forwarded-for", *line)));
        let answer = wire.call("/token_authority.v1.AccountService/WhoAmI", &headers, framed(b"")).await.unwrap();
        assert_eq!(answer.header("grpc-status"), Some(status), "{forwarded:?}");
    }
    server.end().await;

    // By default nobody is believed.
    let server = TestServer::start(Backend::Sqlite).await;
    let request = IssueTokenRequest { allowed_cidrs: texts(&["127.0.0.1"]), ..issue_request("ada", "bound", &[]) };
    let bound = server.admin().await.try_issue(request).await.unwrap();
    let wire = Wire::connect(server.server.grpc_address()).await;
    let authorization = format!("Bearer {}", bound.secret);
    let headers = [("authorization", authorization.as_str()), ("x-forwarded-for", "192.0.2.7")];
    let answer = wire.call("/token_authority.v1.AccountService/WhoAmI", &headers, framed(b"")).await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("0"));
    server.end().await;
}
