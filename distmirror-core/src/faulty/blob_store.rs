//! A blob store that fails on purpose, also in the middle of what it hands out.

use std::{
    fs::{File, OpenOptions},
    ops::Range,
    os::fd::AsRawFd,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::{AWAY, Faults, How};
use crate::{BlobBody, BlobRead, BlobStat, BlobStore, ByteStream, Error, Payload, Result, Sha256};

/// A blob store behind [`Faults`]. Each call is an operation, counted under the name of the method, and so is each piece of a
/// stream and its end (`read`, `list`), and what is read of a file that was handed out (`read`, once).
#[derive(Debug, Clone)]
pub struct FaultyBlobStore {
    inner: Arc<dyn BlobStore>,
    faults: Faults,
}

impl FaultyBlobStore {
    /// This store with these faults.
    pub fn new(inner: Arc<dyn BlobStore>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    fn body(&self, body: BlobBody) -> Result<BlobBody> {
        Ok(match body {
            BlobBody::Stream(body) => BlobBody::Stream(self.stream("read", in_halves(body))),
            BlobBody::File { file, range, original } => {
                let file = if self.faults.next("read").is_some() { unreadable(&file)?.into() } else { file };
                BlobBody::File { file, range, original }
            }
        })
    }

    fn stream<T: Send + 'static>(
        &self,
        operation: &'static str,
        inner: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let faults = self.faults.clone();
        stream::unfold(Some(inner), move |inner| {
            let faults = faults.clone();
            async move {
                let mut inner = inner?;
                let item = match faults.next(operation) {
                    None => inner.next().await?,
                    // Whether or not the piece was on its way, it does not arrive.
                    Some(How::Before | How::After) => Err(Error::storage(AWAY)),
                    Some(How::Silent) => std::future::pending().await,
                };
                let rest = item.is_ok().then_some(inner);
                Some((item, rest))
            }
        })
        .boxed()
    }
}

#[async_trait]
impl BlobStore for FaultyBlobStore {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        self.faults.through("put", Error::storage, self.inner.put(blob, payload)).await
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        let BlobRead { size, body } = self.faults.through("get", Error::storage, self.inner.get(blob, range)).await?;
        Ok(BlobRead { size, body: self.body(body)? })
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        self.faults.through("stat", Error::storage, self.inner.stat(blob)).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        self.stream("list", self.inner.list())
    }
}

/// Every piece as two, so that there is a middle in which a stream can end.
fn in_halves(body: ByteStream) -> ByteStream {
    let halves = |mut piece: Bytes| {
        let first = piece.split_to(piece.len() / 2);
        stream::iter([first, piece].into_iter().filter(|half| !half.is_empty()).map(Ok))
    };
    body.map_ok(halves).try_flatten().boxed()
}

/// The same file, of which every read is refused: it is open for writing only.
fn unreadable(file: &File) -> Result<File> {
    OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(Error::storage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{faulty::Fault, memory::MemoryBlobStore};

    #[tokio::test]
    async fn a_file_is_refused_when_it_is_read() {
        let faults = Faults::default();
        let store = FaultyBlobStore::new(Arc::new(MemoryBlobStore::new()), faults.clone());
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, "the bytes").unwrap();
        for (nth, expected) in [(1, None), (2, Some(&b"the bytes"[..]))] {
            faults.arm(Fault { nth, times: 1, how: How::Before });
            let file = File::open(&path).unwrap().into();
            let body = store.body(BlobBody::File { file, range: 0..9, original: None }).unwrap();
            assert!(matches!(body, BlobBody::File { range: Range { start: 0, end: 9 }, .. }), "it stays a file");
            assert_eq!(body.collect().await.ok().as_deref(), expected);
        }
    }
}
