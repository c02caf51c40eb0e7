//! UTM's access tokens, by examples/utm.toml alone.

use prost_types::Timestamp;
use token_authority::proto::v1::{
    Account, ImportedToken, IssueTokenRequest, TokenState, Verdict, issue_token_request::Expiry,
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Issued, TestServer, assert_refused,
    calls::{assert_without, question, span},
    issue_request,
    legacy::LegacyToken,
};

const ALL_STATES: [TokenState; 4] =
    [TokenState::Active, TokenState::Expired, TokenState::Revoked, TokenState::Suspended];
const YEAR_IN_SECONDS: i64 = 365 * 24 * 60 * 60;

on_both_databases!(
    a_token_lives_one_year_to_the_second,
    another_lifetime_is_taken_within_bounds,
    the_secret_is_shown_once,
    the_eleventh_token_of_pro_is_refused,
    plans_without_room_refuse_the_first,
    an_unknown_plan_is_refused,
    a_missing_scope_is_named,
    write_scopes_include_their_read_scopes,
    a_downgrade_rests_later_tokens_until_there_is_room_again,
    ended_tokens_make_room,
    billing_puts_accounts,
    a_legacy_key_goes_on_working_beside_tokens,
);

async fn start(backend: Backend) -> TestServer {
    TestServer::configured(backend, Some("examples/utm.toml"), |_| {}).await
}

async fn put_on_plan(admin: &Actor, account: &str, plan: &str) -> Account {
    let account = Account { account_id: account.to_owned(), plan: plan.to_owned(), ..Default::default() };
    admin.put_account(account).await
}

async fn change_plan(admin: &Actor, account: &str, plan: &str) {
    let account = Account { account_id: account.to_owned(), plan: plan.to_owned(), ..Default::default() };
    admin.update_account(account, &["plan"]).await.unwrap();
}

async fn a_token_lives_one_year_to_the_second(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;

    let issued = admin.issue("trader", "TradingView Webhook", &["signals:write"]).await;
    assert!(issued.secret.starts_with("dt_"), "the prefix is UTM's");
    assert!(issued.token.hint.starts_with("dt_…") && issued.secret.ends_with(&issued.token.hint["dt_…".len()..]));
    let Timestamp { seconds, nanos } = issued.token.create_time.unwrap();
    assert_eq!(issued.token.expire_time, Some(Timestamp { seconds: seconds + YEAR_IN_SECONDS, nanos }));
    let answer = admin.introspect(&issued.secret).await;
    assert_eq!((answer.issue_time, answer.expire_time), (issued.token.create_time, issued.token.expire_time));
    server.end().await;
}

async fn another_lifetime_is_taken_within_bounds(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;
    let with_expiry =
        |expiry| IssueTokenRequest { expiry: Some(expiry), ..issue_request("trader", "short", &["trading:read"]) };
    let ttl = |seconds| with_expiry(Expiry::Ttl(prost_types::Duration { seconds, nanos: 0 }));
    let at = |time| with_expiry(Expiry::ExpireTime(time));

    let hour = admin.try_issue(ttl(3600)).await.unwrap().token;
    let created = hour.create_time.unwrap();
    assert_eq!(hour.expire_time, Some(Timestamp { seconds: created.seconds + 3600, ..created }));
    let later = Timestamp { seconds: created.seconds + 7200, nanos: 1_999 };
    let cut_to_micros = Timestamp { nanos: 1_000, ..later };
    assert_eq!(admin.try_issue(at(later)).await.unwrap().token.expire_time, Some(cut_to_micros));

    assert!(admin.try_issue(ttl(10 * YEAR_IN_SECONDS)).await.is_ok());
    let far = Timestamp { seconds: created.seconds + 11 * YEAR_IN_SECONDS, nanos: 0 };
    let before = Timestamp { nanos: 0, ..created };
    for bad in [ttl(10 * YEAR_IN_SECONDS + 1), ttl(0), ttl(-1), at(far), at(before)] {
        let error = assert_refused(admin.try_issue(bad).await, Code::InvalidArgument, "INVALID_EXPIRY");
        assert_eq!(error.field_violations.len(), 1, "{error:?}");
    }
    server.end().await;
}

async fn the_secret_is_shown_once(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;
    let issued = admin.issue("trader", "webhook", &["trading:read"]).await;

    assert_without(&issued.token, &issued.secret);
    assert_without(&admin.get_token(&issued.token.token_id).await.unwrap(), &issued.secret);
    for token in admin.tokens_of("trader", &ALL_STATES).await {
        assert_without(&token, &issued.secret);
    }
    assert_without(&admin.introspect(&issued.secret).await, &issued.secret);
    assert_without(&server.actor(&issued.secret).await.who_am_i().await.unwrap(), &issued.secret);
    assert_without(&admin.revoke(&issued.token.token_id).await.unwrap().unwrap(), &issued.secret);
    assert_without(&admin.revoke_secret(&issued.secret).await.unwrap().unwrap(), &issued.secret);
    // The tables, the log and the errors are looked through at the end.
    server.end().await;
}

async fn the_eleventh_token_of_pro_is_refused(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let put = put_on_plan(&admin, "trader", "PRO").await;
    assert_eq!((put.token_count, put.token_limit, put.token_limit_unbounded), (0, 10, false));
    for number in 1..=10 {
        admin.issue("trader", &format!("app {number}"), &["trading:read"]).await;
    }

    let eleventh = admin.try_issue(issue_request("trader", "app 11", &["trading:read"])).await;
    let error = assert_refused(eleventh, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    assert_eq!(error.message, "Maximum 10 connected apps allowed on your plan.");
    let metadata: Vec<_> = error.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(metadata, [("code", "CONNECTED_APP_LIMIT_REACHED"), ("limit", "10"), ("plan", "PRO")]);
    assert_eq!(admin.tokens_of("trader", &[]).await.len(), 10);
    assert_eq!(admin.get_account("trader").await.unwrap().token_count, 10);
    server.end().await;
}

async fn plans_without_room_refuse_the_first(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    for (account, plan, shown) in
        [("free", "FREE", "FREE"), ("basic", "BASIC", "BASIC"), ("adv", "ADVANCED", "ADVANCED"), ("new", "", "FREE")]
    {
        assert_eq!(put_on_plan(&admin, account, plan).await.plan, shown);
        let first = admin.try_issue(issue_request(account, "app", &["trading:read"])).await;
        let error = assert_refused(first, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
        assert_eq!(error.message, "Maximum 0 connected apps allowed on your plan.");
        assert_eq!((error.metadata["limit"].as_str(), error.metadata["plan"].as_str()), ("0", shown));
        assert_eq!(error.metadata["code"], "CONNECTED_APP_LIMIT_REACHED");
    }
    server.end().await;
}

async fn an_unknown_plan_is_refused(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let on_gold = Account { account_id: "trader".to_owned(), plan: "GOLD".to_owned(), ..Default::default() };
    let new = admin.update_account(on_gold.clone(), &["*"]).await;
    assert_refused(new, Code::InvalidArgument, "UNKNOWN_PLAN");
    assert_refused(admin.get_account("trader").await, Code::NotFound, "ACCOUNT_NOT_FOUND");

    put_on_plan(&admin, "trader", "PRO").await;
    let error = assert_refused(admin.update_account(on_gold, &["plan"]).await, Code::InvalidArgument, "UNKNOWN_PLAN");
    assert_eq!(error.field_violations[0].field, "account.plan");
    assert_eq!(admin.get_account("trader").await.unwrap().plan, "PRO");
    server.end().await;
}

async fn a_missing_scope_is_named(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;
    let issued = admin.issue("trader", "reader", &["trading:read"]).await;

    let answer = admin.try_introspect(question(&issued.secret, &["signals:write"])).await.unwrap();
    assert!(answer.active);
    assert_eq!(answer.verdict(), Verdict::InsufficientScope);
    assert_eq!(answer.missing_scopes, ["signals:write"]);
    assert_eq!((answer.account_id.as_str(), answer.plan.as_str()), ("trader", "PRO"));

    let both = admin.try_introspect(question(&issued.secret, &["signals:write", "trading:read"])).await.unwrap();
    assert_eq!((both.verdict(), both.missing_scopes), (Verdict::InsufficientScope, vec!["signals:write".to_owned()]));
    let held = admin.try_introspect(question(&issued.secret, &["trading:read"])).await.unwrap();
    assert_eq!((held.verdict(), held.missing_scopes.len()), (Verdict::Allowed, 0));

    let unknown = admin.try_issue(issue_request("trader", "x", &["trading:read", "trading:all"])).await;
    let error = assert_refused(unknown, Code::InvalidArgument, "UNKNOWN_SCOPE");
    assert!(error.message.contains("trading:all") && !error.message.contains("trading:read"), "{error}");
    server.end().await;
}

async fn write_scopes_include_their_read_scopes(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;
    let issued = admin.issue("trader", "bot", &["trading:write"]).await;
    assert_eq!(issued.token.scopes, ["trading:write"], "the record says what was asked for");
    let answer = admin.try_introspect(question(&issued.secret, &["trading:read"])).await.unwrap();
    assert_eq!(answer.verdict(), Verdict::Allowed);
    assert_eq!(answer.scopes, ["trading:read", "trading:write"]);

    let catalog = admin.catalog().await.unwrap();
    assert_eq!(catalog.token_prefix, "dt");
    let plans: Vec<_> = catalog.plans.iter().map(|plan| (plan.name.as_str(), plan.max_tokens)).collect();
    assert_eq!(plans, [("FREE", 0), ("BASIC", 0), ("ADVANCED", 0), ("PRO", 10)]);
    assert!(catalog.plans.iter().all(|plan| !plan.unbounded));
    let categories: Vec<_> = catalog.categories.iter().map(|category| category.name.as_str()).collect();
    assert_eq!(categories, ["Trading", "Signals", "Account"]);
    let write = &catalog.categories[0].scopes[1];
    assert_eq!((write.name.as_str(), write.implies.as_slice()), ("trading:write", &["trading:read".to_owned()][..]));
    server.end().await;
}

async fn a_downgrade_rests_later_tokens_until_there_is_room_again(backend: Backend) {
    let server = TestServer::configured(backend, Some("examples/utm.toml"), |settings| {
        let advanced = settings.policy.plans.iter_mut().find(|plan| plan.name == "ADVANCED").unwrap();
        advanced.max_tokens = Some(2);
    })
    .await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;
    let mut tokens = Vec::new();
    for number in 1..=4 {
        tokens.push(admin.issue("trader", &format!("app {number}"), &["trading:read"]).await);
    }
    tokens.sort_by(|one, other| one.token.token_id.cmp(&other.token.token_id));

    assert_only_first_work(&admin, &tokens, 4).await;
    change_plan(&admin, "trader", "ADVANCED").await;
    assert_only_first_work(&admin, &tokens, 2).await;
    let fifth = admin.try_issue(issue_request("trader", "app 5", &["trading:read"])).await;
    assert_refused(fifth, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    change_plan(&admin, "trader", "FREE").await;
    assert_only_first_work(&admin, &tokens, 0).await;
    change_plan(&admin, "trader", "PRO").await;
    assert_only_first_work(&admin, &tokens, 4).await;

    // Room that one of the first leaves goes to the next.
    change_plan(&admin, "trader", "ADVANCED").await;
    admin.revoke(&tokens.remove(0).token.token_id).await.unwrap();
    assert_only_first_work(&admin, &tokens, 2).await;
    server.end().await;
}

/// The first `working` of these, all that "trader" has by id, are in use; the
/// others rest.
async fn assert_only_first_work(admin: &Actor, tokens: &[Issued], working: usize) {
    for (index, issued) in tokens.iter().enumerate() {
        let works = index < working;
        let state = if works { TokenState::Active } else { TokenState::Suspended };
        assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap().state(), state, "token {index}");
        assert_eq!(admin.introspect(&issued.secret).await.active, works, "token {index}");
    }
    assert_eq!(admin.tokens_of("trader", &[TokenState::Active]).await.len(), working);
    assert_eq!(admin.tokens_of("trader", &[TokenState::Suspended]).await.len(), tokens.len() - working);
    assert_eq!(admin.tokens_of("trader", &[]).await.len(), tokens.len(), "nothing is deleted");
}

async fn ended_tokens_make_room(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;
    let over_at_once = IssueTokenRequest {
        expiry: Some(Expiry::Ttl(span(std::time::Duration::from_micros(1)))),
        ..issue_request("trader", "over", &["trading:read"])
    };
    admin.try_issue(over_at_once).await.unwrap();
    let mut last = None;
    for number in 1..=10 {
        last = Some(admin.issue("trader", &format!("app {number}"), &["trading:read"]).await);
    }
    let eleventh = || admin.try_issue(issue_request("trader", "app 11", &["trading:read"]));
    assert_refused(eleventh().await, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    admin.revoke(&last.unwrap().token.token_id).await.unwrap();
    eleventh().await.unwrap();
    assert_refused(eleventh().await, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    server.end().await;
}

async fn billing_puts_accounts(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let stranger = admin.try_issue(issue_request("stranger", "app", &["trading:read"])).await;
    assert_refused(stranger, Code::NotFound, "ACCOUNT_NOT_FOUND");
    server.end().await;
}

/// "The legacy X-API-Key: utm_* header still works for tokens issued before the
/// unification and continues to authenticate against the same scope checks."
async fn a_legacy_key_goes_on_working_beside_tokens(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    put_on_plan(&admin, "trader", "PRO").await;
    put_on_plan(&admin, "free", "FREE").await;
    let minted = admin.issue("trader", "webhook", &["trading:read"]).await;
    let key = LegacyToken::new(1);
    server.seen.legacy(&key.0, key.hint());
    let old = ImportedToken {
        label: "Connected app".to_owned(),
        scopes: vec!["trading:write".to_owned()],
        ..key.by_bcrypt("trader")
    };
    let id = admin.import(vec![old]).await.remove(0);

    for secret in [&minted.secret, &key.0] {
        let answer = admin.try_introspect(question(secret, &["trading:read"])).await.unwrap();
        assert_eq!((answer.verdict(), answer.account_id.as_str()), (Verdict::Allowed, "trader"));
        let answer = admin.try_introspect(question(secret, &["signals:write"])).await.unwrap();
        assert_eq!(answer.verdict(), Verdict::InsufficientScope);
        assert_eq!(answer.missing_scopes, ["signals:write"]);
    }
    let unknown = ImportedToken { scopes: vec!["trading:all".to_owned()], ..LegacyToken::new(2).by_bcrypt("trader") };
    let error = assert_refused(admin.try_import(vec![unknown]).await, Code::InvalidArgument, "UNKNOWN_SCOPE");
    assert_eq!(error.field_violations[0].field, "tokens[0].scopes");

    // Legacy keys live on plans without room, and take none from tokens.
    let on_free = LegacyToken::new(3);
    admin.import_one("free", &on_free).await;
    assert!(admin.introspect(&on_free.0).await.active);
    change_plan(&admin, "trader", "FREE").await;
    assert!(admin.introspect(&key.0).await.active);
    assert!(!admin.introspect(&minted.secret).await.active);
    change_plan(&admin, "trader", "PRO").await;
    for number in 2..=10 {
        admin.issue("trader", &format!("app {number}"), &["trading:read"]).await;
    }
    let eleventh = admin.try_issue(issue_request("trader", "app 11", &["trading:read"])).await;
    assert_refused(eleventh, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");

    // It is revoked like any other.
    admin.revoke(&id).await.unwrap();
    assert!(!admin.introspect(&key.0).await.active);
    server.end().await;
}
