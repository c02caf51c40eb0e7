//! Replicas whose wall clocks are wrong, or jump, judge as the others do: what
//! counts is the database's time.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use token_authority::{
    domain::{id::CredentialId, time::Timestamp},
    proto::v1::{InactiveReason, IssueTokenRequest, Token, issue_token_request::Expiry},
};

use crate::support::{
    Actor, Backend, Database, Issued, Process,
    calls::span,
    clock::WallClock,
    issue_request,
    sign_in::{PASSWORD, by_password},
    wait::until,
};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const SECOND: i64 = 1_000_000;
const HALF_AN_HOUR: Duration = Duration::from_mins(30);

/// A replica, and its wall clock.
struct Replica {
    clock: WallClock,
    process: Process,
    admin: Actor,
}

impl Replica {
    async fn start(database: &Database, seconds_off: i64) -> Self {
        let clock = WallClock::off_by(seconds_off);
        let process = Process::start_with(database, |command| clock.give_to(command));
        let admin = process.actor(&database.admin_token()).await;
        Self { clock, process, admin }
    }

    /// How many seconds its wall clock is off, as its own log's time stamps show.
    async fn seconds_off(&self) -> i64 {
        let log = self.process.log();
        // What is inactive is logged.
        assert!(!self.admin.introspect("junk").await.active);
        until("it is logged", async || self.process.log().len() > log.len()).await;
        let log = self.process.log();
        let line = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).next_back();
        let stamp = line.expect("a line")["timestamp"].as_str().expect("it has a time").to_owned();
        let stamp = humantime::parse_rfc3339(&stamp).expect("as RFC 3339 has it");
        (seconds(stamp) - seconds(now())).div_euclid(60) * 60
    }

    /// Issues a token, for the default lifetime where none is given.
    async fn issue(&self, label: &str, lifetime: Option<Duration>) -> Issued {
        let expiry = lifetime.map(|lifetime| Expiry::Ttl(span(lifetime)));
        let request = IssueTokenRequest { expiry, ..issue_request("ada", label, &[]) };
        self.admin.try_issue(request).await.unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "the wall clock is what is tested")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn seconds(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// PostgreSQL's time, in microseconds.
async fn database_time(database: &Database) -> i64 {
    database.scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await.parse().unwrap()
}

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("there is a time");
    time.seconds * SECOND + i64::from(time.nanos) / 1_000
}

/// A token's times and its id are of when the database made it.
fn assert_made_between(token: &Token, before: i64, after: i64) {
    let issued = micros(token.create_time);
    assert!((before..=after).contains(&issued), "issued at {issued}, not between {before} and {after}");
    assert_eq!(micros(token.expire_time) - issued, 365 * DAY * SECOND, "the default lifetime");
    let id: CredentialId = token.token_id.parse().unwrap();
    let bound = |micros| CredentialId::at(Timestamp::from_micros(micros).unwrap(), [0; 8]);
    assert!(bound(before) <= id && id <= bound(after + 1_000), "the id is not of the database's time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_with_wrong_clocks_judge_alike() {
    let database = Backend::Postgres.database();
    let true_one = Replica::start(&database, 0).await;
    let ahead = Replica::start(&database.replica(), HOUR).await;
    let behind = Replica::start(&database.replica(), -HOUR).await;
    let replicas = [&true_one, &ahead, &behind];
    for (replica, off) in replicas.into_iter().zip([0, HOUR, -HOUR]) {
        assert!((off - 60..=off + 60).contains(&replica.seconds_off().await), "its clock is not the one it was given");
    }

    let mut tokens = Vec::new();
    for replica in replicas {
        let before = database_time(&database).await;
        let issued = replica.issue("default lifetime", None).await;
        assert_made_between(&issued.token, before, database_time(&database).await);
        tokens.push(issued);
    }
    let half_an_hour = true_one.issue("half an hour", Some(HALF_AN_HOUR)).await;
    let moment = ahead.issue("a moment", Some(Duration::from_secs(3))).await;
    tokens.push(half_an_hour);

    // Each is asked until it says that the token has expired: not before it has,
    // and not one call later.
    let expires = micros(moment.token.expire_time);
    let watch = async |replica: &Replica| {
        loop {
            let before = database_time(&database).await;
            let answer = replica.admin.introspect(&moment.secret).await;
            let after = database_time(&database).await;
            assert!(answer.active || after >= expires - SECOND / 2, "it expires {} µs early", expires - after);
            assert!(!answer.active || before < expires, "it is active {} µs later", before - expires);
            if !answer.active {
                return assert_eq!(answer.inactive_reason(), InactiveReason::Expired);
            }
        }
    };
    join_all(replicas.map(watch)).await;
    let assert_alike = async || {
        for replica in replicas {
            for issued in &tokens {
                assert!(replica.admin.introspect(&issued.secret).await.active, "{}", issued.token.label);
            }
            assert!(!replica.admin.introspect(&moment.secret).await.active);
        }
    };
    assert_alike().await;

    for off in [HOUR, -HOUR, 366 * DAY, -366 * DAY, 0] {
        true_one.clock.put_off_by(off);
        assert!((off - 60..=off + 60).contains(&true_one.seconds_off().await), "its clock did not jump");
        assert_alike().await;
        let before = database_time(&database).await;
        let issued = true_one.issue("after a jump", None).await;
        assert_made_between(&issued.token, before, database_time(&database).await);
        for replica in replicas {
            assert!(replica.admin.introspect(&issued.secret).await.active);
        }
    }
    for replica in [true_one, ahead, behind] {
        assert!(replica.process.terminate().success());
    }
}

/// The embedded database has no other clock than its process's: it never goes
/// back while that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_stays_so_where_the_clock_goes_back() {
    let database = Backend::Sqlite.database();
    let server = {
        let clock = WallClock::off_by(0);
        let process = Process::start_with(&database, |command| clock.give_to(command));
        let admin = process.admin().await;
        Replica { clock, process, admin }
    };
    let issued = server.issue("half an hour", Some(HALF_AN_HOUR)).await;
    let lasting = server.issue("lasting", None).await;
    let active = async |issued: &Issued| server.admin.introspect(&issued.secret).await.active;
    assert!(active(&issued).await);
    server.clock.put_off_by(HOUR);
    assert!(!active(&issued).await);
    server.clock.put_off_by(-HOUR);
    assert!(!active(&issued).await && active(&lasting).await);
    assert!(server.process.terminate().success());
}

/// A session's end moves on for as long as it is used, and not beyond its bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_while_it_is_used() {
    let database = Backend::Sqlite.database();
    let clock = WallClock::off_by(0);
    let process = Process::start_with(&database, |command| {
        clock.give_to(command);
        command
            .env("TOKEN_AUTHORITY__SESSIONS__DESKTOP_LIFETIME", "30days")
            .env("TOKEN_AUTHORITY__SESSIONS__DESKTOP_MAX_LIFETIME", "70days");
    });
    let admin = process.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let used = admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    let unused = admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    let opened = micros(used.session.create_time);
    // The day of its life on which it ends.
    let end = async || {
        let answer = admin.introspect(&used.secret).await;
        answer.active.then(|| (micros(answer.expire_time) - opened) / (DAY * SECOND))
    };
    for (day, moved) in [(1, 30), (14, 30), (16, 46), (30, 46), (32, 62), (48, 70), (60, 70), (69, 70)] {
        clock.put_off_by(day * DAY);
        assert!(end().await.is_some(), "day {day}");
        until("its end is where it should be", async || end().await == Some(moved)).await;
    }
    assert!(!admin.introspect(&unused.secret).await.active, "nobody used it in time");
    clock.put_off_by(70 * DAY + HOUR);
    assert_eq!(end().await, None);
}

/// And neither does a secret whose overlap was over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlap_ends_by_the_database_s_clock() {
    let database = Backend::Sqlite.database();
    let clock = WallClock::off_by(0);
    let process = Process::start_with(&database, |command| clock.give_to(command));
    let admin = process.admin().await;
    let old = admin.issue("ada", "laptop", &[]).await;
    let new = admin.rotate(&old.token.token_id, HALF_AN_HOUR).await;
    let active = async || {
        let [old, new] = [&old, &new].map(|issued| admin.introspect(&issued.secret));
        (old.await.active, new.await.active)
    };
    for (off, is_over) in [(HOUR / 2 - 60, false), (HOUR / 2 + 1, true), (-HOUR, true)] {
        clock.put_off_by(off);
        assert_eq!(active().await, (!is_over, true), "the clock is {off} seconds off");
        assert_eq!(admin.get_token(&old.token.token_id).await.unwrap().secrets.len(), if is_over { 1 } else { 2 });
    }
    assert!(process.terminate().success());
}
