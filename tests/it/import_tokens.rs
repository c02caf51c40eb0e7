//! ImportTokens: what another system issued comes in by its hashes, a call at a
//! time, whole or not at all, and once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use prost_types::Timestamp;
use token_authority::{
    domain::policy::{CategoryDocument, Document, PlanDocument, ScopeDocument},
    proto::v1::{Account, ImportTokensRequest, ImportedToken, TokenState, imported_token::Hash},
    settings::{EmptyScopesSetting, Settings},
};
use tonic::Code;

use crate::support::{
    Backend, TestServer, assert_refused,
    calls::texts,
    legacy::{LegacyToken, take_over},
    settings::{be_patient, plans},
};

const EVERY_STATE: [TokenState; 4] =
    [TokenState::Active, TokenState::Expired, TokenState::Revoked, TokenState::Suspended];

on_both_databases!(
    what_is_imported_is_told_as_it_was,
    the_whole_call_takes_effect_or_none_of_it,
    what_is_wrong_is_named,
    a_call_may_be_repeated,
    a_hash_belongs_to_one_account,
    imports_at_once_make_no_doubles,
    no_plan_refuses_an_import,
    few_tokens_share_a_hint,
    unknown_accounts_are_made_or_refused,
    a_check_imports_nothing,
    an_import_leaves_a_trail,
    empty_scopes_mean_what_they_mean_to_issue_token,
);

async fn start(backend: Backend) -> TestServer {
    TestServer::configured(backend, None, take_over).await
}

fn imported(number: usize) -> ImportedToken {
    LegacyToken::new(number).by_bcrypt("ada")
}

async fn what_is_imported_is_told_as_it_was(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let (made, ends) =
        (Timestamp { seconds: 1_577_836_800, nanos: 7_000 }, Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let old = LegacyToken::new(1);
    let whole = ImportedToken {
        label: "TradingView".to_owned(),
        scopes: texts(&["trading:read"]),
        allowed_cidrs: texts(&["10.0.0.0/8"]),
        create_time: Some(made),
        expire_time: Some(ends),
        ..old.by_bcrypt("ada")
    };
    let bare = LegacyToken::new(2).by_sha256("ada");
    let now = admin.issue("cleo", "now", &[]).await.token.create_time.unwrap();
    // What ended long ago is removed.
    let yesterday = Timestamp { seconds: now.seconds - 24 * 60 * 60, ..now };
    let over = ImportedToken { expire_time: Some(yesterday), ..imported(3) };
    let ids = admin.import(vec![whole, bare, over]).await;

    let token = admin.get_token(&ids[0]).await.unwrap();
    assert!(token.imported);
    assert_eq!((token.label.as_str(), token.hint.as_str()), ("TradingView", format!("{}…", old.hint()).as_str()));
    assert_eq!((token.scopes, token.allowed_cidrs), (texts(&["trading:read"]), texts(&["10.0.0.0/8"])));
    assert_eq!((token.create_time, token.expire_time), (Some(made), Some(ends)));
    assert!(token.secrets.len() == 1 && token.created_by.starts_with("service:"));
    let token = admin.get_token(&ids[1]).await.unwrap();
    assert_eq!((token.expire_time, token.state()), (None, TokenState::Active), "neither lifetime is its own");
    assert_eq!((token.hint.as_str(), token.label.as_str()), ("…", "legacy"));
    assert_eq!(admin.get_token(&ids[2]).await.unwrap().state(), TokenState::Expired);
    // The oldest is the last of the list.
    let listed: Vec<_> = admin.tokens_of("ada", &[]).await.into_iter().map(|token| token.token_id).collect();
    assert_eq!(listed, [ids[1].clone(), ids[0].clone()]);
    server.end().await;
}

async fn the_whole_call_takes_effect_or_none_of_it(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        take_over(settings);
        let scope =
            |name: &str| ScopeDocument { name: name.to_owned(), description: String::new(), implies: Vec::new() };
        let categories = vec![CategoryDocument { name: "All".to_owned(), scopes: vec![scope("read")] }];
        settings.policy = Document { version: 1, categories, accounts_on_first_use: Some(true), ..Document::default() };
    })
    .await;
    let admin = server.admin().await;
    let good = |number| ImportedToken { scopes: texts(&["read"]), ..imported(number) };
    let bad = ImportedToken { account_id: "ben".to_owned(), scopes: texts(&["read", "write"]), ..imported(3) };
    let revision = server.database.scalar("SELECT revision FROM head").await;
    let refused = admin.try_import(vec![good(1), good(2), bad, good(4)]).await;
    let error = assert_refused(refused, Code::InvalidArgument, "UNKNOWN_SCOPE");
    assert_eq!(error.field_violations[0].field, "tokens[2].scopes");
    assert_eq!(error.metadata["index"], "2");
    assert!(error.message.starts_with("tokens[2].scopes: ") && error.message.contains("write"), "{error:?}");
    assert_eq!(server.database.count("credentials WHERE imported").await, 0);
    assert_eq!(server.database.count("accounts").await, 0, "no account was made either");
    assert_eq!(server.database.scalar("SELECT revision FROM head").await, revision);

    assert_eq!(admin.import(vec![good(1), good(2), good(4)]).await.len(), 3);
    server.database.assert_whole().await;
    server.end().await;
}

async fn what_is_wrong_is_named(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let hashed = |hash: &str| ImportedToken { hash: Some(Hash::Bcrypt(hash.to_owned())), ..imported(1) };
    let hinted = |hint: &str| ImportedToken { lookup_hint: hint.to_owned(), ..imported(1) };
    let far = Timestamp { seconds: 4_000_000_000, nanos: 0 };
    let none = Timestamp { seconds: -1, nanos: 0 };
    for (field, reason, token) in [
        ("account_id", "INVALID_ACCOUNT_ID", ImportedToken { account_id: String::new(), ..imported(1) }),
        ("label", "INVALID_LABEL", ImportedToken { label: " ".to_owned(), ..imported(1) }),
        ("scopes[1]", "INVALID_SCOPE", ImportedToken { scopes: texts(&["a", "b c"]), ..imported(1) }),
        ("scopes", "INVALID_SCOPE", ImportedToken { scopes: texts(&["a"]), inherits_permissions: true, ..imported(1) }),
        ("allowed_cidrs[0]", "INVALID_CIDR", ImportedToken { allowed_cidrs: texts(&["10/8"]), ..imported(1) }),
        ("create_time", "INVALID_CREATE_TIME", ImportedToken { create_time: Some(none), ..imported(1) }),
        ("create_time", "INVALID_CREATE_TIME", ImportedToken { create_time: Some(far), ..imported(1) }),
        ("expire_time", "INVALID_EXPIRY", ImportedToken { expire_time: Some(none), ..imported(1) }),
        ("hash", "HASH_REQUIRED", ImportedToken { hash: None, ..imported(1) }),
        ("bcrypt", "INVALID_HASH", hashed("")),
        ("bcrypt", "INVALID_HASH", hashed("$2x$10$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi")),
        ("bcrypt", "INVALID_HASH", hashed("$2b$15$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi")),
        ("sha256", "INVALID_HASH", ImportedToken { hash: Some(Hash::Sha256(vec![0; 31])), ..imported(1) }),
        ("lookup_hint", "LOOKUP_HINT_REQUIRED", hinted("")),
        ("lookup_hint", "INVALID_LOOKUP_HINT", hinted("utm_0000000")),
        ("lookup_hint", "INVALID_LOOKUP_HINT", hinted("utm_000000012")),
        ("lookup_hint", "INVALID_LOOKUP_HINT", hinted("abc_00000001")),
    ] {
        let error = assert_refused(admin.try_import(vec![imported(0), token]).await, Code::InvalidArgument, reason);
        assert_eq!(error.field_violations[0].field, format!("tokens[1].{field}"), "{error:?}");
        assert_eq!(error.field_violations.len(), 1);
    }
    for count in [0, 1_001] {
        let tokens = vec![LegacyToken::new(1).by_sha256("ada"); count];
        let error = assert_refused(admin.try_import(tokens).await, Code::InvalidArgument, "INVALID_BATCH_SIZE");
        assert_eq!(error.field_violations[0].field, "tokens");
    }
    assert_eq!(server.database.count("credentials WHERE imported").await, 0);
    server.end().await;
}

async fn a_call_may_be_repeated(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let mut tokens: Vec<_> = (0..50).map(imported).collect();
    tokens.push(LegacyToken::new(50).by_sha256("ada"));
    // The same hash twice in a call is one token.
    tokens.push(tokens[0].clone());
    let first = admin.try_import(tokens.clone()).await.unwrap();
    assert_eq!((first.token_ids.len(), first.new_count), (52, 51));
    assert_eq!(first.token_ids[0], first.token_ids[51]);
    admin.revoke(&first.token_ids[3]).await.unwrap();

    let revision = server.database.scalar("SELECT revision FROM head").await;
    for token in &mut tokens {
        "another".clone_into(&mut token.label);
    }
    let again = admin.try_import(tokens.clone()).await.unwrap();
    assert_eq!((&again.token_ids, again.new_count), (&first.token_ids, 0));
    assert_eq!(server.database.scalar("SELECT revision FROM head").await, revision, "nothing was changed");
    let revoked = admin.get_token(&again.token_ids[3]).await.unwrap();
    assert_eq!((revoked.state(), revoked.label.as_str()), (TokenState::Revoked, "legacy"));

    let Some(Hash::Bcrypt(hash)) = &tokens[0].hash else { panic!("it is bcrypt's") };
    let by_php = ImportedToken { hash: Some(Hash::Bcrypt(hash.replacen("2b", "2y", 1))), ..tokens[0].clone() };
    assert_eq!(admin.import(vec![by_php]).await, first.token_ids[..1], "it is the same hash");

    tokens.push(imported(60));
    let more = admin.try_import(tokens).await.unwrap();
    assert_eq!((&more.token_ids[..52], more.new_count), (&first.token_ids[..], 1));
    assert_eq!(server.database.count("credentials WHERE imported").await, 52);
    server.end().await;
}

async fn a_hash_belongs_to_one_account(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    for number in 0..2 {
        let token = if number == 0 { imported(0) } else { LegacyToken::new(1).by_sha256("ada") };
        admin.import(vec![token.clone()]).await;
        let of_another = ImportedToken { account_id: "ben".to_owned(), ..token };
        let refused = admin.try_import(vec![imported(9), of_another.clone()]).await;
        let error = assert_refused(refused, Code::AlreadyExists, "HASH_TAKEN");
        assert_eq!(error.metadata["index"], "1");
    }
    // Within one call as well.
    let token = imported(5);
    let of_another = ImportedToken { account_id: "ben".to_owned(), ..token.clone() };
    assert_refused(admin.try_import(vec![token, of_another]).await, Code::AlreadyExists, "HASH_TAKEN");
    assert_eq!(server.database.count("credentials WHERE imported").await, 2);
    server.end().await;
}

async fn imports_at_once_make_no_doubles(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        take_over(settings);
        be_patient(settings);
    })
    .await;
    let admin = server.admin().await;
    let tokens: Vec<_> = (0..20).map(imported).collect();
    let rotated = (0..8).map(|first| {
        let mut tokens = tokens.clone();
        tokens.rotate_left(first);
        tokens
    });
    let answers = join_all(rotated.map(|tokens| admin.try_import(tokens))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let ids: BTreeSet<_> = answers.iter().flat_map(|answer| &answer.token_ids).collect();
    assert_eq!(ids.len(), 20);
    assert_eq!(answers.iter().map(|answer| answer.new_count).sum::<i32>(), 20);

    let token = imported(30);
    let accounts: Vec<_> = (0..8).map(|number| format!("account-{number}")).collect();
    let race = accounts
        .iter()
        .map(|account| admin.try_import(vec![ImportedToken { account_id: account.clone(), ..token.clone() }]));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(race).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    for refusal in lost {
        assert_refused(refusal, Code::AlreadyExists, "HASH_TAKEN");
    }
    assert_eq!(server.database.count("credentials WHERE imported").await, 21);
    server.database.assert_whole().await;
    server.end().await;
}

async fn no_plan_refuses_an_import(backend: Backend) {
    for count_imported in [false, true] {
        let server = TestServer::configured(backend, None, |settings| {
            take_over(settings);
            let plan = |name: &str, max_tokens| PlanDocument { name: name.to_owned(), max_tokens: Some(max_tokens) };
            settings.policy = Document { plans: vec![plan("PRO", 1), plan("BIG", 9)], count_imported, ..plans(1, 1) };
        })
        .await;
        let admin = server.admin().await;
        let on = |plan: &str| Account { account_id: "ada".to_owned(), plan: plan.to_owned(), ..Default::default() };
        admin.put_account(on("PRO")).await;
        let old: Vec<_> = (0..3).map(LegacyToken::new).collect();
        let made = |number: i64| Some(Timestamp { seconds: 1_577_836_800 + number, nanos: 0 });
        let tokens = old
            .iter()
            .zip(0..)
            .map(|(token, number)| ImportedToken { create_time: made(number), ..token.by_bcrypt("ada") });
        admin.import(tokens.collect()).await;
        let mut active = Vec::new();
        for token in &old {
            active.push(admin.introspect(&token.0).await.active);
        }
        // The oldest go on.
        assert_eq!(active, [true, !count_imported, !count_imported]);
        assert_eq!(admin.get_account("ada").await.unwrap().token_count, if count_imported { 3 } else { 0 });
        admin.update_account(on("BIG"), &["plan"]).await.unwrap();
        for token in &old {
            assert!(admin.introspect(&token.0).await.active);
        }
        server.end().await;
    }
}

async fn few_tokens_share_a_hint(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let first = LegacyToken::new(1);
    let all: Vec<_> = std::iter::once(first.clone()).chain((1..16).map(|_| first.neighbour())).collect();
    let expired = || ImportedToken {
        expire_time: Some(Timestamp { seconds: 1_577_836_800, nanos: 0 }),
        ..first.neighbour().by_bcrypt("ada")
    };
    let mut tokens: Vec<_> = all.iter().map(|token| token.by_bcrypt("ada")).collect();
    // What has ended is never tried.
    tokens.extend([expired(), expired()]);
    // Nor is what is found by its digest.
    tokens.push(first.neighbour().by_sha256("ada"));
    let ids = admin.import(tokens).await;
    let seventeenth = first.neighbour();
    let refused = admin.try_import(vec![imported(7), seventeenth.by_bcrypt("ben")]).await;
    let error = assert_refused(refused, Code::FailedPrecondition, "TOO_MANY_CANDIDATES");
    assert_eq!(error.metadata["index"], "1");
    let at_once = LegacyToken::new(2);
    let too_many = (0..17).map(|_| at_once.neighbour().by_bcrypt("ada")).collect();
    let error = assert_refused(admin.try_import(too_many).await, Code::FailedPrecondition, "TOO_MANY_CANDIDATES");
    assert_eq!(error.metadata["index"], "16");
    admin.import(vec![expired()]).await;

    for token in &all {
        assert!(admin.introspect(&token.0).await.active);
    }
    assert!(!admin.introspect(&first.neighbour().0).await.active);
    admin.revoke(&ids[5]).await.unwrap();
    admin.import(vec![seventeenth.by_bcrypt("ben")]).await;
    assert!(admin.introspect(&seventeenth.0).await.active);
    assert!(!admin.introspect(&all[5].0).await.active);
    server.end().await;
}

async fn unknown_accounts_are_made_or_refused(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let of = |account: &str, number| LegacyToken::new(number).by_bcrypt(account);
    admin.import(vec![of("ada", 1), of("ben", 2), of("ada", 3)]).await;
    assert_eq!(admin.tokens_of("ada", &[]).await.len(), 2);
    assert_eq!(server.database.count("audit_events WHERE action = 'account.create'").await, 2);
    server.end().await;

    let server = TestServer::configured(backend, None, |settings: &mut Settings| {
        take_over(settings);
        settings.policy.accounts_on_first_use = Some(false);
        settings.policy.version = 1;
    })
    .await;
    let admin = server.admin().await;
    admin.put_account(Account { account_id: "ada".to_owned(), ..Default::default() }).await;
    let refused = admin.try_import(vec![of("ada", 1), of("ben", 2)]).await;
    let error = assert_refused(refused, Code::NotFound, "ACCOUNT_NOT_FOUND");
    assert_eq!(error.metadata["index"], "1");
    assert!(admin.tokens_of("ada", &EVERY_STATE).await.is_empty());
    // A suspended account's tokens come in, and rest with the others.
    let suspended = Account { account_id: "ada".to_owned(), suspended: true, ..Default::default() };
    admin.update_account(suspended, &["suspended"]).await.unwrap();
    let ids = admin.import(vec![of("ada", 1)]).await;
    assert_eq!(admin.get_token(&ids[0]).await.unwrap().state(), TokenState::Suspended);
    server.end().await;
}

async fn a_check_imports_nothing(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let there = imported(1);
    admin.import(vec![there.clone()]).await;
    let revision = server.database.scalar("SELECT revision FROM head").await;
    let check = async |tokens| {
        let request = ImportTokensRequest { tokens, validate_only: true };
        admin.call(admin.client.tokens().import_tokens(request)).await
    };
    let of_ben = ImportedToken { account_id: "ben".to_owned(), ..there.clone() };
    let answer = check(vec![there, imported(2), LegacyToken::new(3).by_sha256("ben")]).await.unwrap();
    assert_eq!((answer.token_ids.len(), answer.new_count), (0, 2));
    assert_refused(check(vec![of_ben]).await, Code::AlreadyExists, "HASH_TAKEN");
    assert_eq!(server.database.count("credentials WHERE imported").await, 1);
    assert_eq!(server.database.count("accounts").await, 1);
    assert_eq!(server.database.scalar("SELECT revision FROM head").await, revision);
    server.end().await;
}

async fn an_import_leaves_a_trail(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let before: i64 = server.database.scalar("SELECT revision FROM head").await.parse().unwrap();
    let ids = admin.import(vec![imported(1), LegacyToken::new(2).by_sha256("ada"), imported(3)]).await;
    let after: i64 = server.database.scalar("SELECT revision FROM head").await.parse().unwrap();
    assert_eq!(after, before + 1, "it is one change");
    let subjects = server.database.scalar(&format!("SELECT subjects FROM changes WHERE revision = {after}")).await;
    for id in &ids {
        assert!(subjects.contains(&format!("credential:{id}")));
        let event = format!("audit_events WHERE action = 'token.import' AND target = '{id}' AND account_id = 'ada'");
        assert_eq!(server.database.count(&event).await, 1);
    }
    assert_eq!(subjects.matches("account:").count(), 1, "{subjects}");
    let of_digests = "audit_events WHERE action = 'token.import' AND detail LIKE '%sha256%'";
    assert_eq!(server.database.count(of_digests).await, 1);
    server.end().await;
}

async fn empty_scopes_mean_what_they_mean_to_issue_token(backend: Backend) {
    for (setting, inherits) in [(EmptyScopesSetting::None, false), (EmptyScopesSetting::Inherit, true)] {
        let server = TestServer::configured(backend, None, |settings| {
            take_over(settings);
            settings.tokens.empty_scopes = setting;
        })
        .await;
        let admin = server.admin().await;
        let ids = admin.import(vec![imported(1)]).await;
        assert_eq!(admin.get_token(&ids[0]).await.unwrap().inherits_permissions, inherits);
        server.end().await;
    }
    let server = TestServer::configured(backend, None, |settings| {
        take_over(settings);
        settings.tokens.empty_scopes = EmptyScopesSetting::Refuse;
    })
    .await;
    let admin = server.admin().await;
    let error = assert_refused(admin.try_import(vec![imported(1)]).await, Code::InvalidArgument, "SCOPES_REQUIRED");
    assert_eq!(error.field_violations[0].field, "tokens[0].scopes");
    let inheriting = ImportedToken { inherits_permissions: true, ..imported(1) };
    admin.import(vec![inheriting]).await;
    server.end().await;
}
