//! Backends that can be switched off, and what the cases are made of.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use super::*;
use crate::{
    AuditEntry, BlobStat, Checksums, Declaration, Digests, Fetched, Filter, Images, Job, Lease, LeaseRequest, Miss,
    NewDeclaration, Page, Progress, Registry, RepositoryTotals, Scrub, Source, StoredBlob, Totals, Upkeep, Watch,
    memory::{MemoryBlobStore, MemoryCatalog},
};

/// What the mirror of a test stands on.
pub(super) struct Backends {
    pub(super) catalog: Arc<Switchable>,
    pub(super) blobs: Arc<MemoryBlobStore>,
}

/// A mirror over backends in memory, and those backends.
pub(super) fn test_mirror(options: Options) -> (Mirror, Backends) {
    let backends = Backends { catalog: Arc::default(), blobs: Arc::default() };
    let mirror = Mirror::new(Arc::clone(&backends.catalog) as _, Arc::clone(&backends.blobs) as _, options);
    (mirror, backends)
}

impl Backends {
    /// Declares without a checksum, behind the mirror's back.
    pub(super) async fn declared(&self, uri: &str) -> Artifact {
        let wanted = NewDeclaration {
            name: self::uri(uri),
            expected: Checksums::none(),
            image: None,
            who: "alice".to_owned(),
            reason: "r".to_owned(),
            project: None,
            license: None,
            ticket: None,
        };
        self.catalog.inner.declare(&wanted, Timestamp::now()).await.unwrap().artifact
    }

    /// The lease on what is longest due.
    pub(super) async fn lease(&self) -> Lease {
        let worker = "worker-1".to_owned();
        let request = LeaseRequest { worker, limit: 1, lease_for: Duration::from_secs(60), busy_hosts: Vec::new() };
        self.catalog.inner.lease(&request, Timestamp::now()).await.unwrap().remove(0).lease
    }

    /// Declares and fetches these bytes; nothing else may be due.
    pub(super) async fn present(&self, uri: &str, bytes: &[u8]) -> Artifact {
        let id = self.declared(uri).await.id;
        let fetched = Fetched::file(content(bytes));
        self.catalog.inner.complete(&self.lease().await, &fetched, Timestamp::now()).await.unwrap();
        self.catalog.inner.artifact(id).await.unwrap().unwrap()
    }

    /// Declares, and fails for good; nothing else may be due.
    pub(super) async fn failed(&self, uri: &str) -> Artifact {
        let id = self.declared(uri).await.id;
        let failure = Failure::new("404");
        self.catalog.inner.fail(&self.lease().await, &failure, None, Timestamp::now()).await.unwrap();
        self.catalog.inner.artifact(id).await.unwrap().unwrap()
    }
}

pub(super) fn uri(text: &str) -> ArtifactName {
    text.parse::<Uri>().unwrap().into()
}

pub(super) fn content(bytes: &[u8]) -> Content {
    Content {
        digests: Digests::of(bytes),
        size: bytes.len() as u64,
        content_type: None,
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source::default(),
    }
}

/// A report of one request, so many seconds after the start of the test's time.
pub(super) fn report(uri: &str, seconds: i64) -> MissReport {
    let at = Timestamp::from_second(1_767_225_600 + seconds).unwrap();
    MissReport {
        name: self::uri(uri),
        count: 1,
        first_seen: at,
        last_seen: at,
        method: "GET".to_owned(),
        client: "192.0.2.1".to_owned(),
        user_agent: None,
        project: None,
    }
}

/// A blob store whose only blob is one file, wherever it is.
#[derive(Debug)]
pub(super) struct FileStore {
    pub(super) path: PathBuf,
}

impl FileStore {
    fn open(&self) -> Result<(File, u64)> {
        let opened = File::open(&self.path).and_then(|file| file.metadata().map(|metadata| (file, metadata.len())));
        opened.map_err(Error::storage)
    }
}

#[async_trait]
impl BlobStore for FileStore {
    async fn put(&self, _: &Sha256, _: Payload) -> Result<()> {
        Err(Error::storage(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)))
    }

    async fn get(&self, _: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        let (file, size) = self.open()?;
        Ok(BlobRead { size, body: BlobBody::File { file, range: range.unwrap_or(0..size) } })
    }

    async fn stat(&self, _: &Sha256) -> Result<Option<u64>> {
        self.open().map(|(_, size)| Some(size))
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        stream::empty().boxed()
    }
}

/// How a catalog answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Health {
    #[default]
    Well,
    /// With an error.
    Failing,
    /// Never.
    Silent,
}

/// A catalog in memory that can be away, and counts how often it is asked for what.
#[derive(Debug, Default)]
pub(super) struct Switchable {
    inner: MemoryCatalog,
    health: Mutex<Health>,
    calls: Mutex<HashMap<&'static str, usize>>,
}

impl Switchable {
    pub(super) fn set(&self, health: Health) {
        *self.health.lock().unwrap() = health;
    }

    /// How often this operation was called.
    pub(super) fn calls(&self, operation: &str) -> usize {
        self.lock_calls().get(operation).copied().unwrap_or_default()
    }

    fn lock_calls(&self) -> MutexGuard<'_, HashMap<&'static str, usize>> {
        self.calls.lock().unwrap()
    }

    async fn pass(&self, operation: &'static str) -> Result<()> {
        *self.lock_calls().entry(operation).or_default() += 1;
        let health = *self.health.lock().unwrap();
        match health {
            Health::Well => Ok(()),
            Health::Failing => Err(Error::catalog("it is away")),
            Health::Silent => std::future::pending().await,
        }
    }
}

/// Implements a part of the catalog: each operation is the inner one, if it comes so far.
macro_rules! switchable {
    ($part:ident: $(fn $operation:ident($($name:ident: $of:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl $part for Switchable {
            $(async fn $operation(&self, $($name: $of),*) -> Result<$answer> {
                self.pass(stringify!($operation)).await?;
                self.inner.$operation($($name),*).await
            })*
        }
    };
}

switchable! { Artifacts:
    fn declare(wanted: &NewDeclaration, now: Timestamp) -> Declared;
    fn artifact(id: ArtifactId) -> Option<Artifact>;
    fn named(key: &NameKey) -> Option<Artifact>;
    fn holding(digest: &Digest) -> Option<Artifact>;
    fn list(filter: &Filter, page: &PageRequest) -> Page<Artifact>;
    fn declarations(ids: &[ArtifactId]) -> HashMap<ArtifactId, Vec<Declaration>>;
    fn blobs(ids: &[ArtifactId]) -> HashMap<ArtifactId, Vec<StoredBlob>>;
    fn totals() -> Totals;
    fn fulfil(id: ArtifactId, fetched: &Fetched, who: &str, now: Timestamp) -> Artifact;
    fn quarantine(id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Artifact;
    fn release(id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Artifact;
}

switchable! { Images:
    fn part(key: &NameKey) -> Option<(Artifact, StoredBlob)>;
    fn referrers(subject: &NameKey) -> Vec<StoredBlob>;
    fn has_images(registry: &Registry, path: Option<&str>) -> bool;
    fn repositories(registry: Option<&Registry>) -> Vec<RepositoryTotals>;
}

switchable! { Fetches:
    fn lease(request: &LeaseRequest, now: Timestamp) -> Vec<Job>;
    fn renew(lease: &Lease, expires_at: Timestamp, progress: Progress) -> ();
    fn complete(lease: &Lease, fetched: &Fetched, now: Timestamp) -> ();
    fn fail(lease: &Lease, failure: &Failure, retry_at: Option<Timestamp>, now: Timestamp) -> ();
    fn give_back(lease: &Lease, now: Timestamp) -> ();
    fn retry(id: ArtifactId, who: &str, now: Timestamp) -> Artifact;
}

switchable! { Upkeep:
    fn report_damage(id: ArtifactId, problem: &str, now: Timestamp) -> ();
    fn unreferenced(blobs: &[Sha256]) -> Vec<Sha256>;
    fn save_scrub(scrub: &Scrub) -> ();
    fn scrub(id: Uuid) -> Option<Scrub>;
    fn scrubs(limit: usize) -> Vec<Scrub>;
    fn to_watch(before: Timestamp, limit: usize) -> Vec<Artifact>;
    fn record_watch(id: ArtifactId, watch: &Watch) -> ();
}

switchable! { Ledger:
    fn record_misses(reports: &[MissReport]) -> ();
    fn misses(text: Option<&str>, page: &PageRequest) -> Page<Miss>;
    fn miss_count() -> u64;
    fn miss(id: Uuid) -> Option<Miss>;
    fn ignore_misses(pattern: &str, reason: &str, who: &str, now: Timestamp) -> ();
    fn ignored_patterns() -> Vec<String>;
    fn audit(artifact: Option<ArtifactId>, page: &PageRequest) -> Page<AuditEntry>;
}
