//! distmirror as the benches run it, and what a process has used.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use testkit::{Process, free_port};

/// distmirror over SQLite and a directory.
pub(crate) struct Mirror {
    process: Process,
    /// Where the proxy listens on loopback.
    pub(crate) proxy_port: u16,
    admin_port: u16,
}

impl Mirror {
    /// Starts it in a role (`serve` is all of them), with leave to fetch from this port of loopback. Its configuration is
    /// `distmirror.toml` in the folder, and its data `data` beside that.
    pub(crate) fn start(role: &str, folder: &Path, upstream_port: u16) -> Self {
        Self::configured(role, folder, upstream_port, "")
    }

    /// The same with more sections in its configuration.
    pub(crate) fn configured(role: &str, folder: &Path, upstream_port: u16, more: &str) -> Self {
        let (proxy_port, admin_port) = (free_port(), free_port());
        let configuration = format!(
            "data_dir = \"data\"\n[proxy]\nlisten = [\"127.0.0.1:{proxy_port}\"]\n[admin]\nlisten = [\"127.0.0.1:{admin_port}\"]\n\
             [fetch]\nallow_addresses = [\"127.0.0.0/8:{upstream_port}\"]\n{more}",
        );
        fs::write(folder.join("distmirror.toml"), configuration).expect("writes its configuration");
        let process = Process::spawn("distmirror", &mut binary(folder, &[role, "--config", "distmirror.toml"]));
        wait_for(admin_port);
        if role == "serve" {
            wait_for(proxy_port);
        }
        Self { process, proxy_port, admin_port }
    }

    /// Declares an artifact of this kind, with more options such as `--wait`.
    pub(crate) fn declare(&self, kind: &str, name: &str, options: &[&str]) {
        let arguments = ["declare", kind, name, "--reason", "comparison", "--server", &self.admin()];
        let declared = binary(Path::new("/"), &[&arguments, options].concat()).output().expect("the binary runs");
        assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
    }

    /// The URL of the admin side.
    pub(crate) fn admin(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    /// The URL of the proxy.
    pub(crate) fn proxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy_port)
    }

    /// The process whose time counts.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The binary, run in a folder.
pub(crate) fn binary(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
    command.args(arguments).current_dir(folder);
    command
}

/// Processor time that a process has used, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    Stat::of(pid).expect("the process is there").cpu_seconds
}

/// Processor time that the processes of a group have used, in seconds.
pub(crate) fn cpu_seconds_of_group(group: u32) -> f64 {
    members(group).map(|stat| stat.cpu_seconds).sum()
}

/// Resident memory of the processes of a group in KiB.
pub(crate) fn resident_kib_of_group(group: u32) -> u64 {
    members(group).map(|stat| stat.resident_kib).sum()
}

fn members(group: u32) -> impl Iterator<Item = Stat> {
    let processes = fs::read_dir("/proc").expect("Linux has it").filter_map(Result::ok);
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Stat::of).filter(move |stat| stat.group == group)
}

/// What the system says of a process.
struct Stat {
    group: u32,
    cpu_seconds: f64,
    resident_kib: u64,
}

impl Stat {
    /// proc(5), fields `pgrp`, `utime`, `stime` and `rss`; `None` if there is no such process.
    fn of(pid: u32) -> Option<Self> {
        const TICKS_PER_SECOND: f64 = 100.0;
        const PAGE_KIB: u64 = 4;
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            group: u32::try_from(number(2)?).ok()?,
            cpu_seconds: (number(11)? + number(12)?) as f64 / TICKS_PER_SECOND,
            resident_kib: number(21)? * PAGE_KIB,
        })
    }
}

/// Waits until somebody listens on this port of loopback.
pub(crate) fn wait_for(port: u16) {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nothing listens on port {port}");
        sleep(Duration::from_millis(20));
    }
}
