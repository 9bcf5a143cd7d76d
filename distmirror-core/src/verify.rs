//! Verification on read: nothing leaves before it has been hashed in this process, and a file that changed is hashed again.
//!
//! A file is verified whole before its first byte is sent, so that damage is an answer and not a broken connection; while
//! its identity (device, inode, size, times) stays the same, later reads go the fast way. A stream is hashed as it passes,
//! and its last piece is held back until the digest is known.

use std::{
    fs::{File, Metadata},
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt, future, stream};
use moka::sync::Cache;
use sha2::Digest as _;

use crate::{BlobBody, BlobRead, BlobStore, ByteStream, Error, Original, Result, Sha256};

/// What was verified in this process.
#[derive(Debug, Clone)]
pub(crate) struct Verifier {
    known: Cache<(Sha256, Identity), ()>,
}

impl Verifier {
    pub(crate) fn new(capacity: u64) -> Self {
        Self { known: Cache::new(capacity) }
    }

    /// Verifies a file unless this very file was verified before. Many callers at once hash it once.
    pub(crate) async fn file(&self, blob: Sha256, file: Arc<File>, size: u64) -> Result<Arc<File>> {
        let identity = Identity::of(&file.metadata().map_err(Error::storage)?);
        let read = Arc::clone(&file);
        self.once(blob, identity, move || verify_file(&blob, &read, size)).await.map(|()| file)
    }

    /// Does what verifies this file, unless that was done.
    async fn once(
        &self,
        blob: Sha256,
        identity: Identity,
        verify: impl FnOnce() -> Result<(), Trouble> + Send + 'static,
    ) -> Result<()> {
        if self.known.contains_key(&(blob, identity)) {
            return Ok(());
        }
        let known = self.known.clone();
        let work = move || known.try_get_with((blob, identity), verify);
        let verified = tokio::task::spawn_blocking(work).await.map_err(Error::storage)?;
        verified.map_err(|error: Arc<Trouble>| error.to_error(blob))
    }
}

/// Hashes a stored blob again, whatever is known of it. What turns out to be damaged is not trusted any more.
pub(crate) async fn again(blobs: &dyn BlobStore, verifier: &Verifier, blob: &Sha256, size: u64) -> Result<()> {
    let read = blobs.get(blob, None).await?;
    if read.size != size {
        return Err(wrong_size(*blob, read.size, size));
    }
    match read.body {
        BlobBody::File { file, .. } => {
            let identity = Identity::of(&file.metadata().map_err(Error::storage)?);
            verifier.known.invalidate(&(*blob, identity));
            verifier.file(*blob, file, size).await.map(drop)
        }
        BlobBody::Stream(body) => stream(*blob, size, body).try_for_each(|_| async { Ok(()) }).await,
    }
}

/// The bytes of a small blob, verified. They are read into memory as a whole: the caller knows that `size` is small.
pub(crate) async fn whole(blobs: &dyn BlobStore, blob: &Sha256, size: u64) -> Result<Bytes> {
    let read = blobs.get(blob, None).await?;
    if read.size != size {
        return Err(wrong_size(*blob, read.size, size));
    }
    let body = match read.body {
        // Which ends one that is too long.
        BlobBody::Stream(body) => BlobBody::Stream(stream(*blob, size, body)),
        file => file,
    };
    let bytes = body.collect().await?;
    match Sha256::of(&bytes) {
        found if found == *blob => Ok(bytes),
        found => Err(damaged(*blob, found, bytes.len() as u64)),
    }
}

/// A blob of another size than the catalog says.
pub(crate) fn wrong_size(blob: Sha256, found: u64, expected: u64) -> Error {
    Error::BlobCorrupt { blob, problem: format!("it has {found} bytes in place of {expected}") }
}

/// Hashes a stream of the whole blob as it passes; wrong bytes end it with an error in place of the last piece.
pub(crate) fn stream(blob: Sha256, size: u64, body: ByteStream) -> ByteStream {
    let state = (body, sha2::Sha256::new(), 0_u64, false);
    stream::unfold(state, move |(mut body, mut hasher, mut seen, done)| async move {
        if done {
            return None;
        }
        let checked = match body.next().await {
            Some(Ok(piece)) => {
                hasher.update(&piece);
                seen += piece.len() as u64;
                check_piece(&blob, size, seen, &hasher, piece)
            }
            Some(Err(error)) => Err(error),
            // Nothing may look whole that was never compared.
            None if seen < size => Err(cut_short(blob, seen, size)),
            None => return None,
        };
        let done = checked.is_err();
        Some((checked, (body, hasher, seen, done)))
    })
    .boxed()
}

/// What a copy of the blob was made of, which is verified like any other stream when it takes over in the middle: if the whole
/// blob is wanted then all of it is read again, and what was sent already is left out.
pub(crate) fn original(blob: Sha256, size: u64, whole: bool, original: Original) -> Original {
    if !whole {
        return original;
    }
    Original::new(async move |rest: Range<u64>| {
        let read = original.open(0..size).await?;
        if read.size != size {
            return Err(wrong_size(blob, read.size, size));
        }
        let BlobBody::Stream(body) = read.body else {
            return Err(Error::storage("a copy was made of a file"));
        };
        Ok(BlobRead { size, body: BlobBody::Stream(after(stream(blob, size, body), rest.start)) })
    })
}

/// A stream without its first bytes.
fn after(stream: ByteStream, mut skipped: u64) -> ByteStream {
    let rest = move |mut piece: Bytes| {
        let left_out = skipped.min(piece.len() as u64);
        skipped -= left_out;
        piece.advance(left_out as usize);
        future::ready(Ok((!piece.is_empty()).then_some(piece)))
    };
    stream.try_filter_map(rest).boxed()
}

fn check_piece(blob: &Sha256, size: u64, seen: u64, hasher: &sha2::Sha256, piece: Bytes) -> Result<Bytes> {
    if seen < size {
        return Ok(piece);
    }
    let found = Sha256::from_bytes(hasher.clone().finalize().into());
    if seen == size && found == *blob { Ok(piece) } else { Err(damaged(*blob, found, seen)) }
}

fn damaged(blob: Sha256, found: Sha256, size: u64) -> Error {
    Error::BlobCorrupt { blob, problem: format!("its {size} bytes hash to `{found}`") }
}

fn cut_short(blob: Sha256, seen: u64, size: u64) -> Error {
    Error::BlobCorrupt { blob, problem: format!("it ended after {seen} of {size} bytes") }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Why a file did not verify; shared by all who waited for it.
#[derive(Debug)]
enum Trouble {
    Other { found: Sha256, size: u64 },
    Unreadable(io::Error),
}

impl Trouble {
    fn to_error(&self, blob: Sha256) -> Error {
        match self {
            Self::Other { found, size } => damaged(blob, *found, *size),
            Self::Unreadable(error) => Error::storage(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

fn verify_file(blob: &Sha256, file: &File, size: u64) -> Result<(), Trouble> {
    let mut hasher = sha2::Sha256::new();
    let mut piece = vec![0; 256 * 1024];
    let mut seen = 0;
    loop {
        let count = file.read_at(&mut piece, seen).map_err(Trouble::Unreadable)?;
        if count == 0 {
            break;
        }
        hasher.update(&piece[..count]);
        seen += count as u64;
    }
    let found = Sha256::from_bytes(hasher.finalize().into());
    if seen == size && found == *blob { Ok(()) } else { Err(Trouble::Other { found, size: seen }) }
}

#[cfg(test)]
mod tests;
