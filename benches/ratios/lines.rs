//! The lines of the table, each with its floor.

use token_authority::{
    client::Client,
    proto::v1::{Account, IssueTokenRequest, PutAccountRequest},
};

use crate::{
    doors::Door,
    flood, growth, proc, profile,
    report::{Figure, Floor, Line, median},
    run::{self, Bench, STRICT, Sown, generate, head},
    site::{Backend, Server},
    spec::{Ask, Expected, Load, Seen, Spec},
};

/// What there is to measure.
pub(crate) const NAMES: [(&str, &str); 15] = [
    ("first-use", "bcrypt's runs for the first use of each minted token after a restart"),
    ("embedded", "Introspect, embedded database"),
    ("batch", "BatchIntrospect of 100"),
    ("doors", "Envoy's Check and the HTTP doors against Introspect, embedded database"),
    ("flood-embedded", "warm p99 during a flood, embedded database"),
    ("postgres", "Introspect, PostgreSQL, strict"),
    ("stale", "Introspect, PostgreSQL, max_staleness 1 s"),
    ("one", "Introspect, PostgreSQL, strict, one in flight"),
    ("flood-postgres", "warm p99 during a flood, PostgreSQL"),
    ("sign-ins", "warm p99 while a thousand wrong sign-ins are in flight, PostgreSQL"),
    ("million", "1,000,000 tokens, all held"),
    ("bound", "1,000,000 tokens, the cache at its bound"),
    ("cap", "IssueToken over a cap"),
    ("growth", "how cost grows with tokens, connections and replicas"),
    ("profile", "instructions a call, under valgrind"),
];

/// Measures what is wanted.
pub(crate) fn all(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut measure = |name: &'static str, measure: &dyn Fn() -> Vec<Line>| {
        if bench.wants(name) {
            eprintln!("== {name}");
            lines.extend(measure());
        }
    };
    measure("first-use", &|| [Backend::Embedded, Backend::Postgres].map(|backend| first_use(bench, backend)).into());
    measure("embedded", &|| vec![embedded(bench)]);
    measure("batch", &|| vec![batch(bench)]);
    measure("doors", &|| doors(bench));
    measure("flood-embedded", &|| flood::measure(bench, "flood-embedded", Backend::Embedded));
    measure("postgres", &|| vec![postgres(bench)]);
    measure("stale", &|| vec![stale(bench)]);
    measure("one", &|| vec![one(bench)]);
    measure("flood-postgres", &|| flood::measure(bench, "flood-postgres", Backend::Postgres));
    measure("sign-ins", &|| vec![flood::sign_ins(bench)]);
    measure("million", &|| vec![million(bench)]);
    measure("bound", &|| bound(bench));
    measure("cap", &|| [Backend::Embedded, Backend::Postgres].map(|backend| cap(bench, backend)).into());
    measure("growth", &|| growth::measure(bench));
    measure("profile", &|| profile::measure(bench));
    lines
}

/// A server on a sown site that holds all its tokens, and what to ask of it.
pub(crate) fn warm(bench: &Bench, sown: &Sown, settings: &[(&str, &str)]) -> (Server, Spec) {
    let server = sown.site.serve(settings);
    let spec = bench.spec(sown, &server);
    run::warm(&spec);
    (server, spec)
}

fn embedded(bench: &Bench) -> Line {
    let (_server, spec) = warm(bench, bench.sown(Backend::Embedded), &[]);
    let what = format!("Introspect, embedded, {} tokens, 256 in flight", bench.plan.tokens);
    against_check(bench, "embedded", what, 0.9, &spec)
}

fn postgres(bench: &Bench) -> Line {
    let (_server, spec) = warm(bench, bench.sown(Backend::Postgres), &[]);
    let what = format!("Introspect, PostgreSQL, strict, {} tokens, 256 in flight", bench.plan.tokens);
    against_check(bench, "postgres", what, 0.75, &spec)
}

fn stale(bench: &Bench) -> Line {
    let (_server, spec) = warm(bench, bench.sown(Backend::Postgres), &[]);
    let spec = Spec { ask: Ask::Introspect { expected: Expected::Active, max_staleness: 1 }, ..spec };
    let what = format!("Introspect, PostgreSQL, max_staleness 1 s, {} tokens, 256 in flight", bench.plan.tokens);
    against_check(bench, "stale", what, 0.9, &spec)
}

fn against_check(bench: &Bench, name: &'static str, what: String, floor: f64, spec: &Spec) -> Line {
    let check = run::check(spec);
    let [checks, introspects] = bench.alternate([("Check", &check), ("Introspect", spec)]);
    Line {
        name,
        what,
        floor: Some(Floor::AtLeast(floor)),
        unit: "× Check",
        figures: vec![Figure::of("Check", &checks), Figure::of("Introspect", &introspects)],
        notes: Vec::new(),
        ..ratios(&introspects, &checks)
    }
}

/// A line without words: the rates of these rounds to those of the others.
pub(crate) fn ratios(rounds: &[Seen], others: &[Seen]) -> Line {
    let rounds = rounds.iter().zip(others).map(|(one, other)| one.per_second() / other.per_second());
    line_of(rounds.collect())
}

/// A line without words: the median of these rounds' figures.
pub(crate) fn line_of(rounds: Vec<f64>) -> Line {
    Line {
        name: "",
        what: String::new(),
        floor: None,
        measured: median(rounds.iter().copied()),
        unit: "",
        rounds,
        figures: Vec::new(),
        notes: Vec::new(),
    }
}

fn one(bench: &Bench) -> Line {
    let sown = bench.sown(Backend::Postgres);
    let (_server, spec) = warm(bench, sown, &[]);
    let spec = Spec { load: Load::InFlight(1), connections: 1, ..spec };
    let check = run::check(&spec);
    let query = Spec { ask: Ask::Query(sown.site.url().to_owned()), ..check.clone() };
    let [checks, queries, introspects] = bench.alternate([("Check", &check), ("query", &query), ("Introspect", &spec)]);
    let rounds = introspects.iter().zip(checks.iter().zip(&queries));
    let rounds = rounds.map(|(introspect, (check, query))| introspect.p50 / (check.p50 + query.p50));
    Line {
        name: "one",
        what: "Introspect, PostgreSQL, strict, one in flight: median latency".to_owned(),
        floor: Some(Floor::AtMost(1.0)),
        unit: "× (Check + one query)",
        figures: vec![
            Figure::of("Check", &checks),
            Figure::of("query, on a connection of the generator's own", &queries),
            Figure::of("Introspect", &introspects),
        ],
        ..line_of(rounds.collect())
    }
}

fn batch(bench: &Bench) -> Line {
    let (_server, spec) = warm(bench, bench.sown(Backend::Embedded), &[]);
    let batch = Spec { ask: Ask::Batch(100), load: Load::InFlight(16), ..spec.clone() };
    let [introspects, batches] = bench.alternate([("Introspect", &spec), ("BatchIntrospect", &batch)]);
    let rounds = batches.iter().zip(&introspects).map(|(batch, one)| batch.per_second() * 100.0 / one.per_second());
    Line {
        name: "batch",
        what: "BatchIntrospect of 100, embedded, 16 in flight: tokens per second".to_owned(),
        floor: Some(Floor::AtLeast(20.0)),
        unit: "× Introspect",
        figures: vec![
            Figure::of("Introspect, 256 in flight", &introspects),
            Figure::of("BatchIntrospect of 100, 16 in flight", &batches),
        ],
        ..line_of(rounds.collect())
    }
}

fn doors(bench: &Bench) -> Vec<Line> {
    let settings = [("GRPC__WEB__ALLOWED_ORIGINS", r#"["https://console.example.com"]"#)];
    let (server, spec) = warm(bench, bench.sown(Backend::Embedded), &settings);
    let check = Spec { ask: Ask::ExtAuthz, ..spec.clone() };
    let over_http1 = |door, server| Spec {
        servers: vec![server],
        ask: Ask::Door(door),
        connections: run::IN_FLIGHT,
        ..spec.clone()
    };
    let web = over_http1(Door::GrpcWeb, server.grpc);
    let [oauth, signed, verify, review] =
        [Door::Oauth, Door::SignedOauth, Door::Verify, Door::TokenReview].map(|door| over_http1(door, server.http));
    let [introspects, rounds @ ..] = bench.alternate([
        ("Introspect", &spec),
        ("ext_authz", &check),
        ("gRPC-Web", &web),
        ("/oauth2/introspect", &oauth),
        ("/oauth2/introspect, signed", &signed),
        ("/auth/verify", &verify),
        ("/kubernetes/tokenreview", &review),
    ]);
    let lines = [
        ("ext-authz", "Envoy's Check"),
        ("grpc-web", "Introspect as gRPC-Web, HTTP/1.1"),
        ("oauth2", "POST /oauth2/introspect, HTTP/1.1"),
        ("oauth2-signed", "POST /oauth2/introspect, a signed answer, HTTP/1.1"),
        ("verify", "GET /auth/verify, HTTP/1.1"),
        ("tokenreview", "POST /kubernetes/tokenreview, HTTP/1.1"),
    ];
    let line = |((name, what), rounds): ((&'static str, &str), &Vec<Seen>)| Line {
        name,
        what: format!("{what}, embedded, {} tokens, 256 in flight", bench.plan.tokens),
        unit: "× Introspect",
        figures: vec![Figure::of("Introspect", &introspects), Figure::of(what, rounds)],
        ..ratios(rounds, &introspects)
    };
    lines.into_iter().zip(&rounds).map(line).collect()
}

/// Room for all of many tokens, in MiB.
const ROOM: &str = "4096";
/// The cache's bound by default, in MiB.
const DEFAULT_ROOM: f64 = 256.0;

fn million(bench: &Bench) -> Line {
    let (few, many) = (bench.sow(Backend::Embedded, 1_000), bench.sow(Backend::Embedded, bench.plan.many_tokens));
    let (small, few) = warm(bench, &few, &[]);
    let (_large, many) = warm(bench, &many, &[("INTROSPECTION__CACHE_MIB", ROOM)]);
    let [fews, manies] = bench.alternate([("1,000 tokens", &few), ("many tokens", &many)]);
    let memory = proc::memory_mib(many.processes[0], "VmRSS");
    let small = proc::memory_mib(small.pid(), "VmRSS");
    let tokens = bench.plan.many_tokens;
    Line {
        name: "million",
        what: format!("Introspect, embedded, {tokens} tokens, all held, asked about at random, against 1,000"),
        floor: Some(Floor::AtLeast(0.9)),
        unit: "× with 1,000",
        figures: vec![Figure::of("1,000 tokens", &fews), Figure::of(format!("{tokens} tokens"), &manies)],
        notes: vec![format!(
            "Resident: {memory:.0} MiB with {tokens} tokens held (cache_mib = {ROOM}), {small:.0} MiB with 1,000."
        )],
        ..ratios(&manies, &fews)
    }
}

/// With the cache as large as it is by default.
fn bound(bench: &Bench) -> Vec<Line> {
    let (few, many) = (bench.sow(Backend::Embedded, 1_000), bench.sow(Backend::Embedded, bench.plan.many_tokens));
    let (small, few_spec) = warm(bench, &few, &[]);
    let (large, all) = warm(bench, &many, &[]);
    let some = many.site.path("some.credentials");
    head(&many.credentials, 1_000, &some);
    let hot = Spec { credentials: Some(some), ..all.clone() };
    generate("all at random", &all);
    let [fews, hots, alls] =
        bench.alternate([("1,000 tokens", &few_spec), ("1,000 of many", &hot), ("all of many", &all)]);
    let (resident, base) = (proc::memory_mib(large.pid(), "VmRSS"), proc::memory_mib(small.pid(), "VmRSS"));
    let peak = proc::memory_mib(large.pid(), "VmHWM");
    let tokens = bench.plan.many_tokens;
    vec![
        Line {
            name: "bound",
            what: format!(
                "Introspect, embedded, 1,000 of {tokens} tokens, the cache at its bound, against 1,000 of 1,000"
            ),
            floor: Some(Floor::AtLeast(0.9)),
            unit: "× with 1,000",
            figures: vec![
                Figure::of("1,000 tokens", &fews),
                Figure::of(format!("1,000 of {tokens} tokens"), &hots),
                Figure::of(format!("all of {tokens} tokens, at random"), &alls),
            ],
            ..ratios(&hots, &fews)
        },
        Line {
            name: "memory",
            what: format!(
                "resident memory with {tokens} tokens asked about, beyond that with 1,000, against cache_mib"
            ),
            floor: Some(Floor::AtMost(1.0)),
            unit: "× 256 MiB",
            notes: vec![format!(
                "Resident: {resident:.0} MiB with {tokens} tokens (at most, until now: {peak:.0} MiB), {base:.0} MiB with 1,000."
            )],
            ..line_of(vec![(resident - base) / DEFAULT_ROOM])
        },
    ]
}

/// After a restart, each token once.
fn first_use(bench: &Bench, backend: Backend) -> Line {
    let sown = bench.sown(backend);
    let server = sown.site.serve_counting();
    let spec = Spec { load: Load::Once(256), ask: STRICT, ..bench.spec(sown, &server) };
    let seen = generate("first use of each token", &spec);
    let runs = server.bcrypt_runs();
    Line {
        name: "first-use",
        what: format!("bcrypt's runs for the first use of each of {} minted tokens, {backend:?}", seen.calls),
        floor: Some(Floor::AtMost(0.0)),
        unit: "runs",
        figures: vec![Figure::of("Introspect of what is not held", &[seen])],
        ..line_of(vec![runs as f64])
    }
}

/// How many tokens an account may have, and how many are asked for at once.
const CAP: usize = 10;
const ASKED: usize = 64;
const ACCOUNTS: usize = 20;

fn cap(bench: &Bench, backend: Backend) -> Line {
    let site = bench.site(backend);
    let plans = format!(r#"[{{ name = "PRO", max_tokens = {CAP} }}]"#);
    let settings = [("POLICY__VERSION", "1"), ("POLICY__PLANS", &plans), ("CREDENTIALS__BCRYPT_COST", "4")];
    let replicas = if backend == Backend::Embedded { 1 } else { 2 };
    let servers: Vec<_> = (0..replicas).map(|_| site.serve(&settings)).collect();
    let issued: Vec<usize> = bench.runtime.block_on(async {
        let mut clients = Vec::new();
        for server in &servers {
            clients.push(server.client(&site.admin).await);
        }
        let mut issued = Vec::new();
        for account in 0..ACCOUNTS {
            issued.push(issue_over_cap(&clients, &format!("capped-{account}")).await);
        }
        issued
    });
    let too_many: usize = issued.iter().map(|issued| issued.saturating_sub(CAP)).sum();
    let too_few: usize = issued.iter().map(|issued| CAP.saturating_sub(*issued)).sum();
    assert!(too_few == 0, "{too_few} tokens were refused although there was room");
    Line {
        name: "cap",
        what: format!(
            "tokens too many, of {ACCOUNTS} accounts with {CAP} allowed, {ASKED} IssueToken at once, {backend:?}, {replicas} server(s)"
        ),
        floor: Some(Floor::AtMost(0.0)),
        unit: "tokens",
        ..line_of(vec![too_many as f64])
    }
}

/// How many tokens an account is given that asks for many at once.
async fn issue_over_cap(clients: &[Client], account: &str) -> usize {
    let put = Account { account_id: account.to_owned(), plan: "PRO".to_owned(), ..Account::default() };
    let request = PutAccountRequest { account: Some(put), update_mask: None };
    clients[0].call(clients[0].accounts().put_account(request)).await.expect("the account is made");
    let calls = (0..ASKED).map(|number| {
        let client = &clients[number % clients.len()];
        let request = IssueTokenRequest {
            account_id: account.to_owned(),
            label: format!("token {number}"),
            ..IssueTokenRequest::default()
        };
        async move { client.call(client.tokens().issue_token(request)).await }
    });
    let mut issued = 0;
    for result in futures_util::future::join_all(calls).await {
        match result {
            Ok(_) => issued += 1,
            Err(error) => assert!(format!("{error:?}").contains("TOKEN_LIMIT_REACHED"), "another refusal: {error:?}"),
        }
    }
    issued
}
