//! Clients that are too many, too slow, or do nothing; and that a slow one which moves is none of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use distmirror_core::{
    BlobBody, BlobRead, BlobStat, BlobStore, Mirror, Payload, Result, Sha256,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Entrance, Listener, Options, Proxy};
use futures::stream::{self, BoxStream, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::{Sleep, sleep, timeout},
};

#[path = "support/present.rs"]
mod present;
#[path = "support/secure.rs"]
mod secure;
use present::present;
use secure::{connector, shake};

/// A proxy with one present file, by plain HTTP and inside TLS.
struct Stage {
    plain: SocketAddr,
    by_tls: SocketAddr,
    ca: String,
}

impl Stage {
    async fn set(options: Options) -> Self {
        let store = Arc::new(Pieces(MemoryBlobStore::new()));
        let mirror = Arc::new(Mirror::new(Arc::new(MemoryCatalog::new()), store, Default::default()));
        present(&mirror, FILE, BYTES).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("a new authority");
        let ca = authority.pem().to_owned();
        let own_authorities = vec!["mirror.test:3129".to_owned()];
        let proxy = Proxy::new(mirror, authority, Options { own_authorities, ..options });
        let (plain, plain_address) = listener(Entrance::Proxy).await;
        let (by_tls, tls_address) = listener(Entrance::ProxyTls).await;
        tokio::spawn(async move { proxy.serve([plain, by_tls], std::future::pending()).await });
        Self { plain: plain_address, by_tls: tls_address, ca }
    }

    /// Asks for the file by plain HTTP, on a connection with small buffers.
    async fn ask(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("the kernel allows it");
        socket.set_recv_buffer_size(32 << 10).expect("the kernel allows it");
        let mut stream = socket.connect(self.plain).await.expect("the proxy accepts");
        let request = format!("GET {FILE} HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the proxy reads");
        stream
    }

    /// A connection of HTTP/2 inside TLS, with windows of this size, over such a stream.
    async fn http2<S>(&self, window: u32, over: fn(TcpStream) -> S) -> Http2
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = over(TcpStream::connect(self.by_tls).await.expect("the proxy accepts"));
        let stream = shake(&connector(&self.ca), "mirror.test", stream).await;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).initial_connection_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("the proxy speaks HTTP/2");
        Http2 { sender, connection: tokio::spawn(connection) }
    }

    /// Waits until another connection finds a slot.
    async fn has_a_slot(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while status(&health(self.plain, 1).await) != "200" {
            assert!(Instant::now() < until, "the slot is never given back");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Http2 {
    sender: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    async fn ask(&mut self) -> Response<Incoming> {
        let request =
            Request::get("https://mirror.test:3129/files.test/file").body(Empty::new()).expect("the kernel allows it");
        let answer = self.sender.send_request(request).await.expect("the proxy answers");
        assert_eq!(answer.status(), 200);
        answer
    }

    async fn ends(self) {
        timeout(Duration::from_secs(60), self.connection)
            .await
            .expect("the connection ends")
            .expect("it does not panic")
            .ok();
    }
}

async fn listener(entrance: Entrance) -> (Listener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    (Listener::new(socket, entrance), address)
}

/// Dials from 127.0.0.`client`.
async fn dial(address: SocketAddr, client: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("the kernel allows it");
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, client), 0))).expect("the kernel allows it");
    socket.connect(address).await.expect("the proxy accepts")
}

/// The whole answer about the health of the proxy; empty if there is none.
async fn health(address: SocketAddr, client: u8) -> String {
    let mut stream = dial(address, client).await;
    let mut answer = Vec::new();
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

/// A store in memory that sends pieces of 64 KiB.
#[derive(Debug)]
struct Pieces(MemoryBlobStore);

#[async_trait]
impl BlobStore for Pieces {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        self.0.put(blob, payload).await
    }

    async fn get(&self, _: &Sha256, _: Option<Range<u64>>) -> Result<BlobRead> {
        let pieces = stream::iter(BYTES.chunks(64 << 10).map(|piece| Ok(Bytes::from_static(piece))));
        Ok(BlobRead { size: BYTES.len() as u64, body: BlobBody::Stream(pieces.boxed()) })
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        self.0.stat(blob).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        self.0.list()
    }
}

/// A stream of which only a little is read at a time, as over a slow line.
struct Slow {
    stream: TcpStream,
    pause: Pin<Box<Sleep>>,
}

impl Slow {
    fn new(stream: TcpStream) -> Self {
        Self { stream, pause: Box::pin(sleep(Duration::ZERO)) }
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(self.pause.as_mut().poll(cx));
        let mut little = buffer.take(16 << 10);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut little))?;
        let read = little.filled().len();
        buffer.advance(read);
        self.pause = Box::pin(sleep(Duration::from_millis(50)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn whoever_is_too_many_is_told_and_hinders_nobody() {
    let options = Options { max_connections: 4, max_connections_per_address: 3, ..Options::default() };
    let stage = Stage::set(options).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(dial(stage.plain, 7).await);
    }
    let refused = health(stage.plain, 7).await;
    assert!(status(&refused) == "503" && refused.contains("from your address"), "{refused}");
    assert!(refused.contains("details=\"too_many_connections\"") && refused.contains("retry-after: 2"), "{refused}");
    assert_eq!(health(stage.by_tls, 7).await, "", "where TLS is spoken it is closed");
    assert_eq!(status(&health(stage.plain, 8).await), "200", "others are served");
    held.push(dial(stage.plain, 8).await);
    let refused = health(stage.plain, 9).await;
    assert!(status(&refused) == "503" && refused.contains("this mirror has as many"), "{refused}");
    held.clear();
    stage.has_a_slot().await;
}

/// One connection at a time, so that its slot tells whether it is there.
fn only_one() -> Options {
    Options { max_connections: 1, idle_timeout: LIMIT, ..Options::default() }
}

#[tokio::test]
async fn whoever_takes_nothing_of_its_answer_is_cut() {
    let stage = Stage::set(only_one()).await;
    let stalled = stage.ask().await;
    stage.has_a_slot().await;
    drop(stalled);
    let mut client = stage.http2(16 << 10, |stream| stream).await;
    let answer = client.ask().await;
    stage.has_a_slot().await;
    client.ends().await;
    let broken = answer.into_body().collect().await;
    assert!(broken.is_err(), "half a file is no file");
}

#[tokio::test]
async fn a_slow_client_that_moves_is_not_cut() {
    let stage = Stage::set(only_one()).await;
    let mut stream = stage.ask().await;
    let (mut answer, started) = (Vec::new(), Instant::now());
    let mut piece = vec![0; 16 << 10];
    loop {
        match stream.read(&mut piece).await.expect("it is not cut") {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
        sleep(Duration::from_millis(25)).await;
    }
    assert!(started.elapsed() > 2 * LIMIT, "that was not slow");
    assert!(answer.ends_with(BYTES), "{} bytes", answer.len());
}

#[tokio::test]
async fn nor_is_one_by_http2_whether_its_line_or_its_window_is_slow() {
    let stage = Stage::set(Options { idle_timeout: LIMIT, ..Options::default() }).await;
    let line = async {
        let mut client = stage.http2(16 << 20, Slow::new).await;
        let started = Instant::now();
        let body = client.ask().await.into_body().collect().await.expect("it is not cut").to_bytes();
        assert!(started.elapsed() > 2 * LIMIT, "that was not slow");
        assert_eq!(body, BYTES);
    };
    let window = async {
        let mut client = stage.http2(64 << 10, |stream| stream).await;
        let (mut body, mut received, started) = (client.ask().await.into_body(), Vec::new(), Instant::now());
        while let Some(frame) = body.frame().await {
            received.extend_from_slice(frame.expect("it is not cut").data_ref().expect("data"));
            sleep(Duration::from_millis(25)).await;
        }
        assert!(started.elapsed() > 2 * LIMIT, "that was not slow");
        assert_eq!(received, BYTES);
    };
    tokio::join!(line, window);
}

#[tokio::test]
async fn a_connection_of_http2_that_is_for_nothing_ends() {
    let stage = Stage::set(only_one()).await;
    let mut client = stage.http2(1 << 20, |stream| stream).await;
    client.ask().await.into_body().collect().await.expect("the file");
    client.ends().await;
    stage.has_a_slot().await;
    // Nothing at all after the handshake, not even what HTTP/2 begins with.
    let stream = TcpStream::connect(stage.by_tls).await.unwrap();
    let mut stream = shake(&connector(&stage.ca), "mirror.test", stream).await;
    let ended = timeout(Duration::from_secs(60), stream.read_to_end(&mut Vec::new())).await;
    ended.expect("the connection ends").ok();
    stage.has_a_slot().await;
}

const FILE: &str = "http://files.test/file";
/// More than the buffers of two sockets hold.
static BYTES: &[u8] = &[b'a'; 6 << 20];
const LIMIT: Duration = Duration::from_secs(2);
