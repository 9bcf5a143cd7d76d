//! Workers over a catalog in memory: who fetches what, how often, and what is left when somebody stops.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{content, sha256};
use async_trait::async_trait;
use distmirror_core::{
    Algorithm, Artifact, ArtifactId, Declare, Failure, Fetched, Fetcher, Intake, Job, Kind, LeaseRequest, Mirror,
    Options, ProgressMeter, State,
    faulty::{Faults, FaultyCatalog},
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_fetch::{OnceReport, WorkerOptions, Workers};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

/// A fetcher without an upstream: what it does depends on the path of the URI.
#[derive(Debug)]
struct Pretend {
    /// What `/gated` paths wait for.
    gate: Semaphore,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    fetches: HashMap<String, usize>,
    running: HashMap<String, usize>,
    most_running: HashMap<String, usize>,
}

/// Notes that a fetch runs, and at its end, however that comes, that it does not.
struct Entry<'a>(&'a Pretend, String);

impl<'a> Entry<'a> {
    fn new(pretend: &'a Pretend, job: &Job) -> Self {
        let host = job.artifact.name.host();
        let mut log = pretend.log.lock().unwrap();
        *log.fetches.entry(job.artifact.name.as_str().to_owned()).or_default() += 1;
        let running = log.running.entry(host.clone()).or_default();
        *running += 1;
        let running = *running;
        let most = log.most_running.entry(host.clone()).or_default();
        *most = running.max(*most);
        Self(pretend, host)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        *self.0.log.lock().unwrap().running.entry(self.1.clone()).or_default() -= 1;
    }
}

impl Pretend {
    fn new() -> Arc<Self> {
        Arc::new(Self { gate: Semaphore::new(0), log: Mutex::default() })
    }

    fn running(&self) -> usize {
        self.log.lock().unwrap().running.values().sum()
    }
}

#[async_trait]
impl Fetcher for Pretend {
    fn kind(&self) -> Kind {
        Kind::File
    }

    async fn fetch(&self, job: &Job, _: &Intake, meter: &ProgressMeter) -> Result<Fetched, Failure> {
        let _entry = Entry::new(self, job);
        let name = job.artifact.name.as_str();
        meter.set_bytes(7);
        if name.contains("/gated") {
            self.gate.acquire().await.unwrap().forget();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        match name {
            name if name.contains("/fails") => Err(Failure::new("it fails")),
            name if name.contains("/busy") => {
                Err(Failure { retry_after: Some(Duration::from_secs(1800)), ..Failure::new("busy") })
            }
            name if name.contains("/panics") => panic!("no such luck"),
            _ => Ok(Fetched::file(content(b"content"))),
        }
    }
}

/// A mirror in memory with workers to be started on it.
struct Site {
    /// Those of the catalog.
    faults: Faults,
    mirror: Arc<Mirror>,
    intake: Intake,
    fetcher: Arc<Pretend>,
    _folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(MemoryBlobStore::new());
        let faults = Faults::default();
        let catalog = FaultyCatalog::new(Arc::new(MemoryCatalog::new()), faults.clone());
        let intake = Intake::open(folder.path(), Arc::<MemoryBlobStore>::clone(&blobs), u64::MAX).unwrap();
        let mirror = Mirror::new(Arc::new(catalog), blobs, Options::default());
        Self { faults, mirror: Arc::new(mirror), intake, fetcher: Pretend::new(), _folder: folder }
    }

    fn workers(&self, options: WorkerOptions) -> Workers {
        Workers::new(Arc::clone(&self.mirror), self.intake.clone(), vec![Arc::<Pretend>::clone(&self.fetcher)], options)
    }

    /// Workers that run until they are told to stop.
    fn start(&self, options: WorkerOptions) -> Started {
        let workers = self.workers(options);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move { workers.run(async { drop(stopped.await) }).await });
        Started { stop, task }
    }

    async fn declare(&self, uri: &str) -> ArtifactId {
        self.declare_with(uri, None).await
    }

    async fn declare_with(&self, uri: &str, sha256: Option<String>) -> ArtifactId {
        let wanted = Declare {
            kind: "file".to_owned(),
            uri: Some(uri.to_owned()),
            reason: Some("a test".to_owned()),
            digests: sha256.map(|hex| (Algorithm::Sha256, hex)).into_iter().collect(),
            ..Declare::default()
        };
        self.mirror.declare(&wanted, "somebody").await.unwrap().artifact.id
    }

    async fn artifact(&self, id: ArtifactId) -> Artifact {
        self.mirror.catalog().artifact(id).await.unwrap().unwrap()
    }

    async fn wait_for(&self, id: ArtifactId, state: State) -> Artifact {
        until(async || self.artifact(id).await.state == state).await;
        self.artifact(id).await
    }

    async fn wait_for_running(&self, count: usize) {
        until(async || self.fetcher.running() == count).await;
    }
}

struct Started {
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Started {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.task).await.expect("the workers do not stop").unwrap();
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

async fn until(condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, met).await.expect("it never happened");
}

fn options() -> WorkerOptions {
    WorkerOptions {
        lease_for: Duration::from_millis(400),
        poll_interval: Duration::from_millis(50),
        drain: Duration::from_millis(100),
        ..WorkerOptions::default()
    }
}

#[tokio::test]
async fn a_declaration_wakes_the_workers() {
    let site = Site::new();
    let workers = site.start(WorkerOptions { poll_interval: Duration::from_secs(3600), ..options() });
    for n in 0..20 {
        let id = site.declare(&format!("http://a.test/{n}")).await;
        let artifact = site.wait_for(id, State::Present).await;
        assert_eq!((artifact.attempts, artifact.last_error), (1, None));
    }
    workers.stop().await;
}

#[tokio::test]
async fn a_host_rests_between_two_fetches_and_others_need_not_wait() {
    let site = Site::new();
    for uri in ["http://a.test/1", "http://a.test/2", "http://b.test/1", "http://a.test/3"] {
        site.declare(uri).await;
    }
    let pause = Duration::from_millis(100);
    let began = std::time::Instant::now();
    let report = site.workers(WorkerOptions { per_host_pause: pause, ..options() }).run_once().await.unwrap();
    assert_eq!(report, OnceReport { done: 4, failed: 0 });
    assert!(began.elapsed() >= 2 * pause, "{:?}", began.elapsed());

    let gated = site.declare("http://a.test/gated").await;
    let other = site.declare("http://a.test/4").await;
    let workers = site.start(WorkerOptions { per_host_pause: Duration::from_secs(3600), ..options() });
    site.wait_for_running(1).await;
    let elsewhere = site.declare("http://c.test/1").await;
    site.wait_for(elsewhere, State::Present).await;
    assert_eq!(site.artifact(other).await.state, State::Pending, "it is not its turn yet");
    site.fetcher.gate.add_permits(1);
    site.wait_for(gated, State::Present).await;
    workers.stop().await;
}

#[tokio::test]
async fn what_another_process_declared_is_found() {
    let site = Site::new();
    let workers = site.start(options());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let elsewhere = Mirror::new(Arc::clone(site.mirror.catalog()), Arc::clone(site.mirror.blobs()), Options::default());
    let wanted = Declare {
        kind: "file".to_owned(),
        uri: Some("http://a.test/x".to_owned()),
        reason: Some("a test".to_owned()),
        ..Declare::default()
    };
    let id = elsewhere.declare(&wanted, "somebody").await.unwrap().artifact.id;
    site.wait_for(id, State::Present).await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_fetch_everything_once() {
    let site = Site::new();
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(site.declare(&format!("http://{}.test/{n}", n % 7)).await);
    }
    let workers = [site.start(options()), site.start(options())];
    for id in ids {
        assert_eq!(site.wait_for(id, State::Present).await.attempts, 1);
    }
    assert!(site.fetcher.log.lock().unwrap().fetches.values().all(|count| *count == 1));
    for workers in workers {
        workers.stop().await;
    }
}

#[tokio::test]
async fn limits_in_all_and_per_host_are_kept() {
    let site = Site::new();
    for n in 0..10 {
        site.declare(&format!("http://a.test/gated{n}")).await;
        site.declare(&format!("http://b.test/gated{n}")).await;
        site.declare(&format!("http://c.test/gated{n}")).await;
    }
    let workers = site.start(WorkerOptions { workers: 5, per_host: 2, ..options() });
    site.wait_for_running(5).await;
    site.fetcher.gate.add_permits(30);
    until(async || site.mirror.catalog().totals().await.unwrap().present == 30).await;
    assert!(site.fetcher.log.lock().unwrap().most_running.values().all(|most| *most <= 2));
    workers.stop().await;
}

#[tokio::test]
async fn a_running_fetch_shows_its_progress_and_keeps_its_lease() {
    let site = Site::new();
    let id = site.declare("http://a.test/gated").await;
    let workers = site.start(options());
    until(async || site.artifact(id).await.progress.is_some_and(|progress| progress.bytes == 7)).await;
    tokio::time::sleep(2 * options().lease_for).await;
    assert_eq!(site.artifact(id).await.attempts, 1);
    site.fetcher.gate.add_permits(1);
    site.wait_for(id, State::Present).await;
    workers.stop().await;
}

#[tokio::test]
async fn when_a_process_dies_another_one_goes_on() {
    let site = Site::new();
    let id = site.declare("http://a.test/gated").await;
    let dies = site.start(options());
    site.wait_for_running(1).await;
    dies.task.abort();
    site.wait_for_running(0).await;
    site.fetcher.gate.add_permits(1);
    let survives = site.start(options());
    assert_eq!(site.wait_for(id, State::Present).await.attempts, 2);
    survives.stop().await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_fetch() {
    let site = Site::new();
    let id = site.declare("http://a.test/gated").await;
    let workers = site.start(options());
    site.wait_for_running(1).await;
    let other = LeaseRequest { worker: "other".to_owned(), limit: 1, lease_for: 9 * PATIENCE, busy_hosts: Vec::new() };
    let later = Timestamp::now() + PATIENCE;
    assert_eq!(site.mirror.catalog().lease(&other, later).await.unwrap().len(), 1);
    site.wait_for_running(0).await;
    assert_eq!(site.artifact(id).await.state, State::Fetching);
    workers.stop().await;
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_given_back() {
    let site = Site::new();
    let id = site.declare("http://a.test/gated").await;
    let workers = site.start(options());
    site.wait_for_running(1).await;
    workers.stop().await;
    let artifact = site.artifact(id).await;
    assert_eq!((artifact.state, artifact.attempts), (State::Pending, 0));
    site.wait_for_running(0).await;
}

#[tokio::test]
async fn what_finishes_in_time_is_kept() {
    let site = Site::new();
    let id = site.declare("http://a.test/gated").await;
    let workers = site.start(WorkerOptions { drain: PATIENCE, ..options() });
    site.wait_for_running(1).await;
    workers.stop.send(()).unwrap();
    let too_late = site.declare("http://a.test/later").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    site.fetcher.gate.add_permits(1);
    timeout(PATIENCE, workers.task).await.unwrap().unwrap();
    assert_eq!(site.artifact(id).await.state, State::Present);
    assert_eq!(site.artifact(too_late).await.state, State::Pending);
}

#[tokio::test]
async fn once_drains_what_is_due_and_reports() {
    let site = Site::new();
    for name in ["a", "b", "fails", "panics", "c"] {
        site.declare(&format!("http://a.test/{name}")).await;
    }
    let workers = site.workers(WorkerOptions { workers: 2, ..options() });
    assert_eq!(workers.run_once().await.unwrap(), OnceReport { done: 3, failed: 2 });
    assert_eq!(workers.run_once().await.unwrap(), OnceReport::default());
    site.faults.fail_next("lease", 1);
    assert!(workers.run_once().await.is_err());
}

#[tokio::test]
async fn a_failure_is_recorded_and_tried_again_later() {
    let site = Site::new();
    let fails = site.declare("http://a.test/fails").await;
    let busy = site.declare("http://a.test/busy").await;
    let panics = site.declare("http://a.test/panics").await;
    site.workers(options()).run_once().await.unwrap();
    for (id, error, seconds) in [
        (fails, "it fails", 30..=38),
        (busy, "busy", 1800..=2250),
        (panics, "the fetcher panicked: no such luck", 30..=38),
    ] {
        let artifact = site.artifact(id).await;
        assert_eq!((artifact.state, artifact.last_error.as_deref()), (State::Failed, Some(error)));
        let wait = artifact.next_attempt_at.unwrap().duration_since(Timestamp::now()).as_secs() + 1;
        assert!(seconds.contains(&wait), "{error}: {wait}");
    }
}

#[tokio::test]
async fn without_retries_a_person_has_to_ask() {
    let site = Site::new();
    let id = site.declare("http://a.test/fails").await;
    let workers = site.start(WorkerOptions { retries: 0, poll_interval: Duration::from_secs(3600), ..options() });
    assert_eq!(site.wait_for(id, State::Failed).await.next_attempt_at, None);
    site.mirror.retry(id, "somebody").await.unwrap();
    until(async || site.artifact(id).await.attempts == 2).await;
    workers.stop().await;
}

#[tokio::test]
async fn a_catalog_that_is_away_loses_nothing() {
    let site = Site::new();
    let done = site.declare("http://a.test/gated").await;
    let fails = site.declare("http://a.test/gated/fails").await;
    for operation in ["lease", "renew", "complete", "fail"] {
        site.faults.fail_next(operation, 1);
    }
    let workers = site.start(options());
    site.wait_for_running(2).await;
    until(async || site.faults.fired() == 2).await;
    site.fetcher.gate.add_permits(2);
    assert_eq!(site.wait_for(done, State::Present).await.attempts, 1);
    assert_eq!(site.wait_for(fails, State::Failed).await.attempts, 1);
    assert_eq!(site.faults.fired(), 4);
    workers.stop().await;
}

#[tokio::test]
async fn a_checksum_that_is_declared_meanwhile_is_law() {
    let site = Site::new();
    let id = site.declare("http://a.test/gated").await;
    let workers = site.start(options());
    site.wait_for_running(1).await;
    site.declare_with("http://a.test/gated", Some(sha256(b"other").hex())).await;
    site.fetcher.gate.add_permits(1);
    let error = site.wait_for(id, State::Failed).await.last_error.unwrap();
    assert!(error.contains(&sha256(b"other").hex()) && error.contains(&sha256(b"content").hex()), "{error}");
    workers.stop().await;
}
