//! Blobs and where they live: the [`BlobStore`] trait.

use std::{fmt, fs::File, io, ops::Range, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, TryStreamExt, future::BoxFuture, stream::BoxStream};

use crate::{Error, Result, Sha256};

/// Bytes on their way. After an error nothing follows.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// What a blob store is asked to keep: complete, and with a digest that the caller has verified.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file that the caller hands over: the store may move it away, and the caller removes what is left of it.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

impl Payload {
    /// The size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// An opened blob.
#[derive(Debug)]
pub struct BlobRead {
    /// The size of the whole blob as the store has it, whatever part was asked for.
    pub size: u64,
    /// The bytes of the range that was asked for, or of all.
    pub body: BlobBody,
}

/// The bytes of an opened blob.
pub enum BlobBody {
    /// An open file and the part of it that was asked for, so that a front end can send it without copying more than it must.
    File {
        /// The file. Others may be reading it too: it is read at positions, and has none of its own.
        file: Arc<File>,
        /// The part.
        range: Range<u64>,
        /// Where the bytes are as well, if the file is only a copy of them.
        original: Option<Original>,
    },
    /// A stream of exactly the bytes that were asked for; it ends in an error if they do not all come.
    Stream(ByteStream),
}

impl BlobBody {
    /// All the bytes, in memory: for what is known to be small.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`], and whatever ends the stream.
    pub async fn collect(self) -> Result<Bytes> {
        match self {
            Self::Stream(body) => {
                let pieces: Vec<Bytes> = body.try_collect().await?;
                Ok(pieces.concat().into())
            }
            Self::File { file, range, .. } => {
                let read = move || {
                    let mut bytes = vec![0; (range.end - range.start) as usize];
                    file.read_exact_at(&mut bytes, range.start).map(|()| bytes)
                };
                let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
                read.map(Bytes::from).map_err(Error::storage)
            }
        }
    }
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, range, .. } => {
                f.debug_struct("File").field("file", file).field("range", range).finish_non_exhaustive()
            }
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// What a copy was made of, for when the copy turns out to be damaged or cannot be read: nobody has to see that. It is kept
/// as long as the file is read, and dropped after that.
pub struct Original(Box<dyn FnOnce(Range<u64>) -> BoxFuture<'static, Result<BlobRead>> + Send + Sync>);

impl Original {
    /// What gives a part of the blob in place of the copy.
    pub fn new<F>(open: impl FnOnce(Range<u64>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<BlobRead>> + Send + 'static,
    {
        Self(Box::new(move |range| open(range).boxed()))
    }

    /// Opens this part. That the copy is bad is known to its owner from then on.
    pub fn open(self, range: Range<u64>) -> BoxFuture<'static, Result<BlobRead>> {
        (self.0)(range)
    }
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Original")
    }
}

/// A blob as a store lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobStat {
    /// The blob.
    pub blob: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// Where blobs live. Their place is a function of their digest alone.
///
/// # Promises
/// The suite in `conformance` (feature of the same name) tests each of them.
/// 1. `put` is all or nothing: while it runs, and after it failed or the process died, `get` finds the whole blob or none.
/// 2. When `put` returns `Ok`, or `stat` tells a size, the blob is durable: it survives the power being cut.
/// 3. `put` of a blob that is there succeeds and leaves the right bytes, also when those that were there are damaged.
/// 4. `get` with a range gives exactly those bytes; the range lies within the blob or the call fails.
/// 5. What is not there is [`Error::BlobMissing`] from `get` and `None` from `stat`. Trouble is
///    [`Error::StorageUnavailable`], and never looks like absence.
/// 6. `list` names every blob once and nothing that is no blob.
///
/// There is no operation that removes a blob.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps a blob. The caller has verified that the payload has this digest.
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()>;

    /// Opens a blob, or the part of it that the range names.
    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead>;

    /// The size of a blob in bytes, `None` if it is not there.
    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>>;

    /// Every blob, in no particular order.
    fn list(&self) -> BoxStream<'static, Result<BlobStat>>;
}

/// Where a blob lives below the root of a store: `sha256/ab/cd/abcd...`, the same in every store.
pub fn blob_path(blob: &Sha256) -> String {
    let hex = blob.hex();
    format!("sha256/{}/{}/{hex}", &hex[..2], &hex[2..4])
}

/// The blob that lives at such a path, if it is one.
pub fn blob_at(path: &str) -> Option<Sha256> {
    let blob: Sha256 = path.rsplit('/').next()?.parse().ok()?;
    (blob_path(&blob) == path).then_some(blob)
}
