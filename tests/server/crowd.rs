//! Many clients at once, most of them bad, and files that run out: whoever asks properly is answered, and all of it passes.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use testkit::Upstream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::{Backends, Server};

/// A server with one present file.
struct Stage {
    server: Server,
    upstream: Upstream,
    body: Vec<u8>,
}

impl Stage {
    async fn set(size: usize) -> Self {
        let upstream = Upstream::start(&[]).await;
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        upstream.file("/file", body.clone());
        let server = Server::start(Backends::embedded, &upstream).await;
        let declared = server.declare(&upstream.url("/file"), None).await;
        server.wait_for(&declared, "present").await;
        Self { server, upstream, body }
    }

    fn address(&self) -> SocketAddr {
        self.server.proxy_url().trim_start_matches("http://").parse().expect("an address")
    }

    /// A request for the file.
    fn request(&self, field: &str) -> String {
        format!("GET {} HTTP/1.1\r\nHost: files.test\r\n{field}\r\n", self.upstream.url("/file"))
    }

    /// Asks for the file on a connection of its own, and looks at every byte.
    async fn is_served(&self) {
        let mut stream = dial(self.address(), 1).await;
        stream.write_all(self.request("Connection: close\r\n").as_bytes()).await.expect("the proxy reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the answer ends");
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&self.body), "{} bytes", answer.len());
    }
}

/// Dials from an address of loopback that many share.
async fn dial(address: SocketAddr, client: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let [.., high, low] = client.to_be_bytes();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0))).expect("all of 127.0.0.0/8 is ours");
    timeout(Duration::from_secs(60), socket.connect(address)).await.expect("in time").expect("the kernel accepts")
}

/// The answer about the health of the proxy, on a connection that stays.
async fn health(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("the proxy reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        let byte = timeout(Duration::from_secs(60), stream.read_u8()).await.expect("an answer").expect("a byte");
        answer.push(byte);
    }
    String::from_utf8(answer).expect("text")
}

/// PH08: byte by byte, until it is closed.
async fn slowly(address: SocketAddr, client: usize) {
    let mut stream = dial(address, client).await;
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        for byte in b"GET http://files.test/file HTTP/1.1\r\nHost: files.test\r\n".iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(5)).await;
        }
    };
    let closed = async { while reader.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {} };
    tokio::select! { () = drip => {}, () = closed => {} }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ph08_two_thousand_slow_clients_are_closed_and_hinder_nobody() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("up to the hard limit");
    let stage = Stage::set(100_000).await;
    let mut slow = JoinSet::new();
    for client in 0..2000 {
        slow.spawn(slowly(stage.address(), client % 50));
    }
    let (until, mut served) = (Instant::now() + Duration::from_secs(180), 0);
    while !slow.is_empty() {
        stage.is_served().await;
        served += 1;
        while slow.try_join_next().is_some() {}
        assert!(Instant::now() < until, "{} are still there", slow.len());
        sleep(Duration::from_millis(50)).await;
    }
    assert!(served > 10, "{served} requests meanwhile");
}

#[tokio::test]
async fn files_that_run_out_are_survived() {
    let stage = Stage::set(100_000).await;
    let process = Pid::from_raw(stage.server.pid().cast_signed()).expect("a process");
    let mut before = dial(stage.address(), 1).await;
    health(&mut before).await;
    let open = fs::read_dir(format!("/proc/{}/fd", stage.server.pid())).expect("its files").count() as u64;
    let few = Rlimit { current: Some(open + 10), maximum: getrlimit(Resource::Nofile).maximum };
    let usual = prlimit(Some(process), Resource::Nofile, few).expect("ours to limit");
    let mut waiting = Vec::new();
    for _ in 0..40 {
        waiting.push(dial(stage.address(), 2).await);
    }
    // Those who are there go on, with what needs no file; whoever needs one is told.
    for _ in 0..5 {
        assert!(health(&mut before).await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_millis(100)).await;
    }
    before.write_all(stage.request("Connection: close\r\n").as_bytes()).await.expect("the proxy reads");
    let mut refused = String::new();
    before.read_to_string(&mut refused).await.expect("the answer ends");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("storage_unavailable"), "{refused:.300}");
    prlimit(Some(process), Resource::Nofile, usual).expect("ours to limit");
    for stream in &mut waiting {
        assert!(health(stream).await.starts_with("HTTP/1.1 200"));
    }
    stage.is_served().await;
    let complaints = stage.server.log().matches("cannot accept a connection").count();
    assert_eq!(complaints, 1, "it is said, and not over and over");
    drop(waiting);
    stage.server.stop().await;
}

#[tokio::test]
async fn a_running_download_ends_well_when_the_server_is_stopped() {
    // More than the buffers of two sockets hold.
    let stage = Stage::set(40 << 20).await;
    let address = stage.address();
    let mut stream = dial(address, 1).await;
    stream.write_all(stage.request("").as_bytes()).await.expect("the proxy reads");
    let mut answer = vec![0; 100_000];
    stream.read_exact(&mut answer).await.expect("the answer begins");
    let mut idle = dial(address, 1).await;
    health(&mut idle).await;
    let stopping = tokio::spawn(stage.server.stop());
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < until, "it still accepts");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(idle.read(&mut [0; 10]).await.expect("a connection for nothing is closed"), 0);
    stream.read_to_end(&mut answer).await.expect("the rest of the answer");
    assert!(answer.ends_with(&stage.body), "{} bytes", answer.len());
    stopping.await.expect("it ends with 0");
}
