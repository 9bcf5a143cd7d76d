use super::*;
use crate::{Algorithm, Digest, memory::MemoryBlobStore};

fn intake(folder: &Path, max_bytes: u64) -> (Intake, Arc<MemoryBlobStore>) {
    let blobs = Arc::new(MemoryBlobStore::new());
    let store: Arc<dyn BlobStore> = Arc::<MemoryBlobStore>::clone(&blobs);
    (Intake::open(folder, store, max_bytes).unwrap(), blobs)
}

fn noise(size: usize) -> Bytes {
    (0..size).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn whatever_its_size_a_blob_arrives_and_leaves_no_debris() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, blobs) = intake(folder.path(), u64::MAX);
    for size in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 7] {
        let data = noise(size);
        let mut spool = intake.spool("a").await.unwrap();
        for piece in data.chunks(100_000) {
            spool.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let received = spool.finish(&Checksums::none()).await.unwrap();
        assert_eq!(received, Received { digests: Digests::of(&data), size: size as u64 });
        assert_eq!(blobs.stat(&received.digests.sha256).await.unwrap(), Some(size as u64));
        assert_eq!(files(folder.path()), 0, "{size}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, blobs) = intake(folder.path(), u64::MAX);
    let expected = Checksums::new([Digest::new(Algorithm::Sha256, &[7; 32]).unwrap()]).unwrap();
    for size in [10, 2 * PIECE_BYTES] {
        let mut spool = intake.spool("a").await.unwrap();
        spool.write(noise(size)).await.unwrap();
        let error = spool.finish(&expected).await.unwrap_err().to_string();
        assert!(error.contains(&"07".repeat(32)) && error.contains(&Digests::of(&noise(size)).sha256.hex()), "{error}");
        assert_eq!(blobs.stat(&Digests::of(&noise(size)).sha256).await.unwrap(), None);
        assert_eq!(files(folder.path()), 0);
    }
}

#[tokio::test]
async fn every_declared_checksum_counts_not_the_strongest_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, blobs) = intake(folder.path(), u64::MAX);
    let right = Digests::of(b"bytes");
    let wrong = Digests::of(b"other").get(Algorithm::Md5);
    let expected = Checksums::new([right.get(Algorithm::Sha256), wrong]).unwrap();
    let error = intake.take_in(Bytes::from_static(b"bytes"), &expected).await.unwrap_err().to_string();
    assert!(error.contains(&wrong.to_string()) && error.contains(&right.get(Algorithm::Md5).to_string()), "{error}");
    assert_eq!(blobs.stat(&right.sha256).await.unwrap(), None);
}

#[tokio::test]
async fn an_interrupted_transfer_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, _) = intake(folder.path(), u64::MAX);
    let data = noise(3 * PIECE_BYTES);
    let mut spool = intake.spool("a").await.unwrap();
    spool.restart(Some("\"tag\"".into())).await.unwrap();
    spool.write(data.slice(..2 * PIECE_BYTES)).await.unwrap();
    drop(spool.idle().await.unwrap());
    let mut spool = intake.spool("a").await.unwrap();
    assert_eq!((spool.received(), spool.validator()), (2 * PIECE_BYTES as u64, Some("\"tag\"")));
    spool.write(data.slice(2 * PIECE_BYTES..)).await.unwrap();
    assert_eq!(spool.finish(&Checksums::none()).await.unwrap().digests, Digests::of(&data));
}

#[tokio::test]
async fn an_attempt_that_failed_keeps_all_that_came_but_only_with_a_validator() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, _) = intake(folder.path(), u64::MAX);
    for (validator, size) in [(Some("\"1\""), 10), (Some("\"2\""), PIECE_BYTES + 10), (None, PIECE_BYTES + 10)] {
        let mut spool = intake.spool("a").await.unwrap();
        spool.restart(validator.map(str::to_owned)).await.unwrap();
        spool.write(noise(size)).await.unwrap();
        spool.keep().await.unwrap();
        let spool = intake.spool("a").await.unwrap();
        let kept = if validator.is_some() { size as u64 } else { 0 };
        assert_eq!((spool.received(), spool.validator()), (kept, validator));
    }
    assert_eq!(files(folder.path()), 0);
}

/// What a loss of power may make of files that were not synced, and a kill between two writes.
#[tokio::test]
async fn bytes_that_are_not_those_that_came_are_not_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, _) = intake(folder.path(), u64::MAX);
    let data = noise(2 * PIECE_BYTES);
    let path = folder.path().join("a.part");
    let zeros_within = [&data[..PIECE_BYTES], &[0; PIECE_BYTES]].concat();
    let unmarked = [&data[..], b"more"].concat();
    for (found, kept) in [
        (data.to_vec(), data.len()),
        (unmarked, data.len()),
        (zeros_within, 0),
        (vec![0; data.len()], 0),
        (data[..PIECE_BYTES].to_vec(), 0),
        (Vec::new(), 0),
    ] {
        let mut spool = intake.spool("a").await.unwrap();
        spool.restart(Some("\"tag\"".into())).await.unwrap();
        spool.write(data.clone()).await.unwrap();
        spool.keep().await.unwrap();
        fs::write(&path, &found).unwrap();
        let spool = intake.spool("a").await.unwrap();
        assert_eq!((spool.received(), spool.validator().is_some()), (kept as u64, kept > 0), "{}", found.len());
        assert_eq!(spool.finish(&Checksums::none()).await.unwrap().digests, Digests::of(&data[..kept]));
    }
}

#[tokio::test]
async fn without_a_validator_nothing_is_resumed_and_two_writers_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, _) = intake(folder.path(), u64::MAX);
    let mut first = intake.spool("a").await.unwrap();
    first.write(noise(2 * PIECE_BYTES)).await.unwrap();
    let mut second = intake.spool("a").await.unwrap();
    assert_eq!(second.received(), 0);
    second.write(noise(PIECE_BYTES)).await.unwrap();
    assert_eq!(second.finish(&Checksums::none()).await.unwrap().digests, Digests::of(&noise(PIECE_BYTES)));
    assert_eq!(first.finish(&Checksums::none()).await.unwrap().digests, Digests::of(&noise(2 * PIECE_BYTES)));
}

#[tokio::test]
async fn what_does_not_fit_on_the_disk_is_refused_before_it_comes_or_while_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, blobs) = intake(folder.path(), u64::MAX);
    let limit = 4 * PIECE_BYTES as u64;
    let intake = intake.limited(SpoolLimits { max_bytes: limit, keep_free: 0 });
    let mut first = intake.spool("a").await.unwrap();
    let refused = first.expect(limit + 1).await.unwrap_err();
    assert!(matches!(refused, Error::Spool { .. }) && refused.chain().contains("no space left"), "{refused}");

    let mut first = intake.spool("a").await.unwrap();
    first.expect(limit / 2).await.unwrap();
    let mut second = intake.spool("b").await.unwrap();
    second.expect(limit / 2).await.unwrap();
    let mut third = intake.clone().spool("c").await.unwrap();
    assert!(third.expect(limit / 2).await.is_err(), "all of it is claimed");
    let mut unannounced = intake.spool("d").await.unwrap();
    unannounced.write(noise(10)).await.unwrap();
    unannounced.write(noise(PIECE_BYTES)).await.unwrap();
    assert!(unannounced.write(noise(PIECE_BYTES)).await.is_err(), "no room was left for what came before");
    drop(unannounced);

    first.write(noise(2 * PIECE_BYTES)).await.unwrap();
    let received = first.finish(&Checksums::none()).await.unwrap();
    assert_eq!(blobs.stat(&received.digests.sha256).await.unwrap(), Some(limit / 2));
    let mut third = intake.spool("c").await.unwrap();
    third.expect(limit / 2).await.unwrap();
    drop((second, third));
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn too_much_is_refused_while_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (intake, _) = intake(folder.path(), 100);
    let mut spool = intake.spool("a").await.unwrap();
    spool.write(noise(100)).await.unwrap();
    assert!(matches!(spool.write(noise(1)).await, Err(Error::TooLarge { limit: 100 })));
}
