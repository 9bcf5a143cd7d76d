//! A proxy over a mirror in memory, and one connection to it that is no socket.

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use distmirror_core::{
    Content, Declare, Digests, Mirror, Payload, Source,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Options, Proxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::{Builder, Runtime},
};

/// In service at `a.test`.
pub(crate) const OPEN: &[u8] = b"0123456789 what everybody may read of a.test 0123456789";
/// In service at `b.test`. No request can hold a zero byte, so that no refusal can repeat it either.
pub(crate) const ELSEWHERE: &[u8] = b"what only b.test sends\0\0";
/// Declared at `a.test`, fetched, and taken out of service.
pub(crate) const WITHHELD: &[u8] = b"what nobody is sent\0\0";

/// The proxy, its CA's certificate, and what it runs on: one thread, so that an input always does the same.
pub(crate) struct Served {
    pub(crate) proxy: Proxy,
    pub(crate) ca: String,
    runtime: Runtime,
}

pub(crate) static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("a new authority");
    let ca = authority.pem().to_owned();
    let options =
        Options { own_authorities: vec!["mirror.test:3128".to_owned()], cached_leaves: 64, ..Options::default() };
    let proxy = Proxy::new(Arc::new(runtime.block_on(mirror())), authority, options);
    Served { proxy, ca, runtime }
});

impl Served {
    /// All that a connection answers to these bytes; then the client goes, and the connection has to end.
    pub(crate) fn answer<F>(
        &'static self,
        sent: &[u8],
        serve: impl FnOnce(&'static Proxy, DuplexStream) -> F,
    ) -> Vec<u8>
    where
        F: Future<Output = ()>,
    {
        let (client, server) = duplex(BUFFER_BYTES);
        let (mut from_server, mut to_server) = tokio::io::split(client);
        let send = async {
            // A server that has heard enough ends the connection before everything is sent.
            let _ = to_server.write_all(sent).await;
            // A client that closes its side while it is answered may get no answer from hyper.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            let _ = to_server.shutdown().await;
        };
        let mut answered = Vec::new();
        let talk = async { tokio::join!(send, from_server.read_to_end(&mut answered), serve(&self.proxy, server)) };
        let ended = self.runtime.block_on(async { tokio::time::timeout(NEVER, talk).await });
        let (_, read, ()) = ended.expect("a connection whose client has gone ends");
        read.expect("a duplex can be read to its end");
        answered
    }
}

async fn mirror() -> Mirror {
    let mirror = Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()), Default::default());
    for scheme in ["http", "https"] {
        present(&mirror, &format!("{scheme}://a.test/open"), OPEN).await;
        present(&mirror, &format!("{scheme}://b.test/elsewhere"), ELSEWHERE).await;
        let withheld = present(&mirror, &format!("{scheme}://a.test/withheld"), WITHHELD).await;
        mirror.quarantine(withheld, "fuzzed", "fuzz").await.expect("it is present");
    }
    mirror
}

async fn present(mirror: &Mirror, uri: &str, bytes: &'static [u8]) -> distmirror_core::ArtifactId {
    let declare = Declare { uri: Some(uri.to_owned()), reason: Some("fuzzed".to_owned()), ..Declare::default() };
    let id = mirror.declare(&declare, "fuzz").await.expect("a good declaration").artifact.id;
    let digests = Digests::of(bytes);
    mirror.blobs().put(&digests.sha256, Payload::Bytes(bytes.into())).await.expect("memory has room");
    let content = Content {
        digests,
        size: bytes.len() as u64,
        content_type: None,
        content_disposition: None,
        content_encoding: None,
        last_modified: Some("Tue, 03 Mar 2020 10:00:00 GMT".to_owned()),
        source: Source::default(),
    };
    mirror.fulfil(id, content, "fuzz").await.expect("it was only declared");
    id
}

const BUFFER_BYTES: usize = 64 << 10;
/// More turns of all tasks on the one thread than any answer takes.
const TURNS: usize = 64;
/// Nothing that is served here waits for anything.
const NEVER: Duration = Duration::from_secs(20);
