//! How fast is it, against a call that does nothing? `cargo bench --bench
//! ratios`: a server, a load generator and this program, which directs them, are
//! processes of their own. See `docs/performance.md`.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod doors;
mod flood;
mod generator;
mod growth;
mod lines;
mod messages;
#[path = "../../tests/it/support/postgres.rs"]
mod postgres;
mod proc;
mod profile;
mod report;
mod run;
mod seed;
mod sink;
mod site;
mod spec;
mod wire;

use std::io::Read as _;

use clap::Parser;
use token_authority::{
    server::Server,
    settings::{Flags, Settings},
    telemetry,
};

use self::run::{Bench, Plan};

/// This program again, as the load generator.
const GENERATE: &str = "generate";
/// This program again, as a server that counts bcrypt's runs.
const SERVE: &str = "serve";
/// What a round asks PostgreSQL.
const QUERY: &str = "SELECT pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
                     epoch, revision, tag FROM head";

/// Measures this version against `grpc.health.v1.Health/Check` on the same server,
/// on this machine, and prints the ratios that are promised. It exits with 0
/// whether or not they are reached, as long as every call was answered rightly.
#[derive(Debug, Parser)]
#[command(name = "ratios")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
struct Options {
    /// One short round of each, with a tenth of the tokens: does it work at all?
    #[arg(long)]
    quick: bool,
    /// Only these lines, separated by commas; `growth` and `profile` are not measured
    /// otherwise
    #[arg(long, value_name = "LINE", value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each line; the median counts
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Seconds that calls count in a round
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Servers tell a collector all that they can: metrics each second, and the
    /// spans of one call in a hundred
    #[arg(long)]
    telemetry: bool,
    /// The lines there are
    #[arg(long)]
    list: bool,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(GENERATE) => generator::run(),
        Some(SERVE) => serve(),
        _ => direct(&Options::parse()),
    }
}

fn direct(options: &Options) {
    if options.list {
        for (name, what) in lines::NAMES {
            println!("{name:16}{what}");
        }
        return;
    }
    for name in &options.only {
        assert!(lines::NAMES.iter().any(|(known, _)| known == name), "there is no line {name:?}: see --list");
    }
    let mut plan = if options.quick { Plan::quick() } else { Plan::whole() };
    plan.rounds = options.rounds.unwrap_or(plan.rounds).max(1);
    plan.seconds = options.seconds.unwrap_or(plan.seconds);
    let bench = Bench::new(plan, options.only.clone(), options.telemetry);
    let lines = lines::all(&bench);
    report::tell(&lines, bench.postgres_version());
}

/// Serves as the environment says until standard input ends; then tells how often
/// bcrypt ran.
fn serve() {
    let settings = Settings::load(None, &Flags::default()).expect("settings in the environment");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let _telemetry = telemetry::init(&settings).expect("a log");
        let server = Server::start(&settings).await.expect("the server starts");
        let asked = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        asked.await.expect("no panic").expect("standard input");
        println!("{}", server.bcrypt_runs());
        server.shutdown().await.expect("the server ends in good order");
    });
}
