//! The suite of [`BlobStore`]: every promise in its documentation, each in a function of its own.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{TryStreamExt, future};
use uuid::Uuid;

use crate::{BlobStat, BlobStore, Error, Payload, Result, Sha256};

/// Runs every case on stores that `fresh` makes: each of them empty, and no two the same.
///
/// Needs a Tokio runtime. Three things cannot be seen through the trait and are left to the tests of each store; the
/// suite names them in the log: that a blob survives the power being cut, that damaged bytes are replaced, and that
/// trouble does not look like absence.
///
/// # Panics
/// At the first promise that does not hold, naming it.
pub async fn blob_store<S, F>(fresh: F)
where
    S: BlobStore + ?Sized,
    F: AsyncFn() -> Arc<S>,
{
    an_empty_store_lists_nothing(&*fresh().await).await;
    what_is_put_comes_back(&*fresh().await).await;
    a_file_comes_back(&*fresh().await).await;
    put_is_idempotent(&*fresh().await).await;
    ranges_are_exact(&*fresh().await).await;
    an_empty_blob_has_an_empty_range(&*fresh().await).await;
    a_range_outside_fails(&*fresh().await).await;
    what_is_not_there_is_missing(&*fresh().await).await;
    list_names_every_blob_once(&*fresh().await).await;
    a_put_without_its_file_leaves_nothing(&*fresh().await).await;
    a_put_whose_file_ends_early_leaves_nothing(&*fresh().await).await;
    many_may_put_the_same_blob_at_once(fresh().await).await;
    a_put_that_is_dropped_is_all_or_nothing(&*fresh().await).await;
    for (case, reason) in SKIPPED {
        tracing::info!(case, reason, "skipped");
    }
}

/// What no store can be asked through the trait.
const SKIPPED: [(&str, &str); 3] = [
    ("a_blob_survives_a_power_cut", "promise 2: power is not cut through the trait"),
    ("put_replaces_damaged_bytes", "promise 3: the trait cannot damage a blob"),
    ("trouble_does_not_look_like_absence", "promise 5: the trait cannot make trouble"),
];

async fn an_empty_store_lists_nothing<S: BlobStore + ?Sized>(store: &S) {
    assert_eq!(listed(store).await, [], "promise 6: an empty store names no blob");
}

async fn what_is_put_comes_back<S: BlobStore + ?Sized>(store: &S) {
    for size in SIZES {
        let data = noise(size, 1);
        let blob = Sha256::of(&data);
        let put = store.put(&blob, Payload::Bytes(data.clone())).await;
        kept(put, &format!("put takes {size} bytes"));
        assert_whole(store, &blob, &data, "put keeps the bytes").await;
    }
}

async fn a_file_comes_back<S: BlobStore + ?Sized>(store: &S) {
    for size in SIZES {
        let data = noise(size, 2);
        let blob = Sha256::of(&data);
        let file = SpooledFile::with(&data);
        kept(store.put(&blob, file.payload()).await, &format!("put takes a file of {size} bytes"));
        drop(file);
        assert_whole(store, &blob, &data, "put keeps the bytes of a file, also when the caller removes it").await;
    }
}

async fn put_is_idempotent<S: BlobStore + ?Sized>(store: &S) {
    let data = noise(70_000, 3);
    let blob = Sha256::of(&data);
    let file = SpooledFile::with(&data);
    for payload in [Payload::Bytes(data.clone()), Payload::Bytes(data.clone()), file.payload()] {
        kept(store.put(&blob, payload).await, "promise 3: put of a blob that is there succeeds");
        assert_whole(store, &blob, &data, "promise 3: put of a blob that is there leaves the right bytes").await;
    }
    assert_eq!(listed(store).await.len(), 1, "promise 6: a blob that was put three times is named once");
}

async fn ranges_are_exact<S: BlobStore + ?Sized>(store: &S) {
    let data = noise(LARGE, 4);
    let size = LARGE as u64;
    let blob = Sha256::of(&data);
    kept(store.put(&blob, Payload::Bytes(data.clone())).await, "put");
    let middle = size / 2 - 40_000..size / 2 + 40_001;
    for range in [0..1, size - 1..size, 0..size, middle, 1..size, 0..size - 1, 5..5, size..size] {
        let read = kept(store.get(&blob, Some(range.clone())).await, &format!("promise 4: range {range:?} of {size}"));
        assert_eq!(read.size, size, "a range does not change the size of the blob");
        let expected = &data[range.start as usize..range.end as usize];
        let found = kept(read.body.collect().await, "promise 4: a range can be read");
        assert!(found == expected, "promise 4: range {range:?} of {size} gives exactly those bytes");
    }
}

async fn an_empty_blob_has_an_empty_range<S: BlobStore + ?Sized>(store: &S) {
    let blob = Sha256::of(b"");
    kept(store.put(&blob, Payload::Bytes(Bytes::new())).await, "put of an empty blob");
    let read = kept(store.get(&blob, Some(0..0)).await, "promise 4: the empty range of an empty blob");
    assert_eq!(read.size, 0, "an empty blob has no bytes");
    assert_eq!(kept(read.body.collect().await, "promise 4: an empty range can be read"), Bytes::new());
}

#[expect(clippy::reversed_empty_ranges, reason = "a range that runs backwards must be refused too")]
async fn a_range_outside_fails<S: BlobStore + ?Sized>(store: &S) {
    let data = noise(1000, 5);
    let blob = Sha256::of(&data);
    kept(store.put(&blob, Payload::Bytes(data)).await, "put");
    for range in [0..1001, 999..1001, 1000..1001, 5000..6000, 1001..1001, 10..9] {
        let error = store.get(&blob, Some(range.clone())).await.err();
        assert!(error.is_some(), "promise 4: range {range:?} lies outside 1000 bytes and fails");
        let missing = matches!(error, Some(Error::BlobMissing { .. }));
        assert!(!missing, "promise 5: a blob is not missing because range {range:?} lies outside it");
    }
}

async fn what_is_not_there_is_missing<S: BlobStore + ?Sized>(store: &S) {
    let absent = Sha256::of(b"absent");
    assert_absent(store, &absent, "in an empty store").await;
    kept(store.put(&Sha256::of(b"other"), Payload::Bytes("other".into())).await, "put");
    assert_absent(store, &absent, "beside another blob").await;
}

async fn list_names_every_blob_once<S: BlobStore + ?Sized>(store: &S) {
    let mut expected = Vec::new();
    for number in 0..30 {
        let data = noise(number * 10, number);
        let blob = Sha256::of(&data);
        kept(store.put(&blob, Payload::Bytes(data)).await, "put");
        expected.push(BlobStat { blob, size: number as u64 * 10 });
    }
    expected.sort_by_key(|stat| stat.blob);
    assert_eq!(listed(store).await, expected, "promise 6: list names every blob once, with its size, and nothing else");
}

async fn a_put_without_its_file_leaves_nothing<S: BlobStore + ?Sized>(store: &S) {
    for size in [0, 1000, LARGE] {
        let blob = Sha256::of(&size.to_le_bytes());
        let payload = Payload::File { path: spool_path(), size: size as u64 };
        let failed = store.put(&blob, payload).await.is_err();
        assert!(failed, "promise 1: put of a file of {size} bytes that is not there fails");
        assert_absent(store, &blob, "after its put failed").await;
    }
    assert_eq!(listed(store).await, [], "promise 1: a put that failed leaves nothing to list");
}

async fn a_put_whose_file_ends_early_leaves_nothing<S: BlobStore + ?Sized>(store: &S) {
    for (size, found) in [(1, 0), (1000, 999), (LARGE, LARGE - 1)] {
        let blob = Sha256::of(&size.to_le_bytes());
        let file = SpooledFile::with(&noise(found, 7));
        let payload = Payload::File { path: file.0.clone(), size: size as u64 };
        let failed = store.put(&blob, payload).await.is_err();
        assert!(failed, "promise 1: put of a file that has {found} bytes in place of {size} fails");
        assert_absent(store, &blob, "after its put failed").await;
    }
    assert_eq!(listed(store).await, [], "promise 1: a put that failed leaves nothing to list");
}

async fn many_may_put_the_same_blob_at_once<S: BlobStore + ?Sized>(store: Arc<S>) {
    let data = noise(300_000, 8);
    let blob = Sha256::of(&data);
    let tasks = (0..16).map(|number| {
        let (store, data) = (Arc::clone(&store), data.clone());
        tokio::spawn(async move {
            let file = SpooledFile::with(&data);
            let payload = if number % 2 == 0 { file.payload() } else { Payload::Bytes(data.clone()) };
            assert_whole_or_absent(&*store, &blob, &data, "while others put it").await;
            kept(store.put(&blob, payload).await, "promise 3: many may put the same blob at once");
            assert_whole(&*store, &blob, &data, "promise 1: others that put the same blob do not disturb it").await;
        })
    });
    for joined in future::join_all(tasks).await {
        joined.unwrap_or_else(|error| panic!("many may put the same blob at once: {error}"));
    }
    assert_eq!(listed(&*store).await.len(), 1, "promise 6: a blob that many put is named once");
}

async fn a_put_that_is_dropped_is_all_or_nothing<S: BlobStore + ?Sized>(store: &S) {
    for (number, after_ms) in [0, 2, 20].into_iter().enumerate() {
        let data = noise(LARGE, 20 + number);
        let blob = Sha256::of(&data);
        let file = SpooledFile::with(&data);
        let put = store.put(&blob, file.payload());
        // Whether it was quick enough to succeed does not matter.
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), put).await;
        drop(file);
        for _ in 0..3 {
            let when = format!("after its put was dropped at {after_ms} ms");
            assert_whole_or_absent(store, &blob, &data, &when).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kept(store.put(&blob, Payload::Bytes(data.clone())).await, "promise 3: put after one that was dropped");
        assert_whole(store, &blob, &data, "promise 3: put after one that was dropped").await;
    }
}

/// Get, stat and list agree that the blob has these bytes.
async fn assert_whole<S: BlobStore + ?Sized>(store: &S, blob: &Sha256, data: &Bytes, promise: &str) {
    let size = data.len() as u64;
    let read = kept(store.get(blob, None).await, promise);
    assert_eq!(read.size, size, "{promise}: the size of {blob}");
    let found = kept(read.body.collect().await, promise);
    assert!(found == data, "{promise}: {size} bytes of {blob}");
    assert_eq!(kept(store.stat(blob).await, promise), Some(size), "{promise}: stat of {blob}");
    let listed = listed(store).await;
    assert!(listed.contains(&BlobStat { blob: *blob, size }), "{promise}: {blob} is listed with its size");
}

async fn assert_whole_or_absent<S: BlobStore + ?Sized>(store: &S, blob: &Sha256, data: &Bytes, when: &str) {
    let found = match store.get(blob, None).await {
        Ok(read) => kept(read.body.collect().await, &format!("promise 1: {blob} can be read {when}")),
        Err(Error::BlobMissing { .. }) => return,
        Err(error) => panic!("promise 1: {blob} is whole or missing {when}: {}", error.chain()),
    };
    assert!(found == data, "promise 1: {blob} has {} of {} bytes {when}", found.len(), data.len());
}

async fn assert_absent<S: BlobStore + ?Sized>(store: &S, blob: &Sha256, when: &str) {
    for range in [None, Some(0..1), Some(0..0)] {
        let got = store.get(blob, range.clone()).await;
        let missing = matches!(&got, Err(Error::BlobMissing { blob: named }) if named == blob);
        assert!(missing, "promise 5: get of {range:?} of {blob} {when} is `BlobMissing`, not {got:?}");
    }
    let stat = kept(store.stat(blob).await, "promise 5: stat of what is not there succeeds");
    assert_eq!(stat, None, "promise 5: stat of {blob} {when}");
}

async fn listed<S: BlobStore + ?Sized>(store: &S) -> Vec<BlobStat> {
    let mut all: Vec<BlobStat> = kept(store.list().try_collect().await, "promise 6: list succeeds");
    all.sort_by_key(|stat| stat.blob);
    all
}

fn kept<T>(result: Result<T>, promise: &str) -> T {
    result.unwrap_or_else(|error| panic!("{promise}: {}", error.chain()))
}

/// Bytes that do not repeat where a store might cut them; another seed gives others.
fn noise(size: usize, seed: usize) -> Bytes {
    let block = |number: usize| Sha256::of(&[seed.to_le_bytes(), number.to_le_bytes()].concat());
    let mut data = Vec::with_capacity(size + NOISE_BLOCK);
    for number in 0..size.div_ceil(NOISE_BLOCK) {
        data.extend(block(number).as_bytes().repeat(NOISE_BLOCK / 32));
    }
    data.truncate(size);
    data.into()
}

/// A file such as a caller hands over; removed in the end, as a caller does.
struct SpooledFile(PathBuf);

impl SpooledFile {
    fn with(data: &[u8]) -> Self {
        let path = spool_path();
        std::fs::write(&path, data).unwrap_or_else(|error| panic!("cannot write `{}`: {error}", path.display()));
        Self(path)
    }

    fn payload(&self) -> Payload {
        let size = std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len());
        Payload::File { path: self.0.clone(), size }
    }
}

impl Drop for SpooledFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn spool_path() -> PathBuf {
    std::env::temp_dir().join(format!("distmirror-conformance-{}", Uuid::new_v4().simple()))
}

/// Nothing, the least, what fits into memory, and more than any store sends in one part.
const SIZES: [usize; 4] = [0, 1, 64 * 1024, LARGE];

const LARGE: usize = 12 * 1024 * 1024 + 7;

const NOISE_BLOCK: usize = 1024;
