//! What goes wrong: replicas are stopped and continued, killed and restarted,
//! cut off from the database, and brought a new policy. The seed says when.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::{
    clients::take,
    model::Account,
    proxy::{Mode, Way},
    random::Random,
    replica::Replica,
    run::Run,
    world::{Made, Step, World},
};

/// How long one account tells of the policy.
const POLICY_TURN: Duration = Duration::from_secs(8);

/// The policy in force, and who raises it: one at a time.
pub(crate) struct PolicyWriter(Mutex<PolicyState>);

struct PolicyState {
    version: u64,
    // An account that shows which version is in force.
    world: Option<Arc<World>>,
}

/// Disturbs one replica until the run is over; leaves it in good health.
pub(crate) async fn disturb(run: Arc<Run>, replica: usize, stream: u64) {
    let mut random = Random::new(run.seed, stream);
    let replica = &run.replicas[replica];
    if replica.door().is_none() {
        // It joins late.
        run.pause(random.millis(500, 4_000)).await;
        replica.start(run.policy.version().await).await;
    }
    loop {
        run.pause(random.millis(300, 3_000)).await;
        if run.is_over() {
            return;
        }
        let start = run.now();
        let what = one(&run, replica, &mut random).await;
        run.note_fault(start, what, &replica.name);
    }
}

/// One fault, and its end.
async fn one(run: &Run, replica: &Replica, random: &mut Random) -> &'static str {
    let kinds = if replica.has_way() { 100 } else { 50 };
    match random.below(kinds) {
        0..20 => {
            replica.signal("STOP");
            run.pause(if random.percent(15) { random.millis(2_500, 5_000) } else { random.millis(20, 1_500) }).await;
            replica.signal("CONT");
            "stopped"
        }
        20..35 => {
            replica.kill();
            run.pause(if random.percent(30) { random.millis(2_000, 4_000) } else { random.millis(0, 500) }).await;
            replica.start(run.policy.version().await).await;
            "killed and restarted"
        }
        35..42 => {
            replica.end().await;
            replica.start(run.policy.version().await).await;
            "restarted"
        }
        42..50 => {
            run.policy.raise(run, replica).await;
            "restarted with a higher policy"
        }
        50..60 => {
            let by = random.millis(1, 60);
            hold(run, replica, Mode::Delay(by), random.millis(200, 1_500)).await;
            "delayed"
        }
        60..67 => {
            hold(run, replica, Mode::Hold(Way::There), random.millis(50, 2_500)).await;
            "held on the way to the database"
        }
        67..74 => {
            hold(run, replica, Mode::Hold(Way::Back), random.millis(50, 2_500)).await;
            "held on the way back"
        }
        74..80 => {
            hold(run, replica, Mode::Hold(Way::Both), random.millis(50, 2_500)).await;
            "held both ways"
        }
        80..88 => {
            hold(run, replica, Mode::Swallow, random.millis(50, 1_500)).await;
            "swallowed"
        }
        _ => {
            hold(run, replica, Mode::Cut, random.millis(0, 1_500)).await;
            "cut off"
        }
    }
}

async fn hold(run: &Run, replica: &Replica, mode: Mode, time: Duration) {
    replica.set_way(mode);
    run.pause(time).await;
    replica.set_way(Mode::Pass);
}

impl PolicyWriter {
    /// This version is in force.
    pub(crate) fn new(version: u64) -> Self {
        Self(Mutex::new(PolicyState { version, world: None }))
    }

    pub(crate) async fn version(&self) -> u64 {
        self.0.lock().await.version
    }

    /// Restarts a replica with the next version, which is in force, at the
    /// latest, once it serves.
    async fn raise(&self, run: &Run, replica: &Replica) {
        let mut policy = self.0.lock().await;
        let next = policy.version + 1;
        replica.end().await;
        if let Some(world) = &policy.world {
            world.begin(&Step::Policy(next), &format!("replica {}", replica.name), run.now());
        }
        replica.start(next).await;
        if let Some(world) = &policy.world {
            world.end(Made::Nothing, run.now());
        }
        policy.version = next;
        run.count("policies raised");
    }

    /// Keeps an account that tells of the policy, and none else of the rest.
    pub(crate) async fn keep_a_world(run: Arc<Run>, stream: u64) {
        let mut random = Random::new(run.seed, stream);
        let mut number = 0;
        while !run.is_over() {
            let mut policy = run.policy.0.lock().await;
            let world = Arc::new(World::new(format!("policy.{number}"), policy.version));
            number += 1;
            if !make(&run, &world, &mut random).await {
                drop(policy);
                run.pause(random.millis(50, 100)).await;
                continue;
            }
            policy.world = Some(world.clone());
            drop(policy);
            run.show(&world);
            run.pause(POLICY_TURN).await;
            run.policy.0.lock().await.world = None;
            run.retire(&world);
        }
    }
}

/// Makes an account on the shifting plan with as many tokens as it has room
/// for; whether it is known to be there.
async fn make(run: &Run, world: &World, random: &mut Random) -> bool {
    let (state, _) = world.state();
    let account = Account::shifting();
    let tokens = account.room(state.policy);
    let steps = std::iter::once(Step::Put(account)).chain((0..tokens).map(|_| Step::Issue(None)));
    for step in steps {
        let Some(door) = run.door(random) else {
            return false;
        };
        if !take(run, world, &door, &step, Duration::from_secs(2)).await {
            return false;
        }
    }
    true
}
