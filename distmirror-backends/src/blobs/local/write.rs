//! How a blob gets into the directory so that it is there whole, and survives the power being cut, or is not there at all:
//! fsync of the file, rename to its name, fsync of the folder. Everything here blocks.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{PoisonError, Weak},
};

use bytes::Bytes;
use distmirror_core::{
    Error, Payload, Result, Sha256,
    blob::blob_path,
    durable::{OPEN, folder_of, make_folder, sync_folder},
};
use uuid::Uuid;

use super::{
    Trouble,
    folder::{Folder, TEMPORARY_FILE},
};

impl Folder {
    /// Keeps a blob, unless the caller went away: then the file may be somebody else's by now.
    pub(super) fn put(&self, blob: &Sha256, payload: Payload, caller: &Weak<()>) -> Result<()> {
        // Before anything is written: what is written below an empty mount point is lost when the disk is back.
        self.check_mark()?;
        self.make_folders(blob)?;
        let target = self.root.join(blob_path(blob));
        let placed = match payload {
            Payload::Bytes(bytes) => self.write(&bytes, &target, caller),
            Payload::File { path, size } => self.take(&path, size, &target, caller),
        };
        if placed.is_err() {
            // Perhaps because somebody removed the folder: the next put makes it again.
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        placed
    }

    fn write(&self, bytes: &Bytes, target: &Path, caller: &Weak<()>) -> Result<()> {
        let mut temporary = Temporary::create(&self.temporary())?;
        temporary.file.write_all(bytes).map_err(Trouble::with("write", &temporary.path))?;
        place(&temporary.file, &temporary.path, target, caller).map_err(Trouble::with("write", target))
    }

    /// Moves a file into place, or copies it from another file system.
    fn take(&self, path: &Path, size: u64, target: &Path, caller: &Weak<()>) -> Result<()> {
        let file = open_payload(path, size).map_err(|source| spool_error(path, source))?;
        match place(&file, path, target, caller) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => self.copy(file, path, size, target, caller),
            placed => placed.map_err(Trouble::with("move a file to", target)),
        }
    }

    fn copy(&self, mut file: File, path: &Path, size: u64, target: &Path, caller: &Weak<()>) -> Result<()> {
        let mut temporary = Temporary::create(&self.temporary())?;
        let copied = io::copy(&mut file, &mut temporary.file).map_err(Trouble::with("write", &temporary.path))?;
        if copied != size {
            return Err(spool_error(path, other_size(copied, size)));
        }
        place(&temporary.file, &temporary.path, target, caller).map_err(Trouble::with("write", target))
    }

    /// Makes the two folders of a blob below the root. The root itself is never made here: it may be a mount point.
    fn make_folders(&self, blob: &Sha256) -> Result<()> {
        let [first, second, ..] = *blob.as_bytes();
        let all = self.root.join("sha256");
        let outer = all.join(format!("{first:02x}"));
        let inner = outer.join(format!("{second:02x}"));
        self.make_durable((first, None), &[&all, &outer])?;
        self.make_durable((first, Some(second)), &[&inner])
    }

    /// Makes folders, from the outer to the inner one, unless this process knows that they survive the power being cut.
    fn make_durable(&self, key: (u8, Option<u8>), folders: &[&PathBuf]) -> Result<()> {
        if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return Ok(());
        }
        for folder in folders {
            make_folder(folder, OPEN).map_err(Trouble::with("create", folder))?;
        }
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        Ok(())
    }
}

/// Gives a file its name, over whatever has that name: a blob that is there may be damaged.
fn place(file: &File, path: &Path, target: &Path, caller: &Weak<()>) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.sync_all()?;
    if caller.strong_count() == 0 {
        return Err(io::Error::other("nobody waits for it any more"));
    }
    fs::rename(path, target)?;
    sync_folder(folder_of(target))
}

/// A file that has no name yet; removed in the end unless it got one.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("{TEMPORARY_FILE}{}", Uuid::new_v4().simple()));
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(Trouble::with("create", &path))?;
        Ok(Self { path, file })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left; what cannot be removed is swept a day later.
        let _ = fs::remove_file(&self.path);
    }
}

fn open_payload(path: &Path, size: u64) -> io::Result<File> {
    let file = File::open(path)?;
    let found = file.metadata()?.len();
    if found == size { Ok(file) } else { Err(other_size(found, size)) }
}

fn other_size(found: u64, size: u64) -> io::Error {
    io::Error::other(format!("it has {found} bytes in place of {size}"))
}

fn spool_error(path: &Path, source: io::Error) -> Error {
    Error::Spool { path: path.display().to_string(), source }
}

/// Readable by whoever serves the store or backs it up.
const FILE_MODE: u32 = 0o644;
