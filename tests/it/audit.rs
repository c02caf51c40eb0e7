//! The audit trail: every change and every refused one, by whom, from where, on
//! what and why; read by auditors, changed by nobody.

use std::time::Duration;

use token_authority::{
    proto::v1::{
        AuditEvent, AuditOutcome, ListAuditEventsRequest, RevocationReason, RevokeTokenRequest, ServiceRole,
        revoke_token_request::Target,
    },
    settings::Span,
};
use tonic::Code;

use crate::{
    retention::open,
    support::{
        Actor, Backend, Process, Terminal, TestServer,
        calls::{question, service_request},
        issue_request,
        refusal::assert_refused,
        wait::until,
        wire::{Wire, framed},
    },
};

/// Refusals are told as soon as they are counted.
async fn start(backend: Backend) -> TestServer {
    TestServer::configured(backend, None, |settings| {
        settings.audit.refusal_interval = Span(Duration::from_millis(20));
    })
    .await
}

async fn events(auditor: &Actor, request: ListAuditEventsRequest) -> Vec<AuditEvent> {
    auditor.call(auditor.client.audit().list_audit_events(request)).await.expect("they are listed").events
}

/// Those of an action, newest first.
async fn of_action(auditor: &Actor, action: &str) -> Vec<AuditEvent> {
    events(auditor, ListAuditEventsRequest { action: action.to_owned(), ..Default::default() }).await
}

fn detail(event: &AuditEvent, name: &str) -> Option<String> {
    match event.detail.as_ref()?.fields.get(name)?.kind.as_ref()? {
        prost_types::value::Kind::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

on_both_databases!(
    a_change_tells_who_from_where_on_what_and_why,
    the_trail_is_filtered_and_paged_both_ways,
    what_is_refused_is_told_and_counted,
    what_was_refused_last_is_told_at_the_end,
    a_secret_in_the_wrong_field_is_not_told,
    nobody_changes_what_was_told,
    what_is_past_its_retention_is_removed_and_that_is_told,
    the_setting_says_how_long_events_stay,
);

async fn a_change_tells_who_from_where_on_what_and_why(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let issuer = admin.create_service(service_request("billing", &[ServiceRole::Issuer])).await.unwrap();

    let wire = Wire::connect(server.server.grpc_address()).await;
    let target = Some(Target::TokenId(issued.token.token_id.clone()));
    let request = RevokeTokenRequest { target, reason: RevocationReason::Compromised.into() };
    let authorization = format!("Bearer {}", issuer.secret);
    let headers = [("authorization", authorization.as_str()), ("x-request-id", "leak-42")];
    let path = "/token_authority.v1.TokenAuthorityService/RevokeToken";
    let answer = wire.call(path, &headers, framed(&prost::Message::encode_to_vec(&request))).await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("0"));

    let auditor = server.service("auditor", &[ServiceRole::Auditor]).await;
    let found =
        events(&auditor, ListAuditEventsRequest { request_id: "leak-42".to_owned(), ..Default::default() }).await;
    let [event] = found.as_slice() else { panic!("there is one: {found:?}") };
    assert_eq!(event.actor, format!("service:{}", issuer.credential.credential_id));
    assert_eq!((event.actor_address.as_str(), event.action.as_str()), ("127.0.0.1", "token.revoke"));
    assert_eq!((event.target.as_str(), event.account_id.as_str()), (issued.token.token_id.as_str(), "ada"));
    assert_eq!((event.outcome(), event.count, event.refusal_reason.as_str()), (AuditOutcome::Done, 1, ""));
    assert_eq!(detail(event, "reason").as_deref(), Some("Compromised"));
    assert!(event.event_time.is_some());

    // Both of these, and what the first start did, are there as well.
    for action in ["token.issue", "account.create", "service.create", "key.name-current"] {
        assert!(!of_action(&auditor, action).await.is_empty(), "{action}");
    }
    server.end().await;
}

async fn the_trail_is_filtered_and_paged_both_ways(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(admin.issue("ada", &format!("token {number}"), &[]).await.token.token_id);
        admin.issue("ben", "another's", &[]).await;
    }
    let issues = |oldest_first, page_token| ListAuditEventsRequest {
        account_id: "ada".to_owned(),
        action: "token.issue".to_owned(),
        page_size: 2,
        page_token,
        oldest_first,
        ..Default::default()
    };
    for oldest_first in [true, false] {
        let (mut targets, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = issues(oldest_first, page_token);
            let page = admin.call(admin.client.audit().list_audit_events(request)).await.unwrap();
            assert!(page.events.len() <= 2);
            targets.extend(page.events.into_iter().map(|event| event.target));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if !oldest_first {
            targets.reverse();
        }
        assert_eq!(targets, ids);
    }

    let all = events(&admin, issues(true, String::new())).await;
    let middle = all[1].event_time;
    let from = |start_time, end_time| ListAuditEventsRequest {
        start_time,
        end_time,
        page_size: 0,
        ..issues(true, String::new())
    };
    assert_eq!(events(&admin, from(middle, None)).await.len(), 4);
    assert_eq!(events(&admin, from(None, middle)).await.len(), 1);
    assert_eq!(events(&admin, from(middle, middle)).await.len(), 0);

    let page = admin.call(admin.client.audit().list_audit_events(issues(true, String::new()))).await.unwrap();
    let elsewhere = ListAuditEventsRequest { account_id: "ben".to_owned(), ..issues(true, page.next_page_token) };
    let refused = admin.call(admin.client.audit().list_audit_events(elsewhere)).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    let hostile = ListAuditEventsRequest { actor: "a\0b".to_owned(), ..Default::default() };
    let refused = admin.call(admin.client.audit().list_audit_events(hostile)).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FILTER");
    server.end().await;
}

async fn what_is_refused_is_told_and_counted(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let narrow = admin.issue("ada", "narrow", &["read"]).await;
    let holder = server.actor(&narrow.secret).await;
    for _ in 0..20 {
        assert_refused(
            holder.try_issue(issue_request("ada", "more", &[])).await,
            Code::PermissionDenied,
            "NOT_PERMITTED",
        );
    }
    let stranger = server.actor("dt_nonsense").await;
    assert_refused(
        stranger.try_issue(issue_request("ada", "x", &[])).await,
        Code::Unauthenticated,
        "CREDENTIAL_INVALID",
    );
    assert_refused(admin.revoke("0190a5b4-7c3f-7b1e-8000-000000000000").await, Code::NotFound, "TOKEN_NOT_FOUND");

    let refused = || ListAuditEventsRequest { outcome: AuditOutcome::Refused.into(), ..Default::default() };
    let counted = async |reason: &str| {
        let events = events(&admin, refused()).await;
        let those = events.into_iter().filter(|event| event.refusal_reason == reason);
        those.collect::<Vec<_>>()
    };
    let sum = |events: &[AuditEvent]| events.iter().map(|event| event.count).sum::<i64>();
    until("all refusals are told", async || sum(&counted("NOT_PERMITTED").await) == 20).await;
    let of_holder = counted("NOT_PERMITTED").await;
    assert!(of_holder.iter().all(|event| {
        event.actor == format!("token:{}", narrow.token.token_id)
            && (event.action.as_str(), event.target.as_str()) == ("token.issue", "ada")
            && (event.account_id.as_str(), event.actor_address.as_str()) == ("ada", "127.0.0.1")
            && event.outcome() == AuditOutcome::Refused
            && !event.request_id.is_empty()
    }));
    until("the stranger is told of", async || sum(&counted("CREDENTIAL_INVALID").await) == 1).await;
    let of_stranger = &counted("CREDENTIAL_INVALID").await[0];
    // Nothing of what it asked was read.
    assert_eq!((of_stranger.actor.as_str(), of_stranger.target.as_str()), ("unknown", ""));
    until("the missing token is told of", async || sum(&counted("TOKEN_NOT_FOUND").await) == 1).await;
    assert_eq!(counted("TOKEN_NOT_FOUND").await[0].target, "0190a5b4-7c3f-7b1e-8000-000000000000");

    // Questions are no changes.
    assert_refused(stranger.try_introspect(question("x", &[])).await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_eq!(sum(&counted("CREDENTIAL_INVALID").await), 1);
    server.end().await;
}

async fn what_was_refused_last_is_told_at_the_end(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let stranger = server.actor("dt_nonsense").await;
    for _ in 0..3 {
        stranger.try_issue(issue_request("ada", "x", &[])).await.unwrap_err();
    }
    assert_eq!(database.count("audit_events WHERE refusal IS NOT NULL").await, 0, "the interval is a minute");
    server.end().await;
    assert_eq!(database.count("audit_events WHERE refusal IS NOT NULL").await, 1, "those alike are one row");
    assert_eq!(database.scalar("SELECT sum(count) FROM audit_events WHERE refusal IS NOT NULL").await, "3");
}

async fn a_secret_in_the_wrong_field_is_not_told(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    // Of the form of an account's id; that it is nowhere, the end of the test sees.
    let revoke_all = admin.revoke_all(&issued.secret, RevocationReason::Compromised, false).await;
    assert_refused(revoke_all, Code::NotFound, "ACCOUNT_NOT_FOUND");
    assert_refused(admin.revoke(&issued.secret).await, Code::InvalidArgument, "INVALID_TOKEN_ID");
    until("both are told", async || {
        server.database.count("audit_events WHERE refusal IS NOT NULL AND target = ''").await == 2
    })
    .await;
    server.end().await;
}

async fn nobody_changes_what_was_told(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    admin.issue("ada", "laptop", &[]).await;
    let connection = server.database.connect().await;
    let changed = sea_orm::ConnectionTrait::execute_unprepared(
        &connection,
        "UPDATE audit_events SET actor = 'somebody else' WHERE action = 'token.issue'",
    )
    .await;
    assert!(changed.unwrap_err().to_string().contains("stay as they were written"));
    connection.close().await.unwrap();
    assert_eq!(server.database.count("audit_events WHERE actor = 'somebody else'").await, 0);
    server.end().await;
}

async fn what_is_past_its_retention_is_removed_and_that_is_told(backend: Backend) {
    let server = start(backend).await;
    let database = server.database.clone();
    server.admin().await.issue("ada", "laptop", &[]).await;
    let told = database.count("audit_events").await;
    server.end().await;

    let store = open(&database).await;
    assert_eq!(store.purge_audit(Duration::from_hours(1)).await.unwrap(), 0, "none is an hour old");
    store.purge_audit(Duration::ZERO).await.unwrap();
    drop(store);
    let left = database.scalar("SELECT max(action) FROM audit_events").await;
    assert_eq!((left.as_str(), database.count("audit_events").await), ("audit.purge", 1));
    let removed = database.scalar("SELECT detail FROM audit_events").await;
    assert_eq!(removed, format!(r#"{{"removed":{told}}}"#));
}

async fn the_setting_says_how_long_events_stay(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.retention.audit = Span(Duration::from_secs(1));
        settings.retention.interval = Span(Duration::from_millis(100));
    })
    .await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let events = "audit_events WHERE action = 'token.issue'";
    until("its event is removed", async || server.database.count(events).await == 0).await;
    assert!(admin.introspect(&issued.secret).await.active);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collectors_read_events_from_standard_output() {
    let database = Backend::Sqlite.database();
    let output = database.data_dir().join("audit.jsonl");
    let file = std::fs::File::create(&output).unwrap();
    let process = Process::start_with(&database, |command| {
        command.env("TOKEN_AUTHORITY__AUDIT__STDOUT", "true").stdout(file);
    });
    let admin = process.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    admin.revoke(&issued.token.token_id).await.unwrap();
    let stranger = process.actor("dt_nonsense").await;
    stranger.try_issue(issue_request("ada", "x", &[])).await.unwrap_err();
    let trail = events(&admin, ListAuditEventsRequest { oldest_first: true, ..Default::default() }).await;
    assert!(process.terminate().success());

    let printed = std::fs::read_to_string(&output).unwrap();
    let lines: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = lines.iter().map(|line| line["eventId"].as_str().unwrap()).collect();
    // The last refusal was told at the end alone.
    let (last, before) = ids.split_last().unwrap();
    assert!(!trail.iter().any(|event| event.event_id == *last));
    assert_eq!(before, trail.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>());
    let revoked = lines.iter().find(|line| line["action"] == "token.revoke").unwrap();
    assert_eq!((&revoked["target"], &revoked["outcome"]), (&issued.token.token_id.into(), &"done".into()));
    assert_eq!(lines.last().unwrap()["refusalReason"], "CREDENTIAL_INVALID");
}

#[test]
fn an_auditor_lists_and_exports_with_the_command_line() {
    let database = Backend::Sqlite.database();
    let process = Process::start(&database);
    let operator = Terminal::new(&database, &process, &database.admin_token());
    operator.json(&["account", "put", "ada"]);
    operator.secret(&["token", "create", "--account", "ada", "--label", "laptop"]);

    let listed = operator.json(&["audit", "list", "--account", "ada", "--done", "--limit", "2"]);
    let actions: Vec<_> = listed["events"].as_array().unwrap().iter().map(|event| event["action"].as_str()).collect();
    assert_eq!(actions, [Some("token.issue"), Some("account.create")]);
    let table = operator.run(&["audit", "list", "--action", "token.issue"]).stdout;
    assert!(table.starts_with("TIME ") && table.contains(" token.issue ") && table.contains(" ada "), "{table}");

    let exported = operator.run(&["audit", "export"]).stdout;
    let lines: Vec<serde_json::Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.first().unwrap()["action"], "key.name-current");
    assert_eq!(lines.last().unwrap(), &listed["events"][0]);
    assert!(process.terminate().success());
}
