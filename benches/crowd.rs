//! How long people wait while others do nothing: 10,000 clients that send a byte now and then, and 10,000 idle tunnels.
//!
//! ```sh
//! cargo bench --bench crowd          # takes about two minutes; needs a hard limit of 15,000 open files
//! ```
//!
//! Every answer is looked at byte by byte; times are only printed. On a shared machine only the ratio means anything.

#![expect(clippy::print_stdout, reason = "its table is its result")]

#[expect(dead_code, reason = "other benches measure more of a process")]
mod support;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use support::{Mirror, resident_kib_of_group};
use testkit::Upstream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};

const CROWD: usize = 10_000;
const SIZE: usize = 10 << 10;
/// How many ask properly at a time, and how often each.
const PEOPLE: usize = 4;
const REQUESTS: usize = 1000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("up to the hard limit");
    let upstream = Upstream::start(&[]).await;
    let body: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    upstream.file("/file", body.clone());
    let folder = tempfile::TempDir::new().expect("a folder");
    let mirror = Mirror::start("serve", folder.path(), upstream.http_port());
    mirror.declare("file", &upstream.url("/file"), &["--wait"]);
    let asked = Asked {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, mirror.proxy_port)),
        request: format!("GET {} HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n", upstream.url("/file")),
        body,
    };
    let asked = Arc::new(asked);
    println!("{:<34} {:>8} {:>10} {:>10} {:>8} {:>10}", "", "open", "p50", "p99", "ratio", "resident");
    measure("nobody else", &asked, 0, 1.0, &mirror).await;
    let alone = measure("nobody else, again", &asked, 0, 1.0, &mirror).await;

    let open = Arc::new(AtomicUsize::new(0));
    let mut crowd = JoinSet::new();
    for client in 0..CROWD {
        crowd.spawn(slowly(Arc::clone(&asked), client, Arc::clone(&open)));
    }
    wait_for_all(&open).await;
    measure("10,000 that send a byte each 5 s", &asked, open.load(Relaxed), alone, &mirror).await;
    crowd.shutdown().await;

    sleep(Duration::from_secs(3)).await;
    let tunnels = tunnels(&asked, &folder.path().join("data/ca/certificate.pem")).await;
    let idle = tunnels.iter().filter(|stream| is_open(stream)).count();
    measure("10,000 idle tunnels", &asked, idle, alone, &mirror).await;
}

/// What people ask for, and get.
struct Asked {
    address: SocketAddr,
    request: String,
    body: Vec<u8>,
}

impl Asked {
    /// Asks on a connection of its own.
    async fn once(&self) -> Duration {
        let started = Instant::now();
        let mut stream = dial(self.address, CROWD).await;
        stream.write_all(self.request.as_bytes()).await.expect("the proxy reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the answer ends");
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&self.body), "{} bytes", answer.len());
        started.elapsed()
    }
}

/// Dials from an address of loopback that fifty share.
async fn dial(address: SocketAddr, client: usize) -> tokio::net::TcpStream {
    let [.., high, low] = (client / 50).to_be_bytes();
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0))).expect("all of 127.0.0.0/8 is ours");
        match socket.connect(address).await {
            Ok(stream) => return stream,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Asks as people do, and prints how long that took; the 99th percentile in milliseconds.
async fn measure(what: &str, asked: &Arc<Asked>, open: usize, alone: f64, mirror: &Mirror) -> f64 {
    let mut people = JoinSet::new();
    for _ in 0..PEOPLE {
        let asked = Arc::clone(asked);
        people.spawn(async move {
            let mut times = Vec::with_capacity(REQUESTS);
            for _ in 0..REQUESTS {
                times.push(asked.once().await);
            }
            times
        });
    }
    let mut times = people.join_all().await.concat();
    times.sort();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
    let (p50, p99, ratio) = (at(50), at(99), at(99) / alone);
    let resident = resident_kib_of_group(mirror.pid()) / 1024;
    println!("{what:<34} {open:>8} {p50:>7.2} ms {p99:>7.2} ms {ratio:>8.1} {resident:>6} MiB");
    p99
}

/// A head byte by byte, again and again.
async fn slowly(asked: Arc<Asked>, client: usize, open: Arc<AtomicUsize>) {
    loop {
        let mut stream = dial(asked.address, client).await;
        open.fetch_add(1, Relaxed);
        for byte in asked.request.bytes() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(5)).await;
        }
        open.fetch_sub(1, Relaxed);
    }
}

async fn wait_for_all(open: &AtomicUsize) {
    while open.load(Relaxed) < CROWD {
        sleep(Duration::from_millis(100)).await;
    }
    // The last ones are still on their way through the kernel.
    sleep(Duration::from_secs(1)).await;
}

/// Shakes hands in so many tunnels, and does nothing in them.
async fn tunnels(asked: &Arc<Asked>, ca: &Path) -> Vec<TcpStream> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(ca).expect("the certificate of the CA");
    roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the versions are there");
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let few = Arc::new(Semaphore::new(32));
    let mut shaking = JoinSet::new();
    for client in 0..CROWD {
        let (config, asked, few) = (Arc::clone(&config), Arc::clone(asked), Arc::clone(&few));
        shaking.spawn(async move {
            let _permit = few.acquire_owned().await;
            tunnel(asked.address, client, config).await
        });
    }
    shaking.join_all().await
}

async fn tunnel(address: SocketAddr, client: usize, config: Arc<ClientConfig>) -> TcpStream {
    let mut stream = dial(address, client).await;
    stream
        .write_all(b"CONNECT files.test:443 HTTP/1.1\r\nHost: files.test:443\r\n\r\n")
        .await
        .expect("the proxy reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("an answer"));
    }
    let mut stream = stream.into_std().expect("a socket");
    stream.set_nonblocking(false).expect("the kernel allows it");
    let shake = move || {
        let name = ServerName::try_from("files.test").expect("a host");
        let mut client = ClientConnection::new(config, name).expect("a client");
        while client.is_handshaking() {
            client.complete_io(&mut stream).expect("a handshake");
        }
        stream
    };
    tokio::task::spawn_blocking(shake).await.expect("it does not panic")
}

/// Whether the proxy has not closed it yet.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("the kernel allows it");
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
