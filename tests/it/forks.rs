//! The database's history is not the one that a replica knows: an older copy
//! was put in its place, its log was trimmed, or it is a standby. What is held
//! in memory counts for nothing then, and that is said.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use token_authority::proto::v1::IntrospectRequest;
use tonic::Code;

use crate::support::{Actor, Backend, Database, Process, issue_request, postgres::Postgres, wait::until};

const OTHER_HISTORY: &str = "the database's history is not the one that was known: it was restored or failed over";
const OTHER_EPOCH: &str = "the database has another epoch: it was restored, or is another one";
const LOG_TRIMMED: &str = "the log of changes no longer reaches back to what was known";
const TOO_MANY: &str = "there are too many changes since what was known";

/// Whether a token is active, as soon as there is an answer.
async fn is_active(actor: &Actor, secret: &str) -> bool {
    let mut active = None;
    until("there is an answer", async || {
        active = try_is_active(actor, secret).await;
        active.is_some()
    })
    .await;
    active.expect("it is there")
}

/// None where the service says that it cannot answer now.
async fn try_is_active(actor: &Actor, secret: &str) -> Option<bool> {
    let question = IntrospectRequest { token: secret.to_owned(), ..Default::default() };
    match actor.try_introspect(question).await {
        Ok(answer) => Some(answer.active),
        Err(error) => {
            assert_eq!(error.code, Code::Unavailable, "{error:?}");
            None
        }
    }
}

/// The reasons for which a replica dropped what it held, as it logs and counts them.
async fn starts_over(process: &Process) -> Vec<String> {
    let lines = process.logged("everything that was held in memory is dropped");
    let reasons = lines.iter().map(|line| line["reason"].as_str().expect("it says why").to_owned());
    let reasons: Vec<_> = reasons.collect();
    let told = process.told().await;
    for (reason, label) in [
        (OTHER_HISTORY, "other_history"),
        (OTHER_EPOCH, "other_epoch"),
        (LOG_TRIMMED, "log_trimmed"),
        (TOO_MANY, "too_many"),
    ] {
        let series = format!(r#"token_authority_start_overs_total{{reason="{label}"}}"#);
        assert_eq!(told.count(&series), reasons.iter().filter(|logged| *logged == reason).count() as u64, "{label}");
    }
    reasons
}

/// Waits until a process knows a point of the history, and so can tell what
/// follows it from another.
async fn follows(process: &Process) {
    until("it follows the history", async || !process.logged("the history of changes is followed").is_empty()).await;
}

async fn revision(database: &Database) -> i64 {
    database.scalar("SELECT revision FROM head").await.parse().unwrap()
}

/// What a database lacks that is put in the place of the one that replicas know.
#[derive(Clone, Copy, PartialEq)]
enum Lost {
    ARevocation,
    MintsAlone,
}

/// How far that database had come when it was put there.
#[derive(Clone, Copy)]
enum Reaches {
    /// Nobody wrote to it since it was copied.
    Less,
    AsFar,
    Further,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_is_noticed() {
    a_lost_end_is_noticed(Lost::ARevocation, Reaches::Less).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_that_lacks_only_mints_is_noticed() {
    a_lost_end_is_noticed(Lost::MintsAlone, Reaches::Less).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_wrote_as_much_since_is_noticed() {
    a_lost_end_is_noticed(Lost::ARevocation, Reaches::AsFar).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_lost_mints_and_wrote_as_much_since_is_noticed() {
    a_lost_end_is_noticed(Lost::MintsAlone, Reaches::AsFar).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_wrote_more_since_is_noticed() {
    a_lost_end_is_noticed(Lost::ARevocation, Reaches::Further).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_lost_mints_and_wrote_more_since_is_noticed() {
    a_lost_end_is_noticed(Lost::MintsAlone, Reaches::Further).await;
}

/// Of two replicas that know the lost end, one is asked all the time, the other
/// for the first time after the database was replaced.
async fn a_lost_end_is_noticed(lost: Lost, reaches: Reaches) {
    let database = Backend::Postgres.database();
    let (busy, idle) = (Process::start(&database), Process::start(&database.replica()));
    let (at_busy, at_idle) = (busy.admin().await, idle.admin().await);
    let one = at_busy.issue("ada", "revoked in the lost history", &[]).await;
    let two = at_busy.issue("ada", "revoked in the other", &[]).await;

    let copy = database.copied();
    for actor in [&at_busy, &at_idle] {
        until("it has found the database again", async || actor.who_am_i().await.is_ok()).await;
    }
    // What was cut off as well, connections for changes notice when they are used.
    let mut three = None;
    until("it changes something again", async || {
        three = at_busy.try_issue(issue_request("ada", "minted in the lost history", &[])).await.ok();
        three.is_some()
    })
    .await;
    let three = three.expect("it was issued");
    match lost {
        Lost::ARevocation => drop(at_busy.revoke(&one.token.token_id).await.unwrap()),
        Lost::MintsAlone => drop(at_busy.issue("ada", "another", &[]).await),
    }
    let known = revision(&database).await;
    let secrets = [&one, &two, &three].map(|issued| issued.secret.as_str());
    let before = [lost == Lost::MintsAlone, true, true];
    for actor in [&at_busy, &at_idle] {
        // The second time from memory.
        for _ in 0..2 {
            let active = [secrets[0], secrets[1], secrets[2]].map(|secret| is_active(actor, secret));
            assert_eq!(join_all(active).await, before);
        }
    }

    let after = match reaches {
        Reaches::Less => [true, true, false],
        Reaches::AsFar | Reaches::Further => {
            let elsewhere = Process::start(&copy);
            let writer = elsewhere.admin().await;
            writer.revoke(&two.token.token_id).await.unwrap();
            let further = if matches!(reaches, Reaches::Further) { 3 } else { 0 };
            while revision(&copy).await < known + further {
                writer.issue("ada", "minted in the other history", &[]).await;
            }
            assert_eq!(revision(&copy).await, known + further);
            assert!(elsewhere.terminate().success());
            [true, false, false]
        }
    };

    let (is_replaced, is_over, right) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    let ask = async |secret: &str, after: bool| {
        while !is_over.load(Ordering::SeqCst) {
            let counts = is_replaced.load(Ordering::SeqCst);
            if let Some(active) = try_is_active(&at_busy, secret).await
                && counts
            {
                assert_eq!(active, after, "an answer shows the lost history");
                right.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let replace = async {
        let (lost, copy) = (database.clone(), copy.clone());
        tokio::task::spawn_blocking(move || lost.replace_by(&copy)).await.unwrap();
        is_replaced.store(true, Ordering::SeqCst);
        let active = secrets.map(|secret| is_active(&at_idle, secret));
        assert_eq!(join_all(active).await, after, "the first answers show the lost history");
        until("the busy one answers again", async || right.load(Ordering::SeqCst) > 30).await;
        is_over.store(true, Ordering::SeqCst);
    };
    let asking = [0, 0, 1, 1, 2, 2].map(|token| ask(secrets[token], after[token]));
    tokio::join!(replace, join_all(asking));

    for replica in [&busy, &idle] {
        assert_eq!(starts_over(replica).await, [OTHER_HISTORY]);
    }
    database.assert_whole().await;
    assert!(busy.terminate().success() && idle.terminate().success());
}

/// A replica that knows two tokens, and another one, to write while the first
/// one knows nothing of it.
struct Behind {
    database: Database,
    replica: Process,
    there: Actor,
    other: Process,
    here: Actor,
    revoked: String,
    token_id: String,
    kept: String,
}

impl Behind {
    async fn start() -> Self {
        let database = Backend::Postgres.database();
        let other = Process::start(&database);
        let replica = Process::start(&database.replica());
        let (here, there) = (other.admin().await, replica.admin().await);
        let revoked = here.issue("ada", "to be revoked", &[]).await;
        let kept = here.issue("ada", "to be kept", &[]).await;
        for secret in [&revoked.secret, &kept.secret] {
            assert!(there.introspect(secret).await.active);
        }
        follows(&replica).await;
        let token_id = revoked.token.token_id;
        Self { database, replica, there, other, here, revoked: revoked.secret, token_id, kept: kept.secret }
    }

    /// The replica's first answers are right, and it dropped what it held for
    /// these reasons.
    async fn end(self, reasons: &[&str]) {
        let active = [&self.revoked, &self.kept].map(|secret| is_active(&self.there, secret));
        assert_eq!(join_all(active).await, [false, true]);
        assert_eq!(starts_over(&self.replica).await, reasons);
        assert!(self.replica.terminate().success() && self.other.terminate().success());
    }

    /// Commits so many changes that concern nobody.
    async fn change(&self, times: i64) {
        self.database
            .execute(&format!(
                "WITH moved AS (UPDATE head SET revision = revision + {times}, tag = gen_random_uuid() \
                                RETURNING revision, tag) \
                 INSERT INTO changes (revision, tag, commit_time, subjects) \
                 SELECT revision - {times} + number, CASE number WHEN {times} THEN tag ELSE gen_random_uuid() END, \
                        (extract(epoch FROM now()) * 1000000)::bigint, '' \
                 FROM moved, generate_series(1, {times}) AS number"
            ))
            .await;
        self.database.assert_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_trimmed_under_a_stopped_replica_is_noticed() {
    let behind = Behind::start().await;
    behind.replica.signal("STOP");
    behind.here.revoke(&behind.token_id).await.unwrap();
    behind.here.issue("ada", "later", &[]).await;
    // As the purge does it: a prefix, and never the head's own row.
    behind.database.execute("DELETE FROM changes WHERE revision < (SELECT revision FROM head)").await;
    behind.replica.signal("CONT");
    behind.end(&[LOG_TRIMMED]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_trimmed_up_to_what_is_known_is_followed() {
    let behind = Behind::start().await;
    behind.replica.signal("STOP");
    behind.database.execute("DELETE FROM changes WHERE revision < (SELECT revision FROM head)").await;
    behind.here.revoke(&behind.token_id).await.unwrap();
    behind.replica.signal("CONT");
    behind.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_changes_are_followed_and_more_are_not() {
    let behind = Behind::start().await;
    behind.change(9_999).await;
    behind.here.revoke(&behind.token_id).await.unwrap();
    behind.end(&[]).await;

    let behind = Behind::start().await;
    behind.change(10_000).await;
    behind.here.revoke(&behind.token_id).await.unwrap();
    behind.end(&[TOO_MANY]).await;
}

/// As after a restore whose log would fit by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_epoch_is_noticed() {
    let behind = Behind::start().await;
    let revoked =
        format!("UPDATE credentials SET revoke_time = 1, revocation_reason = 0 WHERE id = '{}'", behind.token_id);
    behind.database.sql(&format!("UPDATE head SET epoch = gen_random_uuid(); {revoked}"));
    behind.end(&[OTHER_EPOCH]).await;
}

/// A standby lags behind: what it says of a token may be over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_and_answers_once_it_is_promoted() {
    let primary = Arc::new(Postgres::start());
    let database = Database::on(&primary);
    let server = Process::start(&database);
    let admin = server.admin().await;
    let warm = admin.issue("ada", "warm", &[]).await;
    let cold = admin.issue("ada", "cold", &[]).await;
    let revoked = admin.issue("ada", "revoked", &[]).await;
    for issued in [&warm, &revoked] {
        assert!(admin.introspect(&issued.secret).await.active);
    }

    let mut standby = tokio::task::spawn_blocking({
        let primary = primary.clone();
        move || primary.standby()
    })
    .await
    .unwrap();
    let replica = database.replica().at(standby.url(database.url().unwrap()));
    let log = Process::try_start_with(&replica, |_| {}).err().expect("a standby is refused at the start");
    assert!(log.contains("is a standby") && log.contains("give the primary's URL"), "{log}");
    admin.revoke(&revoked.token.token_id).await.unwrap();
    until("the standby has all of it", async || primary.is_replicated()).await;

    let standby = tokio::task::spawn_blocking(move || {
        primary.stop();
        standby.take_place_of(&primary);
        standby
    })
    .await
    .unwrap();
    for _ in 0..10 {
        for issued in [&warm, &cold, &revoked] {
            assert_eq!(try_is_active(&admin, &issued.secret).await, None, "a standby was believed");
        }
        let change = admin.try_issue(issue_request("ada", "on a standby", &[])).await;
        assert_eq!(change.expect_err("it cannot be written").code, Code::Unavailable);
    }

    standby.promote();
    for (issued, active) in [(&warm, true), (&cold, true), (&revoked, false)] {
        assert_eq!(is_active(&admin, &issued.secret).await, active);
    }
    until("changes go on", async || admin.revoke(&warm.token.token_id).await.is_ok()).await;
    assert!(!is_active(&admin, &warm.secret).await);
    assert_eq!(starts_over(&server).await, Vec::<String>::new(), "it is the same history");
}
