//! Blobs in an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! Nothing here relies on conditional writes, which some S3 servers ignore: a blob's name is its digest, so writing it twice
//! is harmless. Every wait has a limit; there is none on a body that is making progress.

mod client;
mod download;
mod parked;
mod upload;

use std::{collections::BTreeMap, fmt, future::Future, io, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use distmirror_core::{
    BlobBody, BlobRead, BlobStat, BlobStore, Error, Payload, Result, Sha256,
    blob::{blob_at, blob_path},
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, path::Path};
use url::Url;

pub(super) use self::client::{check_url, knows_option};
use self::download::Download;
use crate::blobs::part_of;

/// A blob store in a bucket of an object store. Cheap to clone.
///
/// Its credentials must allow to list the bucket, so that a blob that is missing can be told from a bucket that is.
#[derive(Clone)]
pub struct RemoteBlobStore {
    url: Arc<str>,
    store: Arc<dyn ObjectStore>,
}

impl RemoteBlobStore {
    /// Opens the blob store in this bucket, below this prefix. Asks the store nothing yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `object_store` does not accept the URL or an option.
    pub fn open(url: &Url, options: &BTreeMap<String, String>) -> Result<Self> {
        let store = client::connect(url, options).map_err(|problem| Error::invalid("blobs.options", problem))?;
        Ok(Self { url: url.as_str().into(), store: store.into() })
    }

    /// Asks for a part of a blob, or for all of it.
    async fn request(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<GetResult> {
        let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
        match self.store.get_opts(&path_of(blob), options).await {
            // `object_store` cuts a range at the end of the blob, and gives what is left of it.
            Ok(found) => part_of(blob, range, found.meta.size).map(|_| found),
            Err(object_store::Error::NotFound { .. }) => {
                self.check_bucket().await?;
                Err(Error::BlobMissing { blob: *blob })
            }
            Err(error) if range.is_some() => {
                // Perhaps because the range lies outside the blob: the stores answer that in ways of their own.
                let size = self.size(blob).await?.ok_or(Error::BlobMissing { blob: *blob })?;
                part_of(blob, range, size).and(Err(Error::storage(error)))
            }
            Err(error) => Err(Error::storage(error)),
        }
    }

    async fn size(&self, blob: &Sha256) -> Result<Option<u64>> {
        match self.store.head(&path_of(blob)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => self.check_bucket().await.map(|()| None),
            Err(error) => Err(Error::storage(error)),
        }
    }

    /// Fails when the bucket is not there: the answer to HEAD has no body that could tell that from a missing object.
    async fn check_bucket(&self) -> Result<()> {
        let nothing = Path::from("no-blob-is-here");
        self.store.list_with_delimiter(Some(&nothing)).await.map(drop).map_err(Error::storage)
    }
}

impl fmt::Debug for RemoteBlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBlobStore").field("url", &self.url).finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobStore for RemoteBlobStore {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        upload::put(&*self.store, &path_of(blob), payload).await
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        if range.as_ref().is_some_and(Range::is_empty) {
            // HTTP has no way to ask for no bytes (RFC 9110 section 14.1.2).
            let size = self.stat(blob).await?.ok_or(Error::BlobMissing { blob: *blob })?;
            part_of(blob, range, size)?;
            return Ok(BlobRead { size, body: BlobBody::Stream(stream::empty().boxed()) });
        }
        let found = in_time(ANSWER_WITHIN, self.request(blob, range)).await?;
        let size = found.meta.size;
        Ok(BlobRead { size, body: BlobBody::Stream(Download::new(self.clone(), *blob, found).into_stream()) })
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        in_time(ANSWER_WITHIN, self.size(blob)).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        let objects = self.store.list(Some(&Path::from("sha256"))).map_err(Error::storage);
        let blobs = objects.try_filter_map(async |object| {
            Ok(blob_at(object.location.as_ref()).map(|blob| BlobStat { blob, size: object.size }))
        });
        stream::try_unfold(blobs.boxed(), async |mut blobs| {
            let next = in_time(ANSWER_WITHIN, async { blobs.try_next().await }).await?;
            Ok(next.map(|stat| (stat, blobs)))
        })
        .boxed()
    }
}

fn path_of(blob: &Sha256) -> Path {
    Path::from(blob_path(blob))
}

/// Waits no longer than this.
async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(Error::storage(silence(limit))))
}

fn silence(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the object store did not answer within {limit:?}"))
}

/// How long anything but the bytes of a blob may take, retries included; a client waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
