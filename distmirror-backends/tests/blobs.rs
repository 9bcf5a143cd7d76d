//! Blob stores against real directories and real servers: the whole suite on each, and the trouble each can be in.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is their verdict")]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use distmirror_backends::blobs::{BlobOptions, LocalBlobStore, open};
use distmirror_core::{BlobBody, BlobStore, Error, Payload, Result, Sha256, blob::blob_path, conformance};
use futures::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;
use testkit::{ObjectServer, Relay};
use tokio::net::TcpListener;

const MIB: usize = 1024 * 1024;

// The whole suite.

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_every_promise() {
    let directory = tempfile::tempdir().unwrap();
    suite_in(directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_on_another_file_system_than_the_spool_keeps_every_promise() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_ne!(device(directory.path()), device(&std::env::temp_dir()), "set TMPDIR to a disk");
    suite_in(directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_every_promise() {
    suite_on(&testkit::garage().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_every_promise() {
    suite_on(&testkit::azurite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_cloud_storage_keeps_every_promise() {
    suite_on(&testkit::fake_gcs().await).await;
}

async fn suite_in(directory: &Path) {
    let number = AtomicU64::new(0);
    conformance::blob_store(async || {
        // Not there yet, and neither is the directory above it: open makes both.
        let root = directory.join(format!("made/{}", number.fetch_add(1, Ordering::Relaxed)));
        open(&options(&format!("file://{}", root.display()), [])).await.unwrap()
    })
    .await;
}

async fn suite_on(server: &ObjectServer) {
    conformance::blob_store(async || open(&options(&server.fresh_url(), server.options())).await.unwrap()).await;
}

// A directory.

#[tokio::test]
async fn a_spooled_file_is_moved_and_not_copied() {
    let (directory, store) = local().await;
    let spooled = directory.path().join("spooled");
    fs::write(&spooled, "spooled").unwrap();
    let inode = fs::metadata(&spooled).unwrap().ino();
    let blob = Sha256::of(b"spooled");
    store.put(&blob, Payload::File { path: spooled.clone(), size: 7 }).await.unwrap();
    assert!(!spooled.exists());
    let placed = fs::metadata(place(&directory, &blob)).unwrap();
    assert_eq!((placed.ino(), placed.mode() & 0o777), (inode, 0o644));
}

#[tokio::test]
async fn a_damaged_file_is_healed_by_put() {
    let (directory, store) = local().await;
    let blob = put(&*store, b"right").await;
    for damage in ["wrong", "", "right and more"] {
        fs::write(place(&directory, &blob), damage).unwrap();
        assert_eq!(put(&*store, b"right").await, blob);
        assert_eq!(fs::read(place(&directory, &blob)).unwrap(), b"right");
        assert_eq!(store.get(&blob, None).await.unwrap().size, 5);
    }
}

#[tokio::test]
async fn a_deleted_file_is_missing_and_a_truncated_one_has_no_such_range() {
    let (directory, store) = local().await;
    let blob = put(&*store, b"whole").await;
    File::options().write(true).open(place(&directory, &blob)).unwrap().set_len(2).unwrap();
    assert_eq!(store.get(&blob, None).await.unwrap().size, 2);
    assert!(matches!(store.get(&blob, Some(1..5)).await, Err(Error::BlobCorrupt { .. })));
    fs::remove_file(place(&directory, &blob)).unwrap();
    assert!(matches!(store.get(&blob, None).await, Err(Error::BlobMissing { .. })));
    assert_eq!(store.stat(&blob).await.unwrap(), None);
}

#[tokio::test]
async fn a_directory_that_went_away_is_unavailable_and_nothing_is_written_in_its_place() {
    let (directory, store) = local().await;
    let blob = put(&*store, b"kept").await;
    store.get(&blob, None).await.unwrap();
    let (root, away) = (directory.path().join("store"), directory.path().join("away"));
    fs::rename(&root, &away).unwrap();
    // A small blob stays open for a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_all_unavailable(&*store, &blob).await;
    // As an empty mount point.
    fs::create_dir(&root).unwrap();
    assert_all_unavailable(&*store, &blob).await;
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    fs::remove_dir(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    assert_eq!(store.stat(&blob).await.unwrap(), Some(4));
}

#[tokio::test]
async fn folders_that_were_removed_are_made_again() {
    let (directory, store) = local().await;
    let blob = put(&*store, b"once").await;
    fs::remove_dir_all(directory.path().join("store/sha256")).unwrap();
    assert_unavailable(store.put(&blob, Payload::Bytes("once".into())).await, "put into a folder that was removed");
    assert_eq!(put(&*store, b"once").await, blob);
}

#[tokio::test]
async fn a_directory_with_something_else_in_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "").unwrap();
    let error = LocalBlobStore::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, Error::StorageUnavailable(_)) && error.chain().contains("thesis.tex"), "{}", error.chain());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_a_dead_process_left_is_swept_after_a_day() {
    let (directory, store) = local().await;
    drop(store);
    let temporary = directory.path().join("store/tmp");
    let (old, young) = (temporary.join(".tmp-old"), temporary.join(".tmp-young"));
    for (path, hours) in [(&old, 25), (&young, 23)] {
        let modified = SystemTime::now() - Duration::from_secs(hours * 3600);
        File::create(path).unwrap().set_modified(modified).unwrap();
    }
    let store = LocalBlobStore::open(directory.path().join("store")).await.unwrap();
    assert_eq!((old.exists(), young.exists()), (false, true));
    assert_eq!(store.list().count().await, 0);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_to_is_told_with_its_cause() {
    let (directory, store) = local().await;
    let blob = Sha256::of(b"data");
    fs::create_dir_all(place(&directory, &blob)).unwrap();
    let error = store.put(&blob, Payload::Bytes("data".into())).await.unwrap_err();
    assert!(matches!(error, Error::StorageUnavailable(_)), "{error:?}");
    assert!(error.chain().contains("os error"), "{}", error.chain());
    assert_eq!(fs::read_dir(directory.path().join("store/tmp")).unwrap().count(), 0);
}

// Object stores.

#[tokio::test]
async fn an_unknown_option_is_refused_by_name() {
    let error = open(&options("s3://bucket", [("aws_regoin".into(), "x".into())])).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains("`aws_regoin`"), "{error}");
    let error = open(&options("s3://bucket", [("aws_allow_http".into(), "perhaps".into())])).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[tokio::test]
async fn a_store_that_refuses_connections_is_unavailable_soon() {
    let endpoint = format!("http://127.0.0.1:{}", testkit::free_port());
    let store = open(&options("s3://bucket/prefix", s3_options(&endpoint))).await.unwrap();
    let started = Instant::now();
    assert_all_unavailable(&*store, &Sha256::of(b"")).await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_store_that_is_silent_is_unavailable_within_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let silence = tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            connections.push(listener.accept().await.unwrap());
        }
    });
    let store = open(&options("s3://bucket/prefix", s3_options(&endpoint))).await.unwrap();
    let blob = Sha256::of(b"");
    let started = Instant::now();
    let (got, stat) = tokio::join!(store.get(&blob, None), store.stat(&blob));
    assert_unavailable(got, "get from a silent store");
    assert_unavailable(stat, "stat from a silent store");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    silence.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_gone_is_unavailable() {
    for server in [testkit::garage().await, testkit::azurite().await, testkit::fake_gcs().await] {
        let url = server.fresh_url().replace("//test/", "//gone/");
        let store = open(&options(&url, server.options())).await.unwrap();
        assert_all_unavailable(&*store, &Sha256::of(b"")).await;
        let large = noise(9 * MIB);
        let put = store.put(&Sha256::of(&large), Payload::Bytes(large)).await;
        assert_unavailable(put, &format!("put of several parts into {url}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_unavailable() {
    let server = testkit::garage().await;
    let mut wrong = options(&server.fresh_url(), server.options());
    wrong.options.insert("aws_secret_access_key".into(), "wrong".into());
    assert_all_unavailable(&*open(&wrong).await.unwrap(), &Sha256::of(b"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_past_the_first_page() {
    let server = testkit::garage().await;
    let store = open(&options(&server.fresh_url(), server.options())).await.unwrap();
    let puts = stream::iter(0..1100_u32).map(|number| {
        let store = Arc::clone(&store);
        async move { put(&*store, &number.to_le_bytes()).await }
    });
    let mut expected: Vec<Sha256> = puts.buffer_unordered(16).collect().await;
    let mut found: Vec<Sha256> = store.list().map_ok(|stat| stat.blob).try_collect().await.unwrap();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_is_resumed_to_the_exact_bytes() {
    let server = testkit::garage().await;
    let relay = Relay::cutting(server.endpoint(), Box::new(|_| MIB as u64)).await;
    let store = open(&via(relay.endpoint(), &server)).await.unwrap();
    let data = noise(7 * MIB + 13);
    let blob = put(&*store, &data).await;
    assert!(read(&*store, &blob, None).await.1.unwrap() == data);
    let part = 100..6 * MIB as u64;
    assert!(read(&*store, &blob, Some(part)).await.1.unwrap() == data.slice(100..6 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_resumed_ends_in_an_error() {
    let server = testkit::garage().await;
    let data = noise(7 * MIB);
    let (blob, options) = put_directly(&server, &data).await;
    // The second connection and those after it bring nothing.
    let relay =
        Relay::cutting(server.endpoint(), Box::new(|number| if number == 0 { 3 * MIB as u64 } else { 0 })).await;
    let store = open(&at(relay.endpoint(), options)).await.unwrap();
    let started = Instant::now();
    let (came, end) = read(&*store, &blob, None).await;
    assert_unavailable(end, "a body that was cut for good");
    assert!(came.len() > 2 * MIB && came == data[..came.len()], "{} bytes came", came.len());
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_is_exact_wherever_the_body_is_cut() {
    let server = testkit::garage().await;
    let data = noise(5 * MIB + 13);
    let (blob, options) = put_directly(&server, &data).await;
    let size = data.len();
    for case in 0..60_u64 {
        let cuts = move |connection: u64| 1 + any(&[case, connection], 3 * MIB as u64);
        let relay = Relay::cutting(server.endpoint(), Box::new(cuts)).await;
        let store = open(&at(relay.endpoint(), options.clone())).await.unwrap();
        let start = any(&[case, 0, 0], size as u64);
        let end = start + any(&[case, 0, 1], size as u64 - start + 1);
        let (_, came) = read(&*store, &blob, Some(start..end)).await;
        let what = format!("{start}..{end}, case {case} over {} connections", relay.accepted());
        assert!(came.expect(&what) == data.slice(start as usize..end as usize), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_holds_no_connection_and_goes_on_later() {
    let server = testkit::garage().await;
    let data = noise(32 * MIB);
    let (blob, options) = put_directly(&server, &data).await;
    let relay = Relay::to(server.endpoint()).await;
    let store = open(&at(relay.endpoint(), options)).await.unwrap();
    let mut stalled = Vec::new();
    for number in 0..20 {
        let BlobBody::Stream(mut body) = store.get(&blob, None).await.unwrap().body else { panic!("a stream") };
        // Some never read at all.
        let came = if number % 2 == 0 { body.try_next().await.unwrap().unwrap() } else { Bytes::new() };
        stalled.push((body, came.to_vec()));
    }
    assert_eq!(relay.open(), 20, "one connection each");
    wait_until("no connection is open", || relay.open() == 0).await;
    assert!(relay.bytes() < 20 * 16 * MIB as u64, "{} bytes were read ahead of 20 readers", relay.bytes());
    for (body, mut came) in stalled.drain(..3) {
        came.extend(body.try_collect::<Vec<_>>().await.unwrap().concat());
        assert!(came == data);
    }
    assert_eq!(relay.accepted(), 20 + 1, "the rest came over one connection, used three times");
    let begun = relay.bytes();
    drop(stalled);
    assert_eq!(relay.bytes(), begun, "who does not go on costs nothing");
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came that {what}");
}

/// A number below the limit that looks random and is the same each time.
fn any(seed: &[u64], limit: u64) -> u64 {
    let seed: Vec<u8> = seed.iter().flat_map(|number| number.to_le_bytes()).collect();
    u64::from_le_bytes(Sha256::of(&seed).as_bytes()[..8].try_into().unwrap()) % limit
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_an_upload_that_was_dropped_are_given_up() {
    let server = testkit::fake_gcs().await;
    let store = open(&options(&server.fresh_url(), server.options())).await.unwrap();
    let data = noise(64 * MIB);
    let blob = Sha256::of(b"never whole");
    let upload = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&blob, Payload::Bytes(data)).await }
    });
    wait_for_uploads(&server, 1).await;
    upload.abort();
    assert!(upload.await.unwrap_err().is_cancelled());
    wait_for_uploads(&server, 0).await;
    assert_eq!(store.stat(&blob).await.unwrap(), None);
}

async fn wait_for_uploads(server: &ObjectServer, count: usize) {
    let url = format!("{}/test?uploads", server.endpoint());
    for _ in 0..200 {
        if testkit::curl(&[&url]).await.text().matches("<UploadId>").count() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("there were never {count} unfinished uploads");
}

// What the tests share.

fn options(url: &str, options: impl IntoIterator<Item = (String, String)>) -> BlobOptions {
    BlobOptions { url: url.to_owned(), options: BTreeMap::from_iter(options) }
}

fn s3_options(endpoint: &str) -> Vec<(String, String)> {
    let options = [
        ("aws_endpoint", endpoint),
        ("aws_access_key_id", "id"),
        ("aws_secret_access_key", "secret"),
        ("aws_region", "region"),
        ("aws_allow_http", "true"),
    ];
    options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// The options for a fresh store on this server, reached at another endpoint.
fn via(endpoint: &str, server: &ObjectServer) -> BlobOptions {
    at(endpoint, options(&server.fresh_url(), server.options()))
}

/// The same store, reached at another endpoint.
fn at(endpoint: &str, mut options: BlobOptions) -> BlobOptions {
    options.options.insert("aws_endpoint".into(), endpoint.into());
    options
}

/// Puts a blob into a fresh store on this server; what it takes to open that store again.
async fn put_directly(server: &ObjectServer, data: &[u8]) -> (Sha256, BlobOptions) {
    let options = options(&server.fresh_url(), server.options());
    let store = open(&options).await.unwrap();
    (put(&*store, data).await, options)
}

/// A store in the folder `store` of a temporary directory.
async fn local() -> (TempDir, Arc<dyn BlobStore>) {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalBlobStore::open(directory.path().join("store")).await.unwrap();
    (directory, Arc::new(store))
}

fn place(directory: &TempDir, blob: &Sha256) -> PathBuf {
    directory.path().join("store").join(blob_path(blob))
}

async fn put(store: &dyn BlobStore, data: &[u8]) -> Sha256 {
    let blob = Sha256::of(data);
    store.put(&blob, Payload::Bytes(Bytes::copy_from_slice(data))).await.unwrap();
    blob
}

/// What came, and how it ended: with what came, or in an error.
async fn read(store: &dyn BlobStore, blob: &Sha256, range: Option<std::ops::Range<u64>>) -> (Bytes, Result<Bytes>) {
    let BlobBody::Stream(mut body) = store.get(blob, range).await.unwrap().body else { panic!("object stores stream") };
    let mut came = Vec::new();
    let mut end = Ok(());
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => came.extend_from_slice(&piece),
            Err(error) => end = Err(error),
        }
    }
    let came = Bytes::from(came);
    (came.clone(), end.map(|()| came))
}

async fn assert_all_unavailable(store: &dyn BlobStore, blob: &Sha256) {
    assert_unavailable(store.get(blob, None).await, "get");
    assert_unavailable(store.get(blob, Some(0..1)).await, "get of a range");
    assert_unavailable(store.get(blob, Some(0..0)).await, "get of an empty range");
    assert_unavailable(store.stat(blob).await, "stat");
    assert_unavailable(store.put(blob, Payload::Bytes(Bytes::new())).await, "put");
    assert_unavailable(store.list().try_collect::<Vec<_>>().await, "list");
}

fn assert_unavailable<T: Debug>(result: Result<T>, what: &str) {
    assert!(matches!(result, Err(Error::StorageUnavailable(_))), "{what} gave {result:?}");
}

fn noise(size: usize) -> Bytes {
    let mut data = Vec::with_capacity(size + MIB);
    for number in 0..size.div_ceil(MIB) {
        data.extend(Sha256::of(&number.to_le_bytes()).as_bytes().repeat(MIB / 32));
    }
    data.truncate(size);
    data.into()
}
