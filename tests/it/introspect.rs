//! Introspect: what is no good looks alike, costs nothing, and tells why to
//! those alone who may know.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use prost::Message as _;
use token_authority::{
    domain::credential::Kind,
    proto::v1::{
        Account, CredentialKind, InactiveReason, IntrospectRequest, IntrospectResponse, IssueTokenRequest, ServiceRole,
        Verdict, issue_token_request::Expiry,
    },
    settings::Settings,
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::{question, service_request, span, texts},
    forge, issue_request,
    refusal::assert_field_refused,
};

on_both_databases!(
    junk_is_inactive_and_costs_no_hash,
    whatever_is_inactive_looks_alike,
    an_auditor_sees_why_and_an_introspector_never_does,
    bound_tokens_want_an_address_of_their_networks,
    other_kinds_are_let_in_only_where_asked_for,
    limited_permissions_cut_scopes_down,
    questions_that_make_no_sense_are_refused,
);

/// SMALL has room for one token, BIG for any number.
fn with_plans(settings: &mut Settings) {
    let policy =
        "version = 1\ndefault_plan = 'BIG'\n[[plans]]\nname = 'SMALL'\nmax_tokens = 1\n[[plans]]\nname = 'BIG'";
    settings.policy = toml::from_str(policy).unwrap();
}

/// What people paste, mistype and try, made of a live credential.
fn junk(live: &str) -> Vec<String> {
    let body = live.strip_prefix("dt_").unwrap();
    let mut junk = texts(&["", " ", "\0", "dt_", "_", "Bearer", "dt", "null", "\u{feff}", "eyJhbGciOiJub25lIn0.e30."]);
    junk.extend((1..live.len()).map(|length| live[..length].to_owned()));
    junk.extend((1..live.len()).map(|start| live[start..].to_owned()));
    for extra in ["0", "\0", " ", "\n", "\r\n", "=", "\u{200b}", "a\u{301}"] {
        junk.push(format!("{live}{extra}"));
        junk.push(format!("{extra}{live}"));
        junk.push(format!("dt_{extra}{body}"));
    }
    junk.extend([
        format!("Bearer {live}"),
        // Cyrillic, Greek and full-width characters that look like ASCII ones.
        format!("d\u{442}_{body}"),
        format!("\u{501}t_{body}"),
        format!("dt\u{ff3f}{body}"),
        live.chars().map(|digit| if digit.is_ascii_digit() { full_width(digit) } else { digit }).collect(),
        format!("DT_{body}"),
        live.to_ascii_uppercase(),
        live.to_ascii_lowercase(),
        format!("utm_{body}"),
        format!("ds_{body}"),
        format!("svc_{body}"),
        format!("{live}{live}"),
        format!("{live}{}", "a".repeat(1 << 20)),
        "a".repeat(1 << 20),
        "\0".repeat(1 << 20),
        "\u{1f511}".repeat(1 << 18),
    ]);
    let before = junk.len();
    junk.retain(|junk| junk != live);
    assert!(before - junk.len() <= 2, "a credential has letters of both cases");
    junk
}

fn full_width(digit: char) -> char {
    char::from_u32(u32::from(digit) - u32::from('0') + 0xff10).unwrap()
}

fn bytes_of(answers: &[IntrospectResponse]) -> BTreeSet<Vec<u8>> {
    answers.iter().map(IntrospectResponse::encode_to_vec).collect()
}

async fn junk_is_inactive_and_costs_no_hash(backend: Backend) {
    let server = TestServer::start(backend).await;
    let introspector = server.service("gateway", &[ServiceRole::Introspector]).await;
    let live = server.admin().await.issue("ada", "live", &["read"]).await;
    let junk = junk(&live.secret);

    let runs = server.server.bcrypt_runs();
    let mut answers = Vec::new();
    for presented in &junk {
        answers.push(introspector.introspect(presented).await);
    }
    assert!(answers.iter().all(|answer| !answer.active && answer.verdict() == Verdict::Unauthenticated));
    assert_eq!(bytes_of(&answers).len(), 1, "all junk is answered with the same bytes");
    assert_eq!(server.server.bcrypt_runs(), runs);
    // The live one itself is, which shows that the others are near misses.
    assert!(introspector.introspect(&live.secret).await.active);
    server.end().await;
}

/// One question for each reason why a credential can be inactive, with what is
/// set up for it.
async fn inactive(admin: &Actor) -> Vec<(InactiveReason, IntrospectRequest)> {
    let live = admin.issue("ada", "live", &["read"]).await;
    let revoked = admin.issue("ada", "revoked", &["read"]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let deleted = admin.issue("gone", "deleted", &["read"]).await;
    admin.delete_account("gone").await.unwrap();
    let expired = IssueTokenRequest {
        expiry: Some(Expiry::Ttl(span(Duration::from_micros(1)))),
        ..issue_request("ada", "expired", &["read"])
    };
    let expired = admin.try_issue(expired).await.unwrap();
    let bound =
        IssueTokenRequest { allowed_cidrs: texts(&["192.0.2.0/24"]), ..issue_request("ada", "bound", &["read"]) };
    let bound = admin.try_issue(bound).await.unwrap();
    let suspended = admin.issue("sam", "suspended", &["read"]).await;
    let sam = Account { account_id: "sam".to_owned(), suspended: true, ..Default::default() };
    admin.update_account(sam, &["suspended"]).await.unwrap();
    let mut many = [admin.issue("max", "first", &["read"]).await, admin.issue("max", "second", &["read"]).await];
    many.sort_by(|one, other| one.token.token_id.cmp(&other.token.token_id));
    let max = Account { account_id: "max".to_owned(), plan: "SMALL".to_owned(), ..Default::default() };
    admin.update_account(max, &["plan"]).await.unwrap();
    let service = admin.create_service(service_request("subject", &[ServiceRole::Admin])).await.unwrap();

    let plain = |secret: &str| question(secret, &["read"]);
    let from = |secret: &str, address: &str| IntrospectRequest { client_ip: address.to_owned(), ..plain(secret) };
    let as_session = IntrospectRequest {
        accepted_kinds: vec![CredentialKind::DesktopSession.into(), CredentialKind::Service.into()],
        ..plain(&live.secret)
    };
    let as_service =
        IntrospectRequest { accepted_kinds: vec![CredentialKind::Service.into()], ..plain(&service.secret) };
    vec![
        (InactiveReason::Malformed, plain("dt_junk")),
        (InactiveReason::Malformed, plain(&live.secret[1..])),
        (InactiveReason::Unknown, plain(&forge::unknown(Kind::Personal))),
        (InactiveReason::Unknown, plain(&forge::as_kind(&live.secret, Kind::DesktopSession))),
        (InactiveReason::Unknown, plain(&deleted.secret)),
        (InactiveReason::WrongSecret, plain(&forge::wrong_secret(&live.secret))),
        (InactiveReason::WrongSecret, plain(&forge::wrong_secret(&revoked.secret))),
        (InactiveReason::Expired, plain(&expired.secret)),
        (InactiveReason::Revoked, plain(&revoked.secret)),
        (InactiveReason::AddressNotAllowed, plain(&bound.secret)),
        (InactiveReason::AddressNotAllowed, from(&bound.secret, "198.51.100.7")),
        (InactiveReason::AccountSuspended, plain(&suspended.secret)),
        (InactiveReason::OverPlanLimit, plain(&many[1].secret)),
        (InactiveReason::KindNotAccepted, as_session),
        (InactiveReason::KindNotAccepted, plain(&service.secret)),
        (InactiveReason::KindNotAccepted, as_service),
    ]
}

async fn start_with_accounts(backend: Backend) -> (TestServer, Actor) {
    let server = TestServer::configured(backend, None, with_plans).await;
    let admin = server.admin().await;
    for account_id in ["ada", "gone", "sam", "max"] {
        admin.put_account(Account { account_id: account_id.to_owned(), ..Default::default() }).await;
    }
    (server, admin)
}

async fn whatever_is_inactive_looks_alike(backend: Backend) {
    let (server, admin) = start_with_accounts(backend).await;
    let introspector = server.service("gateway", &[ServiceRole::Introspector]).await;
    let questions: Vec<_> = inactive(&admin).await.into_iter().map(|(_, question)| question).collect();

    let runs = server.server.bcrypt_runs();
    let mut answers = introspector.batch_introspect(questions.clone()).await.unwrap();
    for question in questions {
        answers.push(introspector.try_introspect(question).await.unwrap());
    }
    assert!(answers.iter().all(|answer| !answer.active && answer.verdict() == Verdict::Unauthenticated));
    assert_eq!(bytes_of(&answers).len(), 1, "{answers:?}");
    assert_eq!(server.server.bcrypt_runs(), runs, "a fingerprint that differs is conclusive");
    server.end().await;
}

async fn an_auditor_sees_why_and_an_introspector_never_does(backend: Backend) {
    let (server, admin) = start_with_accounts(backend).await;
    let introspector = server.service("gateway", &[ServiceRole::Introspector]).await;
    let auditor = server.service("audit", &[ServiceRole::Auditor]).await;
    let both = server.service("both", &[ServiceRole::Introspector, ServiceRole::Auditor]).await;
    let mut expected = BTreeMap::new();
    for (reason, question) in inactive(&admin).await {
        let verdict = reason.as_str_name().trim_start_matches("INACTIVE_REASON_").to_lowercase();
        *expected.entry(verdict).or_insert(0) += 4;
        for sees in [&auditor, &both, &admin] {
            let answer = sees.try_introspect(question.clone()).await.unwrap();
            assert_eq!((answer.active, answer.inactive_reason()), (false, reason), "{reason:?}");
        }
        let answer = introspector.try_introspect(question).await.unwrap();
        assert_eq!(answer.inactive_reason(), InactiveReason::Unspecified, "{reason:?}");
    }
    let told = server.told().await;
    for (verdict, count) in expected {
        let series = format!(r#"token_authority_verdicts_total{{verdict="{verdict}"}}"#);
        assert_eq!(told.count(&series), count, "{series}");
    }
    server.end().await;
}

async fn bound_tokens_want_an_address_of_their_networks(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let request = IssueTokenRequest {
        allowed_cidrs: texts(&["2001:db8::/32", "192.0.2.7", "10.0.0.0/8", "::ffff:172.16.0.0/108", "192.0.2.7"]),
        ..issue_request("ada", "bound", &["read"])
    };
    let bound = admin.try_issue(request).await.unwrap();
    assert_eq!(bound.token.allowed_cidrs, ["10.0.0.0/8", "172.16.0.0/12", "192.0.2.7/32", "2001:db8::/32"]);

    let from = async |address: &str| {
        let question = IntrospectRequest { client_ip: address.to_owned(), ..question(&bound.secret, &[]) };
        admin.try_introspect(question).await.unwrap().active
    };
    for inside in ["192.0.2.7", "::ffff:192.0.2.7", "10.255.255.255", "172.31.0.1", "2001:db8:ffff::1"] {
        assert!(from(inside).await, "{inside}");
    }
    for outside in ["192.0.2.8", "::ffff:192.0.2.8", "11.0.0.0", "172.32.0.0", "2001:db9::", "::192.0.2.7", ""] {
        assert!(!from(outside).await, "{outside:?}");
    }
    server.end().await;
}

async fn other_kinds_are_let_in_only_where_asked_for(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let live = admin.issue("ada", "live", &["read"]).await;
    let accepted = async |kinds: &[CredentialKind]| {
        let accepted_kinds = kinds.iter().map(|kind| (*kind).into()).collect();
        let question = IntrospectRequest { accepted_kinds, ..question(&live.secret, &[]) };
        admin.try_introspect(question).await.unwrap().active
    };
    assert!(accepted(&[]).await);
    assert!(accepted(&[CredentialKind::Personal]).await);
    assert!(accepted(&[CredentialKind::WebSession, CredentialKind::Personal]).await);
    assert!(!accepted(&[CredentialKind::WebSession, CredentialKind::DesktopSession]).await);
    server.end().await;
}

async fn limited_permissions_cut_scopes_down(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let permissions = texts(&["read", "write"]);
    let ada = Account { account_id: "ada".to_owned(), permissions, ..Default::default() };
    admin.put_account(ada.clone()).await;
    let explicit = admin.issue("ada", "explicit", &["delete", "read"]).await;
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "inherits", &[]) };
    let inherits = admin.try_issue(inherits).await.unwrap();
    let scopes = async |secret: &str| admin.introspect(secret).await.scopes;

    assert_eq!(scopes(&explicit.secret).await, ["delete", "read"]);
    assert_eq!(scopes(&inherits.secret).await, ["read", "write"]);
    let limited = Account { limit_permissions: true, permissions: texts(&["read"]), ..ada };
    admin.update_account(limited.clone(), &["limit_permissions", "permissions"]).await.unwrap();
    assert_eq!(scopes(&explicit.secret).await, ["read"]);
    assert_eq!(scopes(&inherits.secret).await, ["read"]);
    admin.update_account(Account { permissions: Vec::new(), ..limited }, &["permissions"]).await.unwrap();
    for secret in [&explicit.secret, &inherits.secret] {
        let answer = admin.try_introspect(question(secret, &["read"])).await.unwrap();
        assert_eq!((answer.active, answer.verdict()), (true, Verdict::InsufficientScope));
    }
    server.end().await;
}

async fn questions_that_make_no_sense_are_refused(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    for address in ["192.0.2.07", "192.0.2.1:80", "[::1]", "fe80::1%eth0", " ::1", "localhost", "192.0.2.0/24"] {
        let question = IntrospectRequest { client_ip: address.to_owned(), ..question("dt_x", &[]) };
        assert_field_refused(admin.try_introspect(question).await, "INVALID_CLIENT_IP", "client_ip");
    }
    let scopes = admin.try_introspect(question("dt_x", &["read", "a b"])).await;
    assert_field_refused(scopes, "INVALID_SCOPE", "required_scopes[1]");
    let kinds = IntrospectRequest { accepted_kinds: vec![99], ..question("dt_x", &[]) };
    assert_field_refused(admin.try_introspect(kinds).await, "UNKNOWN_VALUE", "accepted_kinds");
    let past = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let staleness = IntrospectRequest { max_staleness: past, ..question("dt_x", &[]) };
    assert_field_refused(admin.try_introspect(staleness).await, "INVALID_MAX_STALENESS", "max_staleness");
    server.end().await;
}
