//! ServiceCredentialService: what internal services call this authority with.

use std::time::Duration;

use serde_json::json;
use token_authority::{
    domain::credential::Kind,
    proto::v1::{
        CreateServiceCredentialRequest, ListServiceCredentialsRequest, RotateServiceCredentialRequest,
        ServiceCredential, ServiceRole,
    },
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Process, TestServer, assert_refused,
    calls::{assert_without, question, service_request, span, texts},
    forge,
    refusal::assert_field_refused,
    wait::until,
};

on_both_databases!(
    a_credential_is_made_and_its_secret_shown_once,
    names_are_unique_among_those_not_revoked,
    requests_must_be_well_formed,
    rotation_lets_the_old_secret_work_until_overlap_ends,
    rotation_without_overlap_ends_both,
    a_lost_reply_s_secret_is_replaced,
    what_has_ended_cannot_be_rotated,
    revoking_ends_it_for_the_next_call,
    one_lasting_administrator_stays,
    it_is_used_from_its_networks_alone,
    it_expires,
    of_two_administrators_who_end_each_other_one_stays,
);

const HOUR: Duration = Duration::from_hours(1);

fn id_of(credential: &ServiceCredential) -> &str {
    &credential.credential_id
}

async fn is_good(server: &TestServer, secret: &str) -> bool {
    let result = server.actor(secret).await.who_am_i().await;
    if result.is_err() {
        assert_refused(result, Code::Unauthenticated, "CREDENTIAL_INVALID");
        return false;
    }
    true
}

async fn names(admin: &Actor, include_ended: bool) -> Vec<String> {
    let request = ListServiceCredentialsRequest { include_ended, ..Default::default() };
    let mut names: Vec<_> =
        admin.list_services(request).await.unwrap().credentials.into_iter().map(|credential| credential.name).collect();
    names.sort_unstable();
    names
}

async fn a_credential_is_made_and_its_secret_shown_once(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let me = admin.who_am_i().await.unwrap().credential_id;
    let request = CreateServiceCredentialRequest {
        allowed_cidrs: texts(&["127.0.0.1"]),
        ttl: Some(span(HOUR)),
        ..service_request("gateway", &[ServiceRole::Auditor, ServiceRole::Introspector, ServiceRole::Auditor])
    };
    let new = admin.create_service(request).await.unwrap();
    let credential = &new.credential;
    assert!(new.secret.starts_with("svc_"));
    assert!(credential.hint.starts_with("svc_…") && new.secret.ends_with(&credential.hint["svc_…".len()..]));
    assert_eq!(credential.roles, [ServiceRole::Introspector as i32, ServiceRole::Auditor as i32]);
    assert_eq!(credential.allowed_cidrs, ["127.0.0.1/32"]);
    assert_eq!(credential.created_by, format!("service:{me}"));
    let (created, ends) = (credential.create_time.unwrap(), credential.expire_time.unwrap());
    assert_eq!((ends.seconds - created.seconds, ends.nanos), (3600, created.nanos));
    assert!(is_good(&server, &new.secret).await);

    let listed = admin.list_services(ListServiceCredentialsRequest::default()).await.unwrap();
    assert!(listed.credentials.contains(credential));
    assert_without(&listed, &new.secret);
    assert_without(credential, &new.secret);
    server.end().await;
}

async fn names_are_unique_among_those_not_revoked(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let request = || service_request("gateway", &[ServiceRole::Introspector]);
    let first = admin.create_service(request()).await.unwrap();
    assert_refused(admin.create_service(request()).await, Code::AlreadyExists, "NAME_TAKEN");
    admin.revoke_service(id_of(&first.credential)).await.unwrap();
    let second = admin.create_service(request()).await.unwrap();
    assert_ne!(id_of(&first.credential), id_of(&second.credential));
    assert_eq!(names(&admin, false).await, ["admin", "gateway"]);
    assert_eq!(names(&admin, true).await, ["admin", "gateway", "gateway"]);

    let racing = (0..4).map(|_| {
        let (admin, request) = (admin.clone(), service_request("raced", &[ServiceRole::Login]));
        tokio::spawn(async move { admin.create_service(request).await })
    });
    let racing: Vec<_> = racing.collect();
    let mut made = 0;
    for created in racing {
        match created.await.unwrap() {
            Ok(_) => made += 1,
            refused => drop(assert_refused(refused, Code::AlreadyExists, "NAME_TAKEN")),
        }
    }
    assert_eq!(made, 1);
    server.end().await;
}

async fn requests_must_be_well_formed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let roles = [ServiceRole::Login];
    for name in ["", " ", "zero\u{200b}width", "line\n", &"a".repeat(101)] {
        assert_field_refused(admin.create_service(service_request(name, &roles)).await, "INVALID_NAME", "name");
    }
    assert_field_refused(admin.create_service(service_request("x", &[])).await, "ROLES_REQUIRED", "roles");
    for role in [0, 99, -1] {
        let request = CreateServiceCredentialRequest { roles: vec![role], ..service_request("x", &[]) };
        assert_field_refused(admin.create_service(request).await, "UNKNOWN_VALUE", "roles");
    }
    let networks = CreateServiceCredentialRequest { allowed_cidrs: texts(&["x"]), ..service_request("x", &roles) };
    assert_field_refused(admin.create_service(networks).await, "INVALID_CIDR", "allowed_cidrs[0]");
    for seconds in [0, -1, i64::MAX] {
        let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
        let request = CreateServiceCredentialRequest { ttl, ..service_request("x", &roles) };
        assert_refused(admin.create_service(request).await, Code::InvalidArgument, "INVALID_EXPIRY");
    }

    assert_field_refused(admin.revoke_service("x").await, "INVALID_CREDENTIAL_ID", "credential_id");
    assert_field_refused(admin.rotate_service("x", HOUR).await, "INVALID_CREDENTIAL_ID", "credential_id");
    let missing = forge::forms().parse(&forge::unknown(Kind::Service)).unwrap().id.to_string();
    let token = admin.issue("ada", "token", &[]).await.token.token_id;
    for id in [missing, token] {
        let not_found = "SERVICE_CREDENTIAL_NOT_FOUND";
        assert_refused(admin.revoke_service(&id).await, Code::NotFound, not_found);
        assert_refused(admin.rotate_service(&id, HOUR).await, Code::NotFound, not_found);
    }
    assert_eq!(names(&admin, true).await, ["admin"]);
    server.end().await;
}

async fn rotation_lets_the_old_secret_work_until_overlap_ends(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let first = admin.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap();
    let id = id_of(&first.credential);
    let second = admin.rotate_service(id, HOUR).await.unwrap();
    assert_ne!(second.secret, first.secret);
    assert!(is_good(&server, &first.secret).await && is_good(&server, &second.secret).await);
    let rotated = &second.credential;
    assert_eq!((id_of(rotated), &rotated.roles), (id, &first.credential.roles));
    assert!(rotated.rotate_time.is_some() && rotated.hint != first.credential.hint);
    let listed = admin.list_services(ListServiceCredentialsRequest::default()).await.unwrap();
    assert!(listed.credentials.contains(rotated), "{listed:?}");

    let third = admin.rotate_service(id, HOUR).await;
    assert_refused(third, Code::FailedPrecondition, "TWO_SECRETS_LIVE");
    // The shortest overlap is over before the next call arrives.
    let third = admin.rotate_service(id, Duration::ZERO).await.unwrap();
    assert!(!is_good(&server, &first.secret).await && !is_good(&server, &second.secret).await);
    let fourth = admin.rotate_service(id, Duration::from_micros(1)).await.unwrap();
    assert!(!is_good(&server, &third.secret).await);
    assert!(is_good(&server, &fourth.secret).await);
    admin.rotate_service(id, HOUR).await.unwrap();
    server.end().await;
}

async fn rotation_without_overlap_ends_both(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let first = admin.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap();
    let id = id_of(&first.credential);
    let week = Duration::from_hours(7 * 24);
    let too_long = admin.rotate_service(id, week + Duration::from_micros(1)).await;
    assert_field_refused(too_long, "INVALID_OVERLAP", "overlap");
    let second = admin.rotate_service(id, week).await.unwrap();
    let request = RotateServiceCredentialRequest { credential_id: id.to_owned(), ..Default::default() };
    let third = admin.call(admin.client.services().rotate_service_credential(request)).await.unwrap().secret;
    server.seen.secret(&third);
    assert!(!is_good(&server, &first.secret).await);
    assert!(!is_good(&server, &second.secret).await);
    assert!(is_good(&server, &third).await);

    let own = server.database.admin_token();
    let own_id = admin.who_am_i().await.unwrap().credential_id;
    let new = admin.rotate_service(&own_id, Duration::ZERO).await.unwrap();
    assert!(!is_good(&server, &own).await, "a caller may rotate itself");
    assert!(is_good(&server, &new.secret).await);
    server.end().await;
}

async fn a_lost_reply_s_secret_is_replaced(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let first = admin.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap();
    assert_eq!(first.credential.secrets.len(), 1);
    let rotate = async |request_id: &str| {
        let request = RotateServiceCredentialRequest {
            credential_id: id_of(&first.credential).to_owned(),
            overlap: Some(span(HOUR)),
            request_id: request_id.to_owned(),
        };
        admin.try_rotate_service(request).await
    };
    let lost = rotate("r1").await.unwrap();
    let new = rotate("r1").await.unwrap();
    assert!(!is_good(&server, &lost.secret).await);
    assert!(is_good(&server, &first.secret).await && is_good(&server, &new.secret).await);
    let [newer, older] = &new.credential.secrets[..] else { panic!("two are live: {:?}", new.credential) };
    assert_eq!((newer.end_time, older), (None, &lost.credential.secrets[1]));
    assert_refused(rotate("r2").await, Code::FailedPrecondition, "TWO_SECRETS_LIVE");
    admin.rotate_service(id_of(&first.credential), Duration::ZERO).await.unwrap();
    assert_refused(rotate("r1").await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    server.end().await;
}

async fn what_has_ended_cannot_be_rotated(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let revoked = admin.create_service(service_request("revoked", &[ServiceRole::Login])).await.unwrap();
    admin.revoke_service(id_of(&revoked.credential)).await.unwrap();
    let ttl = Some(span(Duration::from_micros(1)));
    let expired = CreateServiceCredentialRequest { ttl, ..service_request("expired", &[ServiceRole::Login]) };
    let expired = admin.create_service(expired).await.unwrap();
    for ended in [&revoked, &expired] {
        let rotated = admin.rotate_service(id_of(&ended.credential), Duration::ZERO).await;
        assert_refused(rotated, Code::FailedPrecondition, "CREDENTIAL_ENDED");
        assert!(!is_good(&server, &ended.secret).await);
    }
    assert_eq!(names(&admin, false).await, ["admin"]);
    assert_eq!(names(&admin, true).await, ["admin", "expired", "revoked"]);
    server.end().await;
}

async fn revoking_ends_it_for_the_next_call(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let new = admin.create_service(service_request("gateway", &[ServiceRole::Introspector])).await.unwrap();
    let service = server.actor(&new.secret).await;
    assert!(!service.introspect("junk").await.active);
    let revoked = admin.revoke_service(id_of(&new.credential)).await.unwrap();
    assert!(revoked.revoke_time.is_some());
    assert_refused(service.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    let asked = service.try_introspect(question("junk", &[])).await;
    assert_refused(asked, Code::Unauthenticated, "CREDENTIAL_INVALID");
    let again = admin.revoke_service(id_of(&new.credential)).await.unwrap();
    assert_eq!(again, revoked, "the second time changes nothing");
    server.end().await;
}

async fn one_lasting_administrator_stays(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let own = admin.who_am_i().await.unwrap().credential_id;
    assert_refused(admin.revoke_service(&own).await, Code::FailedPrecondition, "LAST_ADMIN");
    // Neither one that expires nor one with other roles will do.
    let ttl = Some(span(HOUR));
    let expiring = CreateServiceCredentialRequest { ttl, ..service_request("expiring", &[ServiceRole::Admin]) };
    let expiring = admin.create_service(expiring).await.unwrap();
    admin.create_service(service_request("issuer", &[ServiceRole::Issuer])).await.unwrap();
    assert_refused(admin.revoke_service(&own).await, Code::FailedPrecondition, "LAST_ADMIN");
    admin.revoke_service(id_of(&expiring.credential)).await.unwrap();

    let second = server.service("second", &[ServiceRole::Admin, ServiceRole::Issuer]).await;
    second.revoke_service(&own).await.unwrap();
    assert_refused(admin.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    let own = second.who_am_i().await.unwrap().credential_id;
    assert_refused(second.revoke_service(&own).await, Code::FailedPrecondition, "LAST_ADMIN");
    server.end().await;
}

async fn it_is_used_from_its_networks_alone(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    for (name, networks, good) in [
        ("here", &["127.0.0.0/8"][..], true),
        ("mapped", &["::ffff:127.0.0.1"], true),
        ("one-of-two", &["192.0.2.0/24", "127.0.0.1"], true),
        ("elsewhere", &["192.0.2.0/24"], false),
        ("ipv6", &["::1"], false),
    ] {
        let allowed_cidrs = texts(networks);
        let request = CreateServiceCredentialRequest { allowed_cidrs, ..service_request(name, &[ServiceRole::Login]) };
        let new = admin.create_service(request).await.unwrap();
        assert_eq!(is_good(&server, &new.secret).await, good, "{name}");
    }
    server.end().await;
}

async fn it_expires(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let of_span = async |name: &str, ttl| {
        let ttl = Some(span(ttl));
        let request = CreateServiceCredentialRequest { ttl, ..service_request(name, &[ServiceRole::Admin]) };
        let new = admin.create_service(request).await.unwrap();
        is_good(&server, &new.secret).await
    };
    assert!(of_span("hour", HOUR).await);
    assert!(!of_span("instant", Duration::from_micros(1)).await);
    server.end().await;
}

async fn of_two_administrators_who_end_each_other_one_stays(backend: Backend) {
    let server = TestServer::start(backend).await;
    let first = server.admin().await;
    let second = server.service("second", &[ServiceRole::Admin]).await;
    let ids = [first.who_am_i().await.unwrap().credential_id, second.who_am_i().await.unwrap().credential_id];
    let (one, other) = tokio::join!(first.revoke_service(&ids[1]), second.revoke_service(&ids[0]));
    let ended = [one.is_ok(), other.is_ok()];
    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1, "{one:?} {other:?}");
    let staying = if ended[0] { &first } else { &second };
    assert_eq!(names(staying, false).await.len(), 1);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_where_a_credential_that_is_not_good_came_from() {
    let server = Process::start(&Backend::Sqlite.database());
    let bad = || server.logged("a caller's credential is not good");
    let stranger = server.actor("dt_nonsense").await;
    assert_refused(stranger.try_introspect(question("x", &[])).await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_refused(stranger.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    until("the log tells of both", async || bad().len() == 2).await;
    assert!(
        bad().iter().all(|line| (&line["from"], &line["reason"]) == (&json!("127.0.0.1"), &json!("Malformed"))),
        "{:?}",
        bad()
    );
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_who_asked_about_what_is_not_good_where_it_is_to() {
    let server = Process::start_with(&Backend::Sqlite.database(), |command| {
        command.env("TOKEN_AUTHORITY__LOG__FILTER", "info,token_authority=debug");
    });
    let admin = server.admin().await;
    let request = service_request("gateway", &[ServiceRole::Introspector]);
    let created = admin.create_service(request).await.unwrap();
    let gateway = server.actor(&created.secret).await;
    assert!(!gateway.introspect("dt_nonsense").await.active);
    let caller = format!("service:{}", created.credential.credential_id);
    let told =
        || server.logged("inactive").iter().any(|line| line["caller"] == caller && line["reason"] == "Malformed");
    until("the log tells of it", async || told()).await;
    assert!(server.terminate().success());
}
