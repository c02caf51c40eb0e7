//! Pages: every list can be walked to its end, and a page token is good for
//! nothing else.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use token_authority::{
    client::CallError,
    proto::v1::{
        Account, IssueTokenRequest, ListAccountsRequest, ListDesktopSessionsRequest, ListServiceCredentialsRequest,
        ListTokensRequest, ServiceRole, TokenState,
    },
};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused, calls::service_request, issue_request, refusal::assert_field_refused,
};

on_both_databases!(
    tokens_are_walked_newest_first,
    every_account_is_walked_once,
    service_credentials_are_walked_newest_first,
    a_page_token_is_good_for_its_list_filter_and_caller_alone,
    a_changed_page_token_is_refused,
    page_sizes_are_bounded,
);

const REFUSED: &str = "INVALID_PAGE_TOKEN";

/// Walks a list to its end; `next` gets a page's items and the next page's token.
async fn walk<T>(next: impl AsyncFn(String) -> (Vec<T>, String)) -> Vec<Vec<T>> {
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let (items, next_page_token) = next(page_token).await;
        pages.push(items);
        if next_page_token.is_empty() {
            return pages;
        }
        page_token = next_page_token;
    }
}

fn tokens_of(account: &str, page_size: i32, page_token: &str) -> ListTokensRequest {
    ListTokensRequest {
        account_id: account.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        states: Vec::new(),
    }
}

async fn issue_many(admin: &Actor, account: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(admin.issue(account, &format!("token {number}"), &[]).await.token.token_id);
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids
}

async fn tokens_are_walked_newest_first(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let ids = issue_many(&admin, "ada", 7).await;
    issue_many(&admin, "ben", 2).await;
    for (size, pages) in [(1, 7), (3, 3), (7, 1), (6, 2), (200, 1)] {
        let walked = walk(async |page_token: String| {
            let page = admin.list_tokens(tokens_of("ada", size, &page_token)).await.unwrap();
            (page.tokens.into_iter().map(|token| token.token_id).collect(), page.next_page_token)
        })
        .await;
        assert_eq!(walked.len(), pages, "in pages of {size}");
        assert_eq!(walked.concat(), ids);
    }
    // What is issued meanwhile does not disturb a walk that has begun.
    let first = admin.list_tokens(tokens_of("ada", 4, "")).await.unwrap();
    issue_many(&admin, "ada", 2).await;
    let second = admin.list_tokens(tokens_of("ada", 4, &first.next_page_token)).await.unwrap();
    let both = [first.tokens, second.tokens].concat();
    assert_eq!(both.into_iter().map(|token| token.token_id).collect::<Vec<_>>(), ids);
    server.end().await;
}

async fn every_account_is_walked_once(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let mut ids = ["b", "a", "a-1", "a.1", "a1", "b:2", "z@example.com"].map(ToOwned::to_owned).to_vec();
    for id in &ids {
        admin.put_account(Account { account_id: id.clone(), ..Default::default() }).await;
    }
    for size in [1, 2, 3, 7] {
        let walked = walk(async |page_token| {
            let page = admin.list_accounts(ListAccountsRequest { page_size: size, page_token }).await.unwrap();
            (page.accounts.into_iter().map(|account| account.account_id).collect(), page.next_page_token)
        })
        .await;
        let mut walked = walked.concat();
        walked.sort_unstable();
        ids.sort_unstable();
        assert_eq!(walked, ids, "in pages of {size}");
    }
    server.end().await;
}

async fn service_credentials_are_walked_newest_first(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let mut ids = vec![admin.who_am_i().await.unwrap().credential_id];
    for number in 0..4 {
        let request = service_request(&format!("service {number}"), &[ServiceRole::Login]);
        ids.push(admin.create_service(request).await.unwrap().credential.credential_id);
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let walked = walk(async |page_token| {
        let request = ListServiceCredentialsRequest { page_size: 2, page_token, include_ended: false };
        let page = admin.list_services(request).await.unwrap();
        (page.credentials.into_iter().map(|credential| credential.credential_id).collect(), page.next_page_token)
    })
    .await;
    assert_eq!((walked.len(), walked.concat()), (3, ids));
    server.end().await;
}

async fn a_page_token_is_good_for_its_list_filter_and_caller_alone(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let auditor = server.service("audit", &[ServiceRole::Auditor]).await;
    issue_many(&admin, "ada", 3).await;
    issue_many(&admin, "ben", 3).await;
    admin.put_account(Account { account_id: "cem".to_owned(), ..Default::default() }).await;
    let page_token = admin.list_tokens(tokens_of("ada", 1, "")).await.unwrap().next_page_token;

    let refuse = |result: Result<(), CallError>| assert_field_refused(result, REFUSED, "page_token");
    refuse(admin.list_tokens(tokens_of("ben", 1, &page_token)).await.map(drop));
    refuse(auditor.list_tokens(tokens_of("ada", 1, &page_token)).await.map(drop));
    let states = vec![TokenState::Active.into()];
    let filtered = ListTokensRequest { states, ..tokens_of("ada", 1, &page_token) };
    refuse(admin.list_tokens(filtered).await.map(drop));
    let accounts = ListAccountsRequest { page_size: 1, page_token: page_token.clone() };
    refuse(admin.list_accounts(accounts).await.map(drop));
    let services = ListServiceCredentialsRequest { page_token: page_token.clone(), ..Default::default() };
    refuse(admin.list_services(services).await.map(drop));
    let sessions = ListDesktopSessionsRequest {
        account_id: "ada".to_owned(),
        page_token: page_token.clone(),
        ..Default::default()
    };
    refuse(admin.list_desktop_sessions(sessions).await.map(drop));

    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "holder", &[]) };
    let holder = server.actor(&admin.try_issue(inherits).await.unwrap().secret).await;
    refuse(holder.list_tokens(tokens_of("ada", 1, &page_token)).await.map(drop));
    let services = ListServiceCredentialsRequest { page_size: 1, ..Default::default() };
    let services_token = admin.list_services(services.clone()).await.unwrap().next_page_token;
    let ended = ListServiceCredentialsRequest { page_token: services_token, include_ended: true, ..services };
    refuse(admin.list_services(ended).await.map(drop));

    // Another size is another page of the same list, and so is the same again.
    for size in [1, 2, 0, 1] {
        admin.list_tokens(tokens_of("ada", size, &page_token)).await.unwrap();
    }
    server.end().await;
}

async fn a_changed_page_token_is_refused(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    issue_many(&admin, "ada", 3).await;
    let page_token = admin.list_tokens(tokens_of("ada", 1, "")).await.unwrap().next_page_token;
    let refuse = async |changed: &str| {
        let result = admin.list_tokens(tokens_of("ada", 1, changed)).await;
        assert_refused(result, Code::InvalidArgument, REFUSED);
    };
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(&page_token).unwrap();
    for (index, bit) in (0..sealed.len()).flat_map(|index| [(index, 0), (index, 7)]) {
        let mut flipped = sealed.clone();
        flipped[index] ^= 1 << bit;
        refuse(&BASE64_URL_SAFE_NO_PAD.encode(flipped)).await;
    }
    for changed in ["x", " ", "\0", &page_token[1..], &page_token[..page_token.len() - 1], &format!("{page_token}=")] {
        refuse(changed).await;
    }
    refuse(&format!("{page_token}{page_token}")).await;
    refuse(&"A".repeat(100_000)).await;
    admin.list_tokens(tokens_of("ada", 1, &page_token)).await.unwrap();
    server.end().await;
}

async fn page_sizes_are_bounded(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let length = async |size| {
        let page = ListAccountsRequest { page_size: size, page_token: String::new() };
        admin.list_accounts(page).await.map(|page| page.accounts.len())
    };
    for number in 0..201 {
        admin.put_account(Account { account_id: format!("account-{number}"), ..Default::default() }).await;
    }
    assert_eq!(length(0).await.unwrap(), 50);
    assert_eq!(length(1).await.unwrap(), 1);
    for size in [200, 201, i32::MAX] {
        assert_eq!(length(size).await.unwrap(), 200);
    }
    for bad in [-1, i32::MIN] {
        assert_field_refused(length(bad).await, "INVALID_PAGE_SIZE", "page_size");
    }
    server.end().await;
}
