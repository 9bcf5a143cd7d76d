//! The directory of a store: its mark, and what is read from it. Everything here blocks.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use distmirror_core::{
    BlobBody, BlobRead, BlobStat, Error, Result, Sha256,
    blob::{blob_at, blob_path},
    durable::{OPEN, folder_of, make_folders, sync_folder},
};
use moka::sync::Cache;
use tokio::sync::mpsc;

use super::Trouble;
use crate::blobs::{open_from_memory, part_of};

/// The directory in which the blobs are.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    /// The folders, by the first byte of their blobs or by the first two, that this process knows to survive the power
    /// being cut.
    pub(super) durable: Mutex<HashSet<(u8, Option<u8>)>>,
    /// Small blobs that were opened just now: to open and close one is a tenth of what it costs to send it.
    opened: Cache<Sha256, Arc<File>>,
}

impl Folder {
    pub(super) fn open(root: PathBuf) -> Result<Self> {
        if !root.is_dir() {
            make_folders(&root, OPEN).map_err(Trouble::with("create the directory", &root))?;
        }
        let opened = Cache::builder().max_capacity(KEEP_OPEN).time_to_live(KEEP_OPEN_FOR).build();
        let folder = Self { root, durable: Mutex::default(), opened };
        if !folder.mark().try_exists().map_err(Trouble::with("look into", &folder.root))? {
            folder.set_mark()?;
        }
        let temporary = folder.temporary();
        fs::create_dir(&temporary)
            .or_else(unless(ErrorKind::AlreadyExists))
            .map_err(Trouble::with("create", &temporary))?;
        if let Err(error) = sweep(&temporary) {
            // A process that only serves may have the disk mounted read-only.
            tracing::warn!(path = %temporary.display(), %error, "old temporary files were not removed");
        }
        Ok(folder)
    }

    pub(super) fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        let path = self.root.join(blob_path(blob));
        match File::open(&path) {
            Ok(file) => {
                let size = size_of(blob, &file.metadata().map_err(Trouble::with("read the size of", &path))?)?;
                read_from(file.into(), size, blob, range)
            }
            Err(error) => Err(self.absence(&path, error)?.unwrap_or(Error::BlobMissing { blob: *blob })),
        }
    }

    /// Opens a blob without waiting for a disk, if that can be done. `None` when [`get`](Self::get) must find out.
    pub(super) fn get_from_memory(&self, blob: &Sha256, range: Option<Range<u64>>) -> Option<Result<BlobRead>> {
        if let Some((file, size)) = self.still_open(blob) {
            return Some(read_from(file, size, blob, range));
        }
        let file = Arc::new(open_from_memory(&self.root.join(blob_path(blob)))?);
        let size = size_of(blob, &file.metadata().ok()?).ok()?;
        if size <= SMALL_BYTES {
            self.opened.insert(*blob, Arc::clone(&file));
        }
        Some(read_from(file, size, blob, range))
    }

    /// A blob that was opened just now, if its name still stands for this file.
    fn still_open(&self, blob: &Sha256) -> Option<(Arc<File>, u64)> {
        let file = self.opened.get(blob)?;
        let metadata = file.metadata().ok().filter(|metadata| metadata.nlink() > 0)?;
        Some((file, metadata.len()))
    }

    pub(super) fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        let path = self.root.join(blob_path(blob));
        match fs::metadata(&path) {
            Ok(metadata) => {
                let size = size_of(blob, &metadata)?;
                // Whoever gave it its name may have been killed before that was durable, and it is about to be relied on.
                sync_folder(folder_of(&path)).map_err(Trouble::with("make durable", &path))?;
                Ok(Some(size))
            }
            Err(error) => self.absence(&path, error)?.map_or(Ok(None), Err),
        }
    }

    /// Sends every blob; stops early when nobody listens any more.
    pub(super) fn list(&self, found: &mpsc::Sender<Result<BlobStat>>) {
        if let Err(error) = self.walk(found) {
            let _ = found.blocking_send(Err(error));
        }
    }

    fn walk(&self, found: &mpsc::Sender<Result<BlobStat>>) -> Result<()> {
        for outer in entries(&self.root.join("sha256"))? {
            for inner in entries(&outer)? {
                for path in entries(&inner)? {
                    let Some(stat) = self.blob_in(&path)? else { continue };
                    if found.blocking_send(Ok(stat)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        // Last, because a disk that was unmounted on the way looks like one with fewer blobs.
        self.check_mark()
    }

    /// The blob that this path names, if it names one.
    fn blob_in(&self, path: &Path) -> Result<Option<BlobStat>> {
        let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        let Some(blob) = name.and_then(blob_at) else { return Ok(None) };
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(BlobStat { blob, size: metadata.len() })),
            Err(error) => self.absence(path, error)?.map_or(Ok(None), Err),
        }
    }

    /// What an error means: `None` that there is nothing at this path, `Some` trouble. Fails when the whole store is away.
    fn absence(&self, path: &Path, error: io::Error) -> Result<Option<Error>> {
        if error.kind() != ErrorKind::NotFound {
            return Ok(Some(Trouble::with("open", path)(error)));
        }
        self.check_mark().map(|()| None)
    }

    /// Fails when the store is not there, such as when its disk is not mounted.
    pub(super) fn check_mark(&self) -> Result<()> {
        let mark = self.mark();
        fs::metadata(&mark).map(drop).map_err(Trouble::with("find (is the disk mounted?)", &mark))
    }

    fn mark(&self) -> PathBuf {
        self.root.join(MARK)
    }

    /// Where files are written before they have a name; on the same file system as the blobs, and never listed.
    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join(TEMPORARY)
    }

    /// Makes an empty directory a store. One that holds something else is somebody else's, or a wrong path.
    fn set_mark(&self) -> Result<()> {
        let ours = [MARK, TEMPORARY, "sha256", "lost+found"].map(OsStr::new);
        let stranger =
            entries(&self.root)?.into_iter().find(|path| path.file_name().is_none_or(|name| !ours.contains(&name)));
        if let Some(path) = stranger {
            let why = "the directory is neither empty nor a blob store: choose another one";
            return Err(Trouble::with("make a blob store beside", &path)(io::Error::other(why)));
        }
        let mark = self.mark();
        let written = File::create(&mark).and_then(|mut file| {
            file.write_all(MARK_TEXT)?;
            file.sync_all()?;
            sync_folder(&self.root)
        });
        written.map_err(Trouble::with("write", &mark))
    }
}

/// A part of an open blob, or all of it.
fn read_from(file: Arc<File>, size: u64, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
    let range = part_of(blob, range, size)?;
    Ok(BlobRead { size, body: BlobBody::File { file, range, original: None } })
}

fn size_of(blob: &Sha256, metadata: &fs::Metadata) -> Result<u64> {
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    Err(Error::BlobCorrupt { blob: *blob, problem: "there is something in its place that is no file".to_owned() })
}

/// What is in a folder; nothing if there is no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = || fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    match paths() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        listed => listed.map_err(Trouble::with("list", folder)),
    }
}

/// Removes what puts left that did not end. One that runs has written to its file within the last day.
fn sweep(temporary: &Path) -> io::Result<()> {
    let Some(oldest) = SystemTime::now().checked_sub(KEEP_FOR) else { return Ok(()) };
    for entry in fs::read_dir(temporary)? {
        let entry = entry?;
        // Another process may be sweeping too: what is gone is no trouble.
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let ours = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_FILE.as_bytes());
        if ours && modified.is_ok_and(|modified| modified < oldest) {
            fs::remove_file(entry.path()).or_else(unless(ErrorKind::NotFound))?;
        }
    }
    Ok(())
}

/// For `or_else`: lets one kind of error pass as success.
pub(super) fn unless(kind: ErrorKind) -> impl FnOnce(io::Error) -> io::Result<()> {
    move |error| if error.kind() == kind { Ok(()) } else { Err(error) }
}

/// The file that says that the directory is the store, and not an empty mount point.
const MARK: &str = "distmirror-blobs";

const MARK_TEXT: &[u8] = b"This directory is a blob store of distmirror. Without this file it counts as unavailable.\n";

const TEMPORARY: &str = "tmp";

/// How the names of temporary files begin.
pub(super) const TEMPORARY_FILE: &str = ".tmp-";

const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);

/// How many small blobs are kept open, and for how long: whoever moves the folder away is believed after that.
const KEEP_OPEN: u64 = 64;
const KEEP_OPEN_FOR: Duration = Duration::from_secs(1);

/// What counts as small. Larger files have readers of their own, since the kernel reads ahead for each open file.
const SMALL_BYTES: u64 = 1024 * 1024;
