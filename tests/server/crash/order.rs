//! In which order bytes get on the disk: a blob is durable before the catalog says that it is present, and what is acknowledged is
//! durable before it is.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Upstream, free_port};

use super::{
    disk::{Disk, End},
    house::{House, Recorded, digest, distmirror},
    trace::{Act, traced},
};

#[tokio::test]
async fn a_blob_is_durable_before_it_is_present() {
    let upstream = Upstream::start(&[]).await;
    for (size, folder) in [(600_000, "data/spool"), (1000, "data/blobs/tmp")] {
        let bytes = vec![b'b'; size];
        upstream.file("/file", bytes.clone());
        let house = House::declaring(&upstream, &[upstream.url("/file")]).await;
        let fetched = house.record(&["fetch", "--once"], 0);
        let hex = digest(&bytes);
        let blob = house.path().join(format!("data/blobs/sha256/{}/{}/{hex}", &hex[..2], &hex[2..4]));
        let moved = fetched.position(|act| matches!(act, Act::Rename(_, to) if *to == blob));
        let Act::Rename(staged, _) = &fetched.steps[moved].act else { panic!("no rename") };
        assert!(staged.starts_with(house.path().join(folder)), "{}", staged.display());
        let written = fetched.last(|act| matches!(act, Act::Write(path, ..) if path == staged));
        let synced = fetched.position(|act| *act == Act::Sync(staged.clone()));
        let named = fetched.synced_after(moved, blob.parent().expect("it is in a folder"));
        let commit = fetched.last(|act| is_write_to(act, &house.wal()));
        let durable = fetched.synced_after(commit, &house.wal());
        assert!(written < synced && synced < moved && moved < named && named < commit && commit < durable, "{size}");
        for made in fetched.made_folders() {
            let at = fetched.position(|act| *act == Act::MakeFolder(made.clone()));
            assert!(fetched.synced_after(at, made.parent().expect("it is in a folder")) < moved, "{}", made.display());
        }
        assert_eq!(house.moved(&fetched.after(commit, End::Killed)).check(), 0, "present before the last write");
        assert_eq!(house.check(), 1);
    }
}

/// Whoever put the blob may have been killed before its name was durable.
#[tokio::test]
async fn a_blob_that_was_here_is_made_durable_again_before_it_is_present_as_another_artifact() {
    let upstream = Upstream::start(&[]).await;
    let bytes = vec![b'b'; 1000];
    let uris = ["/one", "/two"].map(|path| {
        upstream.file(path, bytes.clone());
        upstream.url(path)
    });
    let house = House::expecting(&upstream, &uris, Some(&digest(&bytes))).await;
    let fetched = house.record(&["fetch", "--once"], 0);
    assert_eq!(upstream.hits("/one") + upstream.hits("/two"), 1, "fetched once");
    let moved = fetched.position(|act| matches!(act, Act::Rename(..)));
    let Act::Rename(_, blob) = &fetched.steps[moved].act else { panic!("no rename") };
    let folder = blob.parent().expect("it is in a folder");
    let first = fetched.synced_after(fetched.synced_after(moved, folder), &house.wal());
    let again = fetched.synced_after(first, folder);
    assert!(again < fetched.last(|act| is_write_to(act, &house.wal())));
    assert_eq!(house.check(), 2);
}

#[tokio::test]
async fn a_declaration_is_durable_before_it_is_acknowledged() {
    let upstream = Upstream::start(&[]).await;
    let house = House::new(&upstream).await;
    let (recorded, answered) = declare_on_first_start(&house, &upstream).await;
    let commit = recorded.steps[..answered].iter().rposition(|step| is_write_to(&step.act, &house.wal()));
    let durable = recorded.synced_after(commit.expect("it was written"), &house.wal());
    assert!(durable < answered, "synced at {durable}, answered at {answered}");
    for made in recorded.made_folders().into_iter().filter(|made| made.ends_with("data")) {
        let at = recorded.position(|act| *act == Act::MakeFolder(made.clone()));
        assert!(recorded.synced_after(at, house.path()) < answered, "the data folder itself");
    }
}

#[tokio::test]
async fn the_key_of_the_authority_is_durable_before_its_folder_is_there() {
    let upstream = Upstream::start(&[]).await;
    let house = House::new(&upstream).await;
    let made = house.record(&["ca", "init"], 0);
    let folder = house.path().join("data/ca");
    let moved = made.position(|act| matches!(act, Act::Rename(_, to) if *to == folder));
    let Act::Rename(staged, _) = &made.steps[moved].act else { panic!("no rename") };
    for name in ["key.pem", "certificate.pem"] {
        let written = made.last(|act| is_write_to(act, &staged.join(name)));
        let synced = made.synced_after(written, &staged.join(name));
        assert!(synced < made.last(|act| *act == Act::Sync(staged.clone())), "{name}");
    }
    assert!(made.last(|act| *act == Act::Sync(staged.clone())) < moved);
    made.synced_after(moved, &house.path().join("data"));
}

/// Starts the admin side of a new mirror, declares a file, and ends the process: what it did, and at which step it answered.
pub(super) async fn declare_on_first_start(house: &House, upstream: &Upstream) -> (Recorded, usize) {
    let trace = tempfile::TempDir::new().expect("a temporary folder");
    let (file, port) = (trace.path().join("trace"), free_port());
    let before = Disk::load(house.path());
    let mut command = distmirror(house.path(), &["admin"]);
    command.env("DISTMIRROR__ADMIN__LISTEN", format!("127.0.0.1:{port}"));
    let mut process = testkit::Process::spawn("distmirror", &mut traced(&command, &file));
    process.wait_for_port(port).await;
    let body = serde_json::json!({"kind": "file", "uri": upstream.url("/declared"), "reason": "the test needs it"});
    let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let answer = client.post(format!("http://127.0.0.1:{port}/api/v1/artifacts")).json(&body).send().await;
    assert_eq!(answer.expect("it answers").status(), reqwest::StatusCode::CREATED);
    drop(client);
    // strace lets no such signal through.
    let first = std::fs::read_to_string(&file).expect("strace writes a trace");
    let pid = first.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?)).expect("a process id");
    kill_process(pid, Signal::TERM).expect("it runs");
    let ended = tokio::task::spawn_blocking(move || process.wait_for_exit(Duration::from_secs(30)));
    assert!(ended.await.expect("it does not panic").is_some_and(|status| status.success()));
    let recorded = Recorded::of(house, before, &file);
    let answered = recorded.position(|act| matches!(act, Act::Send(bytes) if bytes.starts_with(b"HTTP/1.1 201")));
    (recorded, answered)
}

impl House {
    fn wal(&self) -> PathBuf {
        self.catalog().with_file_name("catalog.db-wal")
    }
}

impl Recorded {
    fn position(&self, is_meant: impl Fn(&Act) -> bool) -> usize {
        self.steps.iter().position(|step| is_meant(&step.act)).expect("it was done")
    }

    fn last(&self, is_meant: impl Fn(&Act) -> bool) -> usize {
        self.steps.iter().rposition(|step| is_meant(&step.act)).expect("it was done")
    }

    fn synced_after(&self, step: usize, path: &Path) -> usize {
        let synced = self.steps[step..].iter().position(|step| step.act == Act::Sync(path.to_owned()));
        step + synced.unwrap_or_else(|| panic!("{} was not synced afterwards", path.display()))
    }

    fn made_folders(&self) -> Vec<PathBuf> {
        let made = self.steps.iter().filter_map(|step| match &step.act {
            Act::MakeFolder(path) => Some(path.clone()),
            _ => None,
        });
        made.collect()
    }
}

fn is_write_to(act: &Act, file: &Path) -> bool {
    matches!(act, Act::Write(path, ..) if path == file)
}
