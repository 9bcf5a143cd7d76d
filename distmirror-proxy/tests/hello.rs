//! What follows a CONNECT: TLS that comes slowly, in pieces or too early, that is none, that asks for odd names or versions, that
//! comes a thousand times at once, and sessions that are never taken up again.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read, Write},
    net::SocketAddr,
    pin::Pin,
    process::{Command, Stdio},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use distmirror_core::{
    Mirror,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Options, Proxy};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A proxy that knows nothing.
#[derive(Clone)]
struct Stage {
    address: SocketAddr,
    roots: RootCertStore,
}

impl Stage {
    async fn set(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("a new authority");
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
        roots.add(root).expect("a root");
        let mirror = Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()), Default::default());
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let proxy = Proxy::new(Arc::new(mirror), authority, options);
        tokio::spawn(async move { proxy.serve([socket], std::future::pending()).await });
        Self { address, roots }
    }

    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("the provider has them");
        builder.with_root_certificates(self.roots.clone()).with_no_client_auth()
    }

    /// A tunnel to port 443 of a host.
    async fn tunnel(&self, host: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("the proxy accepts");
        stream.set_nodelay(true).expect("the kernel allows it");
        stream.write_all(connect(host).as_bytes()).await.expect("the proxy reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
        stream
    }

    /// Shakes hands with a host through a tunnel, and looks at the certificate as clients do.
    async fn shake(&self, host: &str, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).expect("a host");
        TlsConnector::from(Arc::clone(config)).connect(name, self.tunnel(host).await).await
    }

    /// The first bytes of a client that asks for this host.
    fn hello(&self, host: &str) -> (ClientConnection, Vec<u8>) {
        let name = ServerName::try_from(host.to_owned()).expect("a host");
        let mut client = ClientConnection::new(Arc::new(self.config(BOTH)), name).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("a vector takes all");
        (client, hello)
    }
}

fn connect(host: &str) -> String {
    format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n")
}

/// Sends one byte at a time.
struct Dripping(TcpStream);

impl AsyncRead for Dripping {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Dripping {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_hello_may_come_byte_by_byte_and_in_many_records() {
    let stage = Stage::set(Options::default()).await;
    let mut config = stage.config(BOTH);
    for fragment in [None, Some(32)] {
        config.max_fragment_size = fragment;
        let name = ServerName::try_from("files.test").expect("a host");
        let stream = Dripping(stage.tunnel("files.test").await);
        TlsConnector::from(Arc::new(config.clone())).connect(name, stream).await.expect("a handshake");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_in_one_segment_with_the_connect_is_not_lost() {
    let stage = Stage::set(Options::default()).await;
    let (mut client, hello) = stage.hello("files.test");
    let mut stream = std::net::TcpStream::connect(stage.address).expect("the proxy accepts");
    stream.write_all(&[connect("files.test").as_bytes(), &hello].concat()).expect("the proxy reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    while client.is_handshaking() {
        client.complete_io(&mut stream).expect("a handshake");
    }
}

#[tokio::test]
async fn ct05_odd_names_in_sni_hurt_nobody() {
    let stage = Stage::set(Options::default()).await;
    let long = [&[b'l'; 64], &b".x.test"[..]].concat();
    for odd in [
        &b"*.x.test"[..],
        b"a..x.test",
        b"under_score.test",
        b"nul\0byte.test",
        b"\xc3\xbcber.test",
        b".........",
        b"192.0.2.1",
        b"-x-.x.test",
        &long,
    ] {
        // In place of a name of the same length, so that all other lengths stay right.
        let plain = format!("{}.test", "x.".repeat(odd.len())[..odd.len() - 6].to_owned() + "x");
        let (_, mut hello) = stage.hello(&plain);
        let at = hello.windows(odd.len()).position(|bytes| bytes == plain.as_bytes()).expect("SNI is in clear");
        hello[at..at + odd.len()].copy_from_slice(odd);
        let mut stream = stage.tunnel("files.test").await;
        stream.write_all(&hello).await.expect("the proxy reads");
        let answer = timeout(Duration::from_secs(60), stream.read_u8()).await.expect("an answer");
        // An alert, or a handshake with the leaf for the host of the CONNECT: inside it every request is 421.
        assert!(matches!(answer, Ok(21 | 22)), "{}: {answer:?}", odd.escape_ascii());
        stage.shake("files.test", &Arc::new(stage.config(BOTH))).await.expect("the next one is served");
    }
}

#[tokio::test]
async fn ct08_what_is_not_tls_is_let_go_and_leaves_nothing_behind() {
    let stage = Stage::set(Options { handshake_timeout: Duration::from_secs(2), ..Options::default() }).await;
    let files = || fs::read_dir("/proc/self/fd").expect("own files").count();
    let before = files();
    let garbage: Vec<u8> = (0..10_u32 << 20).map(|at| (at * 7 % 251) as u8).collect();
    let (_, hello) = stage.hello("files.test");
    for sent in [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"GET / HTTP/1.1\r\n\r\n", &hello[..hello.len() / 2], &garbage] {
        let stream = stage.tunnel("files.test").await;
        let (mut reader, mut writer) = stream.into_split();
        // It may be closed in the midst of that.
        let sending = async { writer.write_all(sent).await.ok() };
        let mut answer = Vec::new();
        let (_, ended) = tokio::join!(sending, timeout(Duration::from_secs(60), reader.read_to_end(&mut answer)));
        ended.unwrap_or_else(|_| panic!("{:.20} keeps it open", sent.escape_ascii().to_string())).ok();
    }
    let until = Instant::now() + Duration::from_secs(60);
    while files() > before {
        assert!(Instant::now() < until, "{before} files before, {} now", files());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn ct10_protocols_and_versions() {
    let stage = Stage::set(Options::default()).await;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for (offered, expected) in [
            (&["h2", "http/1.1"][..], Ok(Some("h2"))),
            (&["http/1.1"], Ok(Some("http/1.1"))),
            (&[], Ok(None)),
            (&["gopher"], Err(AlertDescription::NoApplicationProtocol)),
        ] {
            let mut config = stage.config(versions);
            config.alpn_protocols = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            let agreed = match stage.shake("files.test", &Arc::new(config)).await {
                Ok(stream) => Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)),
                Err(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
                    Some(rustls::Error::AlertReceived(alert)) => Err(*alert),
                    _ => panic!("{offered:?}: {error}"),
                },
            };
            assert_eq!(agreed, expected.map(|protocol| protocol.map(|text| text.as_bytes().to_vec())), "{offered:?}");
        }
    }
    for (version, is_good) in [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-proxy", &stage.address.to_string(), "-connect", "files.test:443", version]);
        command.args(["-cipher", "ALL:@SECLEVEL=0"]).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || command.output().expect("openssl is installed"));
        let output = run.await.expect("it does not panic");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(text.contains("CN = files.test"), is_good, "{version}: {text}");
        assert_eq!(text.contains("SSL alert number"), !is_good, "{version}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ct10_a_thousand_names_at_once_and_one_name_a_hundred_times() {
    // Fewer than there are names, so that leaves are forgotten meanwhile.
    let stage = Stage::set(Options { cached_leaves: 100, ..Options::default() }).await;
    let config = Arc::new(stage.config(BOTH));
    let mut shaking = JoinSet::new();
    for at in 0..1100 {
        let (stage, config) = (stage.clone(), Arc::clone(&config));
        shaking.spawn(async move {
            let host = if at < 1000 { format!("host{at}.test") } else { "one.test".to_owned() };
            let stream = stage.shake(&host, &config).await.unwrap_or_else(|error| panic!("{host}: {error}"));
            let leaf = stream.get_ref().1.peer_certificates().expect("a leaf")[0].to_vec();
            (host, leaf)
        });
    }
    let shaken: Vec<(String, Vec<u8>)> = shaking.join_all().await;
    let leaves: HashSet<&[u8]> = shaken.iter().map(|(_, leaf)| leaf.as_slice()).collect();
    assert!(leaves.len() >= 1001, "{} leaves", leaves.len());
}

#[tokio::test]
async fn sessions_are_never_taken_up_again() {
    let stage = Stage::set(Options::default()).await;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        // One memory of sessions for all of them, which takes up what it can.
        let config = Arc::new(stage.config(versions));
        for host in ["files.test", "files.test", "other.test"] {
            let mut stream = stage.shake(host, &config).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "{versions:?} {host}");
            // Tickets would come with the first bytes.
            stream
                .write_all(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                .await
                .expect("the proxy reads");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
