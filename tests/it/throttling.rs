//! Sign-ins that fail are counted, on all replicas together and before bcrypt:
//! who guesses is stopped, and nobody else.

use std::time::Duration;

use futures_util::future::join_all;
use token_authority::{
    client::CallError,
    proto::v1::ListDesktopSessionsRequest,
    settings::{Settings, Span},
};
use tonic::Code;

use crate::support::{
    Actor, Backend, TestServer, assert_refused,
    settings::be_patient,
    sign_in::{PASSWORD, SignedIn, by_password, from},
    wait::until,
};

const WINDOW: Duration = Duration::from_mins(15);
const GUESSER: &str = "203.0.113.9";
const HOME: &str = "198.51.100.7";

on_both_databases!(
    a_username_is_counted_with_its_address,
    an_address_is_counted_whatever_the_username,
    an_ipv6_address_is_counted_with_its_neighbours,
    without_an_address_the_caller_s_counts,
    what_was_no_failure_is_given_back,
    many_at_once_are_counted_exactly,
    the_audit_trail_is_told_once_a_window,
    many_networks_fill_no_audit_trail,
    windows_that_are_over_are_removed,
);

async fn guess(actor: &Actor, username: &str, address: &str) -> Result<SignedIn, CallError> {
    actor.sign_in_desktop(from(address, by_password(username, "wrong horse"))).await
}

async fn sign_in(actor: &Actor, username: &str, address: &str) -> Result<SignedIn, CallError> {
    actor.sign_in_desktop(from(address, by_password(username, PASSWORD))).await
}

#[track_caller]
fn assert_failed(result: Result<SignedIn, CallError>) {
    assert_refused(result, Code::Unauthenticated, "BAD_CREDENTIALS");
}

/// Refused, with a time to come back that is within the window.
#[track_caller]
fn assert_throttled(result: Result<SignedIn, CallError>) -> Duration {
    let error = assert_refused(result, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
    let retry_after = error.retry_after.expect("it tells when");
    assert!(!retry_after.is_zero() && retry_after <= WINDOW, "{retry_after:?}");
    retry_after
}

async fn start(backend: Backend, change: impl FnOnce(&mut Settings)) -> (TestServer, Actor) {
    let server = TestServer::configured(backend, None, |settings| {
        be_patient(settings);
        change(settings);
    })
    .await;
    let admin = server.admin().await;
    for user in ["ada", "ben"] {
        admin.put_user(user, PASSWORD).await;
    }
    (server, admin)
}

/// Lets all windows end.
async fn end_windows(server: &TestServer) {
    let window = WINDOW.as_micros();
    server.database.execute(&format!("UPDATE sign_in_attempts SET window_start = window_start - {window}")).await;
}

async fn a_username_is_counted_with_its_address(backend: Backend) {
    let (server, admin) = start(backend, |_| {}).await;
    for username in ["ada", "Ada", "ADA", "aDa", "\u{ff21}da"] {
        assert_failed(guess(&admin, username, GUESSER).await);
    }
    let runs = server.server.bcrypt_runs();
    let first = assert_throttled(guess(&admin, "ada", GUESSER).await);
    assert!(assert_throttled(sign_in(&admin, "ada", GUESSER).await) <= first, "the window moves for nobody");
    assert_eq!(server.server.bcrypt_runs(), runs, "none of them reaches bcrypt");
    sign_in(&admin, "ada", HOME).await.unwrap();
    sign_in(&admin, "ben", GUESSER).await.unwrap();
    assert_failed(guess(&admin, "ada", HOME).await);
    for _ in 0..5 {
        assert_failed(guess(&admin, "nobody", GUESSER).await);
    }
    assert_throttled(guess(&admin, "nobody", GUESSER).await);

    end_windows(&server).await;
    sign_in(&admin, "ada", GUESSER).await.unwrap();
    assert_failed(guess(&admin, "nobody", GUESSER).await);
    server.end().await;
}

async fn an_address_is_counted_whatever_the_username(backend: Backend) {
    let (server, admin) = start(backend, |settings| settings.sign_in.max_failures_per_address = 6).await;
    for username in ["one", "two", "three", "ada", "", "no username"] {
        assert_failed(guess(&admin, username, GUESSER).await);
    }
    for username in ["seven", "ada", "ben"] {
        assert_throttled(sign_in(&admin, username, GUESSER).await);
    }
    for username in ["ada", "ben"] {
        sign_in(&admin, username, HOME).await.unwrap();
    }
    end_windows(&server).await;
    sign_in(&admin, "ada", GUESSER).await.unwrap();
    server.end().await;
}

async fn an_ipv6_address_is_counted_with_its_neighbours(backend: Backend) {
    let (server, admin) = start(backend, |_| {}).await;
    for number in 1..=5 {
        assert_failed(guess(&admin, "ada", &format!("2001:db8:0:1::{number}")).await);
    }
    assert_throttled(sign_in(&admin, "ada", "2001:db8:0:1:ffff::6").await);
    sign_in(&admin, "ada", "2001:db8:0:2::1").await.unwrap();
    for address in ["::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"] {
        assert_failed(guess(&admin, "ada", address).await);
    }
    assert_throttled(sign_in(&admin, "ada", "::ffff:192.0.2.1").await);
    sign_in(&admin, "ada", "192.0.2.2").await.unwrap();
    server.end().await;
}

async fn without_an_address_the_caller_s_counts(backend: Backend) {
    let (server, admin) = start(backend, |_| {}).await;
    for address in ["", "127.0.0.1", "", "127.0.0.1", ""] {
        assert_failed(guess(&admin, "ada", address).await);
    }
    assert_throttled(sign_in(&admin, "ada", "").await);
    assert_throttled(sign_in(&admin, "ada", "127.0.0.1").await);
    sign_in(&admin, "ada", HOME).await.unwrap();
    server.end().await;
}

async fn what_was_no_failure_is_given_back(backend: Backend) {
    let (server, admin) = start(backend, |settings| {
        settings.credentials.bcrypt_cost = 8;
        settings.credentials.bcrypt_threads = 1;
        settings.credentials.bcrypt_queue = 1;
        settings.sign_in.max_failures_per_user_and_address = 100;
        settings.sign_in.max_failures_per_address = 100;
    })
    .await;
    for _ in 0..20 {
        sign_in(&admin, "ada", HOME).await.unwrap();
    }
    let charged = async || server.database.scalar("SELECT sum(charged) FROM sign_in_attempts").await;
    assert_eq!(charged().await, "0", "a success is given back");

    let results = join_all((0..60).map(|_| guess(&admin, "ada", HOME))).await;
    let failed = results.iter().filter(|result| result.as_ref().unwrap_err().code == Code::Unauthenticated).count();
    for busy in results.into_iter().filter(|result| result.as_ref().unwrap_err().code != Code::Unauthenticated) {
        assert_refused(busy, Code::ResourceExhausted, "TOO_BUSY");
    }
    assert_eq!(charged().await, (2 * failed).to_string(), "what nothing was learnt from is given back");
    server.end().await;
}

async fn many_at_once_are_counted_exactly(backend: Backend) {
    let (server, admin) = start(backend, |_| {}).await;
    stopped_at_the_limit(&[&server], &[admin], 200).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_wrong_sign_ins_on_two_replicas_are_counted_exactly() {
    let (server, admin) = start(Backend::Postgres, |_| {}).await;
    let replica = server.database.replica();
    let mut settings = replica.settings(None);
    be_patient(&mut settings);
    let other = TestServer::on(replica, &settings).await;
    let doors = [admin, other.admin().await];
    stopped_at_the_limit(&[&server, &other], &doors, 1_000).await;
    other.end().await;
    server.end().await;
}

/// So many guesses at once at these doors: as many as may fail reach bcrypt. The
/// right user gets in from elsewhere meanwhile, and a session that is known goes
/// on being answered for.
async fn stopped_at_the_limit(servers: &[&TestServer], doors: &[Actor], guesses: usize) {
    let runs = || servers.iter().map(|server| server.server.bcrypt_runs()).sum::<u64>();
    let known = sign_in(&doors[0], "ada", HOME).await.unwrap();
    let before = runs();
    let guessing = join_all(doors.iter().cycle().take(guesses).map(|door| guess(door, "ada", GUESSER)));
    let right = async {
        for door in doors {
            assert!(door.introspect(&known.secret).await.active);
            sign_in(door, "ada", HOME).await.unwrap();
        }
    };
    let (results, ()) = tokio::join!(guessing, right);
    let count = |code| results.iter().filter(|result| result.as_ref().unwrap_err().code == code).count();
    assert_eq!((count(Code::Unauthenticated), count(Code::ResourceExhausted)), (5, guesses - 5));
    for result in results {
        let error = result.unwrap_err();
        assert!(["BAD_CREDENTIALS", "TOO_MANY_ATTEMPTS"].contains(&error.reason.as_deref().unwrap()), "{error:?}");
    }
    // The right user's took two each: one to verify, one for the session's secret.
    assert_eq!(runs() - before, 5 + 2 * doors.len() as u64);
    for door in doors {
        assert_throttled(sign_in(door, "ada", GUESSER).await);
        sign_in(door, "ben", GUESSER).await.unwrap();
    }
    let request = ListDesktopSessionsRequest { account_id: "ada".to_owned(), ..Default::default() };
    let sessions = doors[0].list_desktop_sessions(request).await.unwrap().sessions;
    assert_eq!(sessions.len(), 1 + doors.len());
    let refusals = "audit_events WHERE action = 'sign-in.throttle' AND account_id = 'ada'";
    assert_eq!(servers[0].database.count(refusals).await, 1);
}

async fn the_audit_trail_is_told_once_a_window(backend: Backend) {
    let (server, admin) = start(backend, |settings| settings.sign_in.max_failures_per_address = 12).await;
    let events = async |action: &str, target: &str| {
        let rows = format!("audit_events WHERE action = '{action}' AND target = '{target}'");
        server.database.count(&rows).await
    };
    let network = format!("{GUESSER}/32");
    // What is typed for a username may be a password.
    for username in [PASSWORD, "nobody", "somebody"] {
        assert_failed(guess(&admin, username, GUESSER).await);
    }
    for _ in 0..5 {
        assert_failed(guess(&admin, "ada", GUESSER).await);
    }
    for _ in 0..3 {
        assert_throttled(guess(&admin, "ada", GUESSER).await);
    }
    for _ in 0..4 {
        assert_failed(guess(&admin, "ben", GUESSER).await);
    }
    for _ in 0..3 {
        assert_throttled(guess(&admin, "ben", GUESSER).await);
    }
    let told = async || events("sign-in.fail", "ada").await + events("sign-in.fail", "ben").await == 2;
    until("the first failures are told", told).await;
    assert_eq!(events("sign-in.fail", &network).await, 1, "one for all that are nobody's");
    assert_eq!(server.database.count("audit_events WHERE action = 'sign-in.fail'").await, 3);
    assert_eq!(events("sign-in.throttle", "ada").await, 1);
    assert_eq!(events("sign-in.throttle", &network).await, 1, "the address as such");
    assert_eq!(server.database.count("audit_events WHERE action = 'sign-in.throttle'").await, 2);

    end_windows(&server).await;
    for _ in 0..5 {
        assert_failed(guess(&admin, "ada", GUESSER).await);
    }
    assert_throttled(guess(&admin, "ada", GUESSER).await);
    until("the next window's is told", async || events("sign-in.fail", "ada").await == 2).await;
    assert_eq!(events("sign-in.throttle", "ada").await, 2);
    server.database.assert_whole().await;
    server.end().await;
}

async fn many_networks_fill_no_audit_trail(backend: Backend) {
    const NETWORKS: u64 = 200;
    const MAX_ROWS: u64 = 64;

    let (server, admin) =
        start(backend, |settings| settings.audit.refusal_interval = Span(Duration::from_hours(1))).await;
    for number in 0..NETWORKS {
        assert_failed(guess(&admin, "nobody", &format!("2001:db8:0:{number:x}::1")).await);
    }
    let database = server.database.clone();
    let told = "sign_in_attempts WHERE failure_told";
    until("the failures are told", async || database.count(told).await == 2 * NETWORKS).await;
    server.end().await;

    let rows = "audit_events WHERE action = 'sign-in.fail'";
    assert_eq!(database.count(rows).await, MAX_ROWS + 1);
    let counted =
        async |who| database.scalar(&format!("SELECT sum(count) FROM {rows} AND actor {who} 'several'")).await;
    assert_eq!(counted("<>").await, MAX_ROWS.to_string());
    assert_eq!(counted("=").await, (NETWORKS - MAX_ROWS).to_string(), "none is lost");
}

async fn windows_that_are_over_are_removed(backend: Backend) {
    let (server, admin) = start(backend, |_| {}).await;
    assert_failed(guess(&admin, "ada", GUESSER).await);
    end_windows(&server).await;
    assert_failed(guess(&admin, "ada", HOME).await);
    until("the failures are told", async || {
        server.database.count("audit_events WHERE action = 'sign-in.fail'").await == 2
    })
    .await;
    let database = server.database.clone();
    server.end().await;
    let store = crate::retention::open(&database).await;
    assert_eq!(store.purge_attempts(WINDOW).await.unwrap(), 2);
    assert_eq!(store.purge_attempts(WINDOW).await.unwrap(), 0);
    drop(store);
    assert_eq!(database.count("sign_in_attempts").await, 2);
}
