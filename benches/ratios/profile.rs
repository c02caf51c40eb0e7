//! Where do a call's instructions go? The server under valgrind's callgrind, which
//! counts them exactly, for Check and for what is compared with it; told by crate,
//! or by file where it is our own.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    report::Line,
    run::{self, Bench, STRICT, Sown, generate},
    site::{Backend, Server},
    spec::{Ask, Load, Seen, Spec},
};

/// Calls that are counted; each of another token.
const CALLS: usize = 5_000;
const IN_FLIGHT: usize = 32;
/// What is below this many instructions a call is not listed.
const LEAST: f64 = 20.0;
/// Functions that are listed.
const FUNCTIONS: usize = 40;

/// Instructions a call, by place and function.
type Profile = HashMap<(String, String), f64>;

pub(crate) fn measure(bench: &Bench) -> Vec<Line> {
    for backend in [Backend::Embedded, Backend::Postgres] {
        let sown = bench.sow(backend, CALLS);
        let server = serve(&sown);
        let introspect = Spec { ask: STRICT, load: Load::Once(IN_FLIGHT), ..bench.spec(&sown, &server) };
        let check = Spec { ask: Ask::Check, ..introspect.clone() };
        // Twice: until then records are loaded, and tables grow.
        run::warm(&introspect);
        run::warm(&introspect);
        let check = count("Check", &sown, &server, &check);
        let introspect = count("Introspect", &sown, &server, &introspect);
        tell(backend, &check, &introspect);
    }
    Vec::new()
}

fn serve(sown: &Sown) -> Server {
    let mut command = Command::new("valgrind");
    let out = sown.site.path("callgrind.out");
    command
        .args(["--quiet", "--tool=callgrind", "--instr-atstart=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args([env!("CARGO_BIN_EXE_token-authority"), "serve"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // Slow as it is, nothing is to be given up.
    let deadlines = [("GRPC__MAX_DEADLINE", "60s"), ("GRPC__MAX_CONNECTION_AGE_GRACE", "60s")];
    sown.site.start(command, &[&[("INTROSPECTION__TIMEOUT", "20s")], &deadlines[..]].concat())
}

/// Counts the instructions of some calls.
fn count(label: &str, sown: &Sown, server: &Server, spec: &Spec) -> Profile {
    control(server, "--zero");
    control(server, "--instr=on");
    let seen: Seen = generate(label, spec);
    control(server, "--dump");
    control(server, "--instr=off");
    let newest = newest(sown.site.path("").as_path());
    let annotated =
        output(Command::new("callgrind_annotate").args(["--auto=no", "--threshold=100", "--show=Ir"]).arg(&newest));
    fs::remove_file(newest).expect("the dump can be removed");
    read(&annotated, seen.calls as f64)
}

fn control(server: &Server, what: &str) {
    output(Command::new("callgrind_control").arg(what).arg(server.pid().to_string()));
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("valgrind's programs are wanted (on Debian: apt-get install valgrind)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The dump that was written last: the one with the highest number.
fn newest(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).expect("the site's directory").filter_map(|entry| Some(entry.ok()?.path()));
    let numbered = files.filter_map(|path| {
        let number: u32 = path.file_name()?.to_str()?.strip_prefix("callgrind.out.")?.parse().ok()?;
        Some((number, path))
    });
    numbered.max().expect("callgrind writes a dump").1
}

/// Lines such as `1,234 ( 0.50%)  FILE:FUNCTION [OBJECT]`.
fn read(annotated: &str, calls: f64) -> Profile {
    let mut profile = Profile::new();
    for line in annotated.lines() {
        let Some((count, rest)) = line.trim_start().split_once(" (") else { continue };
        let Ok(count) = count.replace(',', "").parse::<f64>() else { continue };
        let Some((_, place)) = rest.split_once("%)  ") else { continue };
        let place = place.rsplit_once(" [").map_or(place, |(place, _)| place);
        let Some((file, function)) = place.split_once(':') else { continue };
        *profile.entry((group(file, function), function.to_owned())).or_default() += count / calls;
    }
    profile
}

/// Whose code it is, inlined or not: a crate's, a file's of our own, or, for the
/// standard library's, that of the function that it was inlined into.
fn group(file: &str, function: &str) -> String {
    if let Some((_, in_registry)) = file.split_once("/registry/src/") {
        let package = in_registry.split('/').nth(1).unwrap_or_default();
        return package.rsplit_once('-').map_or(package, |(name, _)| name).to_owned();
    }
    if let Some((_, own)) = file.split_once(concat!(env!("CARGO_MANIFEST_DIR"), "/")) {
        return own.to_owned();
    }
    if file.starts_with("src/") {
        return file.to_owned();
    }
    if file.starts_with("/rustc/") || file.contains("/library/") {
        let path = function.trim_start_matches(['<', '&', '*']).trim_start_matches("mut ").trim_start_matches("dyn ");
        let mut parts = path.split("::");
        let package = parts.next().unwrap_or_default();
        return match package {
            "core" | "alloc" | "std" => "std".to_owned(),
            "token_authority" => format!("token_authority::{}", parts.next().unwrap_or_default()),
            other => other.to_owned(),
        };
    }
    match function {
        _ if ["malloc", "free", "realloc", "calloc", "_int_", "unlink_chunk"]
            .iter()
            .any(|name| function.contains(name)) =>
        {
            "allocator"
        }
        _ if function.contains("mem") => "memcpy, memcmp, memset",
        _ if ["sha", "hmac", "HMAC", "SHA", "EVP", "aws_lc", "OPENSSL"].iter().any(|name| function.contains(name)) => {
            "aws-lc"
        }
        _ => "other (libc, kernel entry, unknown)",
    }
    .to_owned()
}

fn tell(backend: Backend, check: &Profile, introspect: &Profile) {
    let by_group = |profile: &Profile| {
        let mut groups: BTreeMap<String, f64> = BTreeMap::new();
        for ((group, _), count) in profile {
            *groups.entry(group.clone()).or_default() += count;
        }
        groups
    };
    let (check_groups, introspect_groups) = (by_group(check), by_group(introspect));
    let mut names: Vec<_> = introspect_groups.keys().chain(check_groups.keys()).collect();
    names.sort();
    names.dedup();
    let of = |groups: &BTreeMap<String, f64>, name: &String| groups.get(name).copied().unwrap_or_default();
    names.sort_by(|one, other| {
        let more = |name| of(&introspect_groups, name) - of(&check_groups, name);
        more(other).total_cmp(&more(one))
    });
    println!("\nInstructions a call, {backend:?} (callgrind, {CALLS} calls, {IN_FLIGHT} in flight)\n");
    println!("| where | Check | Introspect | more |\n| --- | ---: | ---: | ---: |");
    let row = |name: &str, check: f64, introspect: f64| {
        println!("| {name} | {check:.0} | {introspect:.0} | {:.0} |", introspect - check);
    };
    row("all", check.values().sum(), introspect.values().sum());
    for name in names {
        let (check, introspect) = (of(&check_groups, name), of(&introspect_groups, name));
        if check.max(introspect) >= LEAST {
            row(name, check, introspect);
        }
    }

    let mut functions: Vec<_> = introspect
        .iter()
        .map(|(place, count)| (count - check.get(place).copied().unwrap_or_default(), place))
        .collect();
    functions.sort_by(|one, other| other.0.total_cmp(&one.0));
    println!("\nFunctions that cost an Introspect most beyond a Check\n");
    println!("| more | where | function |\n| ---: | --- | --- |");
    for (more, (group, function)) in functions.into_iter().take(FUNCTIONS) {
        println!("| {more:.0} | {group} | `{function}` |");
    }
}
