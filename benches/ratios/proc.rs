//! What do processes cost? CPU time and resident memory, as Linux's `/proc`
//! tells them.

use std::fs;

/// How many ticks of `/proc/PID/stat` a second has, on every Linux.
const TICKS: f64 = 100.0;

/// CPU time of these processes so far, all their threads', in seconds.
pub(crate) fn cpu(processes: &[u32]) -> f64 {
    processes.iter().map(|id| ticks(*id, 13..15)).sum::<f64>() / TICKS
}

/// CPU time of this process so far, in seconds.
pub(crate) fn own_cpu() -> f64 {
    cpu(&[std::process::id()])
}

/// CPU time of a process and of all that it started, ended ones included, in
/// seconds.
pub(crate) fn cpu_of_family(parent: u32) -> f64 {
    let children =
        fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let living: f64 = children
        .filter(|id| fields(*id).is_some_and(|fields| fields[3] == parent.to_string()))
        .map(|id| ticks(id, 13..15))
        .sum();
    (ticks(parent, 13..17) + living) / TICKS
}

/// The process that started this one.
pub(crate) fn parent(process: u32) -> Option<u32> {
    fields(process)?[3].parse().ok()
}

/// A line of `/proc/PID/status`, such as `VmRSS`, in MiB.
pub(crate) fn memory_mib(process: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let kib = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(f64::NAN, |kib: f64| kib / 1024.0)
}

/// The sum of some fields of `/proc/PID/stat`; 0 where the process is gone.
fn ticks(process: u32, which: std::ops::Range<usize>) -> f64 {
    fields(process).map_or(0.0, |fields| fields[which].iter().filter_map(|text| text.parse::<f64>().ok()).sum())
}

/// The fields of `/proc/PID/stat`; the second, a name in brackets, may hold
/// spaces.
fn fields(process: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    Some(["", ""].into_iter().chain(after_name.split(' ')).map(ToOwned::to_owned).collect())
}
