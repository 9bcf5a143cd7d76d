//! Blobs in a map. A file is read in; nothing of it outlives the process.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::{BlobBody, BlobRead, BlobStat, BlobStore, Error, Payload, Result, Sha256};

/// A blob store in memory.
#[derive(Default)]
pub struct MemoryBlobStore {
    blobs: Mutex<HashMap<Sha256, Bytes>>,
}

impl MemoryBlobStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn blobs(&self) -> MutexGuard<'_, HashMap<Sha256, Bytes>> {
        // A panic elsewhere leaves a whole map: each use is one operation on it.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self, blob: &Sha256) -> Option<Bytes> {
        self.blobs().get(blob).cloned()
    }
}

impl fmt::Debug for MemoryBlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBlobStore").field("blobs", &self.blobs().len()).finish()
    }
}

#[async_trait]
impl BlobStore for MemoryBlobStore {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        let bytes = read_in(payload).await?;
        self.blobs().insert(*blob, bytes);
        Ok(())
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        let bytes = self.bytes(blob).ok_or(Error::BlobMissing { blob: *blob })?;
        let size = bytes.len() as u64;
        let range = range.unwrap_or(0..size);
        if range.start > range.end || range.end > size {
            let problem = format!("bytes {}..{} were asked for and it has {size}", range.start, range.end);
            return Err(Error::BlobCorrupt { blob: *blob, problem });
        }
        let part = bytes.slice(range.start as usize..range.end as usize);
        Ok(BlobRead { size, body: BlobBody::Stream(stream::iter((!part.is_empty()).then_some(Ok(part))).boxed()) })
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        Ok(self.bytes(blob).map(|bytes| bytes.len() as u64))
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        let stat = |(blob, bytes): (&Sha256, &Bytes)| Ok(BlobStat { blob: *blob, size: bytes.len() as u64 });
        let all: Vec<_> = self.blobs().iter().map(stat).collect();
        stream::iter(all).boxed()
    }
}

async fn read_in(payload: Payload) -> Result<Bytes> {
    let (path, size) = match payload {
        Payload::Bytes(bytes) => return Ok(bytes),
        Payload::File { path, size } => (path, size),
    };
    let read = tokio::fs::read(&path).await.and_then(|bytes| match bytes.len() as u64 {
        found if found == size => Ok(bytes),
        found => Err(std::io::Error::other(format!("it has {found} bytes in place of {size}"))),
    });
    read.map(Bytes::from).map_err(|source| Error::Spool { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_every_promise() {
        crate::conformance::blob_store(async || Arc::new(MemoryBlobStore::new())).await;
    }
}
