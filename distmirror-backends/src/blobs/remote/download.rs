//! The body of a blob: when the store cuts it, it is asked for the rest; it ends whole or with an error.
//!
//! Read ahead is what the HTTP client has taken from the socket, less than a MiB, and what the kernel keeps for the connection.
//! All of that is gone when nobody reads on for some seconds, see [`Parked`].

use std::{io, ops::Range, time::Duration};

use bytes::Bytes;
use distmirror_core::{ByteStream, Error, Result, Sha256};
use futures::{StreamExt, stream};
use object_store::GetResult;

use super::{RemoteBlobStore, in_time, parked::Parked, silence};

/// A body on its way.
pub(super) struct Download {
    store: RemoteBlobStore,
    blob: Sha256,
    size: u64,
    /// What did not come yet.
    rest: Range<u64>,
    /// What it comes in; empty after trouble, and when nobody read on for a while.
    body: Parked,
}

pub(super) type Body = stream::BoxStream<'static, object_store::Result<Bytes>>;

impl Download {
    /// Goes on with an answer of the store.
    pub(super) fn new(store: RemoteBlobStore, blob: Sha256, found: GetResult) -> Self {
        let (size, rest) = (found.meta.size, found.range.clone());
        Self { store, blob, size, rest, body: Parked::new(found.into_stream()) }
    }

    pub(super) fn into_stream(self) -> ByteStream {
        stream::try_unfold(self, async |mut download| {
            if download.rest.is_empty() {
                return Ok(None);
            }
            let piece = in_time(NO_PROGRESS_FOR, download.piece()).await?;
            Ok(Some((piece, download)))
        })
        .boxed()
    }

    /// The next bytes, from a new request if the store cut the last one.
    async fn piece(&mut self) -> Result<Bytes> {
        let mut resumes = 0;
        loop {
            let trouble = match self.try_piece().await {
                Err(error) if error.is_unavailable() && resumes < RESUMES => error,
                settled => return settled,
            };
            tracing::debug!(blob = %self.blob, from = self.rest.start, error = %trouble.chain(), "asking for the rest");
            tokio::time::sleep(PAUSE * resumes).await;
            resumes += 1;
        }
    }

    async fn try_piece(&mut self) -> Result<Bytes> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.request_rest().await?,
        };
        let piece = match tokio::time::timeout(SILENT_FOR, body.next()).await {
            Ok(Some(piece)) => piece.map_err(Error::storage)?,
            Ok(None) => return Err(Error::storage(self.cut("ended"))),
            Err(_) => return Err(Error::storage(silence(SILENT_FOR))),
        };
        let length = piece.len() as u64;
        if length > self.rest.end - self.rest.start {
            return Err(Error::storage(self.cut("went on past its end")));
        }
        self.rest.start += length;
        self.body.put(body);
        Ok(piece)
    }

    async fn request_rest(&mut self) -> Result<Body> {
        let found = in_time(super::ANSWER_WITHIN, self.store.request(&self.blob, Some(self.rest.clone()))).await?;
        if found.meta.size != self.size {
            let problem = format!("it had {} bytes and now has {}", self.size, found.meta.size);
            return Err(Error::BlobCorrupt { blob: self.blob, problem });
        }
        Ok(found.into_stream())
    }

    fn cut(&self, how: &str) -> io::Error {
        let Range { start, end } = self.rest;
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("the body {how} at byte {start} of {end}"))
    }
}

/// How often the rest is asked for before any more of it comes.
const RESUMES: u32 = 3;

/// How much longer to wait before each further time.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a body may be silent before the rest is asked for anew.
const SILENT_FOR: Duration = Duration::from_secs(20);

/// How long a body may be silent in spite of that.
const NO_PROGRESS_FOR: Duration = Duration::from_secs(45);
