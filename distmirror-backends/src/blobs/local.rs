//! Blobs in a directory, by plain calls of the operating system; what may wait for a disk runs on the pool for such work.
//!
//! A mark in its root tells the store from an empty mount point: without the mark nothing is missing, everything is
//! unavailable, and nothing is written. Any number of processes may share the directory.

mod folder;
mod write;

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use distmirror_core::{BlobRead, BlobStat, BlobStore, Error, Payload, Result, Sha256};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;

use self::folder::Folder;

/// A blob store in a directory.
#[derive(Debug)]
pub struct LocalBlobStore {
    folder: Arc<Folder>,
}

impl LocalBlobStore {
    /// Opens the blob store in this directory; makes one of a directory that is empty or not there.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`] when the directory cannot be used, or holds something else.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let folder = blocking(move || Folder::open(root)).await?;
        Ok(Self { folder: Arc::new(folder) })
    }
}

#[async_trait]
impl BlobStore for LocalBlobStore {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        let (folder, blob) = (Arc::clone(&self.folder), *blob);
        // Work on the pool goes on when this future is dropped: the weak half lets it see that nobody waits any more.
        let caller = Arc::new(());
        let waiting = Arc::downgrade(&caller);
        let done = blocking(move || folder.put(&blob, payload, &waiting)).await;
        drop(caller);
        done
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        if let Some(read) = self.folder.get_from_memory(blob, range.clone()) {
            return read;
        }
        let (folder, blob) = (Arc::clone(&self.folder), *blob);
        blocking(move || folder.get(&blob, range)).await
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        let (folder, blob) = (Arc::clone(&self.folder), *blob);
        blocking(move || folder.stat(&blob)).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        let (found, receiver) = mpsc::channel(LISTED_AHEAD);
        let folder = Arc::clone(&self.folder);
        tokio::task::spawn_blocking(move || folder.list(&found));
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
    }
}

/// Runs work that blocks, on the pool that is meant for it.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::storage)?
}

/// What the operating system refused, and on which path.
#[derive(Debug)]
pub(super) struct Trouble {
    attempt: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Trouble {
    /// For `map_err`: the attempt in words that follow "cannot", such as "open the blob".
    pub(super) fn with<'a>(attempt: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::storage(Self { attempt, path: path.to_owned(), source })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} `{}`", self.attempt, self.path.display())
    }
}

impl std::error::Error for Trouble {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// How many blobs a list finds before somebody asks for them.
const LISTED_AHEAD: usize = 256;
