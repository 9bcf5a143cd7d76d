//! What lies beside a spool file: upstream's validator, and up to where the bytes are known by their digest.
//!
//! Nothing in the spool is synced while it grows, so after the power was cut any part of a file may be old, zero or gone. The
//! next attempt goes on only from bytes that have the digest they had when they came, which costs no wait for a disk.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use crate::Sha256;

/// The file beside a spool file, while that is written.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    at: u64,
}

impl Mark {
    /// Writes the validator for bytes that are to come.
    pub(super) fn create(path: &Path, validator: &str) -> io::Result<Self> {
        let file = File::create(path)?;
        let line = format!("{validator}\n");
        file.write_all_at(line.as_bytes(), 0)?;
        Ok(Self { file, at: line.len() as u64 })
    }

    /// Takes up the file of an earlier attempt.
    pub(super) fn open(path: &Path, left: &Left) -> io::Result<Self> {
        let file = File::options().write(true).open(path)?;
        Ok(Self { file, at: left.validator.len() as u64 + 1 })
    }

    /// Says which digest so many bytes have, in one write of always the same size: it is whole after a kill, too.
    pub(super) fn set(&self, bytes: u64, sha256: &Sha256) -> io::Result<()> {
        self.file.write_all_at(format!("{bytes:020} {}", sha256.hex()).as_bytes(), self.at)
    }
}

/// What an earlier attempt left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) validator: String,
    pub(super) bytes: u64,
    pub(super) sha256: Sha256,
}

impl Left {
    /// Reads it; `None` if there is nothing to go on from.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (validator, mark) = text.rsplit_once('\n')?;
        let (bytes, hex) = mark.split_once(' ')?;
        Some(Self { validator: validator.to_owned(), bytes: bytes.parse().ok()?, sha256: hex.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.validator");
        let mark = Mark::create(&path, "\"v1\" 10").unwrap();
        assert_eq!(Left::read(&path), None, "no bytes yet");
        for (bytes, data) in [(7, "before"), (u64::MAX, "after")] {
            mark.set(bytes, &Sha256::of(data.as_bytes())).unwrap();
            let left = Left { validator: "\"v1\" 10".to_owned(), bytes, sha256: Sha256::of(data.as_bytes()) };
            assert_eq!(Left::read(&path).as_ref(), Some(&left));
            Mark::open(&path, &left).unwrap().set(bytes, &left.sha256).unwrap();
            assert_eq!(Left::read(&path), Some(left));
        }
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(Left::read(&path), None, "{length}");
            fs::write(&path, [&whole[..length], &vec![0; whole.len() - length][..]].concat()).unwrap();
            assert_eq!(Left::read(&path), None, "zeros from {length}");
        }
    }
}
