//! Folders that survive the power being cut: a file is there afterwards only if the folder that names it is, and so on up to a
//! folder that was there before. Everything here blocks.

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Makes a folder unless it is there, and its name durable in either case: whoever made it may have been killed before that.
///
/// # Errors
/// What the operating system refused; also when the folder that is to name it is not there.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(folder_of(path)),
    }
}

/// Makes a folder as [`make_folder`] does, and with the same mode those above it that are not there.
///
/// # Errors
/// What the operating system refused.
pub fn make_folders(path: &Path, mode: u32) -> io::Result<()> {
    let above = folder_of(path);
    if !above.is_dir() {
        make_folders(above, mode)?;
    }
    make_folder(path, mode)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// What the operating system refused.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that names this path.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// For folders without secrets: the umask decides who may read them.
pub const OPEN: u32 = 0o777;
