//! A proxy that has nothing.

use std::{net::SocketAddr, sync::Arc};

use distmirror_core::{
    Mirror,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Entrance, Listener, Options, Proxy};
use tokio::net::TcpListener;

/// It listens on a free port and is `mirror.test:3129`; its address, and its CA.
pub(crate) async fn start(entrance: Entrance, options: Options) -> (SocketAddr, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("a new authority");
    let ca = authority.pem().to_owned();
    let mirror = Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()), Default::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    let options = Options { own_authorities: vec!["mirror.test:3129".to_owned()], ..options };
    let proxy = Proxy::new(Arc::new(mirror), authority, options);
    let listeners = [Listener::new(socket, entrance)];
    tokio::spawn(async move { proxy.serve(listeners, std::future::pending()).await });
    (address, ca)
}
