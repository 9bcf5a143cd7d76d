//! Serving from an object store: clients that stall, and copies of hot blobs on local disk.

use std::{fs, path::PathBuf, time::Duration};

use futures::future::join_all;
use testkit::{ObjectServer, Relay, Upstream, garage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{Backends, Reach, Server, sqlite};

/// A server over S3, with a relay before that.
struct Site {
    upstream: Upstream,
    garage: ObjectServer,
    relay: Relay,
    server: Server,
}

impl Site {
    async fn start(blobs: &str) -> Self {
        let (upstream, garage) = (Upstream::start(&[]).await, garage().await);
        let relay = Relay::to(garage.endpoint()).await;
        let backends = |folder: &std::path::Path| {
            let mut options = garage.options();
            options.retain(|(key, _)| key != "aws_endpoint");
            options.push(("aws_endpoint".to_owned(), relay.endpoint().to_owned()));
            Backends { catalog: sqlite(folder), blobs: garage.fresh_url(), options }
        };
        let reach = Reach::from(&upstream).with_blobs(blobs).without_scrubs();
        let server = Server::start(backends, reach).await;
        Self { upstream, garage, relay, server }
    }

    /// Declares a file with these bytes and waits for it; where its copy would be.
    async fn present(&self, path: &str, bytes: &[u8]) -> PathBuf {
        self.upstream.file(path, bytes.to_vec());
        let declared = self.server.declare(&self.upstream.url(path), None).await;
        let artifact = self.server.wait_for(&declared, "present").await;
        self.server.folder().join("data/cache").join(artifact["sha256"].as_str().expect("it has a digest"))
    }

    /// What a client gets, and whether the store sent it.
    async fn download(&self, path: &str, more: &[&str]) -> (u16, Vec<u8>, bool) {
        let before = self.relay.bytes();
        let output = self.server.curl(&[&[&*self.upstream.url(path)], more].concat()).await;
        let from_store = self.relay.bytes() - before > output.body.len() as u64 / 2;
        (output.status, output.body, from_store)
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = testkit::curl(&[&format!("{}/metrics", self.server.proxy_url())]).await.text();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.trim().parse().expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_blobs_are_served_from_local_disk_also_while_the_store_is_away() {
    let mut site = Site::start("cache_bytes = \"64 MiB\"\n").await;
    let (hot, cold) = (noise(3_000_000, 1), noise(1_000_000, 2));
    let copy = site.present("/hot", &hot).await;
    let no_copy = site.present("/cold", &cold).await;
    for _ in 0..2 {
        assert!(site.download("/hot", &[]).await == (200, hot.clone(), true), "from the store");
    }
    assert!(site.download("/cold", &[]).await == (200, cold.clone(), true));
    wait_until("there is a copy", || copy.exists()).await;
    assert!(site.download("/hot", &[]).await == (200, hot.clone(), false), "from the copy");
    assert!(site.download("/hot", &["--range", "5-1000004"]).await == (206, hot[5..1_000_005].to_vec(), false));
    assert_eq!(site.metric("distmirror_blob_cache_bytes").await, 3_000_000.0);

    site.server.kill_and_restart().await;
    assert!(site.download("/hot", &[]).await == (200, hot.clone(), false), "from the copy of the process before");
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [Damage; 3] = [
        |bytes| bytes[..1_000_000].to_vec(),
        |bytes| bytes.iter().map(|byte| !byte).collect(),
        |bytes| [bytes, b"more"].concat(),
    ];
    for damage in damages {
        wait_until("there is a copy", || copy.exists()).await;
        fs::write(&copy, damage(&hot)).expect("writes over the copy");
        assert!(site.download("/hot", &[]).await == (200, hot.clone(), true), "from the store, whatever the copy was");
        let (status, body, _) = site.download("/hot", &["--range", "0-999999"]).await;
        assert!(status == 206 && body == hot[..1_000_000]);
    }
    wait_until("there is a copy", || copy.exists()).await;
    assert!(site.download("/hot", &[]).await == (200, hot.clone(), false));

    site.garage.process().kill9();
    assert!(site.download("/hot", &[]).await == (200, hot.clone(), false), "without the store");
    assert_eq!(site.download("/cold", &[]).await.0, 503, "and this has no copy");
    assert!(!no_copy.exists());
    site.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_make_one_copy_and_there_are_never_more_than_fit() {
    let site = Site::start("cache_bytes = 5000000\n").await;
    let hot = noise(2_000_000, 3);
    let copy = site.present("/hot", &hot).await;
    let clients = join_all((0..100).map(|_| site.download("/hot", &[])));
    assert!(clients.await.into_iter().all(|(status, body, _)| status == 200 && body == hot));
    wait_until("there is a copy", || copy.exists()).await;
    assert_eq!(site.metric("distmirror_blob_cache_fills_total{outcome=\"done\"}").await, 1.0);
    for number in 0..6 {
        let path = format!("/{number}");
        let other = noise(1_000_000, 10 + number);
        let copy = site.present(&path, &other).await;
        for _ in 0..2 {
            assert!(site.download(&path, &[]).await == (200, other.clone(), true));
        }
        wait_until("there is a copy", || copy.exists()).await;
        let names = fs::read_dir(site.server.folder().join("data/cache")).expect("the folder of copies");
        let taken: u64 = names.map(|entry| entry.expect("an entry").metadata().expect("a file").len()).sum();
        assert!(taken <= 5_000_000, "{taken}");
    }
    assert!(!copy.exists(), "what was used longest ago went");
    assert_eq!(site.metric("distmirror_blob_cache_evictions_total").await, 2.0);
    site.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_used_keeps_nobody_from_being_served() {
    let strange = tempfile::tempdir().expect("a folder");
    fs::write(strange.path().join("thesis.tex"), "").expect("writes");
    let site = Site::start(&format!("cache_bytes = \"1 GiB\"\ncache_dir = {:?}\n", strange.path())).await;
    let bytes = noise(1_000_000, 4);
    site.present("/file", &bytes).await;
    for _ in 0..3 {
        assert!(site.download("/file", &[]).await == (200, bytes.clone(), true));
    }
    let log = site.server.log();
    assert!(log.contains("blobs.cache_dir: nothing is kept on local disk") && log.contains("neither empty"), "{log}");
    assert_eq!(fs::read_dir(strange.path()).expect("the folder").count(), 1);
    site.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_hold_no_connection_to_the_store() {
    let mut site = Site::start("").await;
    let bytes = noise(12_000_000, 5);
    site.present("/large", &bytes).await;
    // Without the connections over which it came into the store.
    site.server.kill_and_restart().await;
    let (proxy, url) = (site.server.proxy_url(), site.upstream.url("/large"));
    let stalled = join_all((0..20).map(|_| request(&proxy, &url))).await;
    assert_eq!(site.relay.open(), 20, "one connection each");
    wait_until("no connection is open", || site.relay.open() == 0).await;
    for (mut client, mut came) in stalled.into_iter().take(3) {
        while came.len() < bytes.len() {
            assert!(client.read_buf(&mut came).await.expect("goes on") > 0, "it ended after {} bytes", came.len());
        }
        assert!(came == bytes);
    }
    site.server.stop().await;
}

/// Asks and reads no more than the beginning of the answer; the connection, and what came of the body.
async fn request(proxy: &str, url: &str) -> (TcpStream, Vec<u8>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("a small buffer");
    let address = proxy.trim_start_matches("http://").parse().expect("an address");
    let mut client = socket.connect(address).await.expect("the proxy accepts");
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    client.write_all(format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.expect("asks");
    let mut came = Vec::new();
    loop {
        assert!(client.read_buf(&mut came).await.expect("the proxy answers") > 0, "it answers");
        if let Some(end) = came.windows(4).position(|window| window == b"\r\n\r\n") {
            assert!(came.starts_with(b"HTTP/1.1 200 "));
            return (client, came.split_off(end + 4));
        }
    }
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never came that {what}");
}

/// Bytes that do not repeat soon; another seed gives others.
fn noise(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|at| ((at / 251 + at * 7 + seed * 13) % 253) as u8).collect()
}
