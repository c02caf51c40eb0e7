//! One run: who takes part, how long it goes on, and what came of it.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use token_authority::{proto::v1::InactiveReason, random::bytes};
use tokio_util::sync::CancellationToken;

use super::{
    calls::Door,
    check::Moment,
    clients,
    faults::{self, PolicyWriter},
    model::Answer,
    random::Random,
    replica::Replica,
    support::{Backend, wait::until},
    ways::Way,
    world::World,
};

const WRITERS: u64 = 6;
const READERS: u64 = 8;
const FIRST_POLICY: u64 = 1;
/// Fewer answers a second, or acknowledged writes, prove nothing: a slow machine
/// is given up to so many times as long.
const PATIENCE: u64 = 4;
const LEAST_READS: u64 = 10;
const LEAST_WRITES: u64 = 2;

/// What a run shares.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) admin: String,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) policy: PolicyWriter,
    began: Instant,
    over: CancellationToken,
    worlds: Mutex<Vec<Arc<World>>>,
    faults: Mutex<Vec<Fault>>,
    counts: Mutex<BTreeMap<String, u64>>,
    violation: Mutex<Option<(Moment, String)>>,
}

/// What a replica suffered, and when.
struct Fault {
    start: Moment,
    end: Moment,
    text: String,
}

/// Runs on a new database, with so many replicas, for as long as the environment
/// says; fails where a history cannot have happened.
pub(crate) async fn run(backend: Backend, replicas: usize) {
    let seed = number("TOKEN_AUTHORITY_HISTORY_SEED").unwrap_or_else(|| u64::from(u32::from_le_bytes(bytes())));
    let seconds = number("TOKEN_AUTHORITY_HISTORY_SECONDS").unwrap_or(20);
    let again = format!("{backend:?}: TOKEN_AUTHORITY_HISTORY_SEED={seed} TOKEN_AUTHORITY_HISTORY_SECONDS={seconds}");
    say(&format!("{again} begins"));

    let run = Arc::new(Run::new(backend, replicas, seed).await);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(clients::write(run.clone(), writer));
    }
    for reader in 0..READERS {
        tasks.spawn(clients::read(run.clone(), 100 + reader));
    }
    for replica in 0..replicas {
        tasks.spawn(faults::disturb(run.clone(), replica, 200 + replica as u64));
    }
    tasks.spawn(PolicyWriter::keep_a_world(run.clone(), 300));
    for _ in 0..PATIENCE {
        run.pause(Duration::from_secs(seconds)).await;
        if run.lacks(seconds).is_none() {
            break;
        }
    }
    run.over.cancel();
    while let Some(task) = tasks.join_next().await {
        task.unwrap_or_else(|failed| panic!("{again}: {failed}"));
    }

    let found = run.violation.lock().unwrap().take();
    say(&format!("{again} ends after {:.1} s: {}", run.now().as_secs_f64(), run.summary()));
    match found {
        Some((when, history)) if cfg!(feature = "unconfirmed") => {
            say(&format!("{again}: found after {:.1} s, as it must be unconfirmed:\n{history}", when.as_secs_f64()));
        }
        Some((_, history)) => panic!("{again}: this cannot have happened:\n{history}\n{}", run.summary()),
        None if cfg!(feature = "unconfirmed") => panic!("{again}: unconfirmed answers go unnoticed"),
        None => {
            assert_eq!(run.lacks(seconds), None, "{again}: there is too little of it: {}", run.summary());
            run.assert_recovered().await;
        }
    }
}

impl Run {
    async fn new(backend: Backend, replicas: usize, seed: u64) -> Self {
        let first = Replica::new("A", backend.database()).await;
        first.start(FIRST_POLICY).await;
        let admin = first.admin_token();
        let mut all = vec![first];
        for name in ["B", "C"].iter().take(replicas - 1) {
            all.push(all[0].another(name).await);
        }
        // The last one joins late.
        for replica in all.iter().take(replicas - 1).skip(1) {
            replica.start(FIRST_POLICY).await;
        }
        Self {
            seed,
            admin,
            replicas: all,
            policy: PolicyWriter::new(FIRST_POLICY),
            began: Instant::now(),
            over: CancellationToken::new(),
            worlds: Mutex::default(),
            faults: Mutex::default(),
            counts: Mutex::default(),
            violation: Mutex::default(),
        }
    }

    /// The one clock of the history.
    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits, but not beyond the end.
    pub(crate) async fn pause(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.over.cancelled()).await;
    }

    /// A way into some replica that runs.
    pub(crate) fn door(&self, random: &mut Random) -> Option<Door> {
        let mut doors = self.doors();
        if doors.is_empty() { None } else { Some(doors.swap_remove(random.index(doors.len()))) }
    }

    pub(crate) fn doors(&self) -> Vec<Door> {
        self.replicas.iter().filter_map(Replica::door).collect()
    }

    fn worlds(&self) -> MutexGuard<'_, Vec<Arc<World>>> {
        self.worlds.lock().unwrap()
    }

    pub(crate) fn any_world(&self, random: &mut Random) -> Option<Arc<World>> {
        let worlds = self.worlds();
        if worlds.is_empty() { None } else { Some(worlds[random.index(worlds.len())].clone()) }
    }

    /// From now on it is asked about.
    pub(crate) fn show(&self, world: &Arc<World>) {
        self.worlds().push(world.clone());
    }

    /// It is asked about no more, and its history judged.
    pub(crate) fn retire(&self, world: &Arc<World>) {
        self.worlds().retain(|other| !Arc::ptr_eq(other, world));
        self.count("accounts");
        if let Some(found) = world.judge() {
            let faults = self.faults.lock().unwrap();
            let meanwhile = faults.iter().filter(|fault| fault.end >= found.from && fault.start <= found.to);
            let meanwhile: Vec<_> = meanwhile.map(|fault| fault.text.as_str()).collect();
            let history =
                [&found.history, "faults meanwhile, but for those still there:", &meanwhile.join("\n")].join("\n");
            drop(faults);
            self.fail(history);
        }
    }

    /// Ends the run: this cannot have happened. The first counts.
    pub(crate) fn fail(&self, history: String) {
        self.violation.lock().unwrap().get_or_insert((self.now(), history));
        self.over.cancel();
    }

    pub(crate) fn note_fault(&self, start: Moment, what: &str, replica: &str) {
        let end = self.now();
        let text = format!("{start:>14.6?} to {end:.6?}: replica {replica} was {what}");
        self.faults.lock().unwrap().push(Fault { start, end, text });
        self.count(what);
        self.count("faults");
    }

    pub(crate) fn count(&self, what: &str) {
        *self.counts.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn count_answer(&self, way: Way, answer: &Answer) {
        self.count("reads answered");
        self.count(way.name());
        self.count(match answer {
            Answer::Active { .. } => "active",
            Answer::Inactive(Some(reason)) => reason.as_str_name(),
            Answer::Inactive(None) => "inactive",
            Answer::CallerRefused => "caller refused",
        });
    }

    fn counted(&self, what: &str) -> u64 {
        self.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    fn summary(&self) -> String {
        let counts = self.counts.lock().unwrap();
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }

    /// What there is too little of for silence to mean something, of questions and
    /// changes and of every kind of answer.
    fn lacks(&self, seconds: u64) -> Option<&'static str> {
        let least = [("reads answered", LEAST_READS * seconds), ("writes acknowledged", LEAST_WRITES * seconds)];
        let kinds = [
            "active",
            "caller refused",
            InactiveReason::Revoked.as_str_name(),
            InactiveReason::Unknown.as_str_name(),
            InactiveReason::AccountSuspended.as_str_name(),
            InactiveReason::OverPlanLimit.as_str_name(),
            "sessions opened",
            Way::OAuth.name(),
            Way::Check.name(),
            InactiveReason::SignedOut.as_str_name(),
            "faults",
        ];
        // One server has few faults, and its policy is raised by but some of them.
        let raised = (self.replicas.len() > 1).then_some("policies raised");
        let wanted = least.into_iter().chain(kinds.into_iter().chain(raised).map(|kind| (kind, 1)));
        wanted.into_iter().find(|(what, least)| self.counted(what) < *least).map(|(what, _)| what)
    }

    /// Once nothing disturbs them, all answer again.
    async fn assert_recovered(&self) {
        for replica in &self.replicas {
            until("every replica answers again", async || {
                let door = replica.door().expect("it runs");
                let nonsense = "nonsense".to_owned();
                let asked = Way::Introspect.ask(&door, &self.admin, nonsense, Duration::from_secs(1)).await;
                matches!(asked, Ok(Answer::Inactive(Some(InactiveReason::Malformed))))
            })
            .await;
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Past what captures a test's output: a long run is to be seen.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "history on {text}");
}
