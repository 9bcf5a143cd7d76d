//! The only way in which bytes come in: spooled, hashed in one pass, compared with what was declared, and only then handed
//! to the blob store.
//!
//! A spool file belongs to one writer at a time, by a lock of the operating system, because a writer that lost its lease may
//! still be running. What an interrupted transfer left is kept together with upstream's validator, so that the next attempt
//! can go on from there. Small artifacts never touch the spool. How much disk all of them may take is decided in `room`.

mod mark;
mod room;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use self::room::SpoolLimits;
use self::{
    mark::{Left, Mark},
    room::{Claim, Room},
};
use crate::{
    BlobStore, Checksums, Digest, Digests, Error, Hasher, Hashing, PartHasher, Payload, Result, Sha256,
    verify::{self, Verifier},
};

/// Where bytes come in; cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    folder: PathBuf,
    room: Arc<Room>,
    blobs: Arc<dyn BlobStore>,
    max_bytes: u64,
    trusts_store: bool,
}

impl Intake {
    /// An intake that spools in this folder and fills this store. Removes what nobody resumed for a week.
    ///
    /// `max_bytes` is the largest artifact that is let in.
    ///
    /// # Errors
    /// [`Error::Spool`] when the folder cannot be made or read.
    pub fn open(folder: impl Into<PathBuf>, blobs: Arc<dyn BlobStore>, max_bytes: u64) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| spool_error(&folder, error))?;
        let oldest = SystemTime::now().checked_sub(KEEP_FOR).unwrap_or(SystemTime::UNIX_EPOCH);
        room::sweep(&folder, oldest).map_err(|error| spool_error(&folder, error))?;
        let room = Room::new(folder.clone(), SpoolLimits::default());
        Ok(Self { folder, room, blobs, max_bytes, trusts_store: true })
    }

    /// The same intake with these limits on the disk that it uses. Clones share what they have claimed.
    #[must_use]
    pub fn limited(self, limits: SpoolLimits) -> Self {
        Self { room: Room::new(self.folder.clone(), limits), ..self }
    }

    /// The same intake, to which nothing counts as here that the store has: its bytes may be damaged.
    #[must_use]
    pub fn distrusting(&self) -> Self {
        Self { trusts_store: false, ..self.clone() }
    }

    /// The largest artifact that is let in, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Starts taking in one blob. `label` names the transfer: who uses the same label later finds what an interrupted one left.
    ///
    /// # Errors
    /// [`Error::Spool`] when the folder cannot be read.
    pub async fn spool(&self, label: &str) -> Result<Spool> {
        self.open_spool(label, Hasher::new(), self.max_bytes).await
    }

    /// Starts taking in a part of an image, which has this digest and this size in bytes. Since the digest says which bytes
    /// they are, whoever brings the same part later goes on where this one stopped, wherever it comes from.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past the limit, [`Error::Spool`] when the folder cannot be read.
    pub async fn part(&self, digest: &Digest, size: u64) -> Result<Spool<PartHasher>> {
        if size > self.max_bytes {
            return Err(Error::TooLarge { limit: self.max_bytes });
        }
        let label = format!("{}-{}", digest.algorithm(), digest.hex());
        let mut spool = self.open_spool(&label, PartHasher::new(digest.algorithm()), size).await?;
        if spool.validator().is_none() || spool.received > size {
            spool.restart(Some(digest.to_string())).await?;
        }
        spool.expect(size).await?;
        Ok(spool)
    }

    /// Takes in bytes that are in memory.
    ///
    /// # Errors
    /// [`Error::ChecksumMismatch`] with both sides; whatever the blob store answers.
    pub async fn take_in(&self, bytes: Bytes, expected: &Checksums) -> Result<Received> {
        let digests = Digests::of(&bytes);
        let size = bytes.len() as u64;
        compare::<Hasher>(expected, &digests, size)?;
        self.room.admits(size).map_err(|error| spool_error(&self.folder, error))?;
        self.blobs.put(&digests.sha256, Payload::Bytes(bytes)).await?;
        Ok(Received { digests, size })
    }

    /// The blob that has this digest and this size, if it is here already. Only who may read it upstream may know. Its bytes
    /// are hashed again: nothing new may stand on a blob that is damaged, and whoever brings it anew mends it.
    ///
    /// # Errors
    /// The blob store's trouble.
    pub async fn held(&self, digest: &Digest, size: u64) -> Result<Option<Sha256>> {
        let Ok(blob) = Sha256::try_from(*digest) else { return Ok(None) };
        if !self.trusts_store {
            return Ok(None);
        }
        let whole = async || {
            // Says also that the blob is durable, which reading it does not.
            if self.blobs.stat(&blob).await? != Some(size) {
                return Ok(None);
            }
            verify::again(&*self.blobs, &Verifier::new(1), &blob, size).await.map(|()| Some(blob))
        };
        match whole().await {
            Ok(held) => Ok(held),
            Err(Error::BlobMissing { .. } | Error::BlobCorrupt { .. }) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// The bytes of a small blob that is here.
    ///
    /// # Errors
    /// The blob store's trouble; [`Error::BlobCorrupt`] when the bytes are others.
    pub async fn read(&self, blob: &Sha256, size: u64) -> Result<Bytes> {
        verify::whole(&*self.blobs, blob, size).await
    }

    async fn open_spool<H: Hashing>(&self, label: &str, hasher: H, max_bytes: u64) -> Result<Spool<H>> {
        let folder = self.folder.clone();
        let path = folder.join(format!("{label}.part"));
        let claim = Claim::of(&self.room);
        let writer = blocking(&folder, move || Writer::open(path, hasher, claim)).await?;
        Ok(Spool {
            intake: self.clone(),
            max_bytes,
            received: writer.written,
            writer: Stage::Idle(writer),
            buffer: BytesMut::new(),
        })
    }
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<D = Digests> {
    /// Its digests.
    pub digests: D,
    /// Its size in bytes.
    pub size: u64,
}

/// One blob on its way in. Dropping it keeps what is on disk for the next attempt if there is a validator, and nothing else.
#[derive(Debug)]
pub struct Spool<H: Hashing = Hasher> {
    intake: Intake,
    max_bytes: u64,
    writer: Stage<H>,
    buffer: BytesMut,
    received: u64,
}

impl<H: Hashing> Spool<H> {
    /// How many bytes are here, those of earlier attempts included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The validator of what is here, if an earlier attempt left bytes: what the fetcher gave to [`restart`](Self::restart)
    /// to recognise them by, upstream's strong entity tag above all.
    pub fn validator(&self) -> Option<&str> {
        match &self.writer {
            Stage::Idle(writer) => writer.validator.as_deref(),
            Stage::Busy(_) | Stage::Broken => None,
        }
    }

    /// Forgets what is here, and starts at byte 0 with this validator for later attempts.
    ///
    /// # Errors
    /// [`Error::Spool`] when the disk refuses.
    pub async fn restart(&mut self, validator: Option<String>) -> Result<()> {
        self.buffer.clear();
        self.received = 0;
        let mut writer = self.idle().await?;
        let has_file = writer.file.is_some();
        let restart = move || writer.restart(validator).map(|()| writer);
        // Without a file there is no disk to wait for.
        let writer = match has_file {
            true => blocking(&self.intake.folder, restart).await,
            false => restart().map_err(|error| spool_error(&self.intake.folder, error)),
        };
        self.writer = Stage::Idle(writer?);
        Ok(())
    }

    /// Claims room on the disk for a transfer that has `total` bytes at its end, those that are here included. Without it room
    /// is claimed as bytes come, and may run out in the middle.
    ///
    /// # Errors
    /// [`Error::Spool`] when there is no room.
    pub async fn expect(&mut self, total: u64) -> Result<()> {
        let to_come = total.saturating_sub(self.received);
        if total < PIECE_BYTES as u64 {
            return Ok(());
        }
        let mut writer = self.idle().await?;
        let writer = blocking(&self.intake.folder, move || writer.claim.ensure(to_come).map(|()| writer)).await?;
        self.writer = Stage::Idle(writer);
        Ok(())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past the limit, [`Error::Spool`] when the disk refuses.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.received += bytes.len() as u64;
        if self.received > self.max_bytes {
            return Err(Error::TooLarge { limit: self.max_bytes });
        }
        self.buffer.extend_from_slice(&bytes);
        if self.buffer.len() < PIECE_BYTES {
            return Ok(());
        }
        let mut writer = self.idle().await?;
        let piece = self.buffer.split().freeze();
        self.buffer.reserve(PIECE_BYTES);
        self.writer = Stage::Busy(tokio::task::spawn_blocking(move || writer.append(&piece).map(|()| writer)));
        Ok(())
    }

    /// Ends the transfer: compares with what was declared, and puts the blob into the store.
    ///
    /// # Errors
    /// [`Error::ChecksumMismatch`] with both sides, and nothing is kept; whatever the blob store answers.
    pub async fn finish(mut self, expected: &Checksums) -> Result<Received<H::Digests>> {
        let writer = self.idle().await?;
        let rest = self.buffer.split().freeze();
        let (digests, mut writer) = blocking(&self.intake.folder, move || writer.finish(rest)).await?;
        let size = self.received;
        if let Err(mismatch) = compare::<H>(expected, &digests, size) {
            writer.discard();
            return Err(mismatch);
        }
        let payload = match writer.memory.take() {
            Some(bytes) => {
                self.intake.room.admits(size).map_err(|error| spool_error(&self.intake.folder, error))?;
                Payload::Bytes(bytes)
            }
            None => Payload::File { path: writer.path.clone(), size },
        };
        let stored = self.intake.blobs.put(&H::blob(&digests), payload).await;
        writer.discard();
        stored.map(|()| Received { digests, size })
    }

    /// Ends the transfer for now: with a validator, all that came is on disk for the next attempt.
    ///
    /// # Errors
    /// [`Error::Spool`] when the disk refuses.
    pub async fn keep(mut self) -> Result<()> {
        let mut writer = self.idle().await?;
        let rest = self.buffer.split().freeze();
        if writer.validator.is_none() || rest.is_empty() {
            return Ok(());
        }
        blocking(&self.intake.folder, move || writer.append(&rest)).await
    }

    /// Takes the writer, when its last piece is on disk.
    async fn idle(&mut self) -> Result<Box<Writer<H>>> {
        match std::mem::replace(&mut self.writer, Stage::Broken) {
            Stage::Idle(writer) => Ok(writer),
            Stage::Busy(task) => {
                task.await.map_err(io::Error::other).flatten().map_err(|error| spool_error(&self.intake.folder, error))
            }
            Stage::Broken => Err(spool_error(&self.intake.folder, io::Error::other("an earlier write failed"))),
        }
    }
}

/// Whether the bytes are those that were declared.
fn compare<H: Hashing>(expected: &Checksums, digests: &H::Digests, size: u64) -> Result<()> {
    let received = |wanted: &Digest| H::get(digests, wanted.algorithm());
    match expected.iter().find(|wanted| received(wanted).as_ref() != Some(wanted)) {
        None => Ok(()),
        Some(wanted) => {
            let received = received(wanted).unwrap_or_else(|| H::blob(digests).into());
            Err(Error::ChecksumMismatch { expected: wanted.to_string(), received: received.to_string(), size })
        }
    }
}

#[derive(Debug)]
enum Stage<H: Hashing> {
    Idle(Box<Writer<H>>),
    Busy(JoinHandle<io::Result<Box<Writer<H>>>>),
    Broken,
}

/// The blocking half of a spool: the file and the running digests.
#[derive(Debug)]
struct Writer<H> {
    path: PathBuf,
    file: Option<File>,
    claim: Claim,
    /// A hasher that has seen nothing.
    fresh: H,
    hasher: H,
    written: u64,
    validator: Option<String>,
    /// Beside the file, if there is a validator.
    mark: Option<Mark>,
    memory: Option<Bytes>,
}

impl<H: Hashing> Writer<H> {
    fn open(path: PathBuf, fresh: H, claim: Claim) -> io::Result<Box<Self>> {
        let hasher = fresh.clone();
        let mut writer = Box::new(Self {
            path,
            file: None,
            claim,
            fresh,
            hasher,
            written: 0,
            validator: None,
            mark: None,
            memory: None,
        });
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&writer.path) else { return Ok(writer) };
        if !is_ours(&file, &writer.path)? {
            // Another writer is at it, perhaps one that lost its lease: keep out of its way.
            writer.path.set_extension(format!("{}.part", Uuid::new_v4().simple()));
            return Ok(writer);
        }
        writer.file = Some(file);
        let left = Left::read(&validator_path(&writer.path));
        if !left.map_or(Ok(false), |left| writer.go_on(left))? {
            writer.restart(None)?;
        }
        Ok(writer)
    }

    /// Takes up what an earlier attempt left, if the bytes are still those that came; whether they are.
    fn go_on(&mut self, left: Left) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let mut known = file.take(left.bytes);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = known.read(&mut piece)?;
            if count == 0 {
                break;
            }
            self.hasher.update(&piece[..count]);
            self.written += count as u64;
        }
        if (self.written, self.digest_so_far()) != (left.bytes, left.sha256) {
            return Ok(false);
        }
        if let Some(file) = &self.file {
            // What came after the last mark is not known.
            file.set_len(left.bytes)?;
        }
        self.mark = Some(Mark::open(&validator_path(&self.path), &left)?);
        self.validator = Some(left.validator);
        Ok(true)
    }

    fn digest_so_far(&self) -> Sha256 {
        H::blob(&self.hasher.clone().finish())
    }

    fn restart(&mut self, validator: Option<String>) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            self.mark = mark_for(&self.path, validator.as_deref())?;
        }
        self.hasher = self.fresh.clone();
        self.written = 0;
        self.validator = validator;
        Ok(())
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.create()?;
        }
        self.claim.ensure(piece.len() as u64)?;
        self.hasher.update(piece);
        if let Some(file) = &mut self.file {
            file.write_all(piece)?;
        }
        self.claim.wrote(piece.len() as u64);
        self.written += piece.len() as u64;
        match &self.mark {
            Some(mark) => mark.set(self.written, &self.digest_so_far()),
            None => Ok(()),
        }
    }

    /// Makes the file, and what lies beside it.
    fn create(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        if !is_ours(&file, &self.path)? {
            self.path.set_extension(format!("{}.part", Uuid::new_v4().simple()));
            return self.create();
        }
        file.set_len(0)?;
        self.mark = mark_for(&self.path, self.validator.as_deref())?;
        self.file = Some(file);
        Ok(())
    }

    fn finish(mut self: Box<Self>, rest: Bytes) -> io::Result<(H::Digests, Box<Self>)> {
        if self.file.is_some() {
            self.append(&rest)?;
        } else {
            self.hasher.update(&rest);
            self.memory = Some(rest);
        }
        let digests = std::mem::replace(&mut self.hasher, self.fresh.clone()).finish();
        Ok((digests, self))
    }
}

impl<H> Writer<H> {
    /// Removes the files, as far as the blob store has not moved them away. Debris is swept later.
    fn discard(&mut self) {
        // The lock is held until the files are gone.
        if let Some(_locked) = self.file.take() {
            let _ = remove(&validator_path(&self.path));
            let _ = remove(&self.path);
        }
    }
}

impl<H> Drop for Writer<H> {
    fn drop(&mut self) {
        if self.validator.is_none() {
            self.discard();
        }
    }
}

/// Runs work that blocks, on the pool that is meant for it.
async fn blocking<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| spool_error(folder, error))
}

/// Takes the lock on a file of the spool; false when somebody else has it, or has removed the file since it was opened.
fn is_ours(file: &File, path: &Path) -> io::Result<bool> {
    if file.try_lock().is_err() {
        return Ok(false);
    }
    let opened = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (opened.dev(), opened.ino())))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Begins what lies beside a spool file. Without a validator nothing may: it would be that of others.
fn mark_for(path: &Path, validator: Option<&str>) -> io::Result<Option<Mark>> {
    let path = validator_path(path);
    match validator {
        Some(validator) => Mark::create(&path, validator).map(Some),
        None => remove(&path).map(|()| None),
    }
}

fn validator_path(path: &Path) -> PathBuf {
    path.with_extension("validator")
}

fn spool_error(path: &Path, source: io::Error) -> Error {
    Error::Spool { path: path.display().to_string(), source }
}

/// How many bytes are hashed and written at once; anything smaller stays in memory.
const PIECE_BYTES: usize = 512 * 1024;

/// How long the rest of an interrupted transfer is kept.
const KEEP_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests;
