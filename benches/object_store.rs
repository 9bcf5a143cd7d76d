//! Serving from an object store beside a local directory: as it comes from there, and with copies of hot blobs on local disk.
//!
//! ```sh
//! cargo bench --bench object_store       # takes about two minutes; needs nginx, curl and Garage
//! ```
//!
//! Prints throughput and the processor time of distmirror alone, of three downloads after each other. On a shared machine only the
//! ratio means anything.

#![expect(clippy::print_stdout, reason = "its table is its result")]

#[path = "support/nginx.rs"]
#[expect(dead_code, reason = "the other benches use the rest")]
mod nginx;
#[expect(dead_code, reason = "the other benches use the rest")]
mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use nginx::Nginx;
use support::{Mirror, cpu_seconds};
use tempfile::TempDir;

const LARGE_BYTES: u64 = 1 << 30;
const LARGE_ROUNDS: usize = 3;

fn main() {
    let folder = TempDir::new().expect("a folder");
    let files = folder.path().join("files");
    fs::create_dir(&files).expect("a folder of files");
    write_noise(&files.join("large"), LARGE_BYTES);
    let nginx = Nginx::start(folder.path(), &files);
    println!("{:<34} {:>12} {:>16}", "", "per second", "CPU per unit");
    let mirror = Mirror::start("serve", folder.path(), nginx.port);
    let url = format!("{}/large", nginx.url());
    mirror.declare("file", &url, &["--wait"]);
    large("distmirror, 1 GiB from a directory", mirror.pid(), &["-x", &mirror.proxy(), &url]);
    drop(mirror);
    from_s3(folder.path(), &nginx);
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
        sleep(Duration::from_millis(100));
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

fn write_noise(path: &Path, size: u64) {
    let input = format!("count={}", size.div_ceil(1 << 10));
    let status = Command::new("dd")
        .args(["if=/dev/urandom", "bs=1K", "status=none", &input])
        .arg(format!("of={}", path.display()))
        .status();
    assert!(status.expect("dd runs").success());
}
