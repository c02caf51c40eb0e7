//! UpdateToken: what a token is, within what its caller could issue now.

use std::time::Duration;

use prost_types::Timestamp;
use token_authority::{
    domain::{
        credential::Kind,
        policy::{CategoryDocument, Document, ScopeDocument},
    },
    proto::v1::{
        Account, InactiveReason, IntrospectRequest, IssueTokenRequest, RevocationReason, Token, TokenState,
        UpdateTokenRequest, issue_token_request::Expiry,
    },
    settings::{EmptyScopesSetting, Settings, SpanOrNever},
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Issued, TestServer, assert_refused,
    calls::{question, span, texts},
    changes::HOUR,
    forge, issue_request,
    refusal::assert_field_refused,
    settings::plans,
};

on_both_databases!(
    what_the_mask_names_changes_and_nothing_else,
    a_star_writes_all,
    the_mask_is_wanted_and_names_what_can_be_changed,
    what_the_mask_does_not_name_is_not_looked_at,
    what_it_names_must_be_well_formed,
    what_is_taken_away_binds_the_next_introspect,
    scopes_and_inheriting_answer_one_question,
    no_scopes_never_come_to_mean_all,
    scopes_are_of_the_catalogue_and_within_the_account,
    an_expiry_is_ahead_and_within_the_maximum_from_now,
    the_expiry_is_removed_where_tokens_may_live_on,
    what_has_ended_stays_as_it_is,
    a_suspended_account_s_token_stays_as_it_is,
    what_is_not_the_caller_s_looks_missing,
    a_holder_widens_nothing_beyond_itself,
    a_holder_touches_nothing_that_holds_more,
    a_holder_narrows_itself_and_does_not_come_back,
    it_needs_no_room_and_makes_none,
    what_stays_is_no_change,
    the_audit_trail_tells_old_and_new,
    a_restart_keeps_what_was_changed,
);

const MANAGE: &str = "tokens:manage";
const DAY: i64 = 24 * 60 * 60;

/// A token as an update sends it.
fn of(issued: &Issued) -> Token {
    Token { token_id: issued.token.token_id.clone(), ..Token::default() }
}

fn managed(settings: &mut Settings) {
    settings.self_service.manage_scope = Some(MANAGE.to_owned());
}

async fn ada_holds(admin: &Actor, permissions: &[&str]) {
    let ada = Account { account_id: "ada".to_owned(), permissions: texts(permissions), ..Default::default() };
    admin.put_account(ada).await;
}

async fn what_the_mask_names_changes_and_nothing_else(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let mut expected = issued.token.clone();
    let end = Timestamp { seconds: expected.create_time.unwrap().seconds + 30 * DAY, nanos: 1_000 };
    let change = Token {
        label: "Cafe\u{301}".to_owned(),
        scopes: texts(&["write", "read"]),
        allowed_cidrs: texts(&["::ffff:10.0.0.0/104", "10.0.0.0/8"]),
        expire_time: Some(Timestamp { nanos: 1_999, ..end }),
        // Not for an update to say.
        account_id: "ben".to_owned(),
        hint: "other".to_owned(),
        ..of(&issued)
    };
    for path in ["label", "scopes", "allowed_cidrs", "expire_time"] {
        match path {
            "label" => "Caf\u{e9}".clone_into(&mut expected.label),
            "scopes" => expected.scopes = texts(&["read", "write"]),
            "allowed_cidrs" => expected.allowed_cidrs = texts(&["10.0.0.0/8"]),
            _ => expected.expire_time = Some(end),
        }
        assert_eq!(admin.update_token(change.clone(), &[path]).await.unwrap(), expected, "{path}");
        assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap(), expected, "{path}");
    }
    let inherits = Token { inherits_permissions: true, ..of(&issued) };
    (expected.inherits_permissions, expected.scopes) = (true, Vec::new());
    assert_eq!(admin.update_token(inherits, &["inherits_permissions"]).await.unwrap(), expected);
    server.end().await;
}

async fn a_star_writes_all(backend: Backend) {
    let server =
        TestServer::configured(backend, None, |settings| settings.tokens.max_lifetime = SpanOrNever::Never).await;
    let admin = server.admin().await;
    let request =
        IssueTokenRequest { allowed_cidrs: texts(&["10.0.0.1"]), ..issue_request("ada", "laptop", &["read"]) };
    let issued = admin.try_issue(request).await.unwrap();
    let bare = Token { label: "bare".to_owned(), ..of(&issued) };
    let updated = admin.update_token(bare, &["*"]).await.unwrap();
    let expected = Token {
        label: "bare".to_owned(),
        scopes: Vec::new(),
        allowed_cidrs: Vec::new(),
        expire_time: None,
        ..issued.token.clone()
    };
    assert_eq!(updated, expected);
    assert!(admin.introspect(&issued.secret).await.active, "from anywhere");
    server.end().await;
}

async fn the_mask_is_wanted_and_names_what_can_be_changed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let token = || Token { label: "other".to_owned(), ..of(&issued) };
    let without = UpdateTokenRequest { token: Some(token()), update_mask: None };
    assert_field_refused(admin.try_update_token(without).await, "UPDATE_MASK_REQUIRED", "update_mask");
    assert_field_refused(admin.update_token(token(), &[]).await, "UPDATE_MASK_REQUIRED", "update_mask");
    for path in ["account_id", "token_id", "state", "hint", "token.label", "Label", "", "**", "secrets", "revoke_time"]
    {
        let refused = admin.update_token(token(), &["label", path]).await;
        assert_field_refused(refused, "INVALID_UPDATE_MASK", "update_mask");
    }
    let mask = Some(prost_types::FieldMask { paths: texts(&["label"]) });
    let nothing = UpdateTokenRequest { token: None, update_mask: mask };
    assert_field_refused(admin.try_update_token(nothing).await, "TOKEN_REQUIRED", "token");
    assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap(), issued.token);
    server.end().await;
}

async fn what_the_mask_does_not_name_is_not_looked_at(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let junk = Token {
        scopes: texts(&["a b"]),
        allowed_cidrs: texts(&["x"]),
        inherits_permissions: true,
        expire_time: Some(Timestamp { seconds: -1, nanos: -1 }),
        label: "other".to_owned(),
        ..of(&issued)
    };
    let updated = admin.update_token(junk, &["label"]).await.unwrap();
    assert_eq!(updated, Token { label: "other".to_owned(), ..issued.token.clone() });
    server.end().await;
}

async fn what_it_names_must_be_well_formed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let bad = Token {
        label: "line\n".to_owned(),
        scopes: texts(&["read", "a b"]),
        allowed_cidrs: texts(&["10.0.0.0/8", "10.0.0.1/8"]),
        expire_time: Some(Timestamp { seconds: -1, nanos: 0 }),
        ..of(&issued)
    };
    for (path, reason, field) in [
        ("label", "INVALID_LABEL", "token.label"),
        ("scopes", "INVALID_SCOPE", "token.scopes[1]"),
        ("allowed_cidrs", "INVALID_CIDR", "token.allowed_cidrs[1]"),
        ("expire_time", "INVALID_EXPIRY", "token.expire_time"),
    ] {
        assert_field_refused(admin.update_token(bad.clone(), &[path]).await, reason, field);
    }
    let both = Token { scopes: texts(&["read"]), inherits_permissions: true, ..of(&issued) };
    for paths in [&["scopes", "inherits_permissions"][..], &["*"]] {
        let labelled = Token { label: "x".to_owned(), ..both.clone() };
        assert_field_refused(admin.update_token(labelled, paths).await, "INVALID_SCOPE", "token.scopes");
    }
    for id in ["", "x", &issued.token.token_id.to_ascii_uppercase()] {
        let token = Token { token_id: id.to_owned(), label: "x".to_owned(), ..Token::default() };
        assert_field_refused(admin.update_token(token, &["label"]).await, "INVALID_TOKEN_ID", "token.token_id");
    }
    assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap(), issued.token);
    server.end().await;
}

async fn what_is_taken_away_binds_the_next_introspect(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read", "write"]).await;
    let ask = async |address: &str| {
        let question = IntrospectRequest { client_ip: address.to_owned(), ..question(&issued.secret, &["write"]) };
        admin.try_introspect(question).await.unwrap()
    };
    let update = async |token: Token, path| admin.update_token(token, &[path]).await.unwrap();
    for _ in 0..5 {
        assert_eq!(ask("").await.missing_scopes, Vec::<String>::new());
        update(Token { scopes: texts(&["read"]), ..of(&issued) }, "scopes").await;
        assert_eq!(ask("").await.missing_scopes, ["write"]);
        update(Token { scopes: texts(&["read", "write"]), ..of(&issued) }, "scopes").await;
        update(Token { allowed_cidrs: texts(&["10.0.0.0/8"]), ..of(&issued) }, "allowed_cidrs").await;
        assert_eq!(ask("11.0.0.1").await.inactive_reason(), InactiveReason::AddressNotAllowed);
        assert!(ask("10.0.0.1").await.active);
        update(of(&issued), "allowed_cidrs").await;
        update(Token { label: "other".to_owned(), ..of(&issued) }, "label").await;
        assert_eq!(ask("").await.label, "other");
    }
    server.end().await;
}

async fn scopes_and_inheriting_answer_one_question(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    ada_holds(&admin, &["read", "write"]).await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let update = async |inherits: bool, scopes: &[&str], paths: &[&str]| {
        let token = Token { inherits_permissions: inherits, scopes: texts(scopes), ..of(&issued) };
        let token = admin.update_token(token, paths).await.unwrap();
        let holds = admin.introspect(&issued.secret).await.scopes;
        (token.inherits_permissions, token.scopes, holds)
    };
    let inherits = (true, texts(&[]), texts(&["read", "write"]));
    let has = |scopes: &[&str]| (false, texts(scopes), texts(scopes));
    let (scopes, inherit, both) = (&["scopes"], &["inherits_permissions"], &["scopes", "inherits_permissions"]);

    assert_eq!(update(false, &[], inherit).await, has(&["read"]), "its scopes stay");
    assert_eq!(update(true, &["read"], inherit).await, inherits, "they go");
    assert_eq!(update(true, &["write"], scopes).await, has(&["write"]), "inheriting ends");
    assert_eq!(update(true, &[], both).await, inherits);
    assert_eq!(update(false, &["read"], both).await, has(&["read"]));
    update(true, &[], both).await;
    assert_eq!(update(false, &[], inherit).await, has(&[]));
    update(true, &[], both).await;
    assert_eq!(update(false, &[], scopes).await, has(&[]));
    server.end().await;
}

async fn no_scopes_never_come_to_mean_all(backend: Backend) {
    for (setting, is_refused) in
        [(EmptyScopesSetting::None, false), (EmptyScopesSetting::Refuse, true), (EmptyScopesSetting::Inherit, true)]
    {
        let server = TestServer::configured(backend, None, |settings| settings.tokens.empty_scopes = setting).await;
        let admin = server.admin().await;
        ada_holds(&admin, &["read", "write"]).await;
        let issued = admin.issue("ada", "laptop", &["read"]).await;
        for path in ["scopes", "inherits_permissions"] {
            let token = of(&issued);
            if path == "inherits_permissions" {
                let inherits = Token { inherits_permissions: true, ..of(&issued) };
                admin.update_token(inherits, &["inherits_permissions"]).await.unwrap();
            }
            let updated = admin.update_token(token, &[path]).await;
            if is_refused {
                assert_refused(updated, Code::InvalidArgument, "SCOPES_REQUIRED");
            } else {
                let updated = updated.unwrap();
                assert!(updated.scopes.is_empty() && !updated.inherits_permissions);
            }
        }
        server.end().await;
    }
}

async fn scopes_are_of_the_catalogue_and_within_the_account(backend: Backend) {
    let scope = |name: &str| ScopeDocument { name: name.to_owned(), description: String::new(), implies: Vec::new() };
    let catalogue = |version, names: &[&str]| Document {
        version,
        accounts_on_first_use: Some(true),
        categories: vec![CategoryDocument {
            name: "All".to_owned(),
            scopes: names.iter().map(|name| scope(name)).collect(),
        }],
        ..Document::default()
    };
    let database = backend.database();
    let mut settings = database.settings(None);
    settings.policy = catalogue(1, &["read", "write", "old"]);
    let server = TestServer::on(database.clone(), &settings).await;
    let issued = server.admin().await.issue("ada", "laptop", &["old", "read"]).await;
    server.end().await;

    settings.policy = catalogue(2, &["read", "write"]);
    let server = TestServer::on(database, &settings).await;
    let admin = server.admin().await;
    let with = |scopes: &[&str]| Token { scopes: texts(scopes), label: "other".to_owned(), ..of(&issued) };
    let unknown = admin.update_token(with(&["read", "gone"]), &["scopes"]).await;
    assert_refused(unknown, Code::InvalidArgument, "UNKNOWN_SCOPE");
    let kept = admin.update_token(with(&["old", "read"]), &["scopes", "label"]).await.unwrap();
    assert_eq!((kept.scopes, kept.label.as_str()), (texts(&["old", "read"]), "other"), "what stays is not judged");
    let unknown = admin.update_token(with(&["old"]), &["scopes"]).await;
    assert_refused(unknown, Code::InvalidArgument, "UNKNOWN_SCOPE");

    let limited = Account {
        account_id: "ada".to_owned(),
        permissions: texts(&["read"]),
        limit_permissions: true,
        ..Account::default()
    };
    admin.update_account(limited, &["permissions", "limit_permissions"]).await.unwrap();
    let beyond = admin.update_token(with(&["read", "write"]), &["scopes"]).await;
    let error = assert_refused(beyond, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    assert_eq!(error.metadata["scopes"], "write");
    let renamed = Token { label: "third".to_owned(), ..of(&issued) };
    assert_eq!(admin.update_token(renamed, &["label"]).await.unwrap().scopes, ["old", "read"]);
    assert_eq!(admin.update_token(with(&["read"]), &["scopes"]).await.unwrap().scopes, ["read"]);
    server.end().await;
}

async fn an_expiry_is_ahead_and_within_the_maximum_from_now(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let created = issued.token.create_time.unwrap();
    let at = |seconds: i64| Token {
        expire_time: Some(Timestamp { seconds: created.seconds + seconds, nanos: created.nanos }),
        ..of(&issued)
    };
    let update = async |token: Token| admin.update_token(token, &["expire_time"]).await;
    for bad in [at(0), at(-DAY), at(3651 * DAY), of(&issued)] {
        assert_field_refused(update(bad).await, "INVALID_EXPIRY", "token.expire_time");
    }
    assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap(), issued.token);
    // Ten years from its making were ten years less a moment from now.
    for good in [at(3650 * DAY), at(60)] {
        assert_eq!(update(good.clone()).await.unwrap().expire_time, good.expire_time);
        assert_eq!(admin.introspect(&issued.secret).await.expire_time, good.expire_time);
    }
    server.end().await;
}

async fn the_expiry_is_removed_where_tokens_may_live_on(backend: Backend) {
    let server =
        TestServer::configured(backend, None, |settings| settings.tokens.max_lifetime = SpanOrNever::Never).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert!(issued.token.expire_time.is_some());
    assert_eq!(admin.update_token(of(&issued), &["expire_time"]).await.unwrap().expire_time, None);
    assert_eq!(admin.introspect(&issued.secret).await.expire_time, None);
    server.end().await;
}

async fn what_has_ended_stays_as_it_is(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let revoked = admin.issue("ada", "revoked", &[]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let ttl = Some(Expiry::Ttl(span(Duration::from_micros(1))));
    let expired = IssueTokenRequest { expiry: ttl, ..issue_request("ada", "expired", &[]) };
    let expired = admin.try_issue(expired).await.unwrap();
    let with_all = admin.issue("ben", "with all", &[]).await;
    admin.revoke_all("ben", RevocationReason::Compromised, false).await.unwrap();
    for ended in [&revoked, &expired, &with_all] {
        let before = admin.get_token(&ended.token.token_id).await.unwrap();
        let far = Timestamp { seconds: ended.token.create_time.unwrap().seconds + DAY, nanos: 0 };
        let token = Token { label: "revived".to_owned(), expire_time: Some(far), ..of(ended) };
        for path in ["label", "expire_time"] {
            let refused = admin.update_token(token.clone(), &[path]).await;
            assert_refused(refused, Code::FailedPrecondition, "TOKEN_ENDED");
        }
        assert_eq!(admin.get_token(&ended.token.token_id).await.unwrap(), before);
    }
    server.end().await;
}

async fn a_suspended_account_s_token_stays_as_it_is(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let suspended = Account { account_id: "ada".to_owned(), suspended: true, ..Default::default() };
    admin.update_account(suspended, &["suspended"]).await.unwrap();
    let token = Token { label: "other".to_owned(), ..of(&issued) };
    assert_refused(admin.update_token(token, &["label"]).await, Code::PermissionDenied, "ACCOUNT_SUSPENDED");
    server.end().await;
}

async fn what_is_not_the_caller_s_looks_missing(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let other = admin.issue("ben", "other", &[]).await;
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "managing", &[]) };
    let holder = server.actor(&admin.try_issue(inherits).await.unwrap().secret).await;
    let missing = forge::forms().parse(&forge::unknown(Kind::Personal)).unwrap().id.to_string();
    let service = admin.who_am_i().await.unwrap().credential_id;
    let named = |id: &str| Token { token_id: id.to_owned(), label: "mine".to_owned(), ..Token::default() };
    for (caller, id) in [
        (&holder, &other.token.token_id),
        (&holder, &missing),
        (&holder, &service),
        (&admin, &missing),
        (&admin, &service),
    ] {
        assert_refused(caller.update_token(named(id), &["label"]).await, Code::NotFound, "TOKEN_NOT_FOUND");
    }
    let narrow = server.actor(&other.secret).await;
    let itself = narrow.update_token(named(&other.token.token_id), &["label"]).await;
    assert_refused(itself, Code::PermissionDenied, "NOT_PERMITTED");
    assert_eq!(admin.get_token(&other.token.token_id).await.unwrap(), other.token);
    server.end().await;
}

/// A token of ada's that manages others, bound to networks and to an hour.
async fn managing(server: &TestServer, admin: &Actor) -> (Issued, Actor) {
    let request = IssueTokenRequest {
        allowed_cidrs: texts(&["127.0.0.0/8"]),
        expiry: Some(Expiry::Ttl(span(HOUR))),
        ..issue_request("ada", "managing", &["read", MANAGE])
    };
    let issued = admin.try_issue(request).await.unwrap();
    let actor = server.actor(&issued.secret).await;
    (issued, actor)
}

async fn a_holder_widens_nothing_beyond_itself(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        managed(settings);
        settings.tokens.max_lifetime = SpanOrNever::Never;
    })
    .await;
    let admin = server.admin().await;
    ada_holds(&admin, &["read", "write", MANAGE]).await;
    let (own, holder) = managing(&server, &admin).await;
    let own_end = own.token.expire_time.unwrap();
    let at = |offset: i64| Some(Timestamp { seconds: own_end.seconds + offset, ..own_end });
    let request = IssueTokenRequest {
        allowed_cidrs: texts(&["127.0.0.1"]),
        expiry: Some(Expiry::Ttl(span(HOUR / 2))),
        ..issue_request("", "child", &[])
    };
    let child = holder.try_issue(request).await.unwrap();
    let update = async |token: Token, path| holder.update_token(token, &[path]).await;

    for beyond in [&["write"][..], &["read", "delete"]] {
        let token = Token { scopes: texts(beyond), ..of(&child) };
        assert_refused(update(token, "scopes").await, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    }
    let inherits = Token { inherits_permissions: true, ..of(&child) };
    assert_refused(update(inherits, "inherits_permissions").await, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    for beyond in [&["0.0.0.0/0"][..], &["127.0.0.1", "10.0.0.1"]] {
        let token = Token { allowed_cidrs: texts(beyond), ..of(&child) };
        assert_refused(update(token, "allowed_cidrs").await, Code::PermissionDenied, "NETWORK_NOT_GRANTED");
    }
    let later = Token { expire_time: at(1), ..of(&child) };
    assert_refused(update(later, "expire_time").await, Code::PermissionDenied, "EXPIRY_NOT_GRANTED");
    assert_eq!(admin.get_token(&child.token.token_id).await.unwrap(), child.token);

    let scopes = Token { scopes: texts(&["read", MANAGE]), ..of(&child) };
    assert_eq!(update(scopes, "scopes").await.unwrap().scopes, ["read", MANAGE]);
    let last = Token { expire_time: at(-1), ..of(&child) };
    assert_eq!(update(last, "expire_time").await.unwrap().expire_time, at(-1));
    // What is left open becomes its own.
    assert_eq!(update(of(&child), "allowed_cidrs").await.unwrap().allowed_cidrs, ["127.0.0.0/8"]);
    assert_eq!(update(of(&child), "expire_time").await.unwrap().expire_time, Some(own_end));
    server.end().await;
}

async fn a_holder_touches_nothing_that_holds_more(backend: Backend) {
    let server = TestServer::configured(backend, None, managed).await;
    let admin = server.admin().await;
    ada_holds(&admin, &["read", "write", MANAGE]).await;
    let (own, holder) = managing(&server, &admin).await;
    let issue = async |scopes: &[&str], networks: &[&str], ttl: Duration| {
        let request = IssueTokenRequest {
            allowed_cidrs: texts(networks),
            expiry: Some(Expiry::Ttl(span(ttl))),
            ..issue_request("ada", "wider", scopes)
        };
        admin.try_issue(request).await.unwrap()
    };
    for (reason, wider) in [
        ("SCOPE_NOT_GRANTED", issue(&["write"], &["127.0.0.1"], HOUR / 2).await),
        ("NETWORK_NOT_GRANTED", issue(&["read"], &[], HOUR / 2).await),
        ("EXPIRY_NOT_GRANTED", issue(&["read"], &["127.0.0.1"], 2 * HOUR).await),
    ] {
        // Not even to narrow it, and not by its label alone.
        let narrowed = Token {
            label: "other".to_owned(),
            scopes: texts(&["read"]),
            allowed_cidrs: texts(&["127.0.0.1"]),
            expire_time: own.token.expire_time,
            ..of(&wider)
        };
        for paths in [&["label"][..], &["scopes", "allowed_cidrs", "expire_time"]] {
            let refused = holder.update_token(narrowed.clone(), paths).await;
            assert_refused(refused, Code::PermissionDenied, reason);
        }
        assert_eq!(admin.get_token(&wider.token.token_id).await.unwrap(), wider.token);
    }
    server.end().await;
}

async fn a_holder_narrows_itself_and_does_not_come_back(backend: Backend) {
    let server = TestServer::configured(backend, None, managed).await;
    let admin = server.admin().await;
    ada_holds(&admin, &["read", "write", MANAGE]).await;
    let own = admin.issue("ada", "own", &["read", "write", MANAGE]).await;
    let holder = server.actor(&own.secret).await;
    let scopes = |scopes: &[&str]| Token { scopes: texts(scopes), ..of(&own) };
    holder.update_token(scopes(&["read", MANAGE]), &["scopes"]).await.unwrap();
    let back = holder.update_token(scopes(&["read", "write", MANAGE]), &["scopes"]).await;
    assert_refused(back, Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    holder.update_token(scopes(&["read"]), &["scopes"]).await.unwrap();
    let back = holder.update_token(scopes(&["read"]), &["scopes"]).await;
    assert_refused(back, Code::PermissionDenied, "NOT_PERMITTED");
    server.end().await;
}

async fn it_needs_no_room_and_makes_none(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| settings.policy = plans(1, 1)).await;
    let admin = server.admin().await;
    let ada = Account { account_id: "ada".to_owned(), plan: "PRO".to_owned(), ..Default::default() };
    admin.put_account(ada).await;
    let issued = admin.issue("ada", "only", &[]).await;
    let end = Timestamp { seconds: issued.token.create_time.unwrap().seconds + 100 * DAY, nanos: 0 };
    let token = Token { label: "still the only".to_owned(), expire_time: Some(end), ..of(&issued) };
    let updated = admin.update_token(token, &["label", "expire_time"]).await.unwrap();
    assert_eq!(updated.state(), TokenState::Active);
    let second = admin.try_issue(issue_request("ada", "second", &[])).await;
    assert_refused(second, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    server.end().await;
}

async fn what_stays_is_no_change(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let before = server.database.scalar("SELECT revision FROM head").await;
    assert_eq!(admin.update_token(issued.token.clone(), &["*"]).await.unwrap(), issued.token);
    assert_eq!(server.database.scalar("SELECT revision FROM head").await, before);
    server.end().await;
}

async fn the_audit_trail_tells_old_and_new(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let token = Token { label: "phone".to_owned(), allowed_cidrs: texts(&["10.0.0.1"]), ..of(&issued) };
    admin.update_token(token, &["label", "allowed_cidrs"]).await.unwrap();
    let detail = server.database.scalar("SELECT detail FROM audit_events WHERE action = 'token.update'").await;
    let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
    let expected = serde_json::json!({
        "old": { "label": "laptop", "allowed_cidrs": [] },
        "new": { "label": "phone", "allowed_cidrs": ["10.0.0.1/32"] },
    });
    assert_eq!(detail, expected);
    let event = "audit_events WHERE action = 'token.update' AND account_id = 'ada' AND target = ";
    assert_eq!(server.database.count(&format!("{event}'{}'", issued.token.token_id)).await, 1);
    server.end().await;
}

async fn a_restart_keeps_what_was_changed(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &["read", "write"]).await;
    let token = Token { label: "phone".to_owned(), scopes: texts(&["read"]), ..of(&issued) };
    let updated = admin.update_token(token, &["label", "scopes"]).await.unwrap();
    server.end().await;
    let server = TestServer::on(database.clone(), &database.settings(None)).await;
    let admin = server.admin().await;
    assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap(), updated);
    assert_eq!(admin.introspect(&issued.secret).await.scopes, ["read"]);
    server.end().await;
}
