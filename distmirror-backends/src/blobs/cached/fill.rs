//! How a copy is made: read from the store, hashed while it is written, and only then found by anybody.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use distmirror_core::{Algorithm, BlobBody, ByteStream, Error, Hashing, PartHasher, Result, Sha256};
use futures::{StreamExt, TryStreamExt, stream::Fuse};

use super::{
    CachedBlobStore,
    shelf::{Filling, Shelf},
};

/// Begins to copy a blob of this size in the background, unless it is here or on its way. Nobody waits for it.
pub(super) fn begin(cached: &CachedBlobStore, blob: Sha256, size: u64) {
    let Some(filling) = cached.shelf.begin(blob, size) else { return };
    let cached = cached.clone();
    tokio::spawn(async move {
        let filled = fill(&cached, &filling).await;
        let outcome = if filled.is_ok() { "done" } else { "failed" };
        metrics::counter!("distmirror_blob_cache_fills_total", "outcome" => outcome).increment(1);
        if let Err(error) = filled {
            cached.asked.invalidate(&blob);
            tracing::warn!(%blob, size, error = %error.chain(), "a hot blob was not copied to the cache");
        }
    });
}

async fn fill(cached: &CachedBlobStore, filling: &Filling) -> Result<()> {
    let (shelf, blob, size) = (&cached.shelf, filling.blob, filling.size);
    // Before the store is asked: perhaps there is no room.
    let (part, file) = on_disk(shelf, move |shelf| shelf.begin_part(&blob, size)).await?;
    let read = cached.store.get(&blob, None).await?;
    let BlobBody::Stream(body) = read.body else { return Err(Error::storage("the store gave a file and no stream")) };
    let mut body = body.fuse();
    let mut writer = Writer { file, hasher: PartHasher::new(Algorithm::Sha256), written: 0 };
    loop {
        let pieces = some_of(&mut body).await?;
        if pieces.is_empty() {
            break;
        }
        writer = on_disk(shelf, move |_| writer.write(size, &pieces)).await?;
    }
    writer.check(&blob, size)?;
    on_disk(shelf, move |shelf| shelf.add(&blob, part)).await
}

/// The next bytes, enough to be worth a turn on the pool for work that blocks; none at the end.
async fn some_of(body: &mut Fuse<ByteStream>) -> Result<Vec<Bytes>> {
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    while bytes < WRITTEN_AT_ONCE {
        let Some(piece) = body.try_next().await? else { break };
        bytes += piece.len();
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Works on the disk. When that fails, it is left in peace for a while.
async fn on_disk<T: Send + 'static>(
    shelf: &Arc<Shelf>,
    work: impl FnOnce(&Shelf) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let on = Arc::clone(shelf);
    let done = tokio::task::spawn_blocking(move || work(&on)).await.map_err(io::Error::other).flatten();
    done.inspect_err(|_| shelf.pause()).map_err(Error::storage)
}

/// Hashes what it writes.
struct Writer {
    file: File,
    hasher: PartHasher,
    written: u64,
}

impl Writer {
    /// Writes no more than there is room for.
    fn write(mut self, size: u64, pieces: &[Bytes]) -> io::Result<Self> {
        for piece in pieces {
            if self.written + piece.len() as u64 > size {
                return Err(io::Error::other("the store sends more than it has"));
            }
            self.file.write_all(piece)?;
            self.hasher.update(piece);
            self.written += piece.len() as u64;
        }
        Ok(self)
    }

    fn check(self, blob: &Sha256, size: u64) -> Result<()> {
        let found = self.hasher.finish().sha256;
        if self.written == size && found == *blob {
            return Ok(());
        }
        let problem = format!("its {} bytes hash to `{found}`", self.written);
        Err(Error::BlobCorrupt { blob: *blob, problem })
    }
}

/// How many bytes are written in one turn.
const WRITTEN_AT_ONCE: usize = 1024 * 1024;
