//! CONNECT: nothing is ever tunnelled. The client is told `200`, its ClientHello is read under a deadline, it is shown a
//! leaf for exactly the authority that it connected to, and its requests are answered here.

use bytes::Bytes;
use distmirror_core::{Authority, Host, Scheme};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    activity::Watched,
    body::Body,
    connection::Connection,
    face::Via,
    handshake::{self, Prefixed},
    linger::Lingering,
    listener::Meant,
    metrics::answered,
    refusal::Refusal,
};

/// Answers a CONNECT request, and goes on with what comes inside it.
pub(crate) fn accept(connection: &Connection, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let authority = target(&request)?;
    let connection = connection.tunnelled(request.headers())?;
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            tunnel(connection, upgraded, authority).await;
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    Ok(answered("tunnel", response))
}

/// The authority of the request, which must name a port (RFC 9110 section 9.3.6).
fn target(request: &Request<Incoming>) -> Result<Authority, Refusal> {
    let text = request.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let with_port =
        text.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if !with_port || request.uri().path_and_query().is_some() {
        return Err(Refusal::bad_request("CONNECT needs `HOST:PORT` and nothing else"));
    }
    Authority::parse(text, Scheme::Https.default_port()).map_err(|error| Refusal::bad_request(error.to_string()))
}

async fn tunnel(connection: Connection, upgraded: Upgraded, authority: Authority) {
    let client = connection.client;
    let meant = |asked: Option<&str>| Ok(meant(&authority, asked));
    let served = match upgraded.downcast::<TokioIo<Watched<Lingering<TcpStream>>>>() {
        Ok(parts) => handshake::serve(connection, Prefixed::new(parts.read_buf, parts.io.into_inner()), meant).await,
        // Inside TLS to the proxy itself, or a stream of HTTP/2 (RFC 9113 section 8.5).
        Err(upgraded) => {
            let stream = Prefixed::new(Bytes::new(), TokioIo::new(upgraded));
            Box::pin(handshake::serve(connection, stream, meant)).await
        }
    };
    if let Err(problem) = served {
        tracing::debug!(%authority, %client, %problem, "TLS handshake failed");
    }
}

/// The leaf is for the authority of the CONNECT. If SNI asks for another host, every request is refused.
fn meant(authority: &Authority, asked: Option<&str>) -> Meant {
    let other = asked.filter(|name| Host::parse(name).is_ok_and(|host| host != authority.host));
    (authority.host.clone(), Via::Tunnel(authority.clone(), other.map(str::to_owned)))
}
