//! How much of a disk may be used: some of it stays free for others.

use std::{io, path::Path};

/// Whether so many bytes more may be written to the disk of this folder, of which `keep_free` bytes stay free, though never
/// more than a twentieth of it.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] with what is there and what is wanted, and what the operating system refused.
pub fn admits(folder: &Path, bytes: u64, keep_free: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(folder)?;
    let [free, all] = [disk.f_bavail, disk.f_blocks].map(|blocks| blocks.saturating_mul(disk.f_frsize));
    fits(bytes, free, keep_free.min(all / 20)).map_err(full)
}

fn fits(bytes: u64, free: u64, keep_free: u64) -> Result<(), String> {
    if free >= bytes.saturating_add(keep_free) {
        return Ok(());
    }
    Err(format!(
        "no space left for it: {bytes} bytes are to come, {free} are free on the disk, and {keep_free} of them have to stay \
         free"
    ))
}

pub(crate) fn full(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_the_disk_stays_free() {
        assert_eq!(fits(90, 100, 10), Ok(()));
        let refused = fits(91, 100, 10).unwrap_err();
        assert!(refused.contains("91 bytes are to come, 100 are free") && refused.contains("10 of them"), "{refused}");
        let folder = tempfile::tempdir().unwrap();
        let refused = admits(folder.path(), 1 << 60, 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        admits(folder.path(), 1, 0).unwrap();
    }
}
