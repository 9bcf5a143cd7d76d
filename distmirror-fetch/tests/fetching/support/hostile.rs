//! An origin that writes to its sockets exactly what a test says, and then closes them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Barrier, Notify},
    task::JoinHandle,
};

/// What the origin does with a connection after it has read a request; at the end it closes the connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Sends this again and again until the client goes away.
    SendForEver(Vec<u8>),
    Wait(Duration),
    /// Waits until so many connections stand here.
    Meet(Arc<Barrier>),
    /// Tells that it stands still, and does so for ever.
    Stall(Arc<Notify>),
    Reset,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    /// How many requests for this path came before this one.
    pub(crate) earlier: usize,
    pub(crate) came_at: Instant,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where the range that is asked for starts.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// The origin; dropping it stops it.
pub(crate) struct Hostile {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Hostile {
    pub(crate) async fn start(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicU64::new(0));
        let script = Arc::new(script);
        let (requests, counter) = (Arc::clone(&seen), Arc::clone(&sent));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&requests), Arc::clone(&counter), Arc::clone(&script)));
            }
        });
        Self { address, seen, sent, serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        self.seen.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How many bytes of what it sends for ever it got rid of: what was read, and what fits between the ends of a connection.
    pub(crate) fn sent_for_ever_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicU64>,
    script: Arc<impl Fn(&Request) -> Vec<Step>>,
) -> Option<()> {
    let request = {
        let mut request = read_request(&mut stream).await?;
        let mut seen = seen.lock().unwrap();
        request.earlier = seen.iter().filter(|earlier| earlier.path == request.path).count();
        seen.push(request.clone());
        request
    };
    for step in script(&request) {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await.ok()?,
            Step::SendForEver(bytes) => loop {
                stream.write_all(&bytes).await.ok()?;
                sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            },
            Step::Wait(pause) => tokio::time::sleep(pause).await,
            Step::Meet(others) => {
                others.wait().await;
            }
            Step::Stall(told) => {
                told.notify_one();
                std::future::pending::<()>().await;
            }
            Step::Reset => {
                // Unsent bytes are thrown away, and the client sees a reset.
                stream.set_zero_linger().ok()?;
                return None;
            }
        }
    }
    Some(())
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Some(Request { path, headers, earlier: 0, came_at: Instant::now() })
}

/// An answer with this status line and header lines; `Content-Length` is the body's own unless it is among them.
pub(crate) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for line in headers {
        head += &format!("{line}\r\n");
    }
    let has_end = |line: &str| line.starts_with("Content-Length") || line.starts_with("Connection: close");
    if !headers.iter().any(|line| has_end(line)) {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Sends one answer.
pub(crate) fn send(status: &str, headers: &[&str], body: &[u8]) -> Vec<Step> {
    vec![Step::Send(answer(status, headers, body))]
}

/// Sends a chunked answer with these bytes as its raw body.
pub(crate) fn chunked(raw: &str) -> Vec<Step> {
    vec![Step::Send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{raw}").into_bytes())]
}

/// A chunked answer of zeros that does not end.
pub(crate) fn endless() -> Vec<Step> {
    [chunked(""), vec![Step::SendForEver([b"10000\r\n".as_slice(), &[0; 65536], b"\r\n"].concat())]].concat()
}
