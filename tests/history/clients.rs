//! Who calls: writers, each with an account of its own, and readers, who ask
//! about all of them through every replica.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{
    calls::{Door, Failure},
    model::{Account, Kind, MAX_TOKENS, PLANS, Session, State},
    random::Random,
    run::Run,
    world::{Inquiry, Overlap, Step, World},
};

const PERMISSIONS: [&[&str]; 4] = [&[], &["read"], &["write"], &["read", "write"]];
const GRANTS: [Option<&[&str]>; 4] = [None, Some(&["read"]), Some(&["write"]), Some(&["read", "write"])];

/// Changes one account after the other. Where it does not know whether a change
/// was made, it begins another one; the old one is asked about for a while.
pub(crate) async fn write(run: Arc<Run>, stream: u64) {
    let mut random = Random::new(run.seed, stream);
    let mut number = 0;
    while !run.is_over() {
        let world = Arc::new(World::new(format!("writer-{stream}.{number}"), 0));
        run.show(&world);
        let mut probes = JoinSet::new();
        let mut door: Option<Door> = None;
        for _ in 0..random.below(30) + 10 {
            // Mostly by the one that just answered: else most accounts would end
            // before much has happened to them.
            let same = door.filter(|door| door.is_open() && random.percent(70));
            door = same.or_else(|| run.door(&mut random));
            let Some(door) = &door else {
                run.pause(random.millis(10, 50)).await;
                continue;
            };
            let (state, steps) = world.state();
            let step = next_step(&state, steps, &mut random);
            if !take(&run, &world, door, &step, random.millis(1_000, 4_000)).await {
                break;
            }
            // Whoever asks now has to see it, wherever.
            for door in run.doors() {
                if let Some(inquiry) = world.inquiry(&mut random) {
                    let deadline = random.millis(500, 3_000);
                    probes.spawn(ask(run.clone(), world.clone(), door, inquiry, deadline));
                }
            }
            if run.is_over() {
                break;
            }
            run.pause(random.millis(0, 60)).await;
        }
        run.pause(random.millis(200, 2_000)).await;
        while let Some(probe) = probes.join_next().await {
            probe.expect("a probe does not panic");
        }
        run.retire(&world);
        number += 1;
    }
}

/// Asks about whatever there is.
pub(crate) async fn read(run: Arc<Run>, stream: u64) {
    let mut random = Random::new(run.seed, stream);
    while !run.is_over() {
        let inquiry = run.any_world(&mut random).and_then(|world| Some((world.inquiry(&mut random)?, world)));
        if let (Some((inquiry, world)), Some(door)) = (inquiry, run.door(&mut random)) {
            ask(run.clone(), world, door, inquiry, random.millis(500, 3_000)).await;
        }
        run.pause(random.millis(0, 25)).await;
    }
}

/// Takes a step; whether it was acknowledged.
pub(crate) async fn take(run: &Run, world: &World, door: &Door, step: &Step, deadline: Duration) -> bool {
    let subject = world.begin(step, &door.via, run.now());
    match door.take(&run.admin, &subject, step, deadline).await {
        Ok(made) => {
            world.end(made, run.now());
            run.count("writes acknowledged");
            if matches!(step, Step::SignIn(_)) {
                run.count("sessions opened");
            }
            true
        }
        Err(Failure::InDoubt(why)) => {
            run.count(&format!("writes in doubt ({why})"));
            false
        }
        Err(Failure::Refused(refusal)) => {
            let now = run.now();
            let text = format!("account {}: {step} by {} at {now:?} is refused: {refusal}", world.account, door.via);
            run.fail(text);
            false
        }
    }
}

async fn ask(run: Arc<Run>, world: Arc<World>, door: Door, inquiry: Inquiry, deadline: Duration) {
    let Inquiry { question, token, caller } = inquiry;
    let caller = caller.as_ref().unwrap_or(&run.admin);
    let start = run.now();
    match question.way.ask(&door, caller, token, deadline).await {
        Ok(answer) => {
            run.count_answer(question.way, &answer);
            world.answered(question, answer, &door.via, start, run.now());
        }
        Err(Failure::InDoubt(why)) => run.count(&format!("reads unanswered ({why})")),
        Err(Failure::Refused(refusal)) => {
            run.fail(format!("account {}: {question} by {} is refused: {refusal}", world.account, door.via));
        }
    }
}

fn next_step(state: &State, steps: usize, random: &mut Random) -> Step {
    let mark = format!("r{steps}");
    let Some(account) = &state.account else {
        let suspended = random.percent(10);
        return Step::Put(Account { plan: "LARGE", permissions: vec!["write"], limited: false, suspended, mark });
    };
    let live = state.live_tokens();
    let has_room = !account.suspended && live.len() < account.room(state.policy).min(MAX_TOKENS);
    if has_room && (live.is_empty() || random.percent(20)) {
        // What is limited cannot be given more than it holds.
        let grant = if account.limited { None } else { GRANTS[random.index(GRANTS.len())] };
        return Step::Issue(grant);
    }
    if state.password.is_none() && random.percent(25) {
        return Step::SetPassword(format!("correct horse {steps}"));
    }
    let has_caller = state.callers.contains(&true);
    match random.below(100) {
        0..10 if !live.is_empty() => Step::Revoke(live[random.index(live.len())]),
        10..14 => Step::RevokeAll { include_sessions: random.percent(50) },
        14..18 => Step::Delete,
        18..26 if has_caller => Step::RotateService,
        26..31 if has_caller => Step::RevokeService,
        18..38 if !has_caller => Step::CreateService,
        // What a suspended account has stays as it is.
        38..55 if !live.is_empty() && !account.suspended => {
            change_token(state, account, live[random.index(live.len())], random)
        }
        55..78 => change_session(state, account, steps, random),
        _ => Step::Put(changed(account, mark, random)),
    }
}

/// Opens a session, or ends some.
fn change_session(state: &State, account: &Account, steps: usize, random: &mut Random) -> Step {
    let live = state.live_sessions();
    let may_sign_in = state.password.is_some() && !account.suspended;
    match random.below(10) {
        0..3 if !live.is_empty() => {
            let session = live[random.index(live.len())];
            let Kind::Session(kind) = state.credentials[session].kind else { unreachable!("it is a session") };
            Step::SignOut(session, kind)
        }
        3..4 if !live.is_empty() => Step::EndSession(live[random.index(live.len())]),
        4..9 if may_sign_in => Step::SignIn(if random.percent(50) { Session::Web } else { Session::Desktop }),
        _ => Step::SetPassword(format!("correct horse {steps}")),
    }
}

/// Another secret for a token, or other scopes.
fn change_token(state: &State, account: &Account, token: usize, random: &mut Random) -> Step {
    let secrets = state.live_secrets(token);
    match random.below(3) {
        0 => {
            let grant = if account.limited { None } else { GRANTS[random.index(GRANTS.len())] };
            Step::Update(token, grant)
        }
        1 if secrets.len() > 1 => Step::EndSecret(secrets[random.index(secrets.len())]),
        _ if secrets.len() > 1 => Step::Rotate(token, Overlap::None),
        _ => Step::Rotate(token, if random.percent(60) { Overlap::Long } else { Overlap::None }),
    }
}

/// The account with something taken away or given back.
fn changed(account: &Account, mark: String, random: &mut Random) -> Account {
    let mut account = Account { mark, ..account.clone() };
    match random.below(4) {
        0 => account.suspended = !account.suspended,
        1 => account.plan = PLANS[random.index(PLANS.len())].0,
        2 => account.permissions = PERMISSIONS[random.index(PERMISSIONS.len())].to_vec(),
        _ => account.limited = !account.limited,
    }
    if account.suspended && random.percent(50) {
        account.suspended = false;
    }
    account
}
