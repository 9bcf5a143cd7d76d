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
use testkit::ObjectServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

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
    let (root, away) = (directory.path().join("store"), directory.path().join("away"));
    fs::rename(&root, &away).unwrap();
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
    let endpoint = relay(server.endpoint(), MIB as u64, u64::MAX).await;
    let store = open(&via(&endpoint, &server)).await.unwrap();
    let data = noise(7 * MIB + 13);
    let blob = put(&*store, &data).await;
    assert!(read(&*store, &blob, None).await.1.unwrap() == data);
    let part = 100..6 * MIB as u64;
    assert!(read(&*store, &blob, Some(part)).await.1.unwrap() == data.slice(100..6 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_resumed_ends_in_an_error() {
    let server = testkit::garage().await;
    let endpoint = relay(server.endpoint(), u64::MAX, 3 * MIB as u64).await;
    let store = open(&via(&endpoint, &server)).await.unwrap();
    let data = noise(7 * MIB);
    let blob = put(&*store, &data).await;
    let started = Instant::now();
    let (came, end) = read(&*store, &blob, None).await;
    assert_unavailable(end, "a body that was cut for good");
    assert!(came.len() > 2 * MIB && came == data[..came.len()], "{} bytes came", came.len());
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
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
    let mut options = options(&server.fresh_url(), server.options());
    options.options.insert("aws_endpoint".into(), endpoint.into());
    options
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

/// A relay to a server that breaks a connection after so many bytes of answers, and all of them after so many in total.
async fn relay(endpoint: &str, per_connection: u64, total: u64) -> String {
    let target = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicU64::new(total));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(relay_connection(client, server, per_connection, Arc::clone(&left)));
        }
    });
    format!("http://{address}")
}

async fn relay_connection(client: TcpStream, server: TcpStream, mut left_here: u64, left: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut piece = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from_server.read(&mut piece).await {
        left_here = left_here.saturating_sub(count as u64);
        let all = left.load(Ordering::Relaxed).saturating_sub(count as u64);
        left.store(all, Ordering::Relaxed);
        if left_here == 0 || all == 0 || to_client.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
    requests.abort();
}
