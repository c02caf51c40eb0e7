//! RevokeToken: by id for those who manage, by the secret itself for whoever
//! finds one that leaked.

use prost::Message as _;
use std::time::Duration;

use token_authority::{
    domain::credential::Kind,
    proto::v1::{
        IssueTokenRequest, RevocationReason, RevokeTokenRequest, ServiceRole, TokenState, issue_token_request::Expiry,
        revoke_token_request::Target,
    },
};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused,
    calls::{service_request, span},
    forge, issue_request,
    refusal::assert_field_refused,
};

on_both_databases!(
    the_reason_stays_with_the_token,
    any_caller_ends_what_it_can_present,
    an_unknown_secret_is_ok_without_a_token,
    a_service_credential_s_own_secret_ends_it,
    a_secret_that_a_rotation_ended_ends_nothing,
    the_last_administrator_cannot_be_ended,
    an_expired_token_can_still_be_revoked,
    another_s_token_looks_like_a_missing_one,
    targets_must_be_well_formed,
);

async fn the_reason_stays_with_the_token(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "leaked", &["read"]).await;
    let revoke = async |reason: RevocationReason| {
        let target = Some(Target::TokenId(issued.token.token_id.clone()));
        let request = RevokeTokenRequest { target, reason: reason.into() };
        admin.call(admin.client.tokens().revoke_token(request)).await.unwrap().token.unwrap()
    };
    let revoked = revoke(RevocationReason::Compromised).await;
    assert_eq!((revoked.state(), revoked.revocation_reason()), (TokenState::Revoked, RevocationReason::Compromised));
    assert!(revoked.revoke_time.is_some());
    assert_eq!(revoke(RevocationReason::Superseded).await, revoked, "the second time changes nothing");
    assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap(), revoked);
    assert_eq!(admin.tokens_of("ada", &[TokenState::Revoked]).await, [revoked]);
    server.end().await;
}

async fn any_caller_ends_what_it_can_present(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let finder = admin.issue("finder", "narrow", &[]).await;
    let holder = server.actor(&finder.secret).await;
    let login = server.service("login", &[ServiceRole::Login]).await;
    for finder in [&holder, &login] {
        let leaked = admin.issue("ada", "leaked", &["read"]).await;
        let token = finder.revoke_secret(&leaked.secret).await.unwrap().unwrap();
        assert_eq!((token.token_id.as_str(), token.state()), (leaked.token.token_id.as_str(), TokenState::Revoked));
        assert!(!admin.introspect(&leaked.secret).await.active);
        assert_eq!(finder.revoke_secret(&leaked.secret).await.unwrap(), Some(token), "again changes nothing");
    }
    assert!(holder.revoke_secret(&finder.secret).await.unwrap().is_some(), "its own as well");
    assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}

async fn an_unknown_secret_is_ok_without_a_token(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "live", &["read"]).await;
    let presented = [
        String::new(),
        "junk".to_owned(),
        forge::unknown(Kind::Personal),
        forge::unknown(Kind::Service),
        forge::wrong_secret(&issued.secret),
        forge::wrong_secret(&server.database.admin_token()),
        forge::as_kind(&issued.secret, Kind::Service),
    ];
    for secret in presented {
        assert_eq!(admin.revoke_secret(&secret).await.unwrap(), None);
    }
    assert!(admin.introspect(&issued.secret).await.active);
    server.end().await;
}

async fn a_service_credential_s_own_secret_ends_it(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("leaked", &[ServiceRole::Issuer])).await.unwrap();
    let holder = server.actor(&admin.issue("ada", "finder", &[]).await.secret).await;
    assert_eq!(holder.revoke_secret(&service.secret).await.unwrap(), None, "it is no token");
    let ended = server.actor(&service.secret).await.who_am_i().await;
    assert_refused(ended, Code::Unauthenticated, "CREDENTIAL_INVALID");
    let by_id = admin.revoke(&service.credential.credential_id).await;
    assert_refused(by_id, Code::NotFound, "TOKEN_NOT_FOUND");
    server.end().await;
}

async fn a_secret_that_a_rotation_ended_ends_nothing(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("leaked", &[ServiceRole::Issuer])).await.unwrap();
    let rotated = admin.rotate_service(&service.credential.credential_id, Duration::ZERO).await.unwrap();
    let thief = server.actor(&admin.issue("mallory", "own", &[]).await.secret).await;
    assert_eq!(thief.revoke_secret(&service.secret).await.unwrap(), None);
    let issuer = server.actor(&rotated.secret).await;
    assert!(issuer.who_am_i().await.is_ok(), "the new secret goes on");
    assert_eq!(issuer.revoke_secret(&rotated.secret).await.unwrap(), None);
    assert_refused(issuer.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}

async fn the_last_administrator_cannot_be_ended(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let admin_token = server.database.admin_token();
    let refused = admin.revoke_secret(&admin_token).await;
    assert_refused(refused, Code::FailedPrecondition, "LAST_ADMIN");
    admin.who_am_i().await.unwrap();
    let second = server.service("second", &[ServiceRole::Admin]).await;
    assert_eq!(second.revoke_secret(&admin_token).await.unwrap(), None);
    assert_refused(admin.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}

async fn an_expired_token_can_still_be_revoked(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let expired = IssueTokenRequest {
        expiry: Some(Expiry::Ttl(span(Duration::from_micros(1)))),
        ..issue_request("ada", "expired", &["read"])
    };
    let expired = admin.try_issue(expired).await.unwrap();
    let states = async || admin.get_token(&expired.token.token_id).await.unwrap().state();
    assert_eq!(states().await, TokenState::Expired);
    assert_eq!(admin.tokens_of("ada", &[TokenState::Expired]).await.len(), 1);
    assert!(admin.tokens_of("ada", &[]).await.is_empty());
    admin.revoke(&expired.token.token_id).await.unwrap();
    assert_eq!(states().await, TokenState::Revoked);
    assert!(admin.tokens_of("ada", &[TokenState::Expired]).await.is_empty());
    server.end().await;
}

async fn another_s_token_looks_like_a_missing_one(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let other = admin.issue("ben", "other", &["read"]).await;
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "managing", &[]) };
    let managing = server.actor(&admin.try_issue(inherits).await.unwrap().secret).await;
    let narrow = server.actor(&admin.issue("ada", "narrow", &["read"]).await.secret).await;
    let missing = forge::forms().parse(&forge::unknown(Kind::Personal)).unwrap().id.to_string();
    let service = admin.who_am_i().await.unwrap().credential_id;

    for holder in [&managing, &narrow] {
        let status = async |id: &str| {
            let got = assert_refused(holder.get_token(id).await, Code::NotFound, "TOKEN_NOT_FOUND");
            let revoked = assert_refused(holder.revoke(id).await, Code::NotFound, "TOKEN_NOT_FOUND");
            (bytes_of(&got.source), bytes_of(&revoked.source))
        };
        let expected = status(&missing).await;
        assert_eq!(status(&other.token.token_id).await, expected);
        assert_eq!(status(&service).await, expected);
    }
    assert!(admin.introspect(&other.secret).await.active);
    server.end().await;
}

/// Code, message and details, as they came over the wire.
fn bytes_of(status: &tonic::Status) -> Vec<u8> {
    let status = tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: vec![prost_types::Any { type_url: String::new(), value: status.details().to_vec() }],
    };
    status.encode_to_vec()
}

async fn targets_must_be_well_formed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let id = admin.issue("ada", "live", &[]).await.token.token_id;
    for bad in ["", "x", &id.to_ascii_uppercase(), &id.replace('-', ""), &format!("{{{id}}}"), &format!("{id} ")] {
        assert_field_refused(admin.revoke(bad).await, "INVALID_TOKEN_ID", "token_id");
        assert_field_refused(admin.get_token(bad).await, "INVALID_TOKEN_ID", "token_id");
    }
    let revoke = async |request| admin.call(admin.client.tokens().revoke_token(request)).await;
    assert_field_refused(revoke(RevokeTokenRequest::default()).await, "TARGET_REQUIRED", "target");
    let reason = RevokeTokenRequest { target: Some(Target::TokenId(id)), reason: 99 };
    assert_field_refused(revoke(reason).await, "UNKNOWN_VALUE", "reason");
    server.end().await;
}
