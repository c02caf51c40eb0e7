//! A server that stops in the middle of a change, with the head's lock held,
//! delays the others no longer than the time-outs say.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::support::{Backend, Process, gate::Gate, wait::until};

/// `idle_in_transaction_timeout` and `lock_timeout` of the default settings,
/// and as much again for a slow machine.
const BOUND: Duration = Duration::from_secs(2 * (3 + 5));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_that_holds_the_heads_lock_lets_others_revoke() {
    let database = Backend::Postgres.database();
    let stopped = Process::start(&database);
    let other = Process::start(&database.replica());
    let (behind, here) = (stopped.admin().await, other.admin().await);
    let held = here.issue("ada", "revoked by the stopped server", &[]).await;
    let free = here.issue("grace", "revoked by the other", &[]).await;

    let gate = Gate::closed(&database);
    gate.stop_changes_of(&format!("credential:{}", held.token.token_id));
    let interrupted = tokio::spawn({
        let (behind, id) = (behind.clone(), held.token.token_id.clone());
        async move { behind.revoke(&id).await }
    });
    gate.is_reached().await;
    stopped.signal("STOP");
    gate.open();
    // Its backend has done what it was told, holds the lock and hears no more.
    until("the lock is held by a stopped server", async || gate.backends("state = 'idle in transaction'") > 0).await;

    let start = Instant::now();
    let revoked = loop {
        match here.revoke(&free.token.token_id).await {
            Ok(token) => break token,
            Err(error) => assert_eq!(error.code, Code::Unavailable, "{error:?}"),
        }
        assert!(start.elapsed() < BOUND, "others still wait for the stopped server");
    };
    assert!(start.elapsed() < BOUND && revoked.is_some());
    assert!(!here.introspect(&free.secret).await.active);

    stopped.signal("CONT");
    let done = interrupted.await.unwrap().is_ok();
    assert_eq!(here.introspect(&held.secret).await.active, !done, "the interrupted call's answer is true");
    until("the stopped server works again", async || behind.revoke(&held.token.token_id).await.is_ok()).await;
    assert!(!here.introspect(&held.secret).await.active && !behind.introspect(&free.secret).await.active);
    database.assert_whole().await;
    assert!(stopped.terminate().success());
    assert!(other.terminate().success());
}
