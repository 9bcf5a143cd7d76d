//! Listeners that begin with TLS, byte by byte: CONNECT inside HTTP/2, as browsers do it, and clients that never shake hands.

use std::time::Duration;

use bytes::Bytes;
use distmirror_proxy::{Entrance, Options};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

#[path = "support/nothing.rs"]
mod nothing;
#[path = "support/secure.rs"]
mod secure;
use nothing::start;
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

#[tokio::test]
async fn a_tunnel_in_a_stream() {
    let (address, ca) = start(Entrance::ProxyTls, Options::default()).await;
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
