//! Backends that can be switched off, and what the cases are made of.

use std::{fs::File, io, path::PathBuf};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use super::*;
use crate::{
    BlobStat, Checksums, Digests, Fetched, Lease, LeaseRequest, NewDeclaration, Original, Source,
    faulty::{Fault, Faults, FaultyCatalog, How},
    memory::{MemoryBlobStore, MemoryCatalog},
};

/// What the mirror of a test stands on.
pub(super) struct Backends {
    pub(super) catalog: Arc<MemoryCatalog>,
    /// Those of the catalog, as the mirror sees it.
    pub(super) faults: Faults,
    pub(super) blobs: Arc<MemoryBlobStore>,
}

/// A mirror over backends in memory, and those backends.
pub(super) fn test_mirror(options: Options) -> (Mirror, Backends) {
    let backends = Backends { catalog: Arc::default(), faults: Faults::default(), blobs: Arc::default() };
    let mirror = Mirror::new(backends.faulty_catalog(), Arc::clone(&backends.blobs) as _, options);
    (mirror, backends)
}

impl Backends {
    /// The catalog is away from now on.
    pub(super) fn fail(&self, how: How) {
        self.faults.arm(Fault { nth: 1, times: u64::MAX, how });
    }

    /// The catalog as a mirror sees it.
    pub(super) fn faulty_catalog(&self) -> Arc<FaultyCatalog> {
        Arc::new(FaultyCatalog::new(Arc::clone(&self.catalog) as _, self.faults.clone()))
    }

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
        self.catalog.declare(&wanted, Timestamp::now()).await.unwrap().artifact
    }

    /// The lease on what is longest due.
    pub(super) async fn lease(&self) -> Lease {
        let worker = "worker-1".to_owned();
        let request = LeaseRequest { worker, limit: 1, lease_for: Duration::from_secs(60), busy_hosts: Vec::new() };
        self.catalog.lease(&request, Timestamp::now()).await.unwrap().remove(0).lease
    }

    /// Declares and fetches these bytes; nothing else may be due.
    pub(super) async fn present(&self, uri: &str, bytes: &[u8]) -> Artifact {
        let id = self.declared(uri).await.id;
        let fetched = Fetched::file(content(bytes));
        self.catalog.complete(&self.lease().await, &fetched, Timestamp::now()).await.unwrap();
        self.catalog.artifact(id).await.unwrap().unwrap()
    }

    /// Declares, and fails for good; nothing else may be due.
    pub(super) async fn failed(&self, uri: &str) -> Artifact {
        let id = self.declared(uri).await.id;
        let failure = Failure::new("404");
        self.catalog.fail(&self.lease().await, &failure, None, Timestamp::now()).await.unwrap();
        self.catalog.artifact(id).await.unwrap().unwrap()
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
    /// What the file is a copy of, if it is one.
    pub(super) original: Option<Arc<dyn BlobStore>>,
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

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        let (file, size) = self.open()?;
        let blob = *blob;
        let original = self.original.clone();
        let original = original.map(|store| Original::new(async move |range| store.get(&blob, Some(range)).await));
        Ok(BlobRead { size, body: BlobBody::File { file: file.into(), range: range.unwrap_or(0..size), original } })
    }

    async fn stat(&self, _: &Sha256) -> Result<Option<u64>> {
        self.open().map(|(_, size)| Some(size))
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        stream::empty().boxed()
    }
}
