//! Copies of hot blobs before an object store: what is copied, what comes from copies, and what goes wrong with them.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is their verdict")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use distmirror_backends::blobs::{BlobOptions, CacheOptions, CachedBlobStore, open};
use distmirror_core::{
    BlobBody, BlobRead, BlobStat, BlobStore, Payload, Result, Sha256, conformance,
    faulty::{Fault, Faults, FaultyBlobStore, How},
    memory::MemoryBlobStore,
};
use futures::{TryStreamExt, future::join_all, stream::BoxStream};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn s3_with_copies_keeps_every_promise() {
    let server = testkit::garage().await;
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU64::new(0);
    conformance::blob_store(async || {
        let options = BlobOptions { url: server.fresh_url(), options: BTreeMap::from_iter(server.options()) };
        let cache = folder.path().join(number.fetch_add(1, Ordering::Relaxed).to_string());
        let cached = CachedBlobStore::open(open(&options).await.unwrap(), limit(&cache, 1 << 30)).await.unwrap();
        Arc::new(FromCopies(cached))
    })
    .await;
}

/// A store that gives nothing but copies: it waits for them.
#[derive(Debug)]
struct FromCopies(CachedBlobStore);

#[async_trait]
impl BlobStore for FromCopies {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        self.0.put(blob, payload).await
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        for _ in 0..1000 {
            if matches!(self.0.get(blob, None).await?.body, BlobBody::File { .. }) {
                return self.0.get(blob, range).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("there never was a copy of {blob}");
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        self.0.stat(blob).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        self.0.list()
    }
}

#[tokio::test]
async fn what_is_read_twice_is_copied_and_then_read_without_the_store() {
    let site = Site::new(1 << 20).await;
    let blob = site.put(b"0123456789").await;
    assert!(site.streams(&blob, None).await, "the first time");
    assert!(site.streams(&blob, Some(5..10)).await && site.streams(&blob, Some(0..0)).await, "these do not count");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(site.copies(), [""; 0]);
    assert!(site.streams(&blob, Some(0..5)).await, "the second time it is not there yet");
    site.wait_for_copy(&blob).await;
    site.away(How::Before);
    for (range, bytes) in [(None, "0123456789"), (Some(0..10), "0123456789"), (Some(3..5), "34"), (Some(10..10), "")] {
        let read = site.store.get(&blob, range.clone()).await.unwrap();
        assert!(matches!(read.body, BlobBody::File { .. }), "{range:?}");
        assert_eq!((read.size, &*read.body.collect().await.unwrap()), (10, bytes.as_bytes()), "{range:?}");
    }
    assert!(site.store.get(&blob, Some(5..11)).await.is_err(), "no copy has that");
    for result in [site.store.stat(&blob).await.err(), site.store.list().try_collect::<Vec<_>>().await.err()] {
        assert!(result.is_some_and(|error| error.is_unavailable()), "the store itself is asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pass_over_everything_copies_nothing() {
    let site = Site::new(1 << 20).await;
    for number in 0..100_u32 {
        let blob = site.put(&number.to_le_bytes()).await;
        assert!(site.streams(&blob, None).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(site.copies(), [""; 0]);
    assert_eq!(site.faults.calls("get"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_make_one_copy() {
    let site = Site::new(1 << 30).await;
    let bytes = vec![7; 3 << 20];
    let blob = site.put(&bytes).await;
    let reads = join_all((0..100).map(|_| async { site.store.get(&blob, None).await.unwrap().body.collect().await }));
    assert!(reads.await.into_iter().all(|read| read.unwrap() == bytes));
    site.wait_for_copy(&blob).await;
    let from_store = site.faults.calls("get");
    assert!((3..=101).contains(&from_store), "{from_store} were asked of the store by 100 readers and one copy");
    assert!(!site.streams(&blob, None).await);
    assert_eq!(site.faults.calls("get"), from_store);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_never_take_more_than_they_may_and_what_was_used_last_stays() {
    let site = Site::new(10 * 100_000).await;
    let most = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let watch = std::thread::spawn({
        let (cache, most, ended) = (site.cache(), Arc::clone(&most), Arc::clone(&ended));
        move || {
            while !ended.load(Ordering::Relaxed) {
                most.fetch_max(bytes_in(&cache), Ordering::Relaxed);
            }
        }
    });
    let favourite = site.put(&[255; 100_000]).await;
    site.make_copy(&favourite).await;
    let mut others = Vec::new();
    for number in 0..40 {
        let other = site.put(&[number; 100_000]).await;
        site.make_copy(&other).await;
        assert!(!site.streams(&favourite, None).await, "what is used all the time stays");
        others.push(other);
    }
    ended.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    let most = most.load(Ordering::Relaxed);
    assert!((900_000..=1_000_000).contains(&most), "{most} bytes were there at some time");
    let mut expected: Vec<_> = others[31..].iter().chain([&favourite]).map(Sha256::hex).collect();
    expected.sort();
    assert_eq!(site.copies(), expected, "those that were used last");
    let large = site.put(&vec![1; 1_000_001]).await;
    for _ in 0..3 {
        assert!(site.streams(&large, None).await);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(site.copies(), expected, "nothing goes for what never fits");
}

#[tokio::test]
async fn what_is_being_read_stays_and_counts() {
    let site = Site::new(250_000).await;
    let (one, other, third) =
        (site.put(&[1; 100_000]).await, site.put(&[2; 100_000]).await, site.put(&[3; 200_000]).await);
    site.make_copy(&one).await;
    let reading = site.store.get(&one, None).await.unwrap();
    site.make_copy(&other).await;
    for _ in 0..3 {
        assert!(site.streams(&third, None).await);
    }
    site.wait_until("the other one went, to make room in vain", || site.copies() == [one.hex()]).await;
    assert!(site.streams(&third, None).await, "there is no room for it");
    assert_eq!(reading.body.collect().await.unwrap(), [1; 100_000][..]);
}

#[tokio::test]
async fn a_copy_that_is_not_as_it_was_is_thrown_away_and_made_again() {
    let site = Site::new(1 << 20).await;
    let blob = site.put(b"0123456789").await;
    let path = site.cache().join(blob.hex());
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("cut", |path| fs::write(path, "01234").unwrap()),
        ("longer", |path| fs::write(path, "0123456789a").unwrap()),
        ("a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (what, damage) in damages {
        site.make_copy(&blob).await;
        damage(&path);
        assert!(site.streams(&blob, Some(5..10)).await, "{what}");
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
        assert_eq!(site.copies(), [""; 0], "{what}");
    }
}

#[tokio::test]
async fn who_finds_a_copy_bad_reads_on_from_the_store_and_the_copy_goes() {
    let site = Site::new(1 << 20).await;
    let blob = site.put(b"0123456789").await;
    site.make_copy(&blob).await;
    // Its length and its place are those that it had: only who hashes it can tell.
    fs::write(site.cache().join(blob.hex()), "012345678X").unwrap();
    let read = site.store.get(&blob, None).await.unwrap();
    let BlobBody::File { original: Some(original), .. } = read.body else { panic!("a copy") };
    assert_eq!(original.open(4..10).await.unwrap().body.collect().await.unwrap(), b"456789"[..]);
    assert_eq!(site.copies(), [""; 0]);
    assert!(site.streams(&blob, None).await);
    site.wait_for_copy(&blob).await;
    assert_eq!(site.store.get(&blob, None).await.unwrap().body.collect().await.unwrap(), b"0123456789"[..]);
}

#[tokio::test]
async fn wrong_bytes_are_never_copied() {
    let site = Site::new(1 << 20).await;
    let blob = Sha256::of(b"right");
    site.inner.put(&blob, Payload::Bytes("wrong".into())).await.unwrap();
    for _ in 0..20 {
        assert!(site.streams(&blob, None).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!site.cache().join(blob.hex()).exists());
    }
    assert!(site.faults.calls("get") > 20, "it was tried");
}

#[tokio::test]
async fn a_copy_that_the_store_cuts_is_left_alone_and_tried_again() {
    let site = Site::new(1 << 20).await;
    let blob = site.put(b"0123456789").await;
    assert!(site.streams(&blob, None).await);
    // The reader's request, that of the copy, the first half of its bytes, and not the second.
    site.faults.arm(Fault { nth: 4, times: 1, how: How::Before });
    assert!(site.streams(&blob, None).await);
    site.wait_until("the copy was cut, and is gone", || site.faults.calls("read") == 2 && site.names() == [MARK]).await;
    site.make_copy(&blob).await;
    assert_eq!(site.copies(), [blob.hex()], "nothing is left of the first one");
}

#[tokio::test]
async fn trouble_with_the_disk_is_no_trouble_for_readers() {
    let site = Site::new(1 << 20).await;
    let (copied, other) = (site.put(b"copied").await, site.put(b"other").await);
    site.make_copy(&copied).await;
    fs::remove_dir_all(site.cache()).unwrap();
    for _ in 0..4 {
        for (blob, bytes) in [(&copied, "copied"), (&other, "other")] {
            let read = site.store.get(blob, None).await.unwrap();
            assert_eq!(read.body.collect().await.unwrap(), bytes.as_bytes());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Eight by readers, and not one more for each: the disk is left in peace.
    assert!(site.faults.calls("get") <= 8 + 3 + 2, "{}", site.faults.calls("get"));
}

#[tokio::test]
async fn copies_outlive_the_process_and_what_was_half_made_does_not() {
    let site = Site::new(1 << 20).await;
    let blob = site.put(b"0123456789").await;
    site.make_copy(&blob).await;
    let Site { folder, store, inner, faults } = site;
    drop(store);
    let cache = folder.path().join("cache");
    for debris in [format!("{}.part", Sha256::of(b"x").hex()), format!("{}.gone", Sha256::of(b"y").hex())] {
        fs::write(cache.join(debris), "debris").unwrap();
    }
    fs::write(cache.join("notes.txt"), "somebody else's").unwrap();
    faults.arm(Fault { nth: 1, times: u64::MAX, how: How::Before });
    let away = Arc::new(FaultyBlobStore::new(inner, faults));
    let store = CachedBlobStore::open(away, limit(&cache, 1 << 20)).await.unwrap();
    assert_eq!(store.get(&blob, None).await.unwrap().body.collect().await.unwrap(), b"0123456789"[..]);
    assert_eq!(names_in(&cache), [blob.hex(), MARK.to_owned(), "notes.txt".to_owned()]);
}

#[tokio::test]
async fn a_smaller_cache_keeps_what_was_used_last() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let store = Arc::new(MemoryBlobStore::new());
    drop(CachedBlobStore::open(Arc::clone(&store) as _, limit(&cache, 100)).await.unwrap());
    for number in 0..10_u8 {
        let path = cache.join(Sha256::of(&[number]).hex());
        fs::write(&path, [number; 10]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(100 - u64::from(number));
        let times = fs::FileTimes::new().set_accessed(used).set_modified(used);
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    }
    let _store = CachedBlobStore::open(store, limit(&cache, 35)).await.unwrap();
    let mut expected: Vec<_> = (7..10_u8).map(|number| Sha256::of(&[number]).hex()).chain([MARK.to_owned()]).collect();
    expected.sort();
    assert_eq!(names_in(&cache), expected);
}

#[tokio::test]
async fn a_folder_belongs_to_one_process_and_to_nothing_else() {
    let site = Site::new(1 << 20).await;
    let refused = CachedBlobStore::open(Arc::clone(&site.inner) as _, limit(&site.cache(), 1 << 20)).await.unwrap_err();
    assert!(refused.chain().contains("another process has it"), "{}", refused.chain());
    let folder = tempfile::tempdir().unwrap();
    let thesis = folder.path().join("thesis.tex");
    fs::write(&thesis, "").unwrap();
    let refused = CachedBlobStore::open(Arc::clone(&site.inner) as _, limit(folder.path(), 1 << 20)).await.unwrap_err();
    assert!(refused.chain().contains("neither empty nor a cache"), "{}", refused.chain());
    assert_eq!(names_in(folder.path()), ["thesis.tex"]);
}

// What the tests share.

const MARK: &str = "distmirror-cache";

/// A store in memory whose operations are counted and can fail, with copies before it.
struct Site {
    folder: TempDir,
    store: CachedBlobStore,
    inner: Arc<MemoryBlobStore>,
    faults: Faults,
}

impl Site {
    async fn new(max_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (inner, faults) = (Arc::new(MemoryBlobStore::new()), Faults::default());
        let counted = Arc::new(FaultyBlobStore::new(Arc::clone(&inner) as _, faults.clone()));
        let store = CachedBlobStore::open(counted, limit(&folder.path().join("cache"), max_bytes)).await.unwrap();
        Self { folder, store, inner, faults }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn names(&self) -> Vec<String> {
        names_in(&self.cache())
    }

    fn copies(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name != MARK).collect()
    }

    /// The store is away from now on.
    fn away(&self, how: How) {
        self.faults.arm(Fault { nth: 1, times: u64::MAX, how });
    }

    async fn put(&self, data: &[u8]) -> Sha256 {
        let blob = Sha256::of(data);
        self.inner.put(&blob, Payload::Bytes(Bytes::copy_from_slice(data))).await.unwrap();
        blob
    }

    /// Reads; whether it came from the store.
    async fn streams(&self, blob: &Sha256, range: Option<Range<u64>>) -> bool {
        matches!(self.store.get(blob, range).await.unwrap().body, BlobBody::Stream(_))
    }

    /// Reads until there is a copy.
    async fn make_copy(&self, blob: &Sha256) {
        for _ in 0..500 {
            if !self.streams(blob, None).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("there never was a copy of {blob}");
    }

    async fn wait_for_copy(&self, blob: &Sha256) {
        self.wait_until("a copy is there", || self.cache().join(blob.hex()).exists()).await;
    }

    async fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..500 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came that {what}: {:?}", self.names());
    }
}

fn limit(folder: &Path, max_bytes: u64) -> CacheOptions {
    CacheOptions { folder: folder.to_owned(), max_bytes, keep_free: 0 }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap();
    entries.filter_map(|entry| entry.unwrap().metadata().ok()).map(|metadata| metadata.len()).sum()
}
