//! The policy changes under accounts and tokens that there are.

use token_authority::{
    proto::v1::{Account, InactiveReason, TokenState, Verdict},
    settings::Settings,
};
use tonic::Code;

use crate::support::{
    Backend, Issued, TestServer, assert_refused, calls::question, issue_request, refusal::assert_field_refused,
};

on_both_databases!(
    what_is_on_a_plan_that_goes_rests_until_it_comes_back,
    scopes_mean_what_the_policy_in_force_says,
    an_older_policy_does_not_replace_a_newer_one,
);

/// A server with another policy on the database of one that ended.
async fn restart(server: TestServer, policy: &str) -> TestServer {
    let database = server.database.clone();
    server.end().await;
    let settings = with_policy(database.settings(None), policy);
    TestServer::on(database, &settings).await
}

fn with_policy(mut settings: Settings, policy: &str) -> Settings {
    settings.policy = toml::from_str(policy).unwrap();
    settings
}

async fn start(backend: Backend, policy: &str) -> TestServer {
    TestServer::configured(backend, None, |settings| *settings = with_policy(settings.clone(), policy)).await
}

async fn put_on(server: &TestServer, account: &str, plan: &str) -> Issued {
    let admin = server.admin().await;
    let account_of = Account { account_id: account.to_owned(), plan: plan.to_owned(), ..Default::default() };
    admin.put_account(account_of).await;
    admin.issue(account, "token", &["read"]).await
}

async fn what_is_on_a_plan_that_goes_rests_until_it_comes_back(backend: Backend) {
    let server = start(backend, "version = 1\nplans = [{ name = 'OLD', max_tokens = 5 }, { name = 'NEW' }]").await;
    let old = put_on(&server, "ada", "OLD").await;
    let new = put_on(&server, "ben", "NEW").await;

    let server = restart(server, "version = 2\nplans = [{ name = 'NEW', max_tokens = 1 }]").await;
    let admin = server.admin().await;
    let answer = admin.introspect(&old.secret).await;
    assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::OverPlanLimit));
    assert_eq!(admin.get_token(&old.token.token_id).await.unwrap().state(), TokenState::Suspended);
    assert_eq!(admin.tokens_of("ada", &[TokenState::Suspended]).await.len(), 1);
    let more = admin.try_issue(issue_request("ada", "more", &[])).await;
    assert_field_refused(more, "UNKNOWN_PLAN", "account_id");
    assert!(admin.introspect(&new.secret).await.active);
    let more = admin.try_issue(issue_request("ben", "more", &[])).await;
    assert_refused(more, Code::PermissionDenied, "TOKEN_LIMIT_REACHED");
    // No plan at all, where there are some and none is the default.
    let planless = admin.update_account(Account { account_id: "cem".to_owned(), ..Default::default() }, &["*"]).await;
    assert_field_refused(planless, "UNKNOWN_PLAN", "account.plan");

    let server = restart(server, "version = 3\nplans = [{ name = 'OLD', max_tokens = 1 }, { name = 'NEW' }]").await;
    let admin = server.admin().await;
    assert!(admin.introspect(&old.secret).await.active);
    assert_eq!(admin.tokens_of("ada", &[TokenState::Active]).await.len(), 1);
    server.end().await;
}

async fn scopes_mean_what_the_policy_in_force_says(backend: Backend) {
    let apart = "version = 1\naccounts_on_first_use = true\n[[categories]]\nname = 'All'\n\
        scopes = [{ name = 'read' }, { name = 'write' }]";
    let server = start(backend, apart).await;
    let issued = server.admin().await.issue("ada", "writer", &["write"]).await;
    let verdict = async |server: &TestServer| {
        let admin = server.admin().await;
        admin.try_introspect(question(&issued.secret, &["read"])).await.unwrap().verdict()
    };
    assert_eq!(verdict(&server).await, Verdict::InsufficientScope);
    let included = "version = 2\naccounts_on_first_use = true\n[[categories]]\nname = 'All'\n\
        scopes = [{ name = 'read' }, { name = 'write', implies = ['read'] }]";
    let server = restart(server, included).await;
    assert_eq!(verdict(&server).await, Verdict::Allowed);
    server.end().await;
}

async fn an_older_policy_does_not_replace_a_newer_one(backend: Backend) {
    let server = start(backend, "version = 2\nplans = [{ name = 'NEW' }]").await;
    let server = restart(server, "version = 1\nplans = [{ name = 'OLD' }]").await;
    let plans: Vec<_> = server.admin().await.catalog().await.unwrap().plans.into_iter().map(|plan| plan.name).collect();
    assert_eq!(plans, ["NEW"]);
    server.end().await;
}
