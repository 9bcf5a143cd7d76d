//! Copies of hot blobs on local disk, in front of an object store.
//!
//! Only what is read twice within an hour is copied, so that one pass over everything changes nothing. A copy is made in the
//! background, once however many ask, and hashed on the way. Nothing here is durable and nothing here is the truth: whoever
//! reads a copy gets its original with it, which takes over where the copy is bad. `put`, `stat` and `list` never see a copy.

mod fill;
mod shelf;

use std::{fs::File, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use distmirror_core::{BlobBody, BlobRead, BlobStat, BlobStore, Original, Payload, Result, Sha256};
use futures::stream::BoxStream;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use moka::{policy::EvictionPolicy, sync::Cache};

use self::shelf::{Copied, Shelf};
use super::{open_from_memory, part_of};
use crate::blobs::local::blocking;

/// Describes the metrics of a [`CachedBlobStore`], and shows zero for what was not counted yet. To be called once, after the
/// recorder is installed.
pub fn describe_cache_metrics() {
    describe_counter!("distmirror_blob_cache_hits_total", "Blobs that were read from a copy on local disk.");
    describe_counter!(
        "distmirror_blob_cache_misses_total",
        "Blobs that were read from the object store behind the cache."
    );
    describe_counter!("distmirror_blob_cache_fills_total", "Copies of hot blobs that were made, by outcome.");
    describe_counter!("distmirror_blob_cache_evictions_total", "Copies that went to make room.");
    describe_counter!("distmirror_blob_cache_bad_copies_total", "Copies that were found damaged, and thrown away.");
    describe_gauge!("distmirror_blob_cache_bytes", Unit::Bytes, "What copies take on disk, with those being made.");
    for name in [
        "distmirror_blob_cache_hits_total",
        "distmirror_blob_cache_misses_total",
        "distmirror_blob_cache_evictions_total",
        "distmirror_blob_cache_bad_copies_total",
    ] {
        counter!(name).absolute(0);
    }
    for outcome in ["done", "failed"] {
        counter!("distmirror_blob_cache_fills_total", "outcome" => outcome).absolute(0);
    }
    gauge!("distmirror_blob_cache_bytes").increment(0);
}

/// Where copies are kept, and how many.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// A folder for them alone.
    pub folder: PathBuf,
    /// The most bytes that they take on disk, with those that are being made.
    pub max_bytes: u64,
    /// How many bytes stay free on that disk; never more than a twentieth of it.
    pub keep_free: u64,
}

/// A blob store with copies of its hot blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CachedBlobStore {
    store: Arc<dyn BlobStore>,
    shelf: Arc<Shelf>,
    /// What was asked for lately.
    asked: Cache<Sha256, ()>,
}

impl CachedBlobStore {
    /// Keeps copies of this store's blobs in the folder, with those that an earlier process left there. One process at a time
    /// has the folder.
    ///
    /// Such a copy has not been hashed by this process: whoever serves what this store hands out has to verify it, as with any
    /// other file.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`](distmirror_core::Error::StorageUnavailable) when the folder cannot be used, holds
    /// something else, or another process has it.
    pub async fn open(store: Arc<dyn BlobStore>, options: CacheOptions) -> Result<Self> {
        let shelf = blocking(move || Shelf::open(options)).await?;
        let asked = Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(HOT_WITHIN)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Ok(Self { store, shelf: Arc::new(shelf), asked })
    }

    /// Opens the copy of a blob, if there is a good one that has this part.
    async fn copy(&self, blob: &Sha256, range: Option<Range<u64>>) -> Option<BlobRead> {
        let copied = self.shelf.find(blob)?;
        let size = copied.size;
        // Who asks for what is not there is answered by the store.
        let range = part_of(blob, range, size).ok()?;
        match open_whole(copied.path.clone(), size).await {
            Some(file) => {
                let original = Some(self.original(*blob, copied));
                Some(BlobRead { size, body: BlobBody::File { file: file.into(), range, original } })
            }
            None => {
                self.shelf.discard(blob, &copied);
                None
            }
        }
    }

    /// The way back to the store. As long as it exists, the copy is not thrown away for want of room.
    fn original(&self, blob: Sha256, copied: Arc<Copied>) -> Original {
        let this = self.clone();
        Original::new(async move |range| {
            this.shelf.discard(&blob, &copied);
            this.store.get(&blob, Some(range)).await
        })
    }

    /// Whether this makes it the second time lately that somebody wants a blob. Of the many requests of a client that takes it
    /// in parts only the first part counts.
    fn is_hot(&self, blob: &Sha256, range: Option<&Range<u64>>) -> bool {
        if range.is_some_and(|range| range.start > 0 || range.is_empty()) {
            return false;
        }
        let is_hot = self.asked.get(blob).is_some();
        self.asked.insert(*blob, ());
        is_hot
    }
}

#[async_trait]
impl BlobStore for CachedBlobStore {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        self.store.put(blob, payload).await
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        if let Some(read) = self.copy(blob, range.clone()).await {
            metrics::counter!("distmirror_blob_cache_hits_total").increment(1);
            return Ok(read);
        }
        metrics::counter!("distmirror_blob_cache_misses_total").increment(1);
        let is_hot = self.is_hot(blob, range.as_ref());
        let read = self.store.get(blob, range).await?;
        if is_hot && matches!(read.body, BlobBody::Stream(_)) {
            fill::begin(self, *blob, read.size);
        }
        Ok(read)
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        self.store.stat(blob).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        self.store.list()
    }
}

/// The file, if it is there and has this size.
async fn open_whole(path: PathBuf, size: u64) -> Option<File> {
    let opened = match open_from_memory(&path) {
        Some(file) => Some(file),
        None => tokio::task::spawn_blocking(move || File::open(path)).await.ok()?.ok(),
    };
    opened.filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == size))
}

/// How many blobs are remembered as asked for; about 300 bytes each.
const REMEMBERED: u64 = 50_000;

/// How long a blob is remembered as asked for.
const HOT_WITHIN: Duration = Duration::from_secs(3600);
