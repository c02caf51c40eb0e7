//! The load generator, a process of its own: two threads, each with a runtime
//! and connections of its own, so that they have nothing to wait for in each
//! other.

use std::{
    cell::{Cell, RefCell},
    fs, io,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use sea_orm::sqlx::{self, ConnectOptions as _, postgres::PgConnectOptions};
use tokio::{
    sync::mpsc,
    task::{JoinSet, LocalSet},
};

use crate::{
    proc,
    spec::{Ask, Load, Seen, Spec},
    wire::{self, Answer, Connection, Requests},
};

/// Generator threads, as long as there are as many connections.
const THREADS: usize = 2;
/// How long those are waited for that are in flight at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does what standard input says.
pub(crate) fn run() {
    let spec: Spec = serde_json::from_reader(io::stdin().lock()).expect("a specification on standard input");
    let seen = match &spec.ask {
        Ask::Query(url) => query(&spec, url),
        _ => generate(&spec),
    };
    serde_json::to_writer(io::stdout().lock(), &seen).expect("somebody reads standard output");
}

/// When calls count.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

impl Window {
    fn of(spec: &Spec) -> Self {
        let from = Instant::now() + Duration::from_secs_f64(spec.warm_up);
        Self { from, to: from + Duration::from_secs_f64(spec.seconds) }
    }

    fn has(&self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// What one thread saw.
struct Tally {
    latencies: Histogram<u64>,
    busy: u64,
    wrong: u64,
    first_wrong: Option<String>,
}

impl Tally {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("well-formed bounds");
        Self { latencies, busy: 0, wrong: 0, first_wrong: None }
    }

    fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("the same bounds");
        self.busy += other.busy;
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or_else(|| other.first_wrong.clone());
    }

    fn seen(&self, seconds: f64, cpu: f64, own_cpu: f64) -> Seen {
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Seen {
            calls: self.latencies.len(),
            busy: self.busy,
            seconds,
            p50: micros(0.5),
            p99: micros(0.99),
            p999: micros(0.999),
            max: self.latencies.max() as f64 / 1e3,
            cpu,
            own_cpu,
            wrong: self.wrong,
            first_wrong: self.first_wrong.clone(),
        }
    }
}

fn generate(spec: &Spec) -> Seen {
    let text = spec.credentials.as_ref().map(|path| fs::read_to_string(path).expect("the credentials' file"));
    let credentials: Vec<&str> = text.iter().flat_map(|text| text.lines()).collect();
    let next = AtomicUsize::new(0);
    let threads = THREADS.min(spec.connections);
    // All are connected, and have their requests encoded, when the clock starts.
    let ready = std::sync::Barrier::new(threads + 1);
    let (window, started) = (std::sync::OnceLock::new(), std::sync::Barrier::new(threads + 1));
    thread::scope(|scope| {
        let spawn = |number| {
            let (credentials, next, ready, window, started) = (&credentials, &next, &ready, &window, &started);
            scope.spawn(move || {
                let requests = Requests::new(&spec.ask, &spec.caller, credentials);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let connections = runtime.block_on(connect(spec, number, threads));
                ready.wait();
                started.wait();
                let window = *window.get().expect("it is set before the start");
                let worker =
                    Rc::new(Worker { spec: spec.clone(), requests, window, tally: RefCell::new(Tally::new()) });
                runtime.block_on(LocalSet::new().run_until(worker.clone().work(connections, number, threads, next)));
                let Ok(worker) = Rc::try_unwrap(worker) else { unreachable!("all calls have ended, or were given up") };
                worker.tally.into_inner()
            })
        };
        let handles: Vec<_> = (0..threads).map(spawn).collect();
        ready.wait();
        let opened = window.get_or_init(|| Window::of(spec));
        started.wait();

        let once = matches!(spec.load, Load::Once(_));
        let begin = if once { Instant::now() } else { opened.from };
        thread::sleep(begin.saturating_duration_since(Instant::now()));
        let (cpu, own_cpu) = (proc::cpu(&spec.processes), proc::own_cpu());
        let measured =
            |cpu, own_cpu| (begin.elapsed().as_secs_f64(), proc::cpu(&spec.processes) - cpu, proc::own_cpu() - own_cpu);
        let mut figures = None;
        if !once {
            thread::sleep(opened.to.saturating_duration_since(Instant::now()));
            figures = Some(measured(cpu, own_cpu));
        }
        let mut tally = Tally::new();
        for handle in handles {
            tally.add(&handle.join().expect("a generator thread"));
        }
        let (seconds, cpu, own_cpu) = figures.unwrap_or_else(|| measured(cpu, own_cpu));
        tally.seen(seconds, cpu, own_cpu)
    })
}

/// A thread's share of the connections, each to the next server.
async fn connect(spec: &Spec, thread: usize, threads: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for number in (0..spec.connections).filter(|number| number % threads == thread) {
        connections.push(wire::connect(spec.servers[number % spec.servers.len()], &spec.ask).await);
    }
    connections
}

/// What one thread works with.
struct Worker {
    spec: Spec,
    requests: Requests,
    window: Window,
    tally: RefCell<Tally>,
}

impl Worker {
    async fn work(self: Rc<Self>, connections: Vec<Connection>, thread: usize, threads: usize, next: &AtomicUsize) {
        let mut calls = JoinSet::new();
        match self.spec.load {
            Load::InFlight(total) => {
                for number in (0..total).filter(|number| number % threads == thread) {
                    let connection = connections[number / threads % connections.len()].clone();
                    calls.spawn_local(self.clone().closed(connection, Random::new(number)));
                }
                while calls.join_next().await.is_some() {}
            }
            Load::Once(total) => {
                let lanes = (0..total).filter(|number| number % threads == thread);
                let lanes =
                    lanes.map(|number| self.once(connections[number / threads % connections.len()].clone(), next));
                futures_util::future::join_all(lanes).await;
            }
            Load::Rate { per_second, tick_micros, in_order } => {
                let offset = Duration::from_secs_f64(thread as f64 / per_second);
                let tick = Duration::from_micros(tick_micros);
                let mut due = pace(self.window, offset, per_second / threads as f64, tick);
                let mut random = Random::new(thread);
                let mut turn = 0;
                while let Some(start) = due.recv().await {
                    let connection = connections[turn % connections.len()].clone();
                    let index = if in_order {
                        (turn * threads + thread) % self.requests.len()
                    } else {
                        random.below(self.requests.len())
                    };
                    calls.spawn_local(self.clone().open(connection, index, start));
                    turn += 1;
                    while calls.try_join_next().is_some() {}
                }
                if tokio::time::timeout(PATIENCE, async { while calls.join_next().await.is_some() {} }).await.is_err() {
                    let mut tally = self.tally.borrow_mut();
                    tally.wrong += calls.len() as u64;
                    tally.first_wrong.get_or_insert_with(|| format!("not answered within {PATIENCE:?} after the end"));
                }
                calls.shutdown().await;
            }
        }
    }

    /// One call after the other.
    async fn closed(self: Rc<Self>, mut connection: Connection, mut random: Random) {
        loop {
            let start = Instant::now();
            if start >= self.window.to {
                return;
            }
            let index = random.below(self.requests.len());
            // Those count that end within the window.
            if !self.call(&mut connection, index, start, |window, end| window.has(end)).await {
                return;
            }
        }
    }

    /// What nobody has taken yet, one after the other.
    async fn once(&self, mut connection: Connection, next: &AtomicUsize) {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.requests.len() || !self.call(&mut connection, index, Instant::now(), |_, _| true).await {
                return;
            }
        }
    }

    /// A call that should have started at `start`; those count that should have
    /// started within the window.
    async fn open(self: Rc<Self>, mut connection: Connection, index: usize, start: Instant) {
        self.call(&mut connection, index, start, |window, _| window.has(start)).await;
    }

    /// Whether the connection goes on.
    async fn call(
        &self,
        connection: &mut Connection,
        index: usize,
        start: Instant,
        counts: impl FnOnce(Window, Instant) -> bool,
    ) -> bool {
        let reply = self.requests.call(connection, index).await;
        let end = Instant::now();
        let answer = reply.as_ref().map_or(Answer::Wrong, |reply| reply.answers(&self.spec.ask));
        let mut tally = self.tally.borrow_mut();
        if answer == Answer::Wrong {
            tally.wrong += 1;
            tally.first_wrong.get_or_insert_with(|| format!("{reply:?}"));
        }
        if counts(self.window, end) {
            tally.busy += u64::from(answer == Answer::Busy);
            let nanos = u64::try_from(end.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX);
            tally.latencies.saturating_record(nanos.max(1));
        }
        reply.is_ok()
    }
}

/// Tells when calls are due, from the beginning of the warm-up to the end of the
/// window. A thread of its own sleeps more exactly than a runtime's timer.
fn pace(window: Window, offset: Duration, per_second: f64, tick: Duration) -> mpsc::UnboundedReceiver<Instant> {
    let (tell, due) = mpsc::unbounded_channel();
    let begin = Instant::now() + offset;
    thread::spawn(move || {
        for number in 0_u32.. {
            let start = begin + Duration::from_secs_f64(f64::from(number) / per_second);
            if start >= window.to {
                return;
            }
            let wait = start.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                thread::sleep(wait.max(tick));
            }
            if tell.send(start).is_err() {
                return;
            }
        }
    });
    due
}

/// The question of a round, one after the other, on a connection of our own.
fn query(spec: &Spec, url: &str) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options: PgConnectOptions = url.parse().expect("a PostgreSQL URL");
        let mut connection = options.disable_statement_logging().connect().await.expect("PostgreSQL answers");
        let window = Window::of(spec);
        let mut tally = Tally::new();
        let cpu = Cell::new(None);
        loop {
            let start = Instant::now();
            if start >= window.to {
                break;
            }
            if start >= window.from && cpu.get().is_none() {
                cpu.set(Some((proc::cpu(&spec.processes), proc::own_cpu())));
            }
            sqlx::query(crate::QUERY).fetch_all(&mut connection).await.expect("PostgreSQL answers");
            let end = Instant::now();
            if window.has(end) {
                tally.latencies.saturating_record(u64::try_from((end - start).as_nanos()).unwrap_or(u64::MAX));
            }
        }
        let (cpu, own_cpu) = cpu.get().unwrap_or_default();
        tally.seen(spec.seconds, proc::cpu(&spec.processes) - cpu, proc::own_cpu() - own_cpu)
    })
}

/// Which one next? Marsaglia's xorshift: quick, and the same in every run.
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Self {
        let mut random = Self(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
