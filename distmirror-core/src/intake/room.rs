//! How much disk the spool may take: a most that it holds, and a least that stays free for others.
//!
//! A transfer claims room before it writes, all at once where its size is known. What interrupted transfers left is only kept
//! as long as nobody needs the room.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use crate::disk::{self, full};

/// How much disk may be used by what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// The most bytes that the spool holds, of all transfers together.
    pub max_bytes: u64,
    /// How many bytes stay free on its disk; never more than a twentieth of the disk.
    pub keep_free: u64,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self { max_bytes: 256 << 30, keep_free: 1 << 30 }
    }
}

/// The room in one folder, shared by everything that spools there in this process.
#[derive(Debug)]
pub(super) struct Room {
    folder: PathBuf,
    limits: SpoolLimits,
    /// How many bytes were claimed and are not written yet.
    outstanding: Mutex<u64>,
}

impl Room {
    pub(super) fn new(folder: PathBuf, limits: SpoolLimits) -> Arc<Self> {
        Arc::new(Self { folder, limits, outstanding: Mutex::new(0) })
    }

    /// Whether so many bytes may be written beside the spool, on the same disk.
    pub(super) fn admits(&self, bytes: u64) -> io::Result<()> {
        self.fits(0, bytes)
    }

    /// Whether so many bytes more may be written, if the spool holds `held` bytes now or later.
    fn fits(&self, held: u64, bytes: u64) -> io::Result<()> {
        let SpoolLimits { max_bytes, keep_free } = self.limits;
        if held > max_bytes {
            return Err(full(format!(
                "no space left for it: the spool would hold {held} bytes, and fetch.max_spool_bytes is {max_bytes}"
            )));
        }
        disk::admits(&self.folder, bytes, keep_free)
    }

    /// Makes sure that there is room for so many bytes more, at the cost of what nobody works on.
    fn take(&self, bytes: u64) -> io::Result<()> {
        let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
        let to_come = outstanding.saturating_add(bytes);
        let mut entries = entries(&self.folder)?;
        entries.sort_by_key(|entry| entry.modified);
        let mut written: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let mut idle = entries.iter().filter(|entry| entry.is_part());
        while let Err(full) = self.fits(written.saturating_add(to_come), to_come) {
            let Some(entry) = idle.find(|entry| remove_if_idle(&entry.path)) else { return Err(full) };
            tracing::info!(path = %entry.path.display(), "gave up what an interrupted transfer left, to make room");
            written = written.saturating_sub(entry.bytes);
        }
        *outstanding = to_come;
        metrics::gauge!("distmirror_spool_bytes").set((written + to_come) as f64);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
        *outstanding = outstanding.saturating_sub(bytes);
    }
}

/// The room that one transfer has claimed and not written to yet. Dropping it gives that back.
#[derive(Debug)]
pub(super) struct Claim {
    room: Arc<Room>,
    bytes: u64,
}

impl Claim {
    pub(super) fn of(room: &Arc<Room>) -> Self {
        Self { room: Arc::clone(room), bytes: 0 }
    }

    /// Makes sure that so many bytes can be written.
    pub(super) fn ensure(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.bytes {
            self.room.take(bytes - self.bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Notes that so many bytes of it were written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.room.give_back(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

/// A file in the spool.
struct Entry {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

impl Entry {
    /// Whether it has the bytes of a transfer, and is not the validator beside them.
    fn is_part(&self) -> bool {
        self.path.extension() == Some(OsStr::new("part"))
    }
}

/// The files in the spool, as far as they do not go away meanwhile.
fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        entries.push(Entry { path: entry.path(), bytes: metadata.len(), modified });
    }
    Ok(entries)
}

/// Removes what nobody works on and nobody has touched since then.
pub(super) fn sweep(folder: &Path, oldest: SystemTime) -> io::Result<()> {
    for entry in entries(folder)?.iter().filter(|entry| entry.modified < oldest) {
        // A validator goes with its bytes.
        if entry.is_part() || !entry.path.with_extension("part").exists() {
            remove_if_idle(&entry.path);
        }
    }
    Ok(())
}

/// Removes a file of the spool, with the validator beside it, unless somebody works on it; whether it did.
fn remove_if_idle(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    if file.try_lock().is_err() {
        return false;
    }
    // The lock is held until the files are gone.
    let _ = super::remove(&super::validator_path(path));
    super::remove(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(folder: &Path, max_bytes: u64) -> Arc<Room> {
        Room::new(folder.to_owned(), SpoolLimits { max_bytes, keep_free: 0 })
    }

    #[test]
    fn claims_of_all_transfers_count_together() {
        let folder = tempfile::tempdir().unwrap();
        let room = room(folder.path(), 100);
        let (mut one, mut other) = (Claim::of(&room), Claim::of(&room));
        one.ensure(60).unwrap();
        one.ensure(50).unwrap();
        let refused = other.ensure(41).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert!(refused.to_string().contains("101 bytes, and fetch.max_spool_bytes is 100"), "{refused}");
        other.ensure(40).unwrap();
        drop(one);
        other.ensure(100).unwrap();
        fs::write(folder.path().join("other.part"), [7; 30]).unwrap();
        let held = File::open(folder.path().join("other.part")).unwrap();
        held.lock().unwrap();
        other.wrote(30);
        other.ensure(70).unwrap();
        assert!(other.ensure(71).is_err(), "what is written counts as what is claimed did");
    }

    #[test]
    fn what_nobody_works_on_makes_room_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (age, name) in [(30, "oldest.part"), (20, "held.part"), (10, "newest.part")] {
            fs::write(path(name), [7; 40]).unwrap();
            fs::write(super::super::validator_path(&path(name)), "").unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(age);
            File::options().write(true).open(path(name)).unwrap().set_modified(then).unwrap();
        }
        let held = File::open(path("held.part")).unwrap();
        held.lock().unwrap();
        let room = room(folder.path(), 120);
        let there = || ["oldest.part", "held.part", "newest.part"].map(|name| path(name).exists());
        let mut claim = Claim::of(&room);
        claim.ensure(10).unwrap();
        assert_eq!(there(), [false, true, true]);
        assert!(!super::super::validator_path(&path("oldest.part")).exists());
        claim.ensure(80).unwrap();
        assert_eq!(there(), [false, true, false]);
        assert!(claim.ensure(81).is_err());
        assert_eq!(there(), [false, true, false], "what somebody works on is left alone");
    }

    #[test]
    fn what_the_disk_has_no_room_for_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = room(folder.path(), u64::MAX).admits(1 << 60).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    }
}
