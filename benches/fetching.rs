//! Fetching files beside the tools that people have: `aria2c`, and `curl --parallel` followed by `sha256sum`.
//!
//! ```sh
//! cargo bench --bench fetching         # takes some minutes; needs nginx, aria2c, curl and 10 GB of disk
//! cargo bench --bench fetching -- 1    # one round that counts
//! ```
//!
//! All bring the same files from one nginx on loopback and compare each with its SHA-256, in turns, after a round that does
//! not count; the table has the medians. Processor time and peak memory are those of the fetching processes. On a shared
//! machine only the ratios mean anything.
//!
//! When distmirror says that a file is here, the file and the record of it survive the power being cut, and five digests of it
//! are known. The others leave what they wrote to the system; with the time for `sync -f` added, their files are durable too.

#![expect(clippy::print_stdout, reason = "its table is its result")]

#[path = "support/nginx.rs"]
#[expect(dead_code, reason = "nginx's own time is not measured here")]
mod nginx;
#[expect(dead_code, reason = "the other benches use the rest")]
mod support;
#[path = "support/usage.rs"]
mod usage;

use std::{
    cell::RefCell,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use nginx::Nginx;
use support::Mirror;
use tempfile::TempDir;
use usage::{Usage, fetch_once, measure, measure_at_once};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const ROUNDS: usize = 3;
/// At a time, by the others: of 4, 8, 16, 32 and 64 the number with which both took the least processor time for small files.
const DOWNLOADS: &str = "16";

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let upstream = Upstream::start();
    println!("{:<36} {:>9} {:>9} {:>10} {:>11} {:>10}", "", "wall s", "CPU s", "peak MiB", "wall ratio", "CPU ratio");
    compare(&upstream.files("2,000 files of 50 KiB", 2000, 50 * KIB), rounds);
    let large = compare(&upstream.files("4 files of 512 MiB", 4, 512 * MIB), rounds);
    let medium = upstream.files("4 files of 64 MiB", 4, 64 * MIB).fetch();
    println!("memory\n{}", medium.line("  distmirror, 4 files of 64 MiB"));
    println!("{}", large.line("  distmirror, 4 files of 512 MiB"));
}

/// Where the files come from.
struct Upstream {
    folder: TempDir,
    nginx: Nginx,
}

impl Upstream {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let served = folder.path().join("files");
        fs::create_dir(&served).expect("a folder of files");
        let nginx = Nginx::start(folder.path(), &served);
        Self { folder, nginx }
    }

    /// Makes so many files of so many bytes, and declares them.
    fn files(&self, what: &'static str, count: usize, bytes: u64) -> Workload {
        let name = what.replace(|letter: char| !letter.is_ascii_alphanumeric(), "");
        let folder = self.folder.path().join("files").join(&name);
        fs::create_dir(&folder).expect("a folder of files");
        for number in 0..count {
            let noise = File::open("/dev/urandom").expect("Linux has it");
            let mut file = File::create(folder.join(format!("{number:04}"))).expect("a file");
            io::copy(&mut noise.take(bytes), &mut file).expect("writes the file");
        }
        Workload::new(what, &folder, &format!("{}/{name}", self.nginx.url()), self.nginx.port)
    }
}

/// Files to be fetched.
struct Workload {
    what: &'static str,
    /// What `sha256sum` prints for them.
    sums: String,
    /// The URL of the folder they are in.
    base: String,
    /// A data folder in which they are declared and not here.
    declared: TempDir,
    /// What was fetched in earlier rounds.
    kept: RefCell<Vec<TempDir>>,
}

impl Workload {
    fn new(what: &'static str, folder: &Path, base: &str, port: u16) -> Self {
        let names =
            fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").file_name());
        let summed = Command::new("sha256sum").current_dir(folder).args(names).output().expect("sha256sum runs");
        let sums = String::from_utf8(summed.stdout).expect("names and digests are ASCII");
        let declared = TempDir::new().expect("a folder");
        let workload = Self { what, sums, base: base.to_owned(), declared, kept: RefCell::default() };
        workload.declare(port);
        workload
    }

    /// Each file as its URL, its name and its SHA-256.
    fn files(&self) -> impl Iterator<Item = (String, &str, &str)> {
        let fields = self.sums.lines().filter_map(|line| line.split_once("  "));
        fields.map(|(sha256, name)| (format!("{}/{name}", self.base), name, sha256))
    }

    /// Declares the files through the REST API, which takes one at a time.
    fn declare(&self, port: u16) {
        let mirror = Mirror::start("admin", self.declared.path(), port);
        let api = format!("{}/api/v1/artifacts", mirror.admin());
        let requests = self.files().map(|(uri, _, sha256)| {
            let body = format!(r#"{{\"uri\":\"{uri}\",\"sha256\":\"{sha256}\",\"reason\":\"comparison\"}}"#);
            format!("url = {api}\nheader = \"Content-Type: application/json\"\ndata = \"{body}\"\noutput = /dev/null\nfail\n")
        });
        let config = self.declared.path().join("requests");
        fs::write(&config, requests.collect::<Vec<_>>().join("next\n")).expect("writes the requests");
        let started = Instant::now();
        run(curl().arg("--config").arg(&config));
        println!("{:<36} {:>9.2}", format!("declaring {}", self.what), started.elapsed().as_secs_f64());
    }

    /// By distmirror, into SQLite and a folder.
    fn fetch(&self) -> Usage {
        let (usage, folder) = fetch_once(self.declared.path());
        let here = files_below(&folder.path().join("data/blobs/sha256"));
        assert_eq!(here, self.files().count(), "not all of them came");
        self.put_away(folder);
        usage
    }

    /// Removes many small files only after the last round: ext4 without a journal goes past all inodes that were freed in the
    /// last minutes when it looks for a new one, and that would be most of what making a small file costs.
    fn put_away(&self, folder: TempDir) {
        const MANY: usize = 100;
        if self.files().count() > MANY {
            self.kept.borrow_mut().push(folder);
        }
    }

    /// By aria2c, which compares while it is at it.
    fn aria2c(&self, folder: &Path) -> Usage {
        let mut list = String::new();
        for (url, name, sha256) in self.files() {
            writeln!(list, "{url}\n out={name}\n checksum=sha-256={sha256}").expect("a String takes everything");
        }
        let input = self.beside(folder, "list", &list);
        let mut aria2c = Command::new("aria2c");
        aria2c.args(["--no-conf", "--quiet", "--no-proxy=127.0.0.1", "--file-allocation=none"]);
        aria2c.args(["--max-concurrent-downloads", DOWNLOADS, "--dir"]).arg(folder).arg("--input-file").arg(input);
        measure(&mut aria2c, None)
    }

    /// By curl, and then compared by sha256sum.
    fn curl(&self, folder: &Path) -> Usage {
        let pairs = self.files().map(|(url, name, _)| format!("url = {url}\noutput = {name}\n"));
        let config = self.beside(folder, "config", &pairs.collect::<String>());
        let sums = self.beside(folder, "sums", &self.sums);
        let fetched = measure(curl().current_dir(folder).arg("--config").arg(config), None);
        let mut check = Command::new("sha256sum");
        fetched.and(measure_at_once(check.current_dir(folder).args(["--check", "--quiet"]).arg(sums), None))
    }

    /// Writes a file beside the folder.
    fn beside(&self, folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.with_file_name(name);
        fs::write(&path, text).expect("writes what the program reads");
        path
    }
}

impl Usage {
    /// What this and the next took, one after the other.
    fn and(self, next: Self) -> Self {
        Self {
            wall_s: self.wall_s + next.wall_s,
            cpu_s: self.cpu_s + next.cpu_s,
            peak_mib: self.peak_mib.max(next.peak_mib),
        }
    }
}

/// Measures all in turns, and prints what came of it; what distmirror took.
fn compare(workload: &Workload, rounds: usize) -> Usage {
    let round = || {
        let peers = [Workload::aria2c, Workload::curl];
        peers.map(|peer| {
            let (usages, place) = then_sync(|folder| peer(workload, folder));
            workload.put_away(place);
            usages
        })
    };
    let _ = (round(), workload.fetch());
    let (theirs, ours): (Vec<_>, Vec<_>) = (0..rounds).map(|_| (round(), workload.fetch())).unzip();
    let ours = Usage::median(&ours);
    println!("fetch {}\n{}", workload.what, ours.line("  distmirror"));
    for (peer, name) in ["aria2c with sha-256", "curl, then sha256sum"].into_iter().enumerate() {
        for (with_sync, ending) in ["", ", then sync"].into_iter().enumerate() {
            let all: Vec<_> = theirs.iter().map(|round| round[peer][with_sync]).collect();
            let theirs = Usage::median(&all);
            let (wall, cpu) = (ours.wall_s / theirs.wall_s, ours.cpu_s / theirs.cpu_s);
            println!("{} {wall:>11.2} {cpu:>10.2}", theirs.line(&format!("  {name}{ending}")));
        }
    }
    ours
}

/// What it takes to fill a fresh folder, without and with making what is in it durable; and where that folder is.
fn then_sync(fill: impl Fn(&Path) -> Usage) -> ([Usage; 2], TempDir) {
    let place = TempDir::new().expect("a folder");
    let folder = place.path().join("files");
    fs::create_dir(&folder).expect("a folder");
    let filled = fill(&folder);
    let synced = measure_at_once(Command::new("sync").arg("--file-system").arg(&folder), None);
    ([filled, filled.and(synced)], place)
}

/// curl that does several things at a time, and looks at no environment.
fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--disable", "--fail", "--no-progress-meter", "--noproxy", "*"]);
    curl.args(["--parallel", "--parallel-max", DOWNLOADS]);
    curl
}

fn run(command: &mut Command) {
    assert!(command.status().expect("it starts").success(), "{command:?} failed");
}

fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}
