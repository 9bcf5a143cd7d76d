//! A mirror with workers, over backends that can fail.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use distmirror_backends::{CatalogOptions, SqlCatalog, blobs::LocalBlobStore};
use distmirror_core::{
    Artifact, ArtifactName, BlobRead, BlobStore, Catalog, Declare, Error, Fetcher, Held, ImageName, Intake,
    LeaseRequest, Mirror, Options, Resolution, Result, Sha256,
    faulty::{Faults, FaultyBlobStore, FaultyCatalog},
    memory::{MemoryBlobStore, MemoryCatalog},
    mirror::Part,
};
use distmirror_fetch::{
    FetchOptions, FileFetcher, FileOptions, ImageFetcher, ImageOptions, UpstreamClient, WorkerOptions, Workers,
};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::invariants;

/// Where the backends keep things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    /// SQLite and a directory, which are those that a single machine uses.
    OnDisk,
}

/// What people ask the mirror for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    File(ArtifactName),
    Part(ImageName, Part),
}

/// One process over one catalog and one blob store.
pub(crate) struct Site {
    pub(crate) faults: Faults,
    /// What is run here, for messages.
    pub(crate) about: String,
    pub(crate) kept: Kept,
    /// The catalog as it is, without faults.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// The blob store as it is, without faults.
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) intake: Intake,
    /// What upstream has: nothing else may ever be served.
    pub(crate) upstream: Mutex<Vec<(Asked, Bytes)>>,
    /// Names whose declaration was acknowledged, with the reason.
    pub(crate) declared: Mutex<Vec<(ArtifactName, String)>>,
    /// Names that the process noted as missed.
    pub(crate) missed: Mutex<Vec<ArtifactName>>,
    /// Blobs that were damaged on purpose.
    pub(crate) damaged: Mutex<HashSet<Sha256>>,
    fetchers: Vec<Arc<dyn Fetcher>>,
    folder: TempDir,
}

impl Site {
    pub(crate) async fn new(kept: Kept, fetchers: &[Arc<dyn Fetcher>]) -> Self {
        let folder = folder();
        let (catalog, blobs) = backends(kept, folder.path()).await;
        let faults = Faults::default();
        let faulty_catalog = FaultyCatalog::new(Arc::clone(&catalog), faults.clone());
        let faulty_blobs = Arc::new(FaultyBlobStore::new(Arc::clone(&blobs), faults.clone()));
        let intake = Intake::open(folder.path().join("spool"), Arc::clone(&faulty_blobs) as _, 1 << 30).unwrap();
        let mirror = Arc::new(Mirror::new(Arc::new(faulty_catalog), faulty_blobs, Options::default()));
        Self {
            faults,
            about: format!("{kept:?}"),
            kept,
            catalog,
            blobs,
            mirror,
            intake,
            upstream: Mutex::default(),
            declared: Mutex::default(),
            missed: Mutex::default(),
            damaged: Mutex::default(),
            fetchers: fetchers.to_vec(),
            folder,
        }
    }

    /// Upstream has these bytes.
    pub(crate) fn expect(&self, asked: Asked, bytes: impl Into<Bytes>) {
        self.upstream.lock().unwrap().push((asked, bytes.into()));
    }

    pub(crate) async fn declare(&self, wanted: &Declare) -> Result<Artifact> {
        let artifact = self.mirror.declare(wanted, "alice").await?.artifact;
        let reason = wanted.reason.clone().unwrap();
        self.declared.lock().unwrap().push((artifact.name.clone(), reason));
        Ok(artifact)
    }

    /// Workers do what is due.
    pub(crate) async fn work(&self) -> Result<()> {
        let workers = Workers::new(
            Arc::clone(&self.mirror),
            self.intake.clone(),
            self.fetchers.clone(),
            WorkerOptions::default(),
        );
        workers.run_once().await.map(drop)
    }

    /// What a client gets.
    pub(crate) async fn read(&self, asked: &Asked) -> Result<Bytes> {
        read(&self.mirror, asked).await
    }

    /// Everything holds that holds at any time.
    pub(crate) async fn check(&self) {
        invariants::check(self).await;
    }

    /// Nothing waits and nothing lies about.
    pub(crate) async fn check_settled(&self) {
        self.check().await;
        invariants::check_settled(self).await;
    }

    /// Time passes until nothing is due any more: leases of workers that are gone expire, and what failed is tried again.
    pub(crate) async fn settle(&self) {
        const MORE_THAN_RETRIES: usize = 10;
        for _ in 0..MORE_THAN_RETRIES {
            self.work().await.unwrap();
            let later = Timestamp::now() + SignedDuration::from_hours(24);
            let lease_for = Duration::from_secs(1);
            let request = LeaseRequest { worker: "later".to_owned(), limit: 100, lease_for, busy_hosts: Vec::new() };
            let due = self.catalog.lease(&request, later).await.unwrap();
            if due.is_empty() {
                return;
            }
            for job in due {
                self.catalog.give_back(&job.lease, Timestamp::now()).await.unwrap();
            }
        }
        panic!("{}: something is due again and again", self.about);
    }

    /// Where bytes wait until they are verified.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Where blobs lie, if that is a directory.
    pub(crate) fn blob_folder(&self) -> Option<PathBuf> {
        (self.kept == Kept::OnDisk).then(|| self.folder.path().join("blobs"))
    }
}

/// What a client of this mirror gets.
pub(crate) async fn read(mirror: &Mirror, asked: &Asked) -> Result<Bytes> {
    let held = held(mirror, asked).await?;
    let BlobRead { body, .. } = mirror.open(&held, None).await?;
    body.collect().await
}

/// What is in service under this name.
async fn held(mirror: &Mirror, asked: &Asked) -> Result<Arc<Held>> {
    let resolution = match asked {
        Asked::File(name) => mirror.resolve(name).await?,
        Asked::Part(name, part) => mirror.resolve_part(name, *part).await?,
    };
    match resolution {
        Resolution::Present(held) => Ok(held),
        _ => Err(Error::NotFound { what: "artifact in service", id: format!("{asked:?}") }),
    }
}

/// In memory where that can be: nothing here has to survive that the power is cut, and thousands of runs would wait for a disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

async fn backends(kept: Kept, folder: &Path) -> (Arc<dyn Catalog>, Arc<dyn BlobStore>) {
    if kept == Kept::InMemory {
        return (Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()));
    }
    let file = folder.join("catalog.db");
    std::fs::write(&file, EMPTY.get_or_init(empty_catalog).await).unwrap();
    let catalog = open(&file, false).await;
    let blobs = LocalBlobStore::open(folder.join("blobs")).await.unwrap();
    (Arc::new(catalog), Arc::new(blobs))
}

/// A catalog in which nothing is yet: making its tables anew for every run would take longest of all.
static EMPTY: OnceCell<Vec<u8>> = OnceCell::const_new();

async fn empty_catalog() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.db");
    drop(open(&file, true).await);
    std::fs::read(&file).unwrap()
}

async fn open(file: &Path, migrate: bool) -> SqlCatalog {
    let url = format!("sqlite://{}", file.display());
    SqlCatalog::open(&CatalogOptions { url, max_connections: 2, migrate }).await.unwrap()
}

/// What asks upstream. It reads the certificates of the system, which takes a while.
pub(crate) fn fetchers() -> Vec<Arc<dyn Fetcher>> {
    let options = FetchOptions { allow_addresses: vec!["127.0.0.0/8".to_owned()], ..FetchOptions::default() };
    let client = UpstreamClient::new(&options).unwrap();
    let images = ImageOptions { referrers: false, ..ImageOptions::default() };
    let files = FileFetcher::new(client.clone(), FileOptions::default());
    vec![Arc::new(files), Arc::new(ImageFetcher::new(client, images))]
}
