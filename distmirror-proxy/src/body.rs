//! Bodies of answers. One that fails midway ends its connection with an error; it never ends cleanly short.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use distmirror_core::{ArtifactId, BlobBody, ByteStream, Error};
use http_body::{Frame, SizeHint};
use rustix::io::ReadWriteFlags;
use tokio::task::JoinHandle;

use crate::{access_log::Exchange, tally::Tally};

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
    Stream(ByteStream, u64),
}

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
        Self::of(match body {
            BlobBody::File { file, range } => {
                Source::File(FileSource { file: Arc::new(file), left: range, reading: None })
            }
            BlobBody::Stream(stream) => Source::Stream(stream, length),
        })
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

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = match &mut self.source {
            Source::Empty => None,
            Source::Full(bytes) if bytes.is_empty() => None,
            Source::Full(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::File(file) => ready!(file.poll_piece(context)),
            Source::Stream(stream, left) => ready!(poll_stream(stream, left, context)),
        };
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
            Source::Stream(_, left) => *left,
        })
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::File(_) => "File",
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

/// Reads a part of a file. What the page cache has is read at once; only what is not there takes a turn on the blocking
/// pool, because the hop costs more than the copy.
struct FileSource {
    file: Arc<File>,
    left: Range<u64>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileSource {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let wanted = (self.left.end - self.left.start).min(PIECE_BYTES) as usize;
        let read = match &mut self.reading {
            Some(reading) => ready!(Pin::new(reading).poll(context)).map_err(io::Error::other).flatten(),
            None => match read_cached(&self.file, self.left.start, wanted) {
                Some(read) => read,
                None => {
                    let (file, at) = (Arc::clone(&self.file), self.left.start);
                    self.reading = Some(tokio::task::spawn_blocking(move || read_blocking(&file, at, wanted)));
                    return self.poll_piece(context);
                }
            },
        };
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(piece) if piece.is_empty() => Err(Error::storage("the file of the blob ends early")),
            Ok(piece) => {
                self.left.start += piece.len() as u64;
                Ok(piece)
            }
            Err(error) => Err(Error::storage(error)),
        }))
    }
}

/// Reads without waiting for the disk; `None` when that is not possible (`RWF_NOWAIT` of preadv2(2)).
fn read_cached(file: &File, at: u64, wanted: usize) -> Option<io::Result<Bytes>> {
    let mut piece = BytesMut::zeroed(wanted);
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut piece)], at, ReadWriteFlags::NOWAIT) {
        Ok(count) => {
            piece.truncate(count);
            Some(Ok(piece.freeze()))
        }
        Err(
            rustix::io::Errno::AGAIN
            | rustix::io::Errno::OPNOTSUPP
            | rustix::io::Errno::NOSYS
            | rustix::io::Errno::INTR,
        ) => None,
        Err(error) => Some(Err(error.into())),
    }
}

fn read_blocking(file: &File, at: u64, wanted: usize) -> io::Result<Bytes> {
    let mut piece = BytesMut::zeroed(wanted);
    let count = file.read_at(&mut piece, at)?;
    piece.truncate(count);
    Ok(piece.freeze())
}

/// How much is read at once.
const PIECE_BYTES: u64 = 128 * 1024;
