//! A caller whose credential ends while its call waits gets nothing done.

use std::time::Duration;

use futures_util::future::join_all;
use token_authority::{
    client::CallError,
    proto::v1::{Account, ListAccountsRequest, RevocationReason, ServiceRole, Token},
};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    calls::service_request,
    changes::{HOUR, rotate_request},
    gate::Gate,
    issue_request,
    settings::be_patient,
    sign_in::{PASSWORD, by_account, by_password},
    wait::until,
};

const CALLS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_revoked_while_it_waits_for_a_lock_gets_nothing_done() {
    let server =
        TestServer::configured(Backend::Postgres, None, |settings| settings.database.max_connections = 32).await;
    let admin = server.admin().await;
    let roles = [ServiceRole::Issuer, ServiceRole::AccountWriter];
    let service = admin.create_service(service_request("billing", &roles)).await.unwrap();
    let caller = server.actor(&service.secret).await;
    let kept = caller.issue("ada", "before", &[]).await;
    let rotated = caller.rotate(&kept.token.token_id, HOUR).await;
    let before = admin.get_account("ada").await.unwrap();

    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let renamed = Account { account_id: "ada".to_owned(), username: "too-late".to_owned(), ..Default::default() };
    let waiting = [
        begin(&caller, |caller| async move { caller.try_issue(issue_request("ada", "too late", &[])).await.map(drop) }),
        begin(&caller, {
            let id = kept.token.token_id.clone();
            |caller| async move { caller.revoke(&id).await.map(drop) }
        }),
        begin(&caller, {
            let secret = kept.secret.clone();
            |caller| async move { caller.revoke_secret(&secret).await.map(drop) }
        }),
        begin(&caller, |caller| async move {
            caller.revoke_all("ada", RevocationReason::Unspecified, true).await.map(drop)
        }),
        begin(&caller, |caller| async move { caller.update_account(renamed, &["username"]).await.map(drop) }),
        begin(&caller, |caller| async move { caller.delete_account("ada").await }),
        begin(&caller, {
            let request = rotate_request(&kept.token.token_id, Duration::ZERO);
            |caller| async move { caller.try_rotate(request).await.map(drop) }
        }),
        begin(&caller, {
            let (id, old) = (kept.token.token_id.clone(), kept.token.secrets[0].secret_id.clone());
            |caller| async move { caller.end_secret(&id, &old).await.map(drop) }
        }),
        begin(&caller, {
            let late =
                Token { token_id: kept.token.token_id.clone(), label: "too late".to_owned(), ..Token::default() };
            |caller| async move { caller.update_token(late, &["label"]).await.map(drop) }
        }),
    ];
    until("all wait for the lock", async || gate.backends("wait_event_type = 'Lock'") == waiting.len() as u64).await;
    admin.revoke_service(&service.credential.credential_id).await.unwrap();
    gate.open();

    for call in waiting {
        assert_refused(call.await.unwrap(), Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
    lock.join().expect("the lock was held");
    assert_eq!(admin.get_account("ada").await.unwrap(), before);
    assert_eq!(admin.tokens_of("ada", &[]).await, [rotated.token]);
    for secret in [&kept.secret, &rotated.secret] {
        assert!(admin.introspect(secret).await.active);
    }
    server.end().await;
}

/// What ends an account holder's token: by an administrator, in front of the
/// holder's own calls.
#[derive(Clone, Copy, Debug)]
enum End {
    Revoke,
    RevokeAll,
    Suspend,
    Delete,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_ends_while_it_waits_for_a_lock_gets_nothing_done() {
    const CALLS: u64 = 6;

    let server = TestServer::configured(Backend::Postgres, None, |settings| {
        be_patient(settings);
        settings.database.max_connections = 64;
        settings.self_service.manage_scope = Some("manage".to_owned());
    })
    .await;
    let admin = server.admin().await;
    let gate = Gate::closed(&server.database);
    let mut waiting = Vec::new();
    for (number, end) in (1_u64..).zip([End::Revoke, End::RevokeAll, End::Suspend, End::Delete]) {
        let account = format!("{end:?}");
        let own = admin.issue(&account, "own", &["manage"]).await;
        let kept = admin.issue(&account, "sibling", &[]).await;
        let holder = server.actor(&own.secret).await;
        holder.who_am_i().await.unwrap();

        let lock = gate.lock_account(&account);
        until("the lock is held", async || gate.backends("wait_event = 'PgSleep'") == number).await;
        let before = (number - 1) * (1 + CALLS);
        let ended = begin(&admin, {
            let (id, account) = (own.token.token_id.clone(), account.clone());
            move |admin| async move {
                match end {
                    End::Revoke => admin.revoke(&id).await.map(drop),
                    End::RevokeAll => admin.revoke_all(&account, RevocationReason::Compromised, false).await.map(drop),
                    End::Suspend => {
                        let suspended = Account { account_id: account, suspended: true, ..Default::default() };
                        admin.update_account(suspended, &["suspended"]).await.map(drop)
                    }
                    End::Delete => admin.delete_account(&account).await,
                }
            }
        });
        until("the end is the first in line", async || gate.backends("wait_event_type = 'Lock'") == before + 1).await;
        let calls = [
            begin(
                &holder,
                |holder| async move { holder.try_issue(issue_request("", "too late", &[])).await.map(drop) },
            ),
            begin(&holder, {
                let id = kept.token.token_id.clone();
                |holder| async move { holder.revoke(&id).await.map(drop) }
            }),
            begin(&holder, {
                let secret = kept.secret.clone();
                |holder| async move { holder.revoke_secret(&secret).await.map(drop) }
            }),
            begin(&holder, |holder| async move {
                holder.revoke_all("", RevocationReason::Unspecified, true).await.map(drop)
            }),
            begin(&holder, {
                let request = rotate_request(&kept.token.token_id, Duration::ZERO);
                |holder| async move { holder.try_rotate(request).await.map(drop) }
            }),
            begin(&holder, {
                let late =
                    Token { token_id: kept.token.token_id.clone(), label: "too late".to_owned(), ..Token::default() };
                |holder| async move { holder.update_token(late, &["label"]).await.map(drop) }
            }),
        ];
        until("its calls wait behind", async || gate.backends("wait_event_type = 'Lock'") == before + 1 + CALLS).await;
        waiting.push((end, account, kept, lock, ended, calls));
    }
    gate.open();

    for (end, account, kept, lock, ended, calls) in waiting {
        lock.join().expect("the lock was held");
        ended.await.unwrap().expect("it is ended");
        for call in calls {
            assert_refused(call.await.unwrap(), Code::Unauthenticated, "CREDENTIAL_INVALID");
        }
        let minted = server.database.count("credentials WHERE label = 'too late'").await;
        assert_eq!(minted, 0, "{end:?}");
        match end {
            End::Revoke => {
                assert_eq!(labels(&admin.tokens_of(&account, &[]).await), ["sibling"]);
                assert!(admin.introspect(&kept.secret).await.active);
            }
            End::RevokeAll => assert!(admin.tokens_of(&account, &[]).await.is_empty()),
            End::Suspend => {
                let restored = Account { account_id: account, ..Default::default() };
                admin.update_account(restored, &["suspended"]).await.unwrap();
                assert!(admin.introspect(&kept.secret).await.active, "what it asked for was not done");
            }
            End::Delete => {
                assert_refused(admin.get_account(&account).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
            }
        }
    }
    server.end().await;
}

/// Begins a call in a task of its own.
fn begin<F, T>(caller: &Actor, call: impl FnOnce(Actor) -> F) -> JoinHandle<Result<T, CallError>>
where
    F: Future<Output = Result<T, CallError>> + Send + 'static,
    T: Send + 'static,
{
    tokio::spawn(call(caller.clone()))
}

on_both_databases!(nothing_is_minted_after_its_caller_was_revoked, a_caller_that_never_rests_can_be_ended);

/// Every call holds its caller's credential; whoever is to end that must get it
/// all the same.
async fn a_caller_that_never_rests_can_be_ended(backend: Backend) {
    const ACCOUNTS: usize = 8;

    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("stolen", &[ServiceRole::Issuer])).await.unwrap();
    let thief = server.actor(&service.secret).await;
    // Bounded, should nobody be able to end it.
    let never_resting = (0..ACCOUNTS).map(|account| {
        let thief = thief.clone();
        tokio::spawn(async move {
            for number in 0..2_000 {
                thief.try_issue(issue_request(&format!("account-{account}"), &number.to_string(), &[])).await?;
            }
            Ok::<_, CallError>(())
        })
    });
    let never_resting: Vec<_> = never_resting.collect();
    until("all are at it", async || {
        let accounts = admin.list_accounts(ListAccountsRequest::default()).await.unwrap().accounts;
        accounts.len() == ACCOUNTS
    })
    .await;
    admin.revoke_service(&service.credential.credential_id).await.unwrap();
    for calls in never_resting {
        assert_refused(calls.await.unwrap(), Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
    server.end().await;
}

async fn nothing_is_minted_after_its_caller_was_revoked(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    let service = admin.create_service(service_request("billing", &[ServiceRole::Issuer])).await.unwrap();
    let issuer = server.actor(&service.secret).await;

    let issue = async |number: usize| issuer.try_issue(issue_request("ada", &number.to_string(), &[])).await;
    let revoke = async {
        until("some are minted", async || !admin.tokens_of("ada", &[]).await.is_empty()).await;
        admin.revoke_service(&service.credential.credential_id).await.unwrap()
    };
    issue(0).await.unwrap();
    let (calls, revoked) = tokio::join!(join_all((1..CALLS).map(issue)), revoke);

    let mut minted = 1;
    for call in calls {
        match call {
            Ok(_) => minted += 1,
            error => drop(assert_refused(error, Code::Unauthenticated, "CREDENTIAL_INVALID")),
        }
    }
    let tokens = admin.tokens_of("ada", &[]).await;
    assert_eq!(tokens.len(), minted, "what was refused was minted all the same");
    let time = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos)).unwrap();
    for token in tokens {
        assert!(time(token.create_time) <= time(revoked.revoke_time), "minted for a caller that was revoked");
    }
    assert_refused(issue(CALLS).await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    server.end().await;
}

fn labels(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.label.as_str()).collect()
}

/// Both wait for the account, the first one before the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_whose_password_changes_while_it_waits_opens_nothing() {
    let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let waiting = async |calls| {
        until("it waits for the lock", async || gate.backends("wait_event_type = 'Lock'") == calls).await;
    };
    let changed = begin(&admin, |admin| async move { admin.set_password("ada", "battery staple").await });
    waiting(1).await;
    let signing_in = begin(&admin, |admin| async move { admin.sign_in_desktop(by_password("ada", PASSWORD)).await });
    waiting(2).await;
    gate.open();
    changed.await.unwrap().unwrap();
    assert_refused(signing_in.await.unwrap(), Code::Unauthenticated, "BAD_CREDENTIALS");
    lock.join().expect("the lock was held");
    assert_eq!(server.database.count("desktop_sessions").await, 0);
    admin.sign_in_desktop(by_password("ada", "battery staple")).await.unwrap();
    server.end().await;
}

/// The other way round: the session is opened, and ends with the password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_opened_before_its_password_changes_ends_with_it() {
    let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let gate = Gate::closed(&server.database);
    let lock = gate.lock_account("ada");
    gate.is_reached().await;
    let waiting = async |calls| {
        until("it waits for the lock", async || gate.backends("wait_event_type = 'Lock'") == calls).await;
    };
    let signing_in = begin(&admin, |admin| async move { admin.sign_in_desktop(by_password("ada", PASSWORD)).await });
    waiting(1).await;
    let changed = begin(&admin, |admin| async move { admin.set_password("ada", "battery staple").await });
    waiting(2).await;
    gate.open();
    let session = signing_in.await.unwrap().unwrap();
    changed.await.unwrap().unwrap();
    lock.join().expect("the lock was held");
    assert!(!admin.introspect(&session.secret).await.active);
    server.end().await;
}

/// An account that is suspended, or deleted and made anew, while a sign-in waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_whose_account_goes_while_it_waits_opens_nothing() {
    for deleted in [false, true] {
        let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
        let admin = server.admin().await;
        admin.put_user("ada", PASSWORD).await;
        let gate = Gate::closed(&server.database);
        let lock = gate.lock_account("ada");
        gate.is_reached().await;
        let waiting = async |calls| {
            until("it waits for the lock", async || gate.backends("wait_event_type = 'Lock'") == calls).await;
        };
        let gone = begin(&admin, move |admin| async move {
            if deleted {
                return admin.delete_account("ada").await;
            }
            let ada = Account { account_id: "ada".to_owned(), suspended: true, ..Default::default() };
            admin.update_account(ada, &["suspended"]).await.map(drop)
        });
        waiting(1).await;
        let by_password =
            begin(&admin, |admin| async move { admin.sign_in_desktop(by_password("ada", PASSWORD)).await });
        let by_account = begin(&admin, |admin| async move { admin.sign_in_desktop(by_account("ada")).await });
        waiting(3).await;
        gate.open();
        gone.await.unwrap().unwrap();
        assert_refused(by_password.await.unwrap(), Code::Unauthenticated, "BAD_CREDENTIALS");
        let (code, reason) =
            if deleted { (Code::NotFound, "ACCOUNT_NOT_FOUND") } else { (Code::PermissionDenied, "ACCOUNT_SUSPENDED") };
        assert_refused(by_account.await.unwrap(), code, reason);
        lock.join().expect("the lock was held");
        assert_eq!(server.database.count("desktop_sessions").await, 0);
        server.end().await;
    }
}
