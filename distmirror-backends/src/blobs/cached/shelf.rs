//! The folder of copies: what is in it, what was used last, and how much room there is. A copy is named by its digest.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use distmirror_core::{Result, Sha256, disk};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::CacheOptions;
use crate::blobs::local::Trouble;

/// The copies of one process.
#[derive(Debug)]
pub(super) struct Shelf {
    options: CacheOptions,
    state: Mutex<State>,
    /// How many bytes are taken, see [`Room`].
    taken: Arc<AtomicU64>,
    making_room: Mutex<()>,
    /// Locked as long as this process has the folder.
    _mark: File,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Sha256, Entry>,
    /// The same by when they were used, in steps that only ever grow.
    by_use: BTreeMap<u64, Sha256>,
    last_use: u64,
    /// What is being copied.
    filling: HashSet<Sha256>,
    /// Nothing is copied before that, because the disk is in trouble.
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    copied: Arc<Copied>,
    used: u64,
}

/// A copy. It is on disk at least as long as somebody has this.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    _room: Room,
}

/// Bytes on the disk that were claimed. Dropping it gives them back.
#[derive(Debug)]
struct Room {
    bytes: u64,
    taken: Arc<AtomicU64>,
}

impl Room {
    fn claim(bytes: u64, taken: &Arc<AtomicU64>) -> Self {
        tell(taken.fetch_add(bytes, Ordering::Relaxed) + bytes);
        Self { bytes, taken: Arc::clone(taken) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        tell(self.taken.fetch_sub(self.bytes, Ordering::Relaxed) - self.bytes);
    }
}

/// A copy that is not whole yet. Dropping it removes it, and then gives its room back.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    room: Option<Room>,
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.room.is_some() {
            // Where there is none, nothing has to be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Leave to copy a blob, which nobody else has meanwhile.
#[derive(Debug)]
pub(super) struct Filling {
    shelf: Arc<Shelf>,
    pub(super) blob: Sha256,
    pub(super) size: u64,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.shelf.state().filling.remove(&self.blob);
    }
}

impl Shelf {
    /// Opens the folder, with what an earlier process left in it.
    pub(super) fn open(options: CacheOptions) -> Result<Self> {
        let folder = options.folder.clone();
        // Who may read blobs decides the proxy, and not who has an account on its machine.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(Trouble::with("create the folder of the cache", &folder))?;
        let mark = take_folder(&folder).map_err(Trouble::with("use as a cache", &folder))?;
        let shelf = Self {
            options,
            state: Mutex::default(),
            taken: Arc::default(),
            making_room: Mutex::default(),
            _mark: mark,
        };
        shelf.load().map_err(Trouble::with("read the cache in", &folder))?;
        Ok(shelf)
    }

    /// The copy of a blob, which counts as used now.
    pub(super) fn find(&self, blob: &Sha256) -> Option<Arc<Copied>> {
        let state = &mut *self.state();
        let entry = state.entries.get_mut(blob)?;
        state.by_use.remove(&entry.used);
        state.last_use += 1;
        entry.used = state.last_use;
        state.by_use.insert(entry.used, *blob);
        Some(Arc::clone(&entry.copied))
    }

    /// Throws a bad copy away. Whoever reads it may go on.
    pub(super) fn discard(&self, blob: &Sha256, copied: &Arc<Copied>) {
        let state = &mut *self.state();
        if state.entries.get(blob).is_some_and(|entry| Arc::ptr_eq(&entry.copied, copied)) {
            state.remove(blob);
            metrics::counter!("distmirror_blob_cache_bad_copies_total").increment(1);
            tracing::warn!(path = %copied.path.display(), "threw away a bad copy of a blob");
            // With the lock held, so that it is not a new copy which goes.
            let _ = fs::remove_file(&copied.path);
        }
    }

    /// Leave to copy a blob, unless it is here or on its way, or there are enough on their way.
    pub(super) fn begin(self: &Arc<Self>, blob: Sha256, size: u64) -> Option<Filling> {
        let state = &mut *self.state();
        let paused = state.paused_until.is_some_and(|until| Instant::now() < until);
        let refused = paused || size > self.options.max_bytes || state.filling.len() >= FILLS_AT_ONCE;
        if refused || state.entries.contains_key(&blob) || !state.filling.insert(blob) {
            return None;
        }
        Some(Filling { shelf: Arc::clone(self), blob, size })
    }

    /// Nothing is copied for a while.
    pub(super) fn pause(&self) {
        self.state().paused_until = Some(Instant::now() + PAUSE);
    }

    /// A file for a copy that is to come, with room for it; what was used longest ago and nobody reads is thrown away for that.
    /// Blocks.
    pub(super) fn begin_part(&self, blob: &Sha256, size: u64) -> io::Result<(Part, File)> {
        // One after the other: only what has its place on the disk is missing from what is free there.
        let _turn = self.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        let part = Part { room: Some(self.make_room(size)?), path: self.path(blob).with_extension(PART) };
        let file = File::create(&part.path)?;
        reserve(&file, size)?;
        Ok((part, file))
    }

    fn make_room(&self, bytes: u64) -> io::Result<Room> {
        loop {
            let evicted = {
                let state = &mut *self.state();
                let Err(full) = self.admits(state, bytes) else { return Ok(Room::claim(bytes, &self.taken)) };
                let Some(idle) = state.least_recent_idle() else { return Err(full) };
                fs::rename(self.path(&idle), self.gone_path(&idle)).or_else(unless_gone)?;
                (state.remove(&idle), self.gone_path(&idle))
            };
            // Without the lock, because that takes long for large files.
            fs::remove_file(evicted.1).or_else(unless_gone)?;
            metrics::counter!("distmirror_blob_cache_evictions_total").increment(1);
        }
    }

    /// Adds a copy that is whole.
    pub(super) fn add(&self, blob: &Sha256, mut part: Part) -> io::Result<()> {
        let state = &mut *self.state();
        fs::rename(&part.path, self.path(blob))?;
        if let Some(room) = part.room.take() {
            self.insert(state, blob, room);
        }
        Ok(())
    }

    /// Where a copy stands that is being thrown away.
    fn gone_path(&self, blob: &Sha256) -> PathBuf {
        self.path(blob).with_extension(GONE)
    }

    fn insert(&self, state: &mut State, blob: &Sha256, room: Room) {
        let copied = Arc::new(Copied { path: self.path(blob), size: room.bytes, _room: room });
        state.last_use += 1;
        state.by_use.insert(state.last_use, *blob);
        state.entries.insert(*blob, Entry { copied, used: state.last_use });
    }

    fn admits(&self, state: &State, bytes: u64) -> io::Result<()> {
        let CacheOptions { folder, max_bytes, keep_free } = &self.options;
        let taken = self.taken.load(Ordering::Relaxed);
        if taken.saturating_add(bytes) > *max_bytes || state.entries.len() >= MOST_COPIES {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "all copies are being read"));
        }
        disk::admits(folder, bytes, *keep_free)
    }

    /// Takes in what an earlier process left, and throws away what does not fit any more.
    fn load(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.options.folder)? {
            let entry = entry?;
            let name = PathBuf::from(entry.file_name());
            let Some(blob) = name.file_stem().and_then(blob_named) else { continue };
            let metadata = entry.metadata()?;
            if name.extension().is_none() && metadata.is_file() {
                let used = metadata.accessed().or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((used, blob, metadata.len()));
            } else if [PART, GONE].iter().any(|ours| name.extension() == Some(OsStr::new(ours))) {
                fs::remove_file(entry.path())?;
            }
        }
        found.sort();
        for (_, blob, size) in found {
            self.insert(&mut self.state(), &blob, Room::claim(size, &self.taken));
        }
        while self.taken.load(Ordering::Relaxed) > self.options.max_bytes || self.state().entries.len() > MOST_COPIES {
            let state = &mut *self.state();
            let Some(idle) = state.least_recent_idle() else { break };
            state.remove(&idle);
            fs::remove_file(self.path(&idle)).or_else(unless_gone)?;
        }
        Ok(())
    }

    fn path(&self, blob: &Sha256) -> PathBuf {
        self.options.folder.join(blob.hex())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst a copy that is not found.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn least_recent_idle(&self) -> Option<Sha256> {
        let is_idle = |blob: &&Sha256| Arc::strong_count(&self.entries[*blob].copied) == 1;
        self.by_use.values().find(is_idle).copied()
    }

    fn remove(&mut self, blob: &Sha256) -> Option<Arc<Copied>> {
        let entry = self.entries.remove(blob)?;
        self.by_use.remove(&entry.used);
        Some(entry.copied)
    }
}

/// Makes an empty folder one for copies, and takes it for this process. One that holds something else is left alone.
fn take_folder(folder: &Path) -> io::Result<File> {
    let path = folder.join(MARK);
    let is_stranger = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| ![OsStr::new(MARK), OsStr::new("lost+found")].contains(&&*entry.file_name()))
    };
    if !path.try_exists()? && fs::read_dir(folder)?.any(is_stranger) {
        return Err(io::Error::other("it is neither empty nor a cache: choose another folder"));
    }
    let mark = File::options().write(true).create(true).truncate(false).open(path)?;
    match mark.try_lock() {
        Ok(()) => Ok(mark),
        Err(fs::TryLockError::WouldBlock) => Err(io::Error::other("another process has it")),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Takes room on the disk, where the file system can do that before it is written to.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn blob_named(name: &OsStr) -> Option<Sha256> {
    let name = name.to_str()?;
    name.parse().ok().filter(|blob: &Sha256| blob.hex() == name)
}

fn unless_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn tell(taken: u64) {
    metrics::gauge!("distmirror_blob_cache_bytes").set(taken as f64);
}

/// The file that says that a folder is a cache, and whose.
const MARK: &str = "distmirror-cache";

/// The extension of what is not whole yet.
const PART: &str = "part";

/// The extension of what is being thrown away.
const GONE: &str = "gone";

/// How many blobs are copied at once.
const FILLS_AT_ONCE: usize = 4;

/// How many copies there are at most, however small: about 300 bytes of memory each.
const MOST_COPIES: usize = 100_000;

/// How long nothing is copied after trouble with the disk.
const PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_has_no_room_for_is_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let options = CacheOptions { folder: folder.path().to_owned(), max_bytes: u64::MAX, keep_free: 0 };
        let shelf = Shelf::open(options).unwrap();
        let refused = shelf.begin_part(&Sha256::of(b"large"), 1 << 60).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert!(refused.to_string().contains("have to stay free"), "{refused}");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((names, shelf.taken.load(Ordering::Relaxed)), (vec![MARK.into()], 0));
    }

    #[test]
    fn what_is_on_its_way_has_its_place_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let options = CacheOptions { folder: folder.path().to_owned(), max_bytes: 1_000_000, keep_free: 0 };
        let shelf = Arc::new(Shelf::open(options).unwrap());
        let (one, other) = (Sha256::of(b"one"), Sha256::of(b"other"));
        let (part, file) = shelf.begin_part(&one, 600_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 600_000);
        assert!(shelf.begin_part(&other, 400_001).is_err(), "both together are too much");
        drop(part);
        assert!(!folder.path().join(one.hex()).with_extension(PART).exists());
        let (part, _) = shelf.begin_part(&other, 1_000_000).unwrap();
        shelf.add(&other, part).unwrap();
        assert_eq!(shelf.find(&other).unwrap().size, 1_000_000);
    }
}
