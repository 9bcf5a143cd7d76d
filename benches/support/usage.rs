//! What a program took: time on the clock, processor time, memory.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tempfile::TempDir;

use crate::support::{binary, cpu_seconds};

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_mib: f64,
}

impl Usage {
    /// Of each figure the median.
    pub(crate) fn median(all: &[Self]) -> Self {
        let median = |of: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = all.iter().map(of).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Self { wall_s: median(|it| it.wall_s), cpu_s: median(|it| it.cpu_s), peak_mib: median(|it| it.peak_mib) }
    }

    /// A line of a table.
    pub(crate) fn line(&self, name: &str) -> String {
        let Self { wall_s, cpu_s, peak_mib } = self;
        format!("{name:<36} {wall_s:>9.2} {cpu_s:>9.2} {peak_mib:>10.0}")
    }
}

/// Runs a command to its end. Processor time and memory are its own, or those of the process that serves it.
pub(crate) fn measure(command: &mut Command, server: Option<u32>) -> Usage {
    // What earlier rounds left to be written is not this one's.
    rustix::fs::sync();
    measure_at_once(command, server)
}

/// As [`measure`], with what earlier commands left to be written.
pub(crate) fn measure_at_once(command: &mut Command, server: Option<u32>) -> Usage {
    let before = server.map_or(0.0, cpu_seconds);
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
    let measured = server.unwrap_or(child.id());
    let mut peak_mib = 0.0;
    while !has_ended(&child) {
        peak_mib = peak(measured).unwrap_or(peak_mib);
        sleep(Duration::from_millis(2));
    }
    let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), cpu_seconds(measured) - before);
    assert!(child.wait().expect("it can be waited for").success(), "{command:?} failed");
    Usage { wall_s, cpu_s, peak_mib }
}

/// Fetches what is declared in a data folder, in a copy of it, which is returned as well.
pub(crate) fn fetch_once(declared: &Path) -> (Usage, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let copied = Command::new("cp").arg("-a").arg(declared.join(".")).arg(folder.path()).status();
    assert!(copied.expect("cp runs").success());
    let mut fetch = binary(folder.path(), &["fetch", "--once", "--config", "distmirror.toml"]);
    let usage = measure(fetch.env("DISTMIRROR__LOG__LEVEL", "warn"), None);
    (usage, folder)
}

/// Whether a child has ended. It stays in the list of processes with what it used, until it is waited for.
fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(Pid::from_child(child)), options).expect("a child can be asked for").is_some()
}

/// The most memory that a process has had, in MiB; proc(5), `VmHWM`.
fn peak(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(field.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
