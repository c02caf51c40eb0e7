//! What is told: a table of ratios for people, all figures in JSON for programs,
//! and on which machine they were taken.

use std::{fmt, fs, path::PathBuf, process::Command};

use serde::Serialize;

use crate::spec::Seen;

/// What must be reached.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Floor {
    AtLeast(f64),
    AtMost(f64),
}

impl Floor {
    fn is_met(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(floor) => measured >= floor,
            Self::AtMost(ceiling) => measured <= ceiling,
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    /// None: for information.
    pub(crate) floor: Option<Floor>,
    pub(crate) measured: f64,
    /// What the figure is in, for example `× Check`.
    pub(crate) unit: &'static str,
    /// The figure of each round.
    pub(crate) rounds: Vec<f64>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
}

/// What one side of a line came to: medians of its rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) label: String,
    pub(crate) per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) server_cpu_micros_per_call: f64,
    pub(crate) generator_cpu_micros_per_call: f64,
    pub(crate) rounds: Vec<Seen>,
}

impl Figure {
    pub(crate) fn of(label: impl Into<String>, rounds: &[Seen]) -> Self {
        let median = |of: fn(&Seen) -> f64| median(rounds.iter().map(of));
        Self {
            label: label.into(),
            per_second: median(Seen::per_second),
            p50_micros: median(|seen| seen.p50),
            p99_micros: median(|seen| seen.p99),
            server_cpu_micros_per_call: median(Seen::cpu_per_call),
            generator_cpu_micros_per_call: median(|seen| seen.own_cpu * 1e6 / seen.calls.max(1) as f64),
            rounds: rounds.to_vec(),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

impl Line {
    /// Whether the floor is reached, if there is one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.floor.map(|floor| floor.is_met(self.measured))
    }

    /// The row of the table.
    fn row(&self) -> String {
        let floor = match self.floor {
            None => "–".to_owned(),
            Some(Floor::AtLeast(floor)) => format!("≥ {floor}"),
            Some(Floor::AtMost(ceiling)) => format!("≤ {ceiling}"),
        };
        let met = match self.is_met() {
            None => "–",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        format!("| {} | {} | {floor} | {} {} | {met} |", self.name, self.what, number(self.measured), self.unit)
    }
}

/// The figures behind it, as Markdown.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "**{}**: {}\n", self.name, self.what)?;
        if !self.figures.is_empty() {
            writeln!(f, "| | calls/s | p50, µs | p99, µs | server CPU a call, µs | generator CPU a call, µs |")?;
            writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        }
        for figure in &self.figures {
            writeln!(
                f,
                "| {} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
                figure.label,
                figure.per_second,
                figure.p50_micros,
                figure.p99_micros,
                figure.server_cpu_micros_per_call,
                figure.generator_cpu_micros_per_call
            )?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        if self.rounds.len() > 1 {
            let rounds: Vec<_> = self.rounds.iter().map(|figure| number(*figure)).collect();
            writeln!(f, "\nRounds: {}", rounds.join(", "))?;
        }
        Ok(())
    }
}

fn number(figure: f64) -> String {
    if figure.fract() == 0.0 || figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

/// Where the figures were taken.
#[derive(Debug, Serialize)]
struct Machine {
    date: String,
    version: &'static str,
    commit: String,
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    rustc: String,
    postgres: String,
}

impl Machine {
    fn this(postgres: String) -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let (cpuinfo, meminfo) = (file("/proc/cpuinfo"), file("/proc/meminfo"));
        let value = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib: f64 = value(&meminfo, "MemTotal").trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
        Self {
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            version: env!("CARGO_PKG_VERSION"),
            commit: said(Command::new("git").args([
                "-C",
                env!("CARGO_MANIFEST_DIR"),
                "describe",
                "--always",
                "--dirty",
            ])),
            processor: value(&cpuinfo, "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib / 1024.0 / 1024.0,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: said(Command::new("rustc").arg("--version")),
            postgres,
        }
    }
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Prints the table, and writes all of it to `target/ratios.json`.
pub(crate) fn tell(lines: &[Line], postgres: String) {
    #[derive(Serialize)]
    struct Whole<'a> {
        machine: &'a Machine,
        lines: &'a [Line],
    }

    let machine = Machine::this(postgres);
    println!(
        "\n{}, {} ({}): {} × {}, {:.0} GiB, Linux {}, {}, {}\n",
        machine.date,
        machine.version,
        machine.commit,
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.rustc,
        machine.postgres
    );
    println!("| line | what | floor | measured | met |\n| --- | --- | --- | --- | --- |");
    for line in lines {
        println!("{}", line.row());
    }
    println!();
    for line in lines {
        println!("{line}");
    }

    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = target.parent().unwrap_or(&target).join("ratios.json");
    let json = serde_json::to_vec_pretty(&Whole { machine: &machine, lines }).expect("figures can be written");
    fs::write(&file, json).expect("the file is written");
    println!("All figures: {}", file.display());
}
