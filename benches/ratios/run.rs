//! How is it measured? Rounds of what is compared, in turn, each by a load
//! generator of its own.

use std::{
    cell::OnceCell,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use tokio::runtime::Runtime;

use crate::{
    postgres::Postgres,
    seed::Seed,
    sink,
    site::{Backend, Server, Site},
    spec::{Ask, Expected, Load, Seen, Spec},
};

/// How many calls are in flight where nothing else is said.
pub(crate) const IN_FLIGHT: usize = 256;
/// Over how many connections.
pub(crate) const CONNECTIONS: usize = 4;
/// Lines that are measured only where they are asked for.
const ON_REQUEST: [&str; 2] = ["growth", "profile"];
/// Introspects that must be answered `active`.
pub(crate) const STRICT: Ask = Ask::Introspect { expected: Expected::Active, max_staleness: 0 };

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    /// Tokens where a line says 100,000.
    pub(crate) tokens: usize,
    /// Tokens where a line says 1,000,000.
    pub(crate) many_tokens: usize,
}

impl Plan {
    pub(crate) const fn whole() -> Self {
        Self { rounds: 5, seconds: 5.0, warm_up: 1.0, tokens: 100_000, many_tokens: 1_000_000 }
    }

    pub(crate) const fn quick() -> Self {
        Self { rounds: 1, seconds: 1.0, warm_up: 0.3, tokens: 10_000, many_tokens: 100_000 }
    }
}

/// What all lines measure with.
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) runtime: Runtime,
    only: Vec<String>,
    // Where servers tell of themselves.
    collector: Option<SocketAddr>,
    embedded: OnceCell<Sown>,
    postgres: OnceCell<Sown>,
}

/// A site, and the file of the tokens that were written into it.
pub(crate) struct Sown {
    pub(crate) site: Site,
    pub(crate) credentials: std::path::PathBuf,
}

impl Bench {
    pub(crate) fn new(plan: Plan, only: Vec<String>, telemetry: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let collector = telemetry.then(|| sink::start(&runtime));
        Self { plan, runtime, only, collector, embedded: OnceCell::new(), postgres: OnceCell::new() }
    }

    /// Whether a line is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.iter().any(|only| only == name) || (self.only.is_empty() && !ON_REQUEST.contains(&name))
    }

    /// A site with the plan's tokens, the same for all lines.
    pub(crate) fn sown(&self, backend: Backend) -> &Sown {
        let cell = match backend {
            Backend::Embedded => &self.embedded,
            Backend::Postgres => &self.postgres,
        };
        cell.get_or_init(|| self.sow(backend, self.plan.tokens))
    }

    /// A new site, without tokens.
    pub(crate) fn site(&self, backend: Backend) -> Site {
        Site::new(&self.runtime, backend, self.collector)
    }

    /// A new site with so many tokens of a tenth as many accounts.
    pub(crate) fn sow(&self, backend: Backend, tokens: usize) -> Sown {
        let site = self.site(backend);
        // With the cost by default: where bcrypt ran unnoticed, it would show.
        let seed = Seed { name: "minted", tokens, accounts: tokens.div_ceil(10), fingerprints: true, bcrypt_cost: 10 };
        let credentials = site.sow(&self.runtime, seed);
        Sown { site, credentials }
    }

    /// What a generator is told: all tokens of `sown`, strictly, unless it is
    /// changed.
    pub(crate) fn spec(&self, sown: &Sown, server: &Server) -> Spec {
        Spec {
            servers: vec![server.grpc],
            processes: vec![server.pid()],
            caller: sown.site.introspectors[0].clone(),
            credentials: Some(sown.credentials.clone()),
            ask: STRICT,
            load: Load::InFlight(IN_FLIGHT),
            connections: CONNECTIONS,
            warm_up: self.plan.warm_up,
            seconds: self.plan.seconds,
        }
    }

    /// One round after the other, each of all of these in turn; what was seen, by
    /// spec.
    pub(crate) fn alternate<const N: usize>(&self, specs: [(&str, &Spec); N]) -> [Vec<Seen>; N] {
        let mut seen = [const { Vec::new() }; N];
        for _ in 0..self.plan.rounds {
            for (rounds, (label, spec)) in seen.iter_mut().zip(&specs) {
                rounds.push(generate(label, spec));
            }
        }
        seen
    }

    /// Which PostgreSQL was measured, if one was.
    pub(crate) fn postgres_version(&self) -> String {
        if self.wants_postgres() {
            Postgres::shared().sql("postgres", "SELECT 'PostgreSQL ' || current_setting('server_version')")
        } else {
            String::new()
        }
    }

    fn wants_postgres(&self) -> bool {
        self.only.is_empty() || self.postgres.get().is_some()
    }
}

/// The yardstick under the same load.
pub(crate) fn check(like: &Spec) -> Spec {
    Spec { ask: Ask::Check, credentials: None, ..like.clone() }
}

/// Has a server answer for each credential once, so that all are held as far as
/// there is room.
pub(crate) fn warm(spec: &Spec) {
    let spec = Spec { ask: Ask::Batch(500), load: Load::Once(4), ..spec.clone() };
    generate("all tokens once, in batches", &spec);
}

/// Runs a load generator to its end.
pub(crate) fn generate(label: &str, spec: &Spec) -> Seen {
    finish(label, start(spec))
}

/// Starts a load generator.
pub(crate) fn start(spec: &Spec) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("this program's own file"))
        .arg(crate::GENERATE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs");
    let mut input = child.stdin.take().expect("its input is piped");
    input.write_all(&serde_json::to_vec(spec).expect("a specification can be written")).expect("it reads");
    child
}

/// Waits for a load generator. One wrong answer ends all: figures of a service
/// that answers wrongly tell nothing.
pub(crate) fn finish(label: &str, child: Child) -> Seen {
    let output = child.wait_with_output().expect("it is reaped");
    assert!(output.status.success(), "the load generator ended with {}", output.status);
    let seen: Seen = serde_json::from_slice(&output.stdout).expect("it tells what it saw");
    assert!(seen.wrong == 0, "{label}: {} calls were answered wrongly, the first: {:?}", seen.wrong, seen.first_wrong);
    assert!(seen.calls > 0, "{label}: no call was answered in time");
    eprintln!(
        "   {label:32} {:>9.0}/s  p50 {:>8.0} µs  p99 {:>8.0} µs  server CPU {:>7.1} µs a call",
        seen.per_second(),
        seen.p50,
        seen.p99,
        seen.cpu_per_call()
    );
    seen
}

/// The first lines of a credentials' file, in a file of their own.
pub(crate) fn head(file: &Path, lines: usize, to: &Path) {
    let text = std::fs::read_to_string(file).expect("the credentials' file");
    crate::site::write_credentials(to, text.lines().take(lines).map(ToOwned::to_owned));
}
