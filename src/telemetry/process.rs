//! What the system says of this process, under the names that all clients of Prometheus use.

use std::{
    fmt::Write,
    fs,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// The text of these metrics. What the system does not say is left out.
pub(super) fn text() -> String {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let stat = Stat::parse(&stat);
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count() as f64).ok();
    let most = getrlimit(Resource::Nofile).current.map(|limit| limit as f64);
    let started = STARTED.map(|since| since.as_secs_f64());
    let mut text = String::new();
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            "counter",
            "Time that processors spent on this process, in seconds.",
            stat.as_ref().map(|stat| stat.cpu_ticks as f64 / clock_ticks_per_second() as f64),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Memory in use, in bytes.",
            stat.as_ref().map(|stat| stat.resident_pages as f64 * page_size() as f64),
        ),
        ("process_threads", "gauge", "Threads.", stat.as_ref().map(|stat| stat.threads as f64)),
        ("process_open_fds", "gauge", "Open descriptors.", open),
        ("process_max_fds", "gauge", "The most descriptors that may be open.", most),
        ("process_start_time_seconds", "gauge", "When this process began, in seconds since 1970.", started),
    ] {
        let Some(value) = value else { continue };
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n")
            .expect("writing to a String cannot fail");
    }
    text
}

/// When this was first asked for, which is when the process started to all intents and purposes.
static STARTED: LazyLock<Option<Duration>> =
    LazyLock::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok());

/// Notes the time.
pub(super) fn begin() {
    LazyLock::force(&STARTED);
}

/// Part of what stands in proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the name of the program in parentheses, which may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first one here is the third one there.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, threads: field(20)?, resident_pages: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let text =
            "7 (a) 1 (b) S 1 7 7 0 -1 4194560 10 0 0 0 30 12 0 0 20 0 5 0 100 1000000 250 18446744073709551615 1";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_ticks: 42, threads: 5, resident_pages: 250 }));
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn the_system_says_everything_of_this_process() {
        begin();
        let text = text();
        assert_eq!(text.matches("# TYPE").count(), 6, "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
            line.parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0, "{text}");
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"), "{text}");
    }
}
