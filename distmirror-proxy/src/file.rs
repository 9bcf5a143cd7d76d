//! Reading a part of a file, piece by piece.
//!
//! What the page cache has is read at once; only what is not there takes a turn on the blocking pool, because the hop costs more
//! than the copy. Pieces are small until a client has shown that it takes them quickly: one that it does not take stays in memory,
//! and large ones are worth their memory only where it is soon free again.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use distmirror_core::{Error, Original};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

/// A part of a file that is still to be read.
pub(crate) struct FileSource {
    file: Arc<File>,
    pub(crate) left: Range<u64>,
    /// What sends the rest if the file turns out to be a bad copy.
    pub(crate) original: Option<Original>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    pace: Pace,
}

impl FileSource {
    pub(crate) fn new(file: Arc<File>, part: Range<u64>, original: Option<Original>) -> Self {
        Self { file, left: part, original, reading: None, pace: Pace::default() }
    }

    pub(crate) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let left = self.left.end - self.left.start;
        if left == 0 {
            return Poll::Ready(None);
        }
        let read = match &mut self.reading {
            Some(reading) => ready!(Pin::new(reading).poll(context)).map_err(io::Error::other).flatten(),
            None => {
                let wanted = self.pace.piece_bytes(left);
                match read_cached(&self.file, self.left.start, wanted) {
                    Some(read) => read,
                    None => {
                        let (file, at) = (Arc::clone(&self.file), self.left.start);
                        self.reading =
                            Some(tokio::task::spawn_blocking(move || read(wanted, |piece| file.read_at(piece, at))));
                        return self.poll_piece(context);
                    }
                }
            }
        };
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(piece) if piece.is_empty() => Err(Error::storage("the file of the blob ends early")),
            Ok(piece) => {
                self.left.start += piece.len() as u64;
                self.pace.took(piece.len());
                Ok(piece)
            }
            Err(error) => Err(Error::storage(error)),
        }))
    }
}

/// Reads without waiting for the disk; `None` when that is not possible (`RWF_NOWAIT` of preadv2(2)).
fn read_cached(file: &File, at: u64, wanted: usize) -> Option<io::Result<Bytes>> {
    let result =
        read(wanted, |piece| Ok(rustix::io::preadv2(file, &mut [IoSliceMut::new(piece)], at, ReadWriteFlags::NOWAIT)?));
    match result {
        Err(error)
            if [Errno::AGAIN, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INTR]
                .iter()
                .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            None
        }
        read => Some(read),
    }
}

/// Fills a piece of this size, or less.
fn read(wanted: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
    if wanted == LARGE_BYTES {
        let mut piece = LargePiece::new();
        piece.filled = fill(&mut piece.buffer)?;
        return Ok(Bytes::from_owner(piece));
    }
    let mut piece = BytesMut::zeroed(wanted);
    let count = fill(&mut piece)?;
    piece.truncate(count);
    Ok(piece.freeze())
}

/// How quickly a client takes what it is sent.
#[derive(Default)]
struct Pace {
    /// When the present window began, and how much of it was taken.
    window: Option<(Instant, u64)>,
    /// How many windows in a row were taken quickly.
    quick: u32,
}

impl Pace {
    /// How much to read at once, if so much is left.
    fn piece_bytes(&self, left: u64) -> usize {
        let whole = usize::try_from(left).unwrap_or(usize::MAX);
        if whole <= WHOLE_BYTES {
            return whole;
        }
        whole.min(if self.quick >= QUICK_WINDOWS { LARGE_BYTES } else { SMALL_BYTES })
    }

    /// So much was asked for, which is when what was sent before has been taken.
    fn took(&mut self, bytes: usize) {
        let (began, taken) = self.window.get_or_insert_with(|| (Instant::now(), 0));
        *taken += bytes as u64;
        if *taken >= WINDOW_BYTES {
            self.quick = if began.elapsed() < QUICK { self.quick.saturating_add(1) } else { 0 };
            self.window = None;
        }
    }
}

/// A large piece. Its memory is used again: to get it anew and clear it costs as much as a third of the copy.
struct LargePiece {
    buffer: Box<[u8]>,
    filled: usize,
}

impl LargePiece {
    fn new() -> Self {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { buffer: spare.unwrap_or_else(|| vec![0; LARGE_BYTES].into()), filled: 0 }
    }
}

impl AsRef<[u8]> for LargePiece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

impl Drop for LargePiece {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_PIECES {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Memory for large pieces that nobody uses now.
static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());
const SPARE_PIECES: usize = 16;

/// What is left is one piece, if it is no more than this.
const WHOLE_BYTES: usize = 64 * 1024;
const SMALL_BYTES: usize = 16 * 1024;
const LARGE_BYTES: usize = 256 * 1024;

/// A client is quick that takes so many windows in a row, each within so long. That is more than sockets take for a client
/// that takes nothing.
const WINDOW_BYTES: u64 = 1024 * 1024;
const QUICK: Duration = Duration::from_millis(100);
const QUICK_WINDOWS: u32 = 4;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn large_pieces_are_for_those_who_are_quick() {
        let mut pace = Pace::default();
        assert_eq!(pace.piece_bytes(1 << 30), SMALL_BYTES);
        for _ in 0..WINDOW_BYTES as usize / SMALL_BYTES * QUICK_WINDOWS as usize {
            assert_eq!(pace.piece_bytes(1 << 30), SMALL_BYTES);
            pace.took(SMALL_BYTES);
        }
        assert_eq!(pace.piece_bytes(1 << 30), LARGE_BYTES);
        assert_eq!([100_000, 64 * 1024, 1].map(|left| pace.piece_bytes(left)), [100_000, 64 * 1024, 1]);
        pace.took(LARGE_BYTES);
        pace.window = pace.window.map(|(began, taken)| (began.checked_sub(QUICK).unwrap(), taken));
        pace.took(WINDOW_BYTES as usize);
        assert_eq!(pace.piece_bytes(1 << 30), SMALL_BYTES, "one slow window ends it");
    }

    #[test]
    fn a_large_piece_has_what_was_read_into_it_and_no_more() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; LARGE_BYTES + 5]).unwrap();
        drop(read(LARGE_BYTES, |piece| file.read_at(piece, 0)).unwrap());
        // Perhaps in the memory of the first one, where more lies than is read now.
        assert_eq!(read(LARGE_BYTES, |piece| file.read_at(piece, LARGE_BYTES as u64)).unwrap(), &[7; 5][..]);
    }
}
