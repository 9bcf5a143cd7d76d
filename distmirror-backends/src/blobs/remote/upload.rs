//! How a blob gets into an object store: in one request, or in parts when it is large, with a bounded part of it in memory.

use std::{fs::File, future::Future, io, ops::Range, os::unix::fs::FileExt, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use distmirror_core::{Error, Payload, Result};
use futures::{TryStreamExt, stream::FuturesUnordered};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, path::Path};
use tokio::runtime::Handle;

use super::in_time;

/// Puts a blob. It becomes visible at once and whole, with the last request.
pub(super) async fn put(store: &dyn ObjectStore, path: &Path, payload: Payload) -> Result<()> {
    let size = payload.size();
    let source = Source::open(payload).await?;
    if size <= PART_BYTES {
        let bytes = source.part(0..size).await?;
        return sent(store.put(path, bytes.into())).await.map(drop);
    }
    let mut upload = Upload(Some(sent(store.put_multipart(path)).await?));
    upload.send(&source, size).await?;
    upload.complete().await
}

/// An upload in parts. Unless it was completed, the parts that were sent are given up when it is dropped.
struct Upload(Option<Box<dyn MultipartUpload>>);

impl Upload {
    async fn send(&mut self, source: &Source, size: u64) -> Result<()> {
        let Some(upload) = &mut self.0 else { return Ok(()) };
        let step = part_bytes(size);
        let mut in_flight = FuturesUnordered::new();
        for start in (0..size).step_by(step as usize) {
            if in_flight.len() == PARTS_IN_FLIGHT {
                in_flight.try_next().await?;
            }
            let part = source.part(start..size.min(start + step)).await?;
            in_flight.push(sent(upload.put_part(part.into())));
        }
        in_flight.try_collect().await
    }

    async fn complete(mut self) -> Result<()> {
        if let Some(upload) = &mut self.0 {
            sent(upload.complete()).await?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        // Nothing depends on it: a store is told to forget unfinished uploads after some days in any case.
        runtime.spawn(async move { sent(upload.abort()).await });
    }
}

/// Where the bytes come from.
enum Source {
    Bytes(Bytes),
    File { path: PathBuf, file: Arc<File> },
}

impl Source {
    async fn open(payload: Payload) -> Result<Self> {
        let (path, size) = match payload {
            Payload::Bytes(bytes) => return Ok(Self::Bytes(bytes)),
            Payload::File { path, size } => (path, size),
        };
        let opened = {
            let path = path.clone();
            move || {
                let file = File::open(path)?;
                match file.metadata()?.len() {
                    found if found == size => Ok(Arc::new(file)),
                    found => Err(io::Error::other(format!("it has {found} bytes in place of {size}"))),
                }
            }
        };
        let file = blocking(opened).await.map_err(|source| spool_error(&path, source))?;
        Ok(Self::File { path, file })
    }

    async fn part(&self, range: Range<u64>) -> Result<Bytes> {
        let (path, file) = match self {
            Self::Bytes(bytes) => return Ok(bytes.slice(range.start as usize..range.end as usize)),
            Self::File { path, file } => (path, Arc::clone(file)),
        };
        let read = blocking(move || {
            let mut part = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut part, range.start).map(|()| part.into())
        });
        read.await.map_err(|source| spool_error(path, source))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn spool_error(path: &std::path::Path, source: io::Error) -> Error {
    Error::Spool { path: path.display().to_string(), source }
}

/// Waits for one request. Whatever goes wrong is trouble, also "not found": then it is the bucket that is missing.
async fn sent<T>(request: impl Future<Output = object_store::Result<T>>) -> Result<T> {
    in_time(PART_WITHIN, async { request.await.map_err(Error::storage) }).await
}

/// S3 takes no more than 10,000 parts (Amazon S3 user guide, "Multipart upload limits").
fn part_bytes(size: u64) -> u64 {
    size.div_ceil(10_000).max(PART_BYTES)
}

/// What is sent in one request; S3 takes no part of less than 5 MiB but the last.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// How many parts of one blob are in memory at once.
const PARTS_IN_FLIGHT: usize = 4;

/// How long one request with a part of a blob may take, which nothing tells the progress of.
const PART_WITHIN: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_blob_has_too_many_parts() {
        for size in [PART_BYTES + 1, 10_000 * PART_BYTES, 10_000 * PART_BYTES + 1, 5 << 40] {
            assert!(size.div_ceil(part_bytes(size)) <= 10_000, "{size}");
        }
    }
}
