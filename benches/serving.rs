//! Serving beside nginx: the same files, the same clients, one after the other in one run; from a folder, from an object store,
//! and from that with copies on local disk.
//!
//! ```sh
//! cargo bench --bench serving          # takes some minutes; needs nginx, wrk and Garage
//! ```
//!
//! Prints throughput and the processor time of the server alone. On a shared machine only the ratio means anything.

#![expect(clippy::print_stdout, reason = "its table is its result")]

#[path = "support/nginx.rs"]
mod nginx;
mod support;

use std::{fs, path::Path, process::Command, time::Instant};

use nginx::Nginx;
use support::{Mirror, cpu_seconds, resident_mib};

const LARGE_BYTES: u64 = 1 << 30;
const SMALL_BYTES: usize = 10 << 10;
const LARGE_ROUNDS: usize = 3;
const SMALL_SECONDS: u32 = 5;

fn main() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let files = folder.path().join("files");
    fs::create_dir(&files).expect("a folder of files");
    write_noise(&files.join("large"), LARGE_BYTES);
    write_noise(&files.join("small"), SMALL_BYTES as u64);
    let nginx = Nginx::start(folder.path(), &files);
    let mirror = Mirror::start("serve", folder.path(), nginx.port);
    let idle_mib = resident_mib(mirror.pid());
    for file in ["large", "small"] {
        mirror.declare("file", &format!("{}/{file}", nginx.url()), &["--wait"]);
    }
    println!("{:<34} {:>12} {:>16}", "", "per second", "CPU per unit");
    large("nginx, 1 GiB plain", nginx.pid(), &[&format!("{}/large", nginx.url())]);
    large("distmirror, 1 GiB plain", mirror.pid(), &["-x", &mirror.proxy(), &format!("{}/large", nginx.url())]);
    small("nginx, 10 KiB keep-alive", nginx.pid(), nginx.port, "/small");
    small("distmirror, 10 KiB keep-alive", mirror.pid(), mirror.proxy_port, &format!("{}/small", nginx.url()));
    from_s3(folder.path(), &nginx);
    println!("distmirror's resident memory: {idle_mib} MiB when idle, {} MiB now", resident_mib(mirror.pid()));
}

/// The large file from an object store: first as it comes from there, then with a copy on local disk.
fn from_s3(folder: &Path, nginx: &Nginx) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let garage = runtime.block_on(testkit::garage());
    let options: String = garage.options().iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
    for (what, cache) in
        [("distmirror, 1 GiB from S3", ""), ("distmirror, 1 GiB hot from S3", "cache_bytes = \"4 GiB\"\n")]
    {
        let folder = folder.join(if cache.is_empty() { "s3" } else { "hot" });
        fs::create_dir(&folder).expect("a folder");
        let blobs = format!("[blobs]\nurl = {:?}\n{cache}[blobs.options]\n{options}", garage.fresh_url());
        let mirror = Mirror::configured("serve", &folder, nginx.port, &blobs);
        let url = format!("{}/large", nginx.url());
        mirror.declare("file", &url, &["--wait"]);
        let arguments = ["-x", &mirror.proxy(), &url];
        if !cache.is_empty() {
            large("distmirror, 1 GiB, becoming hot", mirror.pid(), &arguments);
            wait_for_copy(&folder.join("data/cache"));
        }
        large(what, mirror.pid(), &arguments);
    }
}

fn wait_for_copy(cache: &Path) {
    let is_copy = |entry: fs::DirEntry| entry.file_name().len() == 64;
    while !fs::read_dir(cache).expect("the folder of copies").any(|entry| entry.is_ok_and(is_copy)) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Downloads with curl to nowhere.
fn large(what: &str, pid: u32, arguments: &[&str]) {
    let (started, before) = (Instant::now(), cpu_seconds(pid));
    for _ in 0..LARGE_ROUNDS {
        let status = Command::new("curl").args(["-fsS", "--noproxy", "", "-o", "/dev/null"]).args(arguments).status();
        assert!(status.expect("curl is installed").success());
    }
    let gigabytes = (LARGE_ROUNDS as u64 * LARGE_BYTES) as f64 / 1e9;
    let rate = gigabytes * 1e3 / started.elapsed().as_secs_f64();
    println!("{what:<34} {rate:>9.0} MB {:>12.2} s/GB", (cpu_seconds(pid) - before) / gigabytes);
}

/// Requests with wrk over 32 connections; the target may be in absolute-form.
fn small(what: &str, pid: u32, port: u16, target: &str) {
    let script = tempfile::NamedTempFile::new().expect("a script");
    fs::write(script.path(), format!("wrk.path = {target:?}\n")).expect("writes the script");
    let before = cpu_seconds(pid);
    let output = Command::new("wrk")
        .args(["-t1", "-c32", &format!("-d{SMALL_SECONDS}s"), "-s"])
        .arg(script.path())
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let total: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in"))
        .map_or(0.0, |(count, _)| count.parse().unwrap_or(0.0));
    let microseconds = (cpu_seconds(pid) - before) * 1e6 / total;
    println!("{what:<34} {:>9.0} rq {microseconds:>12.1} us/rq", total / f64::from(SMALL_SECONDS));
}

fn write_noise(path: &Path, size: u64) {
    let input = format!("count={}", size.div_ceil(1 << 10));
    let status = Command::new("dd")
        .args(["if=/dev/urandom", "bs=1K", "status=none", &input])
        .arg(format!("of={}", path.display()))
        .status();
    assert!(status.expect("dd runs").success());
}
