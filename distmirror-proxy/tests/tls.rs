//! Listeners that begin with TLS, byte by byte: CONNECT inside HTTP/2, as browsers do it, and clients that never shake hands.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use distmirror_core::{
    Mirror,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Entrance, Listener, Options, Proxy};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[path = "support/secure.rs"]
mod secure;
use secure::{connector, shake};

type Body = Empty<Bytes>;

/// Asks one thing over HTTP/2.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Body>,
) -> Response<Incoming> {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    sender.send_request(request).await.expect("the server answers")
}

/// A proxy that listens on a free port and knows nothing; its address, and its CA.
async fn start(entrance: Entrance, options: Options) -> (SocketAddr, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("a new authority");
    let ca = authority.pem().to_owned();
    let mirror = Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()), Default::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    let proxy = Proxy::new(Arc::new(mirror), authority, options);
    let listeners = [Listener::new(socket, entrance)];
    tokio::spawn(async move { proxy.serve(listeners, std::future::pending()).await });
    (address, ca)
}

#[tokio::test]
async fn a_tunnel_in_a_stream() {
    let options = Options { own_authorities: vec!["mirror.test:3129".to_owned()], ..Options::default() };
    let (address, ca) = start(Entrance::ProxyTls, options).await;
    let connector = connector(&ca);
    let outer = shake(&connector, "mirror.test", TcpStream::connect(address).await.unwrap()).await;
    let connected = ask(outer, Request::connect("files.test:443").body(Body::new()).unwrap()).await;
    assert_eq!(connected.status(), 200);
    let tunnel = hyper::upgrade::on(connected).await.expect("a tunnel");
    let inner = shake(&connector, "files.test", TokioIo::new(tunnel)).await;
    let refused = ask(inner, Request::get("https://files.test/x").body(Body::new()).unwrap()).await;
    assert_eq!(refused.status(), 404);
    assert!(refused.headers()["proxy-status"].to_str().unwrap().contains("undeclared"));
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_let_go() {
    let half_a_hello = [22, 3, 1, 2, 0, 1, 0];
    for entrance in [Entrance::ProxyTls, Entrance::TransparentHttps] {
        for sent in [&half_a_hello[..], &[]] {
            let options = Options { handshake_timeout: Duration::from_millis(200), ..Options::default() };
            let (address, _) = start(entrance, options).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent).await.unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut Vec::new())).await;
            assert!(ended.is_ok(), "{entrance:?} waits for ever");
        }
    }
}
