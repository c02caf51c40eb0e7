//! `/metrics` tells every metric that is documented, and no other; and they
//! measure what happened.

use std::collections::{BTreeMap, BTreeSet};

use token_authority::{domain::credential::Kind, proto::v1::ServiceRole, settings::Tls, telemetry::metrics};

use crate::support::{
    Backend, TestServer,
    calls::question,
    forge,
    metrics::Told,
    pki::{Authority, Files, caller},
    sign_in::{PASSWORD, by_password},
    wait::until,
};

on_both_databases!(every_metric_is_told_as_it_is_documented, what_happens_is_measured, a_miss_is_told_from_a_hit,);

/// Not ours: the exporter's, of the server itself.
const TARGET_INFO: &str = "target_info";

impl Told {
    /// What lines of this kind say of each metric.
    fn said(&self, kind: &str) -> BTreeMap<&str, &str> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix(kind));
        lines.map(|line| line.trim().split_once(' ').expect("a name and more")).collect()
    }

    /// The names of the labels of a metric's series.
    fn labels(&self, metric: &str) -> BTreeSet<&str> {
        let of_metric = |series: &&String| {
            let name = series.split('{').next().unwrap();
            ["", "_bucket", "_sum", "_count"].iter().any(|part| name == format!("{metric}{part}"))
        };
        let inside = self.values.keys().filter(of_metric).filter_map(|series| series.split_once('{'));
        let pairs = inside.flat_map(|(_, labels)| labels.trim_end_matches('}').split(','));
        pairs.filter_map(|pair| Some(pair.split_once('=')?.0)).filter(|label| *label != "le").collect()
    }
}

async fn every_metric_is_told_as_it_is_documented(backend: Backend) {
    let (authority, database) = (Authority::new("servers"), backend.database());
    let mut settings = database.settings(None);
    Files::new(database.data_dir(), &authority.server(), None).set(&mut settings);
    settings.http.tls = Tls::default();
    let server = TestServer::on(database, &settings).await;
    let (grpc, credential) = (server.server.grpc_address(), server.database.admin_token());
    let admin = caller(grpc, Some(&credential), &authority.tls(None), &server.seen).await.unwrap();
    admin.put_user("ada", PASSWORD).await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert!(admin.introspect(&issued.secret).await.active);
    until("something was confirmed", async || {
        server.told().await.text.contains("token_authority_confirmation_age_seconds ")
    })
    .await;

    let told = server.told().await;
    let (types, helps) = (told.said("# TYPE"), told.said("# HELP"));
    let documented: BTreeSet<_> = metrics::ALL.iter().map(metrics::Metric::prometheus_name).collect();
    let names: BTreeSet<_> = types.keys().filter(|name| **name != TARGET_INFO).map(ToString::to_string).collect();
    assert_eq!(names, documented);
    for metric in metrics::ALL {
        let name = metric.prometheus_name();
        assert_eq!(types[&*name], format!("{:?}", metric.kind).to_lowercase(), "{name}");
        assert_eq!(helps[&*name], metric.help, "{name}");
        let labels: BTreeSet<_> = metric.labels.iter().map(|label| label.replace('.', "_")).collect();
        assert_eq!(told.labels(&name), labels.iter().map(String::as_str).collect(), "{name}");
    }
    for series in told.values.keys() {
        assert!(!series.contains("ada") && !series.contains(&issued.token.token_id), "{series}");
    }
    server.end().await;
}

async fn what_happens_is_measured(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let introspector = server.service("gateway", &[ServiceRole::Introspector]).await;
    admin.put_user("ada", PASSWORD).await;
    let before = server.told().await;

    let issued = admin.issue("ada", "laptop", &["orders:read"]).await;
    assert!(introspector.introspect(&issued.secret).await.active);
    introspector.try_introspect(question(&issued.secret, &["orders:write"])).await.unwrap();
    for inactive in [forge::wrong_secret(&issued.secret), forge::unknown(Kind::Personal), "junk".to_owned()] {
        assert!(!introspector.introspect(&inactive).await.active);
    }
    assert!(introspector.who_am_i().await.is_ok());
    introspector.try_issue(crate::support::issue_request("ada", "phone", &[])).await.unwrap_err();
    for (username, password) in [("ada", PASSWORD), ("ada", "battery staple"), ("nobody", PASSWORD)] {
        let _ = admin.sign_in_desktop(by_password(username, password)).await;
    }
    admin.revoke(&issued.token.token_id).await.unwrap();
    assert!(!introspector.introspect(&issued.secret).await.active);

    let after = server.told().await;
    let grown = |series: &str| after.value(series) - before.values.get(series).copied().unwrap_or_default();
    for verdict in ["active", "insufficient_scope", "wrong_secret", "unknown", "malformed", "revoked"] {
        let series = format!(r#"token_authority_verdicts_total{{verdict="{verdict}"}}"#);
        assert!((grown(&series) - 1.0).abs() < 0.5, "{verdict}:\n{}", after.text);
    }
    let calls = |service: &str, method: &str, status: &str| {
        let method = format!("token_authority.v1.{service}/{method}");
        grown(&format!(
            r#"rpc_server_call_duration_seconds_count{{rpc_method="{method}",rpc_response_status_code="{status}",rpc_system_name="grpc"}}"#
        ))
    };
    let counts = [
        calls("TokenAuthorityService", "Introspect", "OK"),
        calls("TokenAuthorityService", "IssueToken", "OK"),
        calls("TokenAuthorityService", "IssueToken", "PERMISSION_DENIED"),
        calls("SessionService", "SignInDesktop", "OK"),
        calls("SessionService", "SignInDesktop", "UNAUTHENTICATED"),
        grown(r#"token_authority_sign_ins_total{outcome="verified"}"#),
        grown(r#"token_authority_sign_ins_total{outcome="wrong_password"}"#),
        grown(r#"token_authority_sign_ins_total{outcome="no_such_username"}"#),
    ];
    assert_eq!(counts.map(|count| format!("{count}")), ["6", "1", "1", "1", "2", "1", "1", "1"]);
    // One for the new token, one for the new session, and one for each sign-in.
    assert!(grown("token_authority_bcrypt_runs_total") >= 5.0);
    assert!(grown("token_authority_bcrypt_time_seconds_total") > 0.0);
    assert!(grown(r#"token_authority_database_statements_total{outcome="ok"}"#) > 0.0);
    assert!(grown(r#"token_authority_database_work_total{kind="change",outcome="ended"}"#) >= 3.0);
    assert!(grown("token_authority_changes_applied_total") >= 1.0);
    assert!(after.value("token_authority_cache_entries") >= 1.0);
    assert!(after.value("token_authority_cache_size_bytes") > 0.0);
    for series in [
        r#"token_authority_start_overs_total{reason="first"}"#,
        "token_authority_keys_current_at_hand",
        "token_authority_ready",
    ] {
        assert!((after.value(series) - 1.0).abs() < 0.5, "{series}");
    }
    // The head was asked for by the last introspection at the latest.
    let lag = after.value("token_authority_revision_head") - after.value("token_authority_revision_applied");
    assert!(lag.abs() < 0.5, "{lag}");
    assert!(after.value("token_authority_calls_in_flight") < 0.5, "all calls were answered");
    server.end().await;
}

async fn a_miss_is_told_from_a_hit(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    // The caller, and what it asks about, are in memory then.
    assert!(admin.introspect(&issued.secret).await.active);
    let lookups = async || {
        let told = server.told().await;
        ["hit", "miss"]
            .map(|result| told.count(&format!(r#"token_authority_cache_lookups_total{{result="{result}"}}"#)))
    };
    let [hits, misses] = lookups().await;
    for _ in 0..3 {
        assert!(admin.introspect(&issued.secret).await.active);
    }
    assert_eq!(lookups().await, [hits + 3, misses]);
    assert!(!admin.introspect(&forge::unknown(Kind::Personal)).await.active);
    assert_eq!(lookups().await, [hits + 3, misses + 1]);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_tells_what_it_catches_up_with() {
    const CATCH_UPS: &str = "token_authority_catch_ups_total";
    const CHANGES: &str = "token_authority_changes_applied_total";

    let server = TestServer::start(Backend::Postgres).await;
    let admin = server.admin().await;
    let other = server.database.replica();
    let replica = TestServer::on(other.clone(), &other.settings(None)).await;
    let there = replica.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert!(there.introspect(&issued.secret).await.active);
    let before = replica.told().await;

    admin.issue("ada", "phone", &[]).await;
    admin.revoke(&issued.token.token_id).await.unwrap();
    assert!(!there.introspect(&issued.secret).await.active);
    let after = replica.told().await;
    assert_eq!(after.count(CHANGES), before.count(CHANGES) + 2);
    assert!(after.count(CATCH_UPS) > before.count(CATCH_UPS), "{}", after.text);
    let ok = r#"token_authority_confirmation_duration_seconds_count{outcome="ok"}"#;
    assert!(after.count(ok) > before.count(ok), "{}", after.text);
    for server in [replica, server] {
        server.end().await;
    }
}
