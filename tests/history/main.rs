//! The promise, held against real processes on real databases while everything
//! goes wrong: every Introspect that starts after a write returned OK shows it,
//! on every replica, narrowing and widening alike.
//!
//! Clients note what they asked, when, and what was answered; [`check`] finds
//! what cannot have happened. `TOKEN_AUTHORITY_HISTORY_SECONDS` makes it long,
//! `TOKEN_AUTHORITY_HISTORY_SEED` repeats its choices, though not the scheduling.
//! With the feature `unconfirmed` the service is wrong, and must be found so.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on fails")]

#[allow(dead_code, unused_imports, unused_macros, reason = "the other suite's, which uses all of it")]
#[path = "../it/support/mod.rs"]
mod support;

mod calls;
mod check;
mod check_tests;
mod clients;
mod faults;
mod model;
mod proxy;
mod random;
mod replica;
mod run;
mod steps;
mod ways;
mod world;

use support::Backend;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_on_postgresql() {
    run::run(Backend::Postgres, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_on_sqlite() {
    run::run(Backend::Sqlite, 1).await;
}
