//! Files that change, and streams that are not what they should be.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{FutureExt, future::join_all};

use super::*;

const RIGHT: &[u8] = b"the right bytes";
const WRONG: &[u8] = b"the wrong bytes";

/// A file with these bytes. The folder must be kept.
fn file_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

async fn open(verifier: &Verifier, path: &Path) -> Result<Arc<File>> {
    verifier.file(Sha256::of(RIGHT), File::open(path).unwrap().into(), RIGHT.len() as u64).await
}

/// Whether the file has to be read for it.
async fn reads(verifier: &Verifier, path: &Path) -> Result<bool> {
    let file = File::open(path).unwrap();
    let identity = Identity::of(&file.metadata().unwrap());
    let read = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&read);
    let verify = move || {
        noted.store(true, Ordering::Relaxed);
        verify_file(&Sha256::of(RIGHT), &file, RIGHT.len() as u64)
    };
    verifier.once(Sha256::of(RIGHT), identity, verify).await?;
    Ok(read.load(Ordering::Relaxed))
}

/// Writes over the beginning of a file. Not at once: the times in a file system move in steps.
fn write_over(path: &Path, bytes: &[u8]) {
    std::thread::sleep(Duration::from_millis(20));
    OpenOptions::new().write(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn is_corrupt<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::BlobCorrupt { .. }))
}

#[tokio::test]
async fn a_file_is_hashed_once() {
    let (_folder, path) = file_with(RIGHT);
    let verifier = Verifier::new(10);
    assert!(reads(&verifier, &path).await.unwrap());
    assert!(!reads(&verifier, &path).await.unwrap(), "it was verified before");
    assert!(reads(&Verifier::new(10), &path).await.unwrap(), "but not by somebody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_hash_a_file_once() {
    let (_folder, path) = file_with(RIGHT);
    let verifier = Verifier::new(10);
    let all = join_all((0..50).map(|_| reads(&verifier, &path))).await;
    assert_eq!(all.iter().filter(|read| *read.as_ref().unwrap()).count(), 1);
}

#[tokio::test]
async fn a_file_that_was_changed_in_place_is_caught() {
    let (_folder, path) = file_with(RIGHT);
    let verifier = Verifier::new(10);
    open(&verifier, &path).await.unwrap();
    write_over(&path, WRONG);
    let opened = open(&verifier, &path).await;
    assert!(is_corrupt(&opened), "{opened:?}");
    assert!(is_corrupt(&open(&verifier, &path).await), "and it is remembered as good by nobody");
    write_over(&path, RIGHT);
    assert!(reads(&verifier, &path).await.unwrap(), "once mended it is good again");
}

#[tokio::test]
async fn a_file_in_its_place_is_another_file() {
    let (folder, path) = file_with(RIGHT);
    let verifier = Verifier::new(10);
    open(&verifier, &path).await.unwrap();
    let other = folder.path().join("other");
    std::fs::write(&other, WRONG).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert!(is_corrupt(&open(&verifier, &path).await));
}

#[tokio::test]
async fn a_file_of_another_size_is_caught() {
    for bytes in [&RIGHT[1..], b"", b"the right bytes!"] {
        let (_folder, path) = file_with(bytes);
        let opened = open(&Verifier::new(10), &path).await;
        let told = format!("{} bytes", bytes.len());
        assert!(matches!(&opened, Err(Error::BlobCorrupt { problem, .. }) if problem.contains(&told)), "{opened:?}");
    }
}

/// A file that cannot be read says nothing about the blob.
#[tokio::test]
async fn trouble_with_reading_is_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(&Verifier::new(10), folder.path()).await;
    assert!(matches!(opened, Err(Error::StorageUnavailable(_))), "a folder cannot be read: {opened:?}");
}

/// What comes out of a stream of these pieces, and how it ends.
fn passed(pieces: &[&'static str]) -> (String, Option<Error>) {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
    let body = stream(Sha256::of(RIGHT), RIGHT.len() as u64, stream::iter(pieces).boxed());
    let out: Vec<_> = body.collect().now_or_never().expect("all pieces are here");
    let (mut text, mut error) = (String::new(), None);
    for piece in out {
        assert!(error.is_none(), "after an error nothing follows");
        match piece {
            Ok(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            Err(found) => error = Some(found),
        }
    }
    (text, error)
}

#[test]
fn a_stream_of_the_right_bytes_passes() {
    for pieces in [&["the right bytes"][..], &["the ", "right ", "bytes"], &["", "the right", " bytes", ""]] {
        let (text, error) = passed(pieces);
        assert!(text.as_bytes() == RIGHT && error.is_none(), "{pieces:?}: {text} {error:?}");
    }
}

#[test]
fn a_stream_of_other_bytes_never_passes_whole() {
    for (pieces, before) in [
        (&["the wrong bytes"][..], ""),
        (&["the ", "wrong ", "bytes"], "the wrong "),
        (&["the right bytes!"], ""),
        (&["the right", " bytes!", "!"], "the right"),
        (&["the ", "right"], "the right"),
        (&[], ""),
    ] {
        let (text, error) = passed(pieces);
        assert_eq!(text, before, "{pieces:?}");
        assert!(matches!(error, Some(Error::BlobCorrupt { .. })), "{pieces:?}: {error:?}");
    }
}

#[test]
fn trouble_on_the_way_ends_a_stream() {
    let pieces = [Ok(Bytes::from_static(b"the ")), Err(Error::storage("reset")), Ok(Bytes::from_static(b"right"))];
    let body = stream(Sha256::of(RIGHT), RIGHT.len() as u64, stream::iter(pieces).boxed());
    let out: Vec<_> = body.collect().now_or_never().expect("all pieces are here");
    assert!(matches!(out[..], [Ok(_), Err(Error::StorageUnavailable(_))]), "{out:?}");
}
