//! A folder in which a mirror lives, as it is before a crash and after it: what must hold, and what must come of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use testkit::{Upstream, sqlite3};

use super::{
    disk::{Content, Disk, End},
    trace::{self, Step},
};
use crate::support::{Backends, Server};

/// A mirror that is not running, with SQLite and a directory, all in its data folder as a fresh installation has it.
pub(super) struct House {
    folder: TempDir,
}

impl House {
    /// In which these URIs are declared, and not fetched yet.
    pub(super) async fn declaring(upstream: &Upstream, uris: &[String]) -> Self {
        Self::expecting(upstream, uris, None).await
    }

    /// The same, all with this checksum.
    pub(super) async fn expecting(upstream: &Upstream, uris: &[String], checksum: Option<&str>) -> Self {
        let backends = |folder: &Path| Backends::embedded(&folder.join("data"));
        let server = Server::start_role(&["admin"], backends, upstream).await;
        for uri in uris {
            server.declare(uri, checksum).await;
        }
        Self { folder: server.stop().await }
    }

    /// Which was never started.
    pub(super) async fn new(upstream: &Upstream) -> Self {
        let house = Self::declaring(upstream, &[]).await;
        fs::remove_dir_all(house.folder.path().join("data")).expect("it can be undone");
        house
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Does this, and tells the steps.
    pub(super) fn record(&self, arguments: &[&str], status: i32) -> Recorded {
        let (before, trace) = (Disk::load(self.path()), TempDir::new().expect("a temporary folder"));
        let file = trace.path().join("trace");
        let output = run(&mut trace::traced(&distmirror(self.path(), arguments), &file));
        assert_eq!(output.status.code(), Some(status), "{}", said(&output));
        Recorded::of(self, before, &file)
    }

    /// The same mirror somewhere else, with this content.
    pub(super) fn moved(&self, content: &Content) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        content.write_to(folder.path());
        let configuration = folder.path().join("distmirror.toml");
        let text = fs::read_to_string(&configuration).expect("it has a configuration");
        let (old, new) = (self.path().display().to_string(), folder.path().display().to_string());
        fs::write(configuration, text.replace(&old, &new)).expect("writes the configuration");
        Self { folder }
    }

    /// What must hold at any time: the catalog is sound, and what it calls present is there, whole. How much that is.
    pub(super) fn check(&self) -> usize {
        let answer =
            self.ask("PRAGMA integrity_check; SELECT lower(hex(sha256)) FROM artifacts WHERE state = 'present'");
        let mut lines = answer.lines();
        assert_eq!(lines.next(), Some("ok"));
        let present: Vec<_> = lines.collect();
        for hex in &present {
            let blob = self.path().join(format!("data/blobs/sha256/{}/{}/{hex}", &hex[..2], &hex[2..4]));
            let bytes = fs::read(&blob).unwrap_or_else(|error| panic!("{}: {error}", blob.display()));
            assert_eq!(digest(&bytes), *hex);
        }
        present.len()
    }

    /// Goes on after the end: all that was declared must become present with these bytes, and no other blob be there.
    pub(super) fn go_on(&self, wanted: &[&[u8]]) {
        self.make_due();
        self.run(&["fetch", "--once"]);
        assert_eq!(self.check(), wanted.len());
        let (blobs, unfinished) = (files(&self.path().join("data/blobs/sha256")), self.unfinished());
        let names: BTreeSet<_> = blobs.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        assert_eq!(names, wanted.iter().map(|bytes| digest(bytes)).collect());
        assert!(unfinished.is_empty(), "{unfinished:?}");
    }

    /// As if the time had come: of the lease of the dead process, or of the next attempt.
    pub(super) fn make_due(&self) {
        // Only where it is needed: otherwise the recovery is left to the product.
        let waiting = "state <> 'present' AND (due_at IS NULL OR due_at > unixepoch() * 1000000)";
        if self.ask(&format!("SELECT count(*) FROM artifacts WHERE {waiting}")) != "0" {
            sqlite3(&self.catalog(), &format!("UPDATE artifacts SET due_at = 0 WHERE {waiting}"));
        }
    }

    /// Runs a command, which must succeed; what it printed.
    pub(super) fn run(&self, arguments: &[&str]) -> String {
        let output = run(&mut distmirror(self.path(), arguments));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a copy of the catalog answers: reading it must not do the recovery that is the product's to do.
    pub(super) fn ask(&self, question: &str) -> String {
        let copy = TempDir::new().expect("a temporary folder");
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-journal"] {
            let from = self.catalog().with_file_name(name);
            if from.exists() {
                fs::copy(from, copy.path().join(name)).expect("a file can be copied");
            }
        }
        sqlite3(&copy.path().join("catalog.db"), question)
    }

    /// What lies in the spool and could be gone on from.
    fn unfinished(&self) -> Vec<PathBuf> {
        let spooled = files(&self.path().join("data/spool"));
        spooled.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "part")).collect()
    }

    pub(super) fn catalog(&self) -> PathBuf {
        self.path().join("data/catalog.db")
    }
}

/// What a run did, and on what.
pub(super) struct Recorded {
    before: Disk,
    pub(super) steps: Vec<Step>,
}

impl Recorded {
    /// What was done on this mirror by a process that has ended.
    pub(super) fn of(house: &House, before: Disk, trace: &Path) -> Self {
        let found = Content::of(house.path());
        let steps = trace::read(trace, house.path());
        let complete = steps.iter().filter(|step| step.is_complete).cloned().collect();
        let all = [complete, steps].map(|steps| Self { before: before.clone(), steps });
        let wrong =
            all.each_ref().map(|recorded| recorded.after(recorded.steps.len(), End::Killed).differences(&found));
        let right = all.into_iter().zip(&wrong).find(|(_, wrong)| wrong.is_empty());
        right.unwrap_or_else(|| panic!("the model does not know what was done to these: {wrong:?}")).0
    }

    /// What is there when so many steps are done, and this happens.
    pub(super) fn after(&self, steps: usize, end: End) -> Content {
        let mut left = self.ends(&[end], steps..steps + 1);
        left.pop().expect("there is such a step").1
    }

    /// What is there after each of these ends at each of these steps, once each.
    pub(super) fn ends(&self, ends: &[End], after: std::ops::Range<usize>) -> Vec<((usize, End), Content)> {
        let mut disk = self.before.clone();
        let mut left = Vec::new();
        let mut seen = BTreeSet::new();
        for done in 0..after.end {
            for end in ends.iter().filter(|_| done >= after.start) {
                let content = disk.after(*end);
                if seen.insert(content.fingerprint()) {
                    left.push(((done, *end), content));
                }
            }
            if let Some(step) = self.steps.get(done) {
                disk.apply(&step.act);
            }
        }
        left
    }
}

pub(super) fn distmirror(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
    command.args(arguments).arg("--config").arg(folder.join("distmirror.toml")).current_dir(folder);
    // One thing after the other, so that strace finds the same calls again.
    command.env("TOKIO_WORKER_THREADS", "1").env("DISTMIRROR__FETCH__WORKERS", "1");
    command
}

pub(super) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files below a folder; none if there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
