//! What do those notice who are known, while a flood of others goes on?

use crate::{
    lines::{line_of, warm},
    proc,
    report::{Figure, Floor, Line},
    run::{self, Bench, STRICT, finish, generate, start},
    seed::{self, Seed},
    site::{Backend, write_credentials},
    spec::{Ask, Expected, Load, Seen, Spec},
};

use token_authority::domain::{credential::Kind, id::CredentialId, time::Timestamp};

/// The warm calls' part of Check's rate, and the flood's.
const WARM: f64 = 0.05;
const FLOOD: f64 = 5.0 * WARM;
/// Imported tokens in a second: twice what one thread of bcrypt can do, so that it
/// is busy all the time.
const IMPORTED: f64 = 30.0;
/// Wrong sign-ins in flight, by so many usernames and addresses together.
const GUESSES: usize = 1_000;
const GUESSED: usize = 1_000;
/// What another system's tokens begin with.
const LEGACY_PREFIX: &str = "utm_";
/// Different credentials in the flood.
const DIFFERENT: usize = 30_000;

/// The warm p99 during a flood against that in quiet, and what the flood does to
/// memory.
pub(crate) fn measure(bench: &Bench, name: &'static str, backend: Backend) -> Vec<Line> {
    // A site of its own: it is left with tokens that no other line has.
    let sown = bench.sow(backend, bench.plan.tokens);
    let plan = bench.plan;
    let imported_a_round = ((plan.warm_up + plan.seconds) * IMPORTED).ceil() as usize + 2;
    let imported = Seed {
        name: "imported",
        tokens: imported_a_round * plan.rounds,
        accounts: 10,
        fingerprints: false,
        bcrypt_cost: 10,
    };
    let imported = sown.site.sow(&bench.runtime, imported);
    let imported = std::fs::read_to_string(imported).expect("the credentials' file");
    let imported: Vec<&str> = imported.lines().collect();
    let minted = std::fs::read_to_string(&sown.credentials).expect("the credentials' file");
    let bad = sown.site.path("bad.credentials");
    write_credentials(&bad, bad_credentials(&minted));

    let legacy = format!(r#"[{{ prefix = "{LEGACY_PREFIX}", hint_length = 12 }}]"#);
    let (server, all) = warm(bench, &sown, &[("CREDENTIALS__LEGACY", &legacy)]);
    let check = generate("Check", &run::check(&all));
    let at = |per_second, tick_micros, in_order| Load::Rate { per_second, tick_micros, in_order };
    let known = Spec { load: at(check.per_second() * WARM, 0, false), ask: STRICT, ..all.clone() };
    let pressed = pressed(&known);
    // By another service, whose calls in flight are bounded by themselves.
    let flood = Spec {
        caller: sown.site.introspectors[1].clone(),
        credentials: Some(bad),
        ask: Ask::Introspect { expected: Expected::InactiveOrBusy, max_staleness: 0 },
        // In bunches, as from a thousand senders: one call at a time, the generator takes
        // as much of the processors as the server.
        load: at(check.per_second() * FLOOD, 1_000, false),
        ..all.clone()
    };

    let (mut quiet, mut flooded, mut floods, mut slow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let resident = proc::memory_mib(server.pid(), "VmRSS");
    for round in imported.chunks(imported_a_round).take(plan.rounds) {
        quiet.push(generate("known, quiet", &known));
        let file = sown.site.path("round.credentials");
        write_credentials(&file, round.iter().map(ToString::to_string));
        let imported = Spec {
            caller: flood.caller.clone(),
            credentials: Some(file),
            ask: Ask::Introspect { expected: Expected::ActiveOrBusy, max_staleness: 0 },
            load: at(IMPORTED, 0, true),
            connections: 1,
            ..all.clone()
        };
        let (by_known, by_flood, by_imported) = (start(&pressed), start(&flood), start(&imported));
        flooded.push(finish("known, during the flood", by_known));
        floods.push(finish("the flood", by_flood));
        slow.push(finish("imported", by_imported));
    }
    let peak = proc::memory_mib(server.pid(), "VmHWM");
    let rounds = flooded.iter().zip(&quiet).map(|(flooded, quiet)| flooded.p99 / quiet.p99).collect();
    vec![Line {
        name,
        what: format!("warm p99 at 5 % of Check's rate during a flood of five times that, {backend:?}"),
        floor: Some(Floor::AtMost(2.0)),
        unit: "× quiet p99",
        figures: vec![
            Figure::of("Check, 256 in flight", &[check]),
            Figure::of("known, quiet", &quiet),
            Figure::of("known, during the flood", &flooded),
            Figure::of("malformed, forged and unknown", &floods),
            Figure::of("imported, to be proved by bcrypt", &slow),
        ],
        notes: vec![format!(
            "Resident: {resident:.0} MiB before the first flood, {peak:.0} MiB at most. Told that the server is busy: {} \
             of the warm ones, {} of the flood, {} of the imported ones.",
            busy(&flooded),
            busy(&floods),
            busy(&slow),
        )],
        ..line_of(rounds)
    }]
}

/// The same under pressure: a call that its own service's bound on calls in flight
/// refuses counts with the time that it took, and is told of.
fn pressed(known: &Spec) -> Spec {
    Spec { ask: Ask::Introspect { expected: Expected::ActiveOrBusy, max_staleness: 0 }, ..known.clone() }
}

/// How many of the calls were told that the server is busy.
fn busy(rounds: &[Seen]) -> String {
    let sum = |of: fn(&Seen) -> u64| rounds.iter().map(of).sum::<u64>();
    format!("{} of {}", sum(|seen| seen.busy), sum(|seen| seen.calls))
}

/// What those notice who are known, while passwords are guessed.
pub(crate) fn sign_ins(bench: &Bench) -> Line {
    let sown = bench.sown(Backend::Postgres);
    let (_server, all) = warm(bench, sown, &[]);
    let check = generate("Check", &run::check(&all));
    let load = Load::Rate { per_second: check.per_second() * WARM, tick_micros: 0, in_order: false };
    let known = Spec { load, ..all.clone() };
    let usernames = sown.site.path("usernames");
    write_credentials(&usernames, (0..GUESSED).map(|number| format!("user-{}", number % 100)));
    let wrong = Spec {
        caller: sown.site.admin.clone(),
        credentials: Some(usernames),
        ask: Ask::WrongSignIn,
        load: Load::InFlight(GUESSES),
        ..all.clone()
    };
    let (mut quiet, mut guessed, mut guesses) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.plan.rounds {
        quiet.push(generate("known, quiet", &known));
        let (by_known, by_guessers) = (start(&pressed(&known)), start(&wrong));
        guessed.push(finish("known, while passwords are guessed", by_known));
        guesses.push(finish("wrong sign-ins", by_guessers));
    }
    let rounds = guessed.iter().zip(&quiet).map(|(guessed, quiet)| guessed.p99 / quiet.p99).collect();
    Line {
        name: "sign-ins",
        what: format!("warm p99 at 5 % of Check's rate while {GUESSES} wrong sign-ins are in flight, PostgreSQL"),
        floor: Some(Floor::AtMost(2.0)),
        unit: "× quiet p99",
        figures: vec![
            Figure::of("Check, 256 in flight", &[check]),
            Figure::of("known, quiet", &quiet),
            Figure::of("known, while passwords are guessed", &guessed),
            Figure::of("wrong sign-ins", &guesses),
        ],
        notes: vec![format!("Told that the server is busy: {} of the warm ones.", busy(&guessed))],
        ..line_of(rounds)
    }
}

/// A quarter each: malformed (a wrong checksum), forged (a known id, another
/// secret), unknown (an id of nothing), and of another system's form, which nobody
/// has imported.
fn bad_credentials(minted: &str) -> Vec<String> {
    let forms = seed::forms();
    let mut minted = minted.lines().cycle();
    (0..DIFFERENT)
        .map(|number| {
            let good = minted.next().expect("there are tokens");
            let presented = forms.parse(good).expect("a minted credential");
            let secret = seed::draw_secret();
            let id = match number % 4 {
                0 => {
                    let last = if good.ends_with('0') { "1" } else { "0" };
                    return format!("{}{last}", &good[..good.len() - 1]);
                }
                1 => presented.id,
                2 => return format!("{LEGACY_PREFIX}{:040x}", u128::from_ne_bytes(token_authority::random::bytes())),
                _ => {
                    let time = Timestamp::from_micros(1_000_000 + number as i64).expect("in range");
                    CredentialId::at(time, token_authority::random::bytes())
                }
            };
            forms.encode(Kind::Personal, id, &secret).expect("an opaque kind").expose().to_owned()
        })
        .collect()
}
