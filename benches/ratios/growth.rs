//! How does cost grow with tokens, with connections, with replicas?

use std::time::Duration;

use crate::{
    lines::{line_of, warm},
    postgres::Postgres,
    proc,
    report::{Figure, Line},
    run::{self, Bench, generate},
    site::Backend,
    spec::{Ask, Seen, Spec},
};

/// PostgreSQL's processes count what they did at the latest after ten seconds
/// without work.
const UNTIL_COUNTED: Duration = Duration::from_secs(11);

pub(crate) fn measure(bench: &Bench) -> Vec<Line> {
    let mut lines = vec![by_tokens(bench)];
    lines.extend([Backend::Embedded, Backend::Postgres].map(|backend| by_connections(bench, backend)));
    lines.push(by_replicas(bench));
    lines
}

/// The server's CPU time a call of the last figure, against that of the first.
fn growth(name: &'static str, what: String, figures: Vec<Figure>, notes: Vec<String>) -> Line {
    let cost = |figure: Option<&Figure>| figure.map_or(f64::NAN, |figure| figure.server_cpu_micros_per_call);
    let measured = cost(figures.last()) / cost(figures.first());
    Line { name, what, unit: "× server CPU a call", figures, notes, ..line_of(vec![measured]) }
}

fn rounds(bench: &Bench, label: &str, spec: &Spec) -> Vec<Seen> {
    (0..bench.plan.rounds).map(|_| generate(label, spec)).collect()
}

fn by_tokens(bench: &Bench) -> Line {
    let figures = [1_000, bench.plan.tokens, bench.plan.many_tokens].map(|tokens| {
        let sown = bench.sow(Backend::Embedded, tokens);
        let (server, spec) = warm(bench, &sown, &[("INTROSPECTION__CACHE_MIB", "4096")]);
        let seen = rounds(bench, &format!("{tokens} tokens"), &spec);
        let memory = proc::memory_mib(server.pid(), "VmRSS");
        Figure::of(format!("{tokens} tokens ({memory:.0} MiB resident)"), &seen)
    });
    let what = "Introspect, embedded, by tokens, all held (cache_mib = 4096)".to_owned();
    growth("growth-tokens", what, figures.into(), Vec::new())
}

fn by_connections(bench: &Bench, backend: Backend) -> Line {
    let (_server, spec) = warm(bench, bench.sown(backend), &[]);
    let mut figures = Vec::new();
    for connections in [1, 4, 16, 64] {
        let spec = Spec { connections, ..spec.clone() };
        let check = run::check(&spec);
        let (check, own) = (format!("Check, {connections} connections"), check);
        figures.push(Figure::of(&check, &rounds(bench, &check, &own)));
        let introspect = format!("Introspect, {connections} connections");
        figures.push(Figure::of(&introspect, &rounds(bench, &introspect, &spec)));
    }
    growth("growth-connect", format!("by connections, 256 in flight, {backend:?}, strict"), figures, Vec::new())
}

/// Replicas on one PostgreSQL: what they ask of it, and what that costs there.
fn by_replicas(bench: &Bench) -> Line {
    let sown = bench.sown(Backend::Postgres);
    let postgres = Postgres::shared();
    let backend: u32 = postgres
        .sql("postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        .parse()
        .expect("a process id");
    let family = proc::parent(backend).expect("PostgreSQL runs");
    let query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let queries = || -> u64 {
        std::thread::sleep(UNTIL_COUNTED);
        postgres.sql(sown.site.url(), query).parse().expect("a number")
    };
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for replicas in 1..=3 {
        let servers: Vec<_> = (0..replicas).map(|_| warm(bench, sown, &[]).0).collect();
        let spec = Spec {
            servers: servers.iter().map(|server| server.grpc).collect(),
            processes: servers.iter().map(crate::site::Server::pid).collect(),
            connections: 4 * replicas,
            ask: Ask::Introspect { expected: crate::spec::Expected::Active, max_staleness: 0 },
            warm_up: 0.0,
            ..bench.spec(sown, &servers[0])
        };
        let (queries_before, cpu_before) = (queries(), proc::cpu_of_family(family));
        let seen = rounds(bench, &format!("{replicas} replicas"), &spec);
        let cpu = proc::cpu_of_family(family) - cpu_before;
        let queries = queries() - queries_before;
        let seconds: f64 = seen.iter().map(|seen| seen.seconds).sum();
        notes.push(format!(
            "{replicas} replicas: {:.0} queries a second at PostgreSQL ({:.0} a replica), {:.0} µs of its CPU time each.",
            queries as f64 / seconds,
            queries as f64 / seconds / f64::from(u32::try_from(replicas).unwrap_or(u32::MAX)),
            cpu * 1e6 / queries.max(1) as f64,
        ));
        figures.push(Figure::of(format!("{replicas} replicas"), &seen));
    }
    let what = "Introspect, PostgreSQL, strict, by replicas on one database, 256 in flight in all".to_owned();
    growth("growth-replicas", what, figures, notes)
}
