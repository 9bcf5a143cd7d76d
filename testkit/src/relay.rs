//! A relay between a client and a server: counts connections, and breaks them where a test says.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// A running relay to one server.
#[derive(Debug)]
pub struct Relay {
    endpoint: String,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

/// After how many bytes of answers the connection with this number breaks; the first one has number 0.
pub type Cuts = Box<dyn Fn(u64) -> u64 + Send>;

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicU64,
    bytes: AtomicU64,
}

impl Relay {
    /// Relays to a server such as `http://127.0.0.1:20001`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn to(endpoint: &str) -> Self {
        Self::cutting(endpoint, Box::new(|_| u64::MAX)).await
    }

    /// Relays, and breaks connections.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn cutting(endpoint: &str, cuts: Cuts) -> Self {
        let target = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn(accept(listener, target, cuts, Arc::clone(&counts)));
        Self { endpoint: format!("http://{address}"), counts, accepting }
    }

    /// Where the relay answers.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How many connections there were.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// How many connections there are.
    pub fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// How many bytes of answers went through.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: String, cuts: Cuts, counts: Arc<Counts>) {
    while let Ok((client, _)) = listener.accept().await {
        let after = cuts(counts.accepted.fetch_add(1, Ordering::Relaxed));
        counts.open.fetch_add(1, Ordering::Relaxed);
        let (target, counts) = (target.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(&target).await {
                relay(client, server, after, &counts).await;
            }
            counts.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Ends when either side does.
async fn relay(client: TcpStream, server: TcpStream, after: u64, counts: &Counts) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let requests = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    tokio::select! {
        _ = requests => {}
        () = answers(from_server, to_client, after, counts) => {}
    }
}

async fn answers(mut from_server: OwnedReadHalf, mut to_client: OwnedWriteHalf, mut left: u64, counts: &Counts) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from_server.read(&mut piece).await {
        let passed = left.min(count as u64);
        if to_client.write_all(&piece[..passed as usize]).await.is_err() {
            return;
        }
        counts.bytes.fetch_add(passed, Ordering::Relaxed);
        left -= passed;
        if left == 0 {
            return;
        }
    }
}
