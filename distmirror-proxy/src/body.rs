//! Bodies of answers. One that fails midway ends its connection with an error; it never ends cleanly short.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use distmirror_core::{ArtifactId, BlobBody, BlobRead, ByteStream, Error};
use http_body::{Frame, SizeHint};

use crate::{access_log::Exchange, file::FileSource, tally::Tally};

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    source: Source,
    tally: Option<Tally>,
    exchange: Option<Box<Exchange>>,
}

enum Source {
    Empty,
    Full(Bytes),
    File(FileSource),
    /// A file turned out to be a bad copy.
    Original(Opening, u64),
    Stream(ByteStream, u64),
}

type Opening = Pin<Box<dyn Future<Output = Result<BlobRead, Error>> + Send>>;

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::of(Source::Empty)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::of(Source::Full(bytes.into()))
    }

    /// The bytes of an opened blob, `length` of them.
    pub fn blob(body: BlobBody, length: u64) -> Self {
        Self::of(Source::blob(body, length))
    }

    /// The same, counted.
    pub(crate) fn counted(self, tally: Tally) -> Self {
        Self { tally: Some(tally), ..self }
    }

    /// The same, of an answer to what was asked at this time.
    pub(crate) fn asked_at(mut self, at: Instant) -> Self {
        if let Some(tally) = &mut self.tally {
            tally.asked_at = Some(at);
        }
        self
    }

    /// The artifact that it is of, if it is counted.
    pub(crate) fn artifact(&self) -> Option<ArtifactId> {
        self.tally.as_ref().map(|tally| tally.artifact)
    }

    /// The same, told of in the end.
    pub(crate) fn told_of(self, exchange: Box<Exchange>) -> Self {
        Self { exchange: Some(exchange), ..self }
    }

    fn of(source: Source) -> Self {
        Self { source, tally: None, exchange: None }
    }
}

impl Source {
    fn blob(body: BlobBody, length: u64) -> Self {
        match body {
            BlobBody::File { file, range, original } => Self::File(FileSource::new(file, range, original)),
            BlobBody::Stream(stream) => Self::Stream(stream, length),
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let next = match self {
                Self::Empty => return Poll::Ready(None),
                Self::Full(bytes) => return Poll::Ready((!bytes.is_empty()).then(|| Ok(std::mem::take(bytes)))),
                Self::Stream(stream, left) => return poll_stream(stream, left, context),
                Self::File(file) => match (ready!(file.poll_piece(context)), file.original.take()) {
                    (Some(Err(error)), Some(original)) => {
                        tracing::warn!(error = %error.chain(), "a copy of a blob cannot be read: the blob store sends the rest");
                        let left = file.left.clone();
                        Self::Original(original.open(left.clone()), left.end - left.start)
                    }
                    (piece, original) => {
                        file.original = original;
                        return Poll::Ready(piece);
                    }
                },
                Self::Original(opening, left) => match ready!(opening.as_mut().poll(context)) {
                    Ok(read) => Self::blob(read.body, *left),
                    Err(error) => {
                        *self = Self::Empty;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
            };
            *self = next;
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = ready!(self.source.poll_piece(context));
        if let (Some(Ok(bytes)), Some(tally)) = (&piece, &mut self.tally) {
            tally.add(bytes.len());
        }
        if let (Some(Ok(bytes)), Some(exchange)) = (&piece, &mut self.exchange) {
            exchange.add(bytes.len());
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.source {
            Source::Empty => 0,
            Source::Full(bytes) => bytes.len() as u64,
            Source::File(file) => file.left.end - file.left.start,
            Source::Original(_, left) | Source::Stream(_, left) => *left,
        })
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::File(_) => "File",
            Self::Original(..) => "Original",
            Self::Stream(..) => "Stream",
        })
    }
}

fn poll_stream(
    stream: &mut ByteStream,
    left: &mut u64,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, Error>>> {
    let piece = ready!(stream.as_mut().poll_next(context));
    Poll::Ready(match piece {
        Some(Ok(bytes)) if bytes.len() as u64 <= *left => {
            *left -= bytes.len() as u64;
            Some(Ok(bytes))
        }
        Some(Ok(_)) => Some(Err(Error::storage("the blob store sent more than it announced"))),
        Some(Err(error)) => Some(Err(error)),
        None if *left > 0 => Some(Err(Error::storage("the blob store ended early"))),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        ops::Range,
        pin::pin,
    };

    use distmirror_core::Original;
    use futures::{StreamExt, stream};
    use http_body::Body as _;

    use super::*;

    /// What comes of a copy that has only the first bytes of `0123456789`, and what was asked of its original.
    async fn received(copied: usize, original: Option<Original>) -> (String, Option<Error>) {
        let copy = tempfile::NamedTempFile::new().unwrap();
        fs::write(copy.path(), &"0123456789"[..copied]).unwrap();
        let file = BlobBody::File { file: File::open(copy.path()).unwrap().into(), range: 2..8, original };
        let mut body = pin!(Body::blob(file, 6));
        let mut came = String::new();
        while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            match frame {
                Ok(frame) => came += std::str::from_utf8(&frame.into_data().unwrap()).unwrap(),
                Err(error) => return (came, Some(error)),
            }
        }
        (came, None)
    }

    fn original(asked: Range<u64>, answer: Result<&'static str, &'static str>) -> Option<Original> {
        Some(Original::new(async move |range| {
            assert_eq!(range, asked);
            let bytes = answer.map_err(Error::storage)?;
            Ok(BlobRead { size: 10, body: BlobBody::Stream(stream::iter([Ok(bytes.into())]).boxed()) })
        }))
    }

    #[tokio::test]
    async fn the_original_sends_what_a_copy_cannot() {
        for (copied, asked, bytes) in [(2, 2..8, "234567"), (5, 5..8, "567"), (7, 7..8, "7")] {
            let (came, error) = received(copied, original(asked, Ok(bytes))).await;
            assert_eq!((came.as_str(), error.is_none()), ("234567", true), "{error:?}");
        }
        let (came, error) = received(8, original(0..0, Err("it is not asked"))).await;
        assert_eq!((came.as_str(), error.is_none()), ("234567", true), "{error:?}");
    }

    #[tokio::test]
    async fn a_copy_that_ends_early_never_ends_cleanly() {
        for original in [None, original(5..8, Err("away")), original(5..8, Ok("56")), original(5..8, Ok("5678"))] {
            let (came, error) = received(5, original).await;
            assert!(error.is_some() && "234567".starts_with(&came), "{came}");
        }
    }
}
