//! Memory has a bound, whatever is presented and however much there is; and
//! whoever is known is answered, whatever the others wait for.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use token_authority::proto::v1::{
    BatchIntrospectRequest, IntrospectRequest, IntrospectResponse, batch_introspect_result::Result as Item,
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Database, Process, TestServer, assert_refused,
    calls::question,
    gate::Gate,
    issue_request, seed,
    settings::{be_patient, set_patience},
    wait::until,
};

const MIB: u64 = 1024 * 1024;
/// By how much a server's memory may grow once it has seen of all that comes.
const GROWS: u64 = 9 * MIB;
/// What it may vary by where hundreds of tokens are loaded at a time, over and
/// over: what SQLite and two allocators keep, and the rows that are on their way.
/// Held, as many tokens as this test has would take half as much again.
const VARIES: u64 = 40 * MIB;
const BATCH: usize = 500;
const WORKERS: usize = 4;
const WARM_CALLS: usize = 50;

/// A server that holds no more than so many MiB, and logs little.
fn start(database: &Database, cache_mib: u64) -> Process {
    Process::start_with(database, |command| {
        set_patience(command);
        command
            .env("TOKEN_AUTHORITY__INTROSPECTION__CACHE_MIB", cache_mib.to_string())
            .env("TOKEN_AUTHORITY__INTROSPECTION__REMEMBERED_PROOFS", "1000")
            .env("TOKEN_AUTHORITY__LOG__FILTER", "info");
    })
}

/// Asks about many at once; none for those that cannot be judged now.
async fn ask(actor: &Actor, presented: impl IntoIterator<Item = String>) -> Vec<Option<IntrospectResponse>> {
    let requests = presented.into_iter().map(|token| IntrospectRequest { token, ..Default::default() }).collect();
    let request = BatchIntrospectRequest { requests };
    let answered = actor.call(actor.client.tokens().batch_introspect(request)).await.expect("there is an answer");
    let answers = answered.results.into_iter().map(|result| match result.result.expect("a result") {
        Item::Response(response) => Some(response),
        Item::Failure(_) => None,
    });
    answers.collect()
}

/// Does `work` for each batch of these numbers, several at a time.
async fn in_batches(numbers: std::ops::Range<u64>, work: impl AsyncFn(std::ops::Range<u64>)) {
    let batches: Vec<_> = numbers.clone().step_by(BATCH).collect();
    let worker = async |worker: usize| {
        for first in batches.iter().skip(worker).step_by(WORKERS) {
            work(*first..(first + BATCH as u64).min(numbers.end)).await;
        }
    };
    join_all((0..WORKERS).map(worker)).await;
}

on_both_databases!(
    a_flood_takes_no_memory,
    the_cache_keeps_to_its_bound,
    what_is_unknown_is_not_remembered,
    whoever_is_known_is_answered_while_bcrypt_is_held,
);

async fn a_flood_takes_no_memory(backend: Backend) {
    const IMPORTED: u64 = 50;

    let flood = seed::many(20_000);
    let database = backend.database();
    let server = start(&database, 1);
    let admin = server.admin().await;
    let warm = admin.issue("ada", "warm", &[]).await;
    assert!(admin.introspect(&warm.secret).await.active);
    // As imported ones are before their first use.
    database.write_tokens(0..IMPORTED).await;
    database
        .execute(&format!("UPDATE secrets SET fingerprint = NULL, key_id = NULL WHERE bcrypt_hash = '{}'", seed::HASH))
        .await;

    let warm_id = warm.token.token_id.parse().unwrap();
    let presented = |number: u64| match number % 5 {
        0 => "x".repeat(usize::try_from(number % 2_000).unwrap()),
        1 => seed::token(1_000_000_000 + number).replace("dt_", "no_"),
        2 => seed::forged(warm_id, number),
        3 => seed::token(1_000_000_000 + number),
        _ => seed::forged(seed::id(number % IMPORTED), number),
    };
    let pour = async |numbers| {
        in_batches(numbers, async |numbers| {
            let answers = ask(&admin, numbers.map(presented)).await;
            assert!(answers.iter().flatten().all(|answer| !answer.active));
        })
        .await;
    };
    pour(0..flood / 4).await;
    let before = server.resident_bytes();
    let is_over = AtomicBool::new(false);
    let stay_warm = async {
        while !is_over.load(Ordering::SeqCst) {
            assert!(admin.introspect(&warm.secret).await.active);
        }
    };
    let rest = async {
        pour(flood / 4..flood).await;
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(rest, stay_warm);
    let after = server.resident_bytes();
    println!("{backend:?}: {} MiB before, {} MiB after a flood of {flood}", before / MIB, after / MIB);
    assert!(after < before + GROWS, "it grew from {} to {} MiB", before / MIB, after / MIB);
    assert!(server.terminate().success());
}

/// A million tokens and the default size with `TOKEN_AUTHORITY_TEST_TOKENS=1000000`
/// and `TOKEN_AUTHORITY_TEST_CACHE_MIB=256`.
async fn the_cache_keeps_to_its_bound(backend: Backend) {
    let tokens = seed::many(60_000);
    let cache_mib = std::env::var("TOKEN_AUTHORITY_TEST_CACHE_MIB").map_or(1, |size| size.parse().expect("a number"));
    let database = backend.database();
    let server = start(&database, cache_mib);
    database.write_tokens(0..tokens).await;
    let admin = server.admin().await;
    let pass = async |numbers| {
        in_batches(numbers, async |numbers| {
            let answers = ask(&admin, numbers.clone().map(seed::token)).await;
            for (number, answer) in numbers.zip(answers) {
                let answer = answer.expect("it needs no bcrypt");
                assert_eq!((answer.active, answer.label), (true, seed::label(number)));
            }
        })
        .await;
        server.resident_bytes()
    };

    // More than fits, then all of them, and again.
    let few = pass(0..tokens / 10).await;
    let all = [pass(0..tokens).await, pass(0..tokens).await];
    println!(
        "{backend:?}: {tokens} tokens, {cache_mib} MiB: {} MiB when a tenth of them were asked about, then {:?}",
        few / MIB,
        all.map(|bytes| bytes / MIB)
    );
    let told = server.told().await;
    let capacity = told.count("token_authority_cache_capacity_bytes");
    assert_eq!(capacity, cache_mib * MIB);
    assert!(told.count("token_authority_cache_size_bytes") <= capacity, "{}", told.text);
    assert!(told.count("token_authority_cache_evictions_total") > 0, "{}", told.text);
    let most = all.into_iter().max().expect("two");
    assert!(most < few + (cache_mib - 1) * MIB + VARIES, "it grew by {} MiB", (most - few) / MIB);
    assert!(server.terminate().success());
}

/// A token of that id may be made at any time.
async fn what_is_unknown_is_not_remembered(backend: Backend) {
    let server = TestServer::configured(backend, None, be_patient).await;
    let admin = server.admin().await;
    let tokens: Vec<_> = (0..seed::TOKENS_PER_ACCOUNT).map(seed::token).collect();
    let active = async |token: &String| admin.introspect(token).await.active;
    for _ in 0..3 {
        assert!(!join_all(tokens.iter().map(active)).await.contains(&true));
    }
    // Not told as a change: whoever remembers would not be reminded.
    server.database.write_tokens(0..seed::TOKENS_PER_ACCOUNT).await;
    assert!(!join_all(tokens.iter().map(active)).await.contains(&false));
    server.end().await;
}

/// All that may load wait for a lock that somebody holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_known_is_answered_while_loading_is_held() {
    const UNKNOWN: u64 = 100;
    const LOADERS: u64 = 4;

    let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
    let admin = server.admin().await;
    let warm = admin.issue("ada", "warm", &[]).await;
    assert!(admin.introspect(&warm.secret).await.active);

    let gate = Gate::closed(&server.database);
    let lock = gate.lock_table("credentials");
    gate.is_reached().await;
    let unknown: Vec<_> = (0..UNKNOWN)
        .map(|number| {
            let admin = admin.clone();
            tokio::spawn(async move { admin.introspect(&seed::token(number)).await.active })
        })
        .collect();
    until("all loaders wait", async || gate.backends("wait_event_type = 'Lock'") >= LOADERS).await;
    for _ in 0..WARM_CALLS {
        assert!(admin.introspect(&warm.secret).await.active);
    }
    assert!(!unknown.iter().any(tokio::task::JoinHandle::is_finished), "they were to be held");
    gate.open();
    for answer in unknown {
        assert!(!answer.await.unwrap());
    }
    lock.join().expect("the lock was held");
    server.end().await;
}

/// All threads and places of bcrypt are taken, for hours.
async fn whoever_is_known_is_answered_while_bcrypt_is_held(backend: Backend) {
    const HELD: usize = 2;

    let database = backend.database();
    let mut server = Process::start_with(&database, |command| {
        set_patience(command);
        command
            .env("TOKEN_AUTHORITY__CREDENTIALS__BCRYPT_THREADS", "1")
            .env("TOKEN_AUTHORITY__CREDENTIALS__BCRYPT_QUEUE", "1");
    });
    let admin = server.admin().await;
    let warm = admin.issue("ada", "warm", &[]).await;
    assert!(admin.introspect(&warm.secret).await.active);
    database.write_tokens(0..seed::TOKENS_PER_ACCOUNT).await;
    let endless = seed::HASH.replace("$04$", "$31$");
    database
        .execute(&format!(
            "UPDATE secrets SET fingerprint = NULL, key_id = NULL, bcrypt_hash = '{endless}' WHERE bcrypt_hash = '{}'",
            seed::HASH
        ))
        .await;

    let mut hashing: Vec<_> = (0..seed::TOKENS_PER_ACCOUNT)
        .map(|number| {
            let admin = admin.clone();
            tokio::spawn(async move { admin.try_introspect(question(&seed::token(number), &[])).await })
        })
        .collect();
    until("bcrypt is held", async || hashing.iter().filter(|call| !call.is_finished()).count() == HELD).await;
    let (held, refused): (Vec<_>, Vec<_>) = hashing.drain(..).partition(|call| !call.is_finished());
    let told = server.told().await;
    for (series, count) in [
        ("token_authority_bcrypt_running", 1),
        ("token_authority_bcrypt_threads", 1),
        ("token_authority_bcrypt_queued", 1),
        ("token_authority_bcrypt_queue_limit", 1),
        ("token_authority_bcrypt_refused_total", refused.len()),
        (r#"token_authority_verdicts_total{verdict="busy"}"#, refused.len()),
        ("token_authority_calls_in_flight", HELD),
    ] {
        assert_eq!(told.count(series), count as u64, "{series}");
    }
    for call in refused {
        assert_refused(call.await.unwrap(), Code::ResourceExhausted, "TOO_BUSY");
    }
    for _ in 0..WARM_CALLS {
        assert!(admin.introspect(&warm.secret).await.active);
    }
    assert_refused(admin.try_issue(issue_request("ada", "now", &[])).await, Code::ResourceExhausted, "TOO_BUSY");
    assert!(!held.iter().any(tokio::task::JoinHandle::is_finished), "they were to be held");
    for call in held {
        call.abort();
    }
    server.kill();
}
