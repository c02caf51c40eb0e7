//! RotateToken: a new secret under the same id, and the old one beside it for as
//! long as the overlap says.

use std::time::Duration;

use futures_util::future::join_all;
use token_authority::{
    domain::{credential::Kind, time::Timestamp},
    proto::v1::{
        Account, IssueTokenRequest, RevocationReason, RotateTokenRequest, ServiceRole, Token, TokenState,
        issue_token_request::Expiry,
    },
    settings::{Settings, Span},
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Issued, TestServer, assert_refused,
    calls::{assert_without, question, span, texts},
    changes::{HOUR, rotate_once, rotate_request},
    forge, issue_request,
    refusal::assert_field_refused,
    rounds::rounds,
    settings::{be_patient, plans},
    wait::until,
};

on_both_databases!(
    all_but_the_secret_stays,
    both_secrets_work_until_the_overlap_ends,
    without_overlap_the_old_secret_ends_at_once,
    no_more_than_two_secrets_are_live,
    the_overlap_has_a_maximum,
    it_needs_no_room_of_its_own,
    each_secret_has_its_own_last_use,
    a_retry_replaces_the_secret_whose_reply_was_lost,
    a_request_id_is_its_caller_s_and_its_token_s_own,
    a_late_retry_ends_nothing_that_came_after,
    what_has_ended_is_not_rotated,
    a_suspended_account_s_token_is_not_rotated,
    what_is_no_token_of_the_caller_s_looks_missing,
    a_holder_rotates_what_holds_no_more_than_itself,
    a_token_may_rotate_itself,
    of_many_rotations_at_once_one_has_an_overlap,
    of_many_rotations_at_once_one_secret_lives,
    a_revocation_beats_a_rotation_beside_it,
    a_restart_keeps_both_secrets,
);

const CALLS: usize = 12;
const MANAGE: &str = "tokens:manage";

async fn is_active(actor: &Actor, secret: &str) -> bool {
    actor.introspect(secret).await.active
}

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("there is a time");
    Timestamp::from_parts(time.seconds, time.nanos).unwrap().as_micros()
}

async fn all_but_the_secret_stays(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let request = IssueTokenRequest {
        allowed_cidrs: texts(&["127.0.0.1"]),
        expiry: Some(Expiry::Ttl(span(2 * HOUR))),
        ..issue_request("ada", "laptop", &["read", "write"])
    };
    let old = admin.try_issue(request).await.unwrap();
    let new = admin.rotate(&old.token.token_id, HOUR).await;
    assert_ne!(new.secret, old.secret);
    assert!(new.secret.starts_with("dt_") && new.secret.ends_with(&new.token.hint["dt_…".len()..]));
    let Token { hint, rotate_time, secrets, .. } = new.token.clone();
    assert_ne!(hint, old.token.hint);
    assert!(micros(rotate_time) > micros(old.token.create_time));
    assert_eq!(new.token, Token { hint, rotate_time, secrets, ..old.token.clone() });
    assert_eq!(admin.get_token(&old.token.token_id).await.unwrap(), new.token);
    assert_without(&new.token, &new.secret);
    for secret in [&old.secret, &new.secret] {
        let answer = admin.try_introspect(token_authority::proto::v1::IntrospectRequest {
            client_ip: "127.0.0.1".to_owned(),
            ..question(secret, &["read", "write"])
        });
        let answer = answer.await.unwrap();
        assert!(answer.active && answer.missing_scopes.is_empty());
        assert_eq!((answer.token_id, answer.label.as_str()), (old.token.token_id.clone(), "laptop"));
        assert_eq!((answer.issue_time, answer.expire_time), (old.token.create_time, old.token.expire_time));
    }
    server.end().await;
}

async fn both_secrets_work_until_the_overlap_ends(backend: Backend) {
    const OVERLAP: Duration = Duration::from_secs(2);

    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let old = admin.issue("ada", "laptop", &[]).await;
    let new = admin.rotate(&old.token.token_id, OVERLAP).await;
    let [newer, older] = &new.token.secrets[..] else { panic!("two are live: {:?}", new.token.secrets) };
    assert_eq!((newer.create_time, newer.end_time), (new.token.rotate_time, None));
    assert_eq!(older.secret_id, old.token.secrets[0].secret_id);
    assert_eq!(micros(older.end_time) - micros(new.token.rotate_time), 2_000_000);
    assert!(is_active(&admin, &old.secret).await && is_active(&admin, &new.secret).await);

    until("the overlap is over", async || !is_active(&admin, &old.secret).await).await;
    let token = admin.get_token(&old.token.token_id).await.unwrap();
    let [left] = &token.secrets[..] else { panic!("one is live: {:?}", token.secrets) };
    assert_eq!((&left.secret_id, left.end_time), (&newer.secret_id, None));
    assert!(is_active(&admin, &new.secret).await);
    // There is room for another.
    let later = admin.rotate(&old.token.token_id, HOUR).await;
    assert!(micros(later.token.rotate_time) >= micros(older.end_time), "it ended before the overlap was over");
    server.end().await;
}

async fn without_overlap_the_old_secret_ends_at_once(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let mut last = admin.issue("ada", "laptop", &[]).await;
    for absent in [true, false] {
        // Held in memory, as it was.
        assert!(is_active(&admin, &last.secret).await);
        let mut request = rotate_request(&last.token.token_id, Duration::ZERO);
        if absent {
            request.overlap = None;
        }
        let new = admin.try_rotate(request).await.unwrap();
        assert!(!is_active(&admin, &last.secret).await, "the old one ended");
        assert!(is_active(&admin, &new.secret).await);
        assert_eq!(new.token.secrets.len(), 1);
        assert_eq!(admin.revoke_secret(&last.secret).await.unwrap(), None, "and ends nothing");
        last = new;
    }
    server.end().await;
}

async fn no_more_than_two_secrets_are_live(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let first = admin.issue("ada", "laptop", &[]).await;
    let id = &first.token.token_id;
    let second = admin.rotate(id, HOUR).await;
    for overlap in [HOUR, Duration::from_micros(1)] {
        let third = admin.try_rotate(rotate_request(id, overlap)).await;
        assert_refused(third, Code::FailedPrecondition, "TWO_SECRETS_LIVE");
    }
    assert_eq!(admin.get_token(id).await.unwrap(), second.token, "a refusal changes nothing");
    assert!(is_active(&admin, &first.secret).await && is_active(&admin, &second.secret).await);

    let third = admin.rotate(id, Duration::ZERO).await;
    assert!(!is_active(&admin, &first.secret).await && !is_active(&admin, &second.secret).await);
    assert!(is_active(&admin, &third.secret).await);
    let fourth = admin.rotate(id, HOUR).await;
    assert!(is_active(&admin, &third.secret).await && is_active(&admin, &fourth.secret).await);
    server.end().await;
}

async fn the_overlap_has_a_maximum(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.tokens.max_rotation_overlap = Span(HOUR);
    })
    .await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let id = &issued.token.token_id;
    let overlaps = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    for overlap in
        [overlaps(3600, 1_000), overlaps(-1, 0), overlaps(0, -1), overlaps(i64::MAX, 0), overlaps(1, i32::MAX)]
    {
        let request = RotateTokenRequest { overlap, ..rotate_request(id, HOUR) };
        assert_field_refused(admin.try_rotate(request).await, "INVALID_OVERLAP", "overlap");
    }
    for bad in ["two words", "\u{e4}", &"x".repeat(129)] {
        let refused = admin.try_rotate(rotate_once(id, HOUR, bad)).await;
        assert_field_refused(refused, "INVALID_REQUEST_ID", "request_id");
    }
    assert_eq!(admin.get_token(id).await.unwrap(), issued.token);
    assert_eq!(admin.rotate(id, HOUR).await.token.secrets.len(), 2);
    server.end().await;
}

async fn it_needs_no_room_of_its_own(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| settings.policy = plans(1, 2)).await;
    let admin = server.admin().await;
    let ada = || Account { account_id: "ada".to_owned(), plan: "PRO".to_owned(), ..Default::default() };
    admin.put_account(ada()).await;
    let first = admin.issue("ada", "first", &[]).await;
    let second = admin.issue("ada", "second", &[]).await;
    for token in [&first, &second] {
        let new = admin.rotate(&token.token.token_id, HOUR).await;
        assert_eq!(new.token.state(), TokenState::Active);
        assert!(is_active(&admin, &new.secret).await && is_active(&admin, &token.secret).await);
    }
    assert_eq!(admin.get_account("ada").await.unwrap().token_count, 2);
    let third = admin.try_issue(issue_request("ada", "third", &[])).await;
    assert_refused(third, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    // Its place is by its id: the first stays the first.
    let listed = admin.tokens_of("ada", &[]).await;
    assert_eq!(listed.iter().map(|token| token.label.as_str()).collect::<Vec<_>>(), ["second", "first"]);
    server.end().await;
}

async fn each_secret_has_its_own_last_use(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.introspection.use_interval = Span(Duration::from_millis(20));
    })
    .await;
    let admin = server.admin().await;
    let old = admin.issue("ada", "laptop", &[]).await;
    let id = &old.token.token_id;
    let new = admin.rotate(id, HOUR).await;
    let last_uses = async || {
        let secrets = admin.get_token(id).await.unwrap().secrets;
        secrets.into_iter().map(|secret| secret.last_used_time).collect::<Vec<_>>()
    };
    assert!(is_active(&admin, &old.secret).await);
    until("the old one's use is written", async || last_uses().await[1].is_some()).await;
    assert_eq!(last_uses().await[0], None, "the new one was not used");
    let before = last_uses().await;
    assert!(is_active(&admin, &new.secret).await);
    until("the new one's use is written", async || last_uses().await[0].is_some()).await;
    assert_eq!(last_uses().await[1], before[1], "the old one is idle");
    server.end().await;
}

async fn a_retry_replaces_the_secret_whose_reply_was_lost(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let old = admin.issue("ada", "laptop", &[]).await;
    let id = &old.token.token_id;
    let mut last = admin.try_rotate(rotate_once(id, HOUR, "r1")).await.unwrap();
    let older = last.token.secrets[1].clone();
    // Whatever overlap the retry asks for, the old one's end stays.
    for overlap in [HOUR, Duration::from_mins(1), Duration::ZERO] {
        assert!(is_active(&admin, &last.secret).await);
        let new = admin.try_rotate(rotate_once(id, overlap, "r1")).await.unwrap();
        assert!(!is_active(&admin, &last.secret).await, "the lost one ended");
        assert!(is_active(&admin, &new.secret).await && is_active(&admin, &old.secret).await);
        let [newer, kept] = &new.token.secrets[..] else { panic!("two are live: {:?}", new.token.secrets) };
        assert_eq!((kept, newer.end_time), (&older, None));
        last = new;
    }

    // The same where the first call ended the old one.
    let other = admin.issue("ada", "other", &[]).await;
    let id = &other.token.token_id;
    let lost = admin.try_rotate(rotate_once(id, Duration::ZERO, "r1")).await.unwrap();
    let new = admin.try_rotate(rotate_once(id, Duration::ZERO, "r1")).await.unwrap();
    assert!(!is_active(&admin, &other.secret).await && !is_active(&admin, &lost.secret).await);
    assert!(is_active(&admin, &new.secret).await);
    assert_eq!(new.token.secrets.len(), 1);
    server.end().await;
}

async fn a_request_id_is_its_caller_s_and_its_token_s_own(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issuer = server.service("issuer", &[ServiceRole::Issuer]).await;
    let token = admin.issue("ada", "laptop", &[]).await.token.token_id;
    let new = admin.try_rotate(rotate_once(&token, HOUR, "r1")).await.unwrap();
    let another_s = issuer.try_rotate(rotate_once(&token, HOUR, "r1")).await;
    assert_refused(another_s, Code::FailedPrecondition, "TWO_SECRETS_LIVE");
    let another = admin.try_rotate(rotate_once(&token, HOUR, "r2")).await;
    assert_refused(another, Code::FailedPrecondition, "TWO_SECRETS_LIVE");
    let none = admin.try_rotate(rotate_request(&token, HOUR)).await;
    assert_refused(none, Code::FailedPrecondition, "TWO_SECRETS_LIVE");
    assert!(is_active(&admin, &new.secret).await);

    let sibling = admin.issue("ada", "phone", &[]).await;
    let rotated = admin.try_rotate(rotate_once(&sibling.token.token_id, HOUR, "r1")).await.unwrap();
    assert!(is_active(&admin, &rotated.secret).await && is_active(&admin, &sibling.secret).await);
    assert!(is_active(&admin, &new.secret).await);
    // What IssueToken was given is another matter.
    let request = IssueTokenRequest { request_id: "r3".to_owned(), ..issue_request("ada", "tablet", &[]) };
    let issued = admin.try_issue(request).await.unwrap();
    let rotated = admin.try_rotate(rotate_once(&issued.token.token_id, HOUR, "r3")).await.unwrap();
    assert!(is_active(&admin, &rotated.secret).await && is_active(&admin, &issued.secret).await);
    server.end().await;
}

async fn a_late_retry_ends_nothing_that_came_after(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let id = admin.issue("ada", "laptop", &[]).await.token.token_id;
    let first = admin.try_rotate(rotate_once(&id, Duration::ZERO, "r1")).await.unwrap();
    let second = admin.try_rotate(rotate_once(&id, HOUR, "r2")).await.unwrap();
    for overlap in [Duration::ZERO, HOUR] {
        let late = admin.try_rotate(rotate_once(&id, overlap, "r1")).await;
        let error = assert_refused(late, Code::AlreadyExists, "REQUEST_ID_REUSED");
        assert_eq!(error.metadata["token_id"], id);
    }
    assert_eq!(admin.get_token(&id).await.unwrap(), second.token);
    assert!(is_active(&admin, &first.secret).await && is_active(&admin, &second.secret).await);

    let newest = &second.token.secrets[0].secret_id;
    admin.end_secret(&id, newest).await.unwrap();
    let ended = admin.try_rotate(rotate_once(&id, HOUR, "r2")).await;
    assert_refused(ended, Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert!(is_active(&admin, &first.secret).await && !is_active(&admin, &second.secret).await);
    server.end().await;
}

async fn what_has_ended_is_not_rotated(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issue = async |account: &str, expiry| {
        admin.try_issue(IssueTokenRequest { expiry, ..issue_request(account, "ended", &[]) }).await.unwrap()
    };
    let revoked = issue("ada", None).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let expired = issue("ada", Some(Expiry::Ttl(span(Duration::from_micros(1))))).await;
    let with_all = issue("ben", None).await;
    admin.revoke_all("ben", RevocationReason::Compromised, false).await.unwrap();
    for ended in [&revoked, &expired, &with_all] {
        for overlap in [Duration::ZERO, HOUR] {
            let refused = admin.try_rotate(rotate_request(&ended.token.token_id, overlap)).await;
            assert_refused(refused, Code::FailedPrecondition, "TOKEN_ENDED");
        }
        assert!(!is_active(&admin, &ended.secret).await);
        assert_eq!(admin.get_token(&ended.token.token_id).await.unwrap().rotate_time, None);
    }
    server.end().await;
}

async fn a_suspended_account_s_token_is_not_rotated(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let ada = |suspended| Account { account_id: "ada".to_owned(), suspended, ..Default::default() };
    admin.update_account(ada(true), &["suspended"]).await.unwrap();
    let refused = admin.try_rotate(rotate_request(&issued.token.token_id, HOUR)).await;
    assert_refused(refused, Code::PermissionDenied, "ACCOUNT_SUSPENDED");
    admin.update_account(ada(false), &["suspended"]).await.unwrap();
    assert!(is_active(&admin, &issued.secret).await, "the refusal ended nothing");
    admin.rotate(&issued.token.token_id, HOUR).await;
    server.end().await;
}

async fn what_is_no_token_of_the_caller_s_looks_missing(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let missing = forge::forms().parse(&forge::unknown(Kind::Personal)).unwrap().id.to_string();
    let service = admin.who_am_i().await.unwrap().credential_id;
    for id in [&missing, &service] {
        let refused = admin.try_rotate(rotate_request(id, HOUR)).await;
        assert_refused(refused, Code::NotFound, "TOKEN_NOT_FOUND");
    }
    for bad in ["", "x", &missing.to_ascii_uppercase()] {
        let refused = admin.try_rotate(rotate_request(bad, HOUR)).await;
        assert_field_refused(refused, "INVALID_TOKEN_ID", "token_id");
    }
    let other = admin.issue("ben", "other", &[]).await;
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "managing", &[]) };
    let holder = server.actor(&admin.try_issue(inherits).await.unwrap().secret).await;
    for id in [&other.token.token_id, &missing, &service] {
        let refused = holder.try_rotate(rotate_request(id, HOUR)).await;
        assert_refused(refused, Code::NotFound, "TOKEN_NOT_FOUND");
    }
    assert!(is_active(&admin, &other.secret).await);
    server.end().await;
}

fn managed(settings: &mut Settings) {
    settings.self_service.manage_scope = Some(MANAGE.to_owned());
}

/// What the holder's token has, and less and more than that.
async fn a_holder_rotates_what_holds_no_more_than_itself(backend: Backend) {
    let server = TestServer::configured(backend, None, managed).await;
    let admin = server.admin().await;
    let permissions = texts(&["read", "write", MANAGE]);
    admin.put_account(Account { account_id: "ada".to_owned(), permissions, ..Default::default() }).await;
    let issue = async |scopes: &[&str], change: &dyn Fn(&mut IssueTokenRequest)| {
        let mut request = issue_request("ada", "token", scopes);
        request.allowed_cidrs = texts(&["127.0.0.0/8"]);
        request.expiry = Some(Expiry::Ttl(span(HOUR)));
        change(&mut request);
        admin.try_issue(request).await.unwrap()
    };
    let own = issue(&["read", MANAGE], &|_| {}).await;
    let holder = server.actor(&own.secret).await;
    let same_end = |request: &mut IssueTokenRequest| {
        request.expiry = Some(Expiry::ExpireTime(own.token.expire_time.unwrap()));
    };

    let equal = issue(&["read", MANAGE], &same_end).await;
    let narrower = issue(&["read"], &|request| {
        request.allowed_cidrs = texts(&["127.0.0.1"]);
        request.expiry = Some(Expiry::Ttl(span(HOUR / 2)));
    })
    .await;
    for token in [&equal, &narrower] {
        holder.rotate(&token.token.token_id, HOUR).await;
    }

    let wider = [
        ("SCOPE_NOT_GRANTED", issue(&["read", "write"], &same_end).await),
        (
            "SCOPE_NOT_GRANTED",
            issue(&[], &|request| {
                same_end(request);
                request.inherits_permissions = true;
            })
            .await,
        ),
        (
            "NETWORK_NOT_GRANTED",
            issue(&["read"], &|request| {
                same_end(request);
                request.allowed_cidrs.clear();
            })
            .await,
        ),
        (
            "NETWORK_NOT_GRANTED",
            issue(&["read"], &|request| {
                same_end(request);
                request.allowed_cidrs = texts(&["127.0.0.1", "10.0.0.0/8"]);
            })
            .await,
        ),
        ("EXPIRY_NOT_GRANTED", issue(&["read"], &|request| request.expiry = Some(Expiry::Ttl(span(2 * HOUR)))).await),
        ("EXPIRY_NOT_GRANTED", issue(&["read"], &|request| request.expiry = None).await),
    ];
    for (reason, token) in &wider {
        let before = admin.get_token(&token.token.token_id).await.unwrap();
        for overlap in [Duration::ZERO, HOUR] {
            let refused = holder.try_rotate(rotate_request(&token.token.token_id, overlap)).await;
            assert_refused(refused, Code::PermissionDenied, reason);
        }
        assert_eq!(admin.get_token(&token.token.token_id).await.unwrap(), before);
    }
    server.end().await;
}

async fn a_token_may_rotate_itself(backend: Backend) {
    let server = TestServer::configured(backend, None, managed).await;
    let admin = server.admin().await;
    let permissions = texts(&["read", MANAGE]);
    let ada = Account { account_id: "ada".to_owned(), permissions, limit_permissions: true, ..Default::default() };
    admin.put_account(ada).await;
    let own = admin.issue("ada", "own", &["read", MANAGE]).await;
    // What the account no longer holds, the token is not the wider for.
    let narrowed = Account { account_id: "ada".to_owned(), permissions: texts(&[MANAGE]), ..Default::default() };
    admin.update_account(narrowed, &["permissions"]).await.unwrap();
    let new = server.actor(&own.secret).await.rotate(&own.token.token_id, Duration::ZERO).await;
    assert!(!is_active(&admin, &own.secret).await);
    let by_new = server.actor(&new.secret).await;
    assert_eq!(by_new.who_am_i().await.unwrap().scopes, [MANAGE]);

    let narrow = admin.issue("ben", "narrow", &["read"]).await;
    let itself = server.actor(&narrow.secret).await.try_rotate(rotate_request(&narrow.token.token_id, HOUR)).await;
    assert_refused(itself, Code::PermissionDenied, "NOT_PERMITTED");
    server.end().await;
}

async fn of_many_rotations_at_once_one_has_an_overlap(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    for _ in 0..rounds(3) {
        let old = admin.issue("ada", "laptop", &[]).await;
        let id = &old.token.token_id;
        let calls = (0..CALLS).map(|_| admin.try_rotate(rotate_request(id, HOUR)));
        let (made, refused): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), refused.len()), (1, CALLS - 1));
        for refusal in refused {
            assert_refused(refusal, Code::FailedPrecondition, "TWO_SECRETS_LIVE");
        }
        let new = made.into_iter().next().unwrap().unwrap();
        assert_eq!(admin.get_token(id).await.unwrap(), new.token);
        assert!(is_active(&admin, &old.secret).await && is_active(&admin, &new.secret).await);
    }
    server.end().await;
}

async fn of_many_rotations_at_once_one_secret_lives(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    let old = admin.issue("ada", "laptop", &[]).await;
    let id = &old.token.token_id;
    // Retries that overtake each other among them.
    let calls = (0..CALLS).map(|number| {
        let request_id = if number.is_multiple_of(2) { "" } else { "r1" };
        admin.try_rotate(rotate_once(id, Duration::ZERO, request_id))
    });
    let mut live = Vec::new();
    let mut made = 0;
    for call in join_all(calls).await {
        match call {
            Ok(Issued { secret, .. }) => {
                made += 1;
                if is_active(&admin, &secret).await {
                    live.push(secret);
                }
            }
            // Another came in between.
            refused => drop(assert_refused(refused, Code::AlreadyExists, "REQUEST_ID_REUSED")),
        }
    }
    assert!(made > CALLS / 2, "{made}");
    assert_eq!(live.len(), 1);
    assert!(!is_active(&admin, &old.secret).await);
    assert_eq!(admin.get_token(id).await.unwrap().secrets.len(), 1);
    server.end().await;
}

async fn a_revocation_beats_a_rotation_beside_it(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    for round in 0..rounds(6) {
        let old = admin.issue("ada", "laptop", &[]).await;
        let id = &old.token.token_id;
        let rotate = join_all((0..2).map(|_| admin.try_rotate(rotate_request(id, HOUR))));
        let revoke = async {
            if round % 2 == 0 {
                admin.revoke(id).await.map(drop)
            } else {
                admin.revoke_all("ada", RevocationReason::Compromised, false).await.map(drop)
            }
        };
        let (rotated, revoked) = tokio::join!(rotate, revoke);
        revoked.unwrap();
        assert!(!is_active(&admin, &old.secret).await);
        for call in rotated {
            match call {
                Ok(new) => assert!(!is_active(&admin, &new.secret).await, "it outlives its token"),
                Err(error) => {
                    let reason = error.reason.as_deref();
                    assert!(matches!(reason, Some("TOKEN_ENDED" | "TWO_SECRETS_LIVE")), "{error:?}");
                }
            }
        }
        let refused = admin.try_rotate(rotate_request(id, Duration::ZERO)).await;
        assert_refused(refused, Code::FailedPrecondition, "TOKEN_ENDED");
    }
    server.end().await;
}

async fn a_restart_keeps_both_secrets(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let old = admin.issue("ada", "laptop", &[]).await;
    let lost = admin.try_rotate(rotate_once(&old.token.token_id, HOUR, "r1")).await.unwrap();
    server.end().await;

    let server = TestServer::on(database.clone(), &database.settings(None)).await;
    let admin = server.admin().await;
    assert!(is_active(&admin, &old.secret).await && is_active(&admin, &lost.secret).await);
    assert_eq!(server.server.bcrypt_runs(), 0, "both have their fingerprints");
    assert_eq!(admin.get_token(&old.token.token_id).await.unwrap(), lost.token);
    let new = admin.try_rotate(rotate_once(&old.token.token_id, HOUR, "r1")).await.unwrap();
    assert!(!is_active(&admin, &lost.secret).await);
    assert!(is_active(&admin, &old.secret).await && is_active(&admin, &new.secret).await);
    database.assert_whole().await;
    server.end().await;
}
