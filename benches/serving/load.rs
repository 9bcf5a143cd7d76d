//! Clients of the three servers: the same few lines of HTTP/1.1 over the same sockets, whoever answers.

use std::{
    io::{Error, Result},
    net::Ipv4Addr,
    sync::Arc,
    time::Instant,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpSocket,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use crate::servers::Server;

/// How a client reaches a server.
#[derive(Clone)]
pub(crate) struct Route {
    port: u16,
    /// What a proxy is asked for in absolute-form begins with this.
    absolute: Option<&'static str>,
    is_tunnelled: bool,
    tls: Option<TlsConnector>,
}

impl Route {
    pub(crate) fn plain(server: &Server) -> Self {
        Self::to(server, "http://")
    }

    /// `https` without TLS, which no client asks for: a proxy has the file after it, and nothing that TLS needs.
    pub(crate) fn unencrypted(server: &Server) -> Self {
        Self::to(server, "https://")
    }

    fn to(server: &Server, absolute: &'static str) -> Self {
        let absolute = server.is_proxy.then_some(absolute);
        Self { port: server.port, absolute, is_tunnelled: false, tls: None }
    }

    /// By TLS 1.3 with AES-128, in a CONNECT tunnel if the server is a proxy; no session is resumed.
    pub(crate) fn tls(server: &Server, ca_pem: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem).expect("the CA is PEM")).expect("the CA is one");
        let cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let tls = Some(TlsConnector::from(Arc::new(config)));
        Self { port: server.tls_port, absolute: None, is_tunnelled: server.is_proxy, tls }
    }

    /// A new connection on which this host is asked. Each fifty share an address of loopback: the ports of one run out.
    async fn connect(&self, number: usize, host: &str) -> Result<Connection> {
        let [.., high, low] = (number / 50).to_be_bytes();
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into())?;
        let socket = socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await?;
        socket.set_nodelay(true)?;
        let mut plain = Connection::new(Box::new(socket));
        let Some(tls) = &self.tls else { return Ok(plain) };
        if self.is_tunnelled {
            plain.send(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").as_bytes()).await?;
            plain.receive_head().await?;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
        Ok(Connection::new(Box::new(tls.connect(name, plain.stream).await?)))
    }

    fn request(&self, host: &str, path: &str) -> Vec<u8> {
        let target = self.absolute.map_or_else(|| path.to_owned(), |scheme| format!("{scheme}{host}{path}"));
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    async fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await
    }

    /// Reads the head of an answer of success; returns how many bytes of the body are still to come.
    async fn receive_head(&mut self) -> Result<u64> {
        if self.buffer.is_empty() {
            self.buffer.resize(PIECE_BYTES, 0);
        }
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..]).await?;
            filled += count;
            let received = &self.buffer[..filled];
            if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                let length = length_of(&String::from_utf8_lossy(&received[..end]))?;
                return Ok(length - (filled - end - 4) as u64);
            }
            if count == 0 {
                return Err(Error::other("the connection ended in the head of an answer"));
            }
        }
    }

    async fn receive_body(&mut self, mut left: u64) -> Result<()> {
        while left > 0 {
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Err(Error::other(format!("the connection ended {left} bytes too early")));
            }
            left -= count as u64;
        }
        Ok(())
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<()> {
        self.send(request).await?;
        let left = self.receive_head().await?;
        self.receive_body(left).await
    }
}

/// The length of the body, of an answer of success; 0 if none is said.
fn length_of(head: &str) -> Result<u64> {
    if head.get(9..10) != Some("2") {
        return Err(Error::other(format!("refused: {head}")));
    }
    let said = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Ok(said.unwrap_or(0))
}

/// Asks so often for one file, over so many connections that stay.
pub(crate) async fn repeat(route: Route, connections: usize, requests: usize, host: &'static str, path: &'static str) {
    let mut clients = JoinSet::new();
    for client in 0..connections {
        let route = route.clone();
        let own = requests / connections + usize::from(client < requests % connections);
        clients.spawn(async move {
            let mut connection = route.connect(client, host).await?;
            let request = route.request(host, path);
            for _ in 0..own {
                connection.exchange(&request).await?;
            }
            Ok::<_, Error>(())
        });
    }
    finish(clients).await;
}

/// Asks each of these hosts for one file, each over a new connection, eight at a time.
pub(crate) async fn visit(route: Route, hosts: Vec<String>, path: &'static str) {
    let mut clients = JoinSet::new();
    let hosts = Arc::new(hosts);
    for client in 0..8 {
        let (route, hosts) = (route.clone(), Arc::clone(&hosts));
        clients.spawn(async move {
            for (number, host) in hosts.iter().enumerate().skip(client).step_by(8) {
                route.connect(number, host).await?.exchange(&route.request(host, path)).await?;
            }
            Ok::<_, Error>(())
        });
    }
    finish(clients).await;
}

async fn finish(mut clients: JoinSet<Result<()>>) {
    while let Some(ended) = clients.join_next().await {
        ended.expect("no client panics").expect("every request is answered");
    }
}

/// Connections that are kept open.
pub(crate) struct Crowd(#[expect(dead_code, reason = "they are there to be open")] Vec<Connection>);

/// What the clients of a crowd do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idea {
    /// They have asked once, were answered, and may ask again.
    Idle,
    /// They have asked for a large file, and take nothing of it but the beginning.
    Stalled,
}

/// So many connections, with such an idea.
pub(crate) async fn gather(route: &Route, count: usize, idea: Idea, host: &str, path: &str) -> Crowd {
    let request = route.request(host, path);
    let mut crowd = Vec::with_capacity(count);
    for client in 0..count {
        let mut connection = route.connect(client, host).await.expect("it connects");
        connection.send(&request).await.expect("it is heard");
        let mut left = connection.receive_head().await.expect("it is answered");
        if idea == Idea::Idle {
            connection.receive_body(std::mem::take(&mut left)).await.expect("all of it comes");
        }
        // Its buffer would count for nothing but the memory of the machine.
        connection.buffer = Vec::new();
        crowd.push(connection);
    }
    Crowd(crowd)
}

/// How long something takes, in seconds.
pub(crate) async fn timed(work: impl Future<Output = ()>) -> f64 {
    let started = Instant::now();
    work.await;
    started.elapsed().as_secs_f64()
}

const PIECE_BYTES: usize = 256 * 1024;
