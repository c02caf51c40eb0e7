//! Imported tokens go on working as they were: found without an id, proved once,
//! and from then on judged from memory like any other.

use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;
use prost_types::Timestamp;
use token_authority::{
    domain::credential::Kind,
    proto::v1::{
        Account, ImportedToken, InactiveReason, IntrospectRequest, RevocationReason, ServiceRole, TokenState,
        imported_token::Hash,
    },
    settings::Settings,
};
use tonic::Code;

use crate::support::{
    Backend, Database, TestServer, assert_refused,
    calls::{question, span, texts},
    forge,
    legacy::{LegacyToken, take_over},
    replicas::Replicas,
    settings::be_patient,
    wait::until,
};

const CALLS: usize = 50;

on_both_databases!(
    every_version_of_bcrypt_and_sha_256_work,
    it_is_proved_once_and_by_its_fingerprint_after_a_restart,
    a_former_key_that_is_gone_costs_one_bcrypt,
    calls_at_once_prove_it_once,
    whatever_ends_a_token_ends_it_at_once,
    it_is_revoked_by_presenting_it,
    it_calls_like_any_other_token,
    what_is_no_good_looks_alike,
    what_bcrypt_would_cut_is_never_hashed,
    canonical_and_legacy_stand_side_by_side_in_a_batch,
    a_token_that_was_taken_over_twice_is_good_while_either_is,
    forms_that_are_not_set_are_nobody_s,
    guesses_at_a_hint_take_turns,
    it_is_rotated_to_a_token_of_this_service_s_own_form,
);

async fn start(backend: Backend) -> TestServer {
    TestServer::configured(backend, None, take_over).await
}

async fn restart(server: TestServer) -> TestServer {
    let database = server.database.clone();
    server.end().await;
    on(&database).await
}

async fn on(database: &Database) -> TestServer {
    let mut settings = database.settings(None);
    take_over(&mut settings);
    TestServer::on(database.clone(), &settings).await
}

async fn until_all_have_fingerprints(database: &Database) {
    until("the fingerprints are stored", async || {
        database.count("secrets WHERE fingerprint IS NULL OR key_id IS NULL").await == 0
    })
    .await;
}

async fn every_version_of_bcrypt_and_sha_256_work(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let old: Vec<_> = (0..4).map(LegacyToken::new).collect();
    for token in &old {
        server.seen.legacy(&token.0, token.hint());
    }
    let ids = admin
        .import(vec![
            ImportedToken { scopes: texts(&["read"]), ..old[0].by_version("ada", "2a") },
            old[1].by_version("ada", "2b"),
            old[2].by_version("ada", "2y"),
            ImportedToken { scopes: texts(&["read"]), ..old[3].by_sha256("ada") },
        ])
        .await;
    assert_eq!(server.server.bcrypt_runs(), 1, "the administrator's: an import hashes nothing");
    for (token, id) in old.iter().zip(&ids) {
        let answer = admin.introspect(&token.0).await;
        assert!(answer.active);
        assert_eq!((&answer.token_id, answer.account_id.as_str(), answer.label.as_str()), (id, "ada", "legacy"));
        assert!(!admin.introspect(&token.neighbour().0).await.active);
    }
    assert_eq!(admin.introspect(&old[0].0).await.scopes, ["read"]);
    assert_eq!(admin.introspect(&old[3].0).await.scopes, ["read"]);
    // Each of the three once; when its neighbour comes, it may have its fingerprint.
    let runs = server.server.bcrypt_runs() - 1;
    assert!((3..=6).contains(&runs), "{runs}");
    server.end().await;
}

async fn it_is_proved_once_and_by_its_fingerprint_after_a_restart(backend: Backend) {
    let server = start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let first = LegacyToken::new(1);
    // All begin alike: each may be tried for each.
    let old: Vec<_> = std::iter::once(first.clone()).chain((0..3).map(|_| first.neighbour())).collect();
    admin.import(old.iter().map(|token| token.by_bcrypt("ada")).collect()).await;
    let digest = LegacyToken::new(2);
    admin.import(vec![digest.by_sha256("ada")]).await;
    for _ in 0..3 {
        for token in old.iter().chain([&digest]) {
            assert!(admin.introspect(&token.0).await.active);
        }
    }
    let runs = server.server.bcrypt_runs() - 1;
    assert!((4..=10).contains(&runs), "{runs}: at most each for all before it");
    until_all_have_fingerprints(&database).await;
    // A guess is no longer tried at what has a fingerprint.
    assert!(!admin.introspect(&first.neighbour().0).await.active);

    let server = restart(server).await;
    let admin = server.admin().await;
    for token in old.iter().chain([&digest]) {
        assert!(admin.introspect(&token.0).await.active);
        assert!(!admin.introspect(&token.neighbour().0).await.active);
    }
    assert_eq!(server.server.bcrypt_runs(), 0);
    server.end().await;
}

async fn a_former_key_that_is_gone_costs_one_bcrypt(backend: Backend) {
    let server = start(backend).await;
    let database = server.database.clone();
    let old = LegacyToken::new(1);
    let admin = server.admin().await;
    admin.import_one("ada", &old).await;
    assert!(admin.introspect(&old.0).await.active);
    until_all_have_fingerprints(&database).await;
    server.end().await;
    database.keys_done(&["add", "--id", "k2"]);
    database.keys_done(&["promote", "k2"]);
    database.put_ring(&database.ring_without("k1"));
    for runs in [2, 0] {
        let server = on(&database).await;
        let admin = server.admin().await;
        for _ in 0..2 {
            assert!(admin.introspect(&old.0).await.active);
        }
        assert_eq!(server.server.bcrypt_runs(), runs, "the token and its asker, once each");
        until("both are under k2", async || database.count("secrets WHERE key_id = 'k2'").await == 2).await;
        server.end().await;
    }
}

async fn calls_at_once_prove_it_once(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        take_over(settings);
        be_patient(settings);
    })
    .await;
    let admin = server.admin().await;
    let old = LegacyToken::new(1);
    admin.import_one("ada", &old).await;
    let answers = join_all((0..CALLS).map(|_| admin.introspect(&old.0))).await;
    assert!(answers.iter().all(|answer| answer.active));
    assert_eq!(server.server.bcrypt_runs(), 2, "the administrator's, and one");
    let other = old.neighbour();
    let answers = join_all((0..CALLS).map(|_| admin.introspect(&other.0))).await;
    assert!(answers.iter().all(|answer| !answer.active));
    assert!(server.server.bcrypt_runs() <= 3);
    server.end().await;
}

async fn whatever_ends_a_token_ends_it_at_once(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let old: Vec<_> = (0..4).map(LegacyToken::new).collect();
    let mut ids = Vec::new();
    for token in &old {
        ids.push(admin.import_one("ada", token).await);
        assert!(admin.introspect(&token.0).await.active);
    }
    admin.revoke(&ids[0]).await.unwrap();
    assert!(!admin.introspect(&old[0].0).await.active);
    assert!(admin.introspect(&old[1].0).await.active);

    let suspend = |suspended| Account { account_id: "ada".to_owned(), suspended, ..Default::default() };
    admin.update_account(suspend(true), &["suspended"]).await.unwrap();
    assert!(!admin.introspect(&old[1].0).await.active);
    admin.update_account(suspend(false), &["suspended"]).await.unwrap();
    assert!(admin.introspect(&old[1].0).await.active);

    admin.revoke_all("ada", RevocationReason::Administrative, false).await.unwrap();
    assert!(!admin.introspect(&old[1].0).await.active);
    // What was imported and never used ends with the others.
    let unused = LegacyToken::new(9);
    admin.import_one("ben", &unused).await;
    admin.delete_account("ben").await.unwrap();
    assert!(!admin.introspect(&unused.0).await.active);

    let now =
        admin.get_token(&admin.issue("cleo", "now", &[]).await.token.token_id).await.unwrap().create_time.unwrap();
    let (over, soon) = (LegacyToken::new(10), LegacyToken::new(11));
    let until_then = |token: &LegacyToken, seconds| ImportedToken {
        expire_time: Some(Timestamp { seconds: now.seconds + seconds, nanos: now.nanos }),
        ..token.by_bcrypt("cleo")
    };
    admin.import(vec![until_then(&over, -1), until_then(&soon, 3)]).await;
    assert!(!admin.introspect(&over.0).await.active);
    assert!(admin.introspect(&soon.0).await.active);
    until("it expires", async || !admin.introspect(&soon.0).await.active).await;
    server.end().await;
}

async fn it_is_revoked_by_presenting_it(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    let (used, unused, digest) = (LegacyToken::new(1), LegacyToken::new(2), LegacyToken::new(3));
    admin.import_one("ada", &used).await;
    admin.import_one("ada", &unused).await;
    admin.import(vec![digest.by_sha256("ada")]).await;
    assert!(gateway.introspect(&used.0).await.active);
    assert!(gateway.revoke_secret(&used.neighbour().0).await.unwrap().is_none());
    assert!(gateway.introspect(&used.0).await.active);
    for token in [&used, &unused, &digest] {
        let revoked = gateway.revoke_secret(&token.0).await.unwrap().unwrap();
        assert_eq!(revoked.state(), TokenState::Revoked);
        assert!(!gateway.introspect(&token.0).await.active);
    }
    server.end().await;
}

async fn it_calls_like_any_other_token(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    admin.put_account(Account { account_id: "ada".to_owned(), ..Default::default() }).await;
    let (narrow, inheriting) = (LegacyToken::new(1), LegacyToken::new(2));
    let id = admin.import_one("ada", &narrow).await;
    admin.import(vec![ImportedToken { inherits_permissions: true, ..inheriting.by_sha256("ada") }]).await;
    let holder = server.actor(&narrow.0).await;
    for _ in 0..2 {
        assert_eq!(holder.who_am_i().await.unwrap().account.unwrap().account_id, "ada");
    }
    let managing = server.actor(&inheriting.0).await;
    assert_eq!(managing.tokens_of("", &[]).await.len(), 2);
    let not_let_in = holder.try_introspect(question("junk", &[])).await;
    assert_refused(not_let_in, Code::PermissionDenied, "NOT_PERMITTED");
    let stranger = server.actor(&narrow.neighbour().0).await;
    assert_refused(stranger.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");

    admin.revoke(&id).await.unwrap();
    assert_refused(holder.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    assert_refused(holder.try_introspect(question("junk", &[])).await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}

/// Its first secret goes on in its old form while the overlap lasts.
async fn it_is_rotated_to_a_token_of_this_service_s_own_form(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let [by_bcrypt, by_digest, unused] = [1, 2, 3].map(LegacyToken::new);
    let id = admin.import_one("ada", &by_bcrypt).await;
    assert!(admin.introspect(&by_bcrypt.0).await.active);
    let rotated = admin.rotate(&id, Duration::from_hours(1)).await;
    assert!(rotated.secret.starts_with("dt_"));
    for _ in 0..2 {
        for secret in [&by_bcrypt.0, &rotated.secret] {
            let answer = admin.introspect(secret).await;
            assert_eq!((answer.active, &answer.token_id), (true, &id), "both are the same token's");
        }
    }
    let token = admin.get_token(&id).await.unwrap();
    admin.end_secret(&id, &token.secrets[1].secret_id).await.unwrap();
    assert!(!admin.introspect(&by_bcrypt.0).await.active);
    assert!(admin.introspect(&rotated.secret).await.active);

    // What was never used is proved while the overlap lasts as well.
    let id = admin.import_one("ada", &unused).await;
    let rotated = admin.rotate(&id, Duration::from_hours(1)).await;
    assert!(admin.introspect(&unused.0).await.active);
    assert!(admin.introspect(&rotated.secret).await.active);
    admin.revoke_secret(&unused.0).await.unwrap().expect("it is found by its old secret");
    assert!(!admin.introspect(&rotated.secret).await.active);

    let id = admin.import(vec![by_digest.by_sha256("ada")]).await.remove(0);
    let rotated = admin.rotate(&id, Duration::ZERO).await;
    assert!(!admin.introspect(&by_digest.0).await.active);
    assert!(admin.introspect(&rotated.secret).await.active);

    let server = restart(server).await;
    let admin = server.admin().await;
    for ended in [&by_bcrypt, &unused, &by_digest] {
        assert!(!admin.introspect(&ended.0).await.active);
    }
    assert!(admin.introspect(&rotated.secret).await.active);
    server.end().await;
}

/// One replica proves it; all of them know at once what becomes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_takes_it_and_lets_it_go_at_once() {
    const TOKENS: usize = 60;

    let forms = r#"[{ prefix = "utm_", hint_length = 12 }]"#;
    let replicas = Replicas::start(|command| {
        command.env("TOKEN_AUTHORITY__CREDENTIALS__LEGACY", forms);
    })
    .await;
    for number in 0..TOKENS {
        let token = LegacyToken::new(number);
        let (here, others) = (&replicas.admins[number % 3], replicas.others(number % 3));
        for admin in others {
            assert!(!admin.introspect(&token.0).await.active, "it is not there yet");
        }
        let id = here.import(vec![token.by_bcrypt("ada")]).await.remove(0);
        for admin in others {
            assert!(admin.introspect(&token.0).await.active);
        }
        let rotated = here.rotate(&id, Duration::from_hours(1)).await;
        for admin in others {
            assert!(admin.introspect(&rotated.secret).await.active && admin.introspect(&token.0).await.active);
        }
        here.revoke(&id).await.unwrap();
        for admin in others {
            assert!(!admin.introspect(&rotated.secret).await.active && !admin.introspect(&token.0).await.active);
        }
    }
    replicas.end();
}

async fn what_is_no_good_looks_alike(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    let (old, revoked) = (LegacyToken::new(1), LegacyToken::new(2));
    admin.import_one("ada", &old).await;
    let id = admin.import_one("ada", &revoked).await;
    assert!(admin.introspect(&revoked.0).await.active);
    admin.revoke(&id).await.unwrap();
    let cases = [
        (old.neighbour().0, InactiveReason::Unknown),
        (LegacyToken::new(3).0, InactiveReason::Unknown),
        (revoked.0, InactiveReason::Revoked),
        (old.hint().to_owned(), InactiveReason::Malformed),
        (format!("{} ", old.0), InactiveReason::Malformed),
        (format!("{}\0", old.0), InactiveReason::Malformed),
        (format!("{}é", old.0), InactiveReason::Malformed),
        (format!("utm_{}", "x".repeat(252)), InactiveReason::Malformed),
        (old.0.to_uppercase(), InactiveReason::Malformed),
        ("xyz_0123456789abcdef".to_owned(), InactiveReason::Malformed),
    ];
    let mut bytes = Vec::new();
    for (token, reason) in &cases {
        assert_eq!(admin.introspect(token).await.inactive_reason(), *reason, "{token:?}");
        bytes.push(gateway.introspect(token).await.encode_to_vec());
    }
    bytes.dedup();
    assert_eq!(bytes.len(), 1);
    assert!(gateway.introspect(&old.0).await.active);
    server.end().await;
}

async fn what_bcrypt_would_cut_is_never_hashed(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let long = |length: usize| LegacyToken(format!("utm_{}", "x".repeat(length - 4)));
    let hash_of = |token: &LegacyToken| {
        // As a program does that cuts what it is given.
        let hash = bcrypt::hash(&token.0[..token.0.len().min(72)], 4).expect("a hash");
        ImportedToken { hash: Some(Hash::Bcrypt(hash)), lookup_hint: token.hint().to_owned(), ..token.by_sha256("ada") }
    };
    let longest = long(71);
    admin.import(vec![hash_of(&longest)]).await;
    assert!(admin.introspect(&longest.0).await.active);
    assert_eq!(server.server.bcrypt_runs(), 2);
    admin.import(vec![hash_of(&long(72)), hash_of(&long(80))]).await;
    for length in [72, 73, 80, 255] {
        assert!(!admin.introspect(&long(length).0).await.active);
    }
    assert_eq!(server.server.bcrypt_runs(), 2);
    // Its digest takes all of it.
    admin.import(vec![long(80).by_sha256("ada"), long(255).by_sha256("ada")]).await;
    for (length, active) in [(79, false), (80, true), (81, false), (255, true)] {
        assert_eq!(admin.introspect(&long(length).0).await.active, active);
    }
    assert_eq!(server.server.bcrypt_runs(), 2);
    server.end().await;
}

async fn canonical_and_legacy_stand_side_by_side_in_a_batch(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let minted = admin.issue("ada", "minted", &[]).await;
    let old: Vec<_> = (0..20).map(LegacyToken::new).collect();
    admin.import(old.iter().map(|token| token.by_bcrypt("ada")).collect()).await;
    for _ in 0..2 {
        let mut questions = vec![question(&minted.secret, &[]), question("junk", &[])];
        questions.push(question(&forge::wrong_secret(&minted.secret), &[]));
        for token in &old {
            questions.extend([question(&token.0, &[]), question(&token.neighbour().0, &[]), question(&token.0, &[])]);
        }
        questions.push(question(&forge::unknown(Kind::Personal), &[]));
        let active: Vec<_> =
            admin.batch_introspect(questions).await.unwrap().into_iter().map(|answer| answer.active).collect();
        let mut expected = vec![true, false, false];
        expected.extend([true, false, true].repeat(20));
        expected.push(false);
        assert_eq!(active, expected);
    }
    server.end().await;
}

async fn a_token_that_was_taken_over_twice_is_good_while_either_is(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let old = LegacyToken::new(1);
    let first = admin.import(vec![old.by_bcrypt("ada")]).await.remove(0);
    assert_eq!(admin.introspect(&old.0).await.token_id, first);
    // Another hash of the same token.
    let second = admin.import(vec![old.by_sha256("ben")]).await.remove(0);
    assert!(admin.introspect(&old.0).await.active);
    admin.revoke(&first).await.unwrap();
    let answer = admin.introspect(&old.0).await;
    assert_eq!((answer.active, &answer.token_id), (true, &second));
    let third = admin.import(vec![old.by_bcrypt("cleo")]).await.remove(0);
    admin.revoke(&second).await.unwrap();
    let answer = admin.introspect(&old.0).await;
    assert_eq!((answer.active, &answer.token_id), (true, &third));
    // Each of them can be ended by presenting it.
    assert_eq!(admin.revoke_secret(&old.0).await.unwrap().unwrap().token_id, third);
    let answer = admin.introspect(&old.0).await;
    assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::Revoked));
    server.end().await;
}

async fn forms_that_are_not_set_are_nobody_s(backend: Backend) {
    let server = start(backend).await;
    let database = server.database.clone();
    let old = LegacyToken::new(1);
    server.admin().await.import(vec![old.by_sha256("ada")]).await;
    server.end().await;
    let server = TestServer::on(database.clone(), &database.settings(None)).await;
    let admin = server.admin().await;
    let answer = admin.introspect(&old.0).await;
    assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::Malformed));
    // Its digest needs no hint, and none can be right.
    admin.import(vec![LegacyToken::new(2).by_sha256("ada")]).await;
    let refused = admin.try_import(vec![LegacyToken::new(3).by_bcrypt("ada")]).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_LOOKUP_HINT");
    server.end().await;
    let server = on(&database).await;
    assert!(server.admin().await.introspect(&old.0).await.active);
    server.end().await;
}

/// A flood of guesses at one hint is bounded, and keeps nobody from the others.
async fn guesses_at_a_hint_take_turns(backend: Backend) {
    let change = |settings: &mut Settings| {
        take_over(settings);
        be_patient(settings);
        settings.credentials.bcrypt_threads = 2;
    };
    let server = TestServer::configured(backend, None, change).await;
    let admin = server.admin().await;
    let (guessed, other, warm) = (LegacyToken::new(1), LegacyToken::new(2), LegacyToken::new(3));
    let slow = |token: &LegacyToken| ImportedToken {
        hash: Some(Hash::Bcrypt(bcrypt::hash(&token.0, 9).expect("a hash"))),
        ..token.by_bcrypt("ada")
    };
    admin.import(vec![slow(&guessed), other.by_bcrypt("ada"), warm.by_bcrypt("ada")]).await;
    assert!(admin.introspect(&warm.0).await.active);
    let guesses: Vec<_> = (0..100).map(|_| guessed.neighbour()).collect();
    let flood = join_all(guesses.iter().map(|guess| {
        let request = IntrospectRequest { max_staleness: Some(span(Duration::ZERO)), ..question(&guess.0, &[]) };
        admin.try_introspect(request)
    }));
    let meanwhile = async {
        assert!(admin.introspect(&other.0).await.active);
        for _ in 0..20 {
            assert!(admin.introspect(&warm.0).await.active);
        }
    };
    let (answers, ()) = tokio::join!(flood, meanwhile);
    let (judged, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(!judged.is_empty() && !refused.is_empty(), "{} were judged, {} refused", judged.len(), refused.len());
    assert!(judged.into_iter().all(|answer| !answer.unwrap().active));
    for refusal in refused {
        assert_refused(refusal, Code::ResourceExhausted, "TOO_BUSY");
    }
    until("it is its turn", async || {
        admin.try_introspect(question(&guessed.0, &[])).await.is_ok_and(|answer| answer.active)
    })
    .await;
    server.end().await;
}
