//! What is counted as use, and that none of it is lost when the proxy stops.

use std::{net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use distmirror_core::{
    ArtifactId, BlobBody, BlobRead, BlobStat, BlobStore, DailyUsage, Mirror, PageRequest, Payload, Result, Sha256,
    UsedBy,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Options, Proxy, User};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

#[path = "support/present.rs"]
mod present;
use present::present;

/// A proxy over two present files: one is whole, and of the other one the second half never comes.
struct Stage {
    mirror: Arc<Mirror>,
    address: SocketAddr,
    whole: ArtifactId,
    stuck: ArtifactId,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn set(options: Options) -> Self {
        let mirror = Arc::new(Mirror::new(
            Arc::new(MemoryCatalog::new()),
            Arc::new(Halves(MemoryBlobStore::new())),
            distmirror_core::Options::default(),
        ));
        let (whole, stuck) = (present(&mirror, WHOLE, BYTES).await, present(&mirror, STUCK, HALVES).await);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("a new authority");
        // So rarely that in this test only the end brings a report.
        let options = Options { report_every: Duration::from_secs(3600), ..options };
        let proxy = Proxy::new(Arc::clone(&mirror), authority, options);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move { proxy.serve([listener], async { drop(stopped.await) }).await });
        Self { mirror, address, whole, stuck, stop, serving, _folder: folder }
    }

    /// Sends a request through the proxy on a connection of its own.
    async fn send(&self, method: &str, uri: &str, fields: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("the proxy accepts");
        let request = format!("{method} {uri} HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.expect("the proxy reads");
        stream
    }

    /// The status of the answer, which is read to its end.
    async fn status(&self, method: &str, uri: &str, fields: &str) -> String {
        let mut answer = String::new();
        self.send(method, uri, fields).await.read_to_string(&mut answer).await.expect("it ends");
        answer.get(9..12).expect("a status line").to_owned()
    }

    /// Stops the proxy; what is on record then.
    async fn stop(self) -> Recorded {
        self.stop.send(()).expect("the proxy runs");
        self.serving.await.expect("it stops");
        Recorded { mirror: self.mirror, whole: self.whole, stuck: self.stuck }
    }
}

struct Recorded {
    mirror: Arc<Mirror>,
    whole: ArtifactId,
    stuck: ArtifactId,
}

impl Recorded {
    async fn of(&self, artifact: ArtifactId) -> Vec<DailyUsage> {
        let page = self.mirror.catalog().daily_usage(artifact, &PageRequest::first(100)).await;
        page.expect("a catalog in memory").items
    }

    /// Requests and bytes in all.
    async fn total(&self, artifact: ArtifactId) -> (u64, u64) {
        let usage = self.mirror.catalog().usage(&[artifact]).await.expect("a catalog in memory").remove(&artifact);
        usage.map_or((0, 0), |usage| (usage.requests, usage.bytes))
    }
}

/// A store in memory, which of one blob gives only the first half.
#[derive(Debug)]
struct Halves(MemoryBlobStore);

#[async_trait]
impl BlobStore for Halves {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        self.0.put(blob, payload).await
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        if *blob != Sha256::of(HALVES) {
            return self.0.get(blob, range).await;
        }
        let half = stream::iter([Ok(HALVES[..HALVES.len() / 2].into())]).chain(stream::pending());
        Ok(BlobRead { size: HALVES.len() as u64, body: BlobBody::Stream(half.boxed()) })
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        self.0.stat(blob).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        self.0.list()
    }
}

#[tokio::test]
async fn answers_that_bring_something_are_counted() {
    let stage = Stage::set(Options::default()).await;
    let etag = format!("\"{}\"", Sha256::of(BYTES));
    for (method, fields, expected) in [
        ("GET", String::new(), "200"),
        ("GET", "Range: bytes=2-4\r\n".to_owned(), "206"),
        ("HEAD", String::new(), "200"),
        ("GET", format!("If-None-Match: {etag}\r\n"), "304"),
        ("GET", "If-Match: \"another\"\r\n".to_owned(), "412"),
        ("GET", "Range: bytes=100-\r\n".to_owned(), "416"),
        ("POST", String::new(), "405"),
    ] {
        assert_eq!(stage.status(method, WHOLE, &fields).await, expected, "{method} {fields}");
    }
    assert_eq!(stage.status("GET", "http://files.test/undeclared", "").await, "404");
    let recorded = stage.stop().await;
    assert_eq!(recorded.total(recorded.whole).await, (3, 10 + 3), "all of it, a part, and HEAD, which has no bytes");
    assert_eq!(recorded.total(recorded.stuck).await, (0, 0), "and nothing of what nobody asked for");
    let all = recorded.of(recorded.whole).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].by, UsedBy::Client([127, 0, 0, 1].into()));
}

#[tokio::test]
async fn whoever_signs_in_is_counted_by_project() {
    let user = |name: &str, project: Option<&str>| User {
        name: name.to_owned(),
        password: Sha256::of(b"secret"),
        project: project.map(Into::into),
    };
    let users = vec![user("ci", Some("firmware")), user("nightly", None)];
    let stage = Stage::set(Options { users, ..Options::default() }).await;
    for (name, expected) in [("ci", "200"), ("ci", "200"), ("nightly", "200"), ("nobody", "407")] {
        let field = format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{name}:secret")));
        assert_eq!(stage.status("GET", WHOLE, &field).await, expected, "{name}");
    }
    let recorded = stage.stop().await;
    let mut all: Vec<_> = recorded.of(recorded.whole).await;
    all.sort_by_key(|daily| daily.by.clone());
    let told: Vec<_> = all.into_iter().map(|daily| (daily.by, daily.usage.requests)).collect();
    let client = UsedBy::Client([127, 0, 0, 1].into());
    assert_eq!(told, [(UsedBy::Project("firmware".into()), 2), (client, 1)]);
}

/// Reads until the first half of the stuck file has come.
async fn read_half(stream: &mut TcpStream) {
    let mut received = Vec::new();
    while !received.ends_with(&HALVES[..HALVES.len() / 2]) {
        assert_ne!(stream.read_buf(&mut received).await.expect("more comes"), 0, "the answer goes on");
    }
}

#[tokio::test]
async fn what_was_sent_until_a_client_left_is_counted() {
    let stage = Stage::set(Options::default()).await;
    let mut stream = stage.send("GET", STUCK, "").await;
    read_half(&mut stream).await;
    drop(stream);
    // It drains for as long as the connection is there, and the client has left it.
    let recorded = stage.stop().await;
    assert_eq!(recorded.total(recorded.stuck).await, (1, 6));
}

#[tokio::test]
async fn what_happens_while_the_proxy_stops_is_reported() {
    let stage = Stage::set(Options::default()).await;
    let mut stuck = stage.send("GET", STUCK, "").await;
    read_half(&mut stuck).await;
    // A connection that waits for its next request when the proxy is told to stop, and one that asks only then.
    let mut late = TcpStream::connect(stage.address).await.expect("the proxy accepts");
    late.write_all(b"GET http://files.test/missed HTTP/1.1\r\n").await.expect("the proxy reads");
    stage.status("HEAD", WHOLE, "").await;
    stage.stop.send(()).expect("the proxy runs");
    while TcpStream::connect(stage.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stuck);
    late.write_all(b"Host: files.test\r\n\r\n").await.expect("the proxy reads");
    let mut answer = String::new();
    late.read_to_string(&mut answer).await.expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    stage.serving.await.expect("it stops");
    let misses = stage.mirror.catalog().misses(None, &PageRequest::first(10)).await.expect("a catalog in memory").items;
    assert_eq!(misses.len(), 1, "a miss that came while the connections ended");
    let usage = stage.mirror.catalog().usage(&[stage.stuck]).await.expect("a catalog in memory");
    assert_eq!(usage[&stage.stuck].bytes, 6, "and an answer that ended then");
}

#[tokio::test]
async fn an_answer_that_is_cut_at_the_end_is_counted() {
    let stage = Stage::set(Options { drain: Duration::from_millis(50), ..Options::default() }).await;
    let mut stream = stage.send("GET", STUCK, "").await;
    read_half(&mut stream).await;
    let recorded = stage.stop().await;
    assert_eq!(recorded.total(recorded.stuck).await, (1, 6));
    let mut rest = Vec::new();
    // An end or a reset: no more comes, and what came is short of what was announced.
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "it is cut");
}

const WHOLE: &str = "http://files.test/whole";
const BYTES: &[u8] = b"0123456789";
const STUCK: &str = "http://files.test/stuck";
const HALVES: &[u8] = b"first secnd ";
