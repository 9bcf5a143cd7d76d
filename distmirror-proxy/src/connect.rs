//! CONNECT: nothing is ever tunnelled. The client is told `200`, its ClientHello is read under a deadline, it is shown a
//! leaf for exactly the authority that it connected to, and its requests are answered here.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use distmirror_core::{Authority, Host, Scheme};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor, server::TlsStream};

use crate::{
    body::Body,
    face::Via,
    refusal::Refusal,
    serve::{Connection, Shared},
};

/// Answers a CONNECT request, and goes on with what comes inside it.
pub(crate) fn accept(connection: &Connection, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let authority = target(&request)?;
    let connection = connection.clone();
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            tunnel(connection, upgraded, authority).await;
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    Ok(response)
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
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
    let stream = Prefixed { prefix: parts.read_buf, stream: parts.io.into_inner() };
    let shared = Arc::clone(&connection.shared);
    let handshake = tokio::time::timeout(shared.options.handshake_timeout, handshake(&shared, stream, &authority));
    let outcome = match handshake.await {
        Ok(Ok((stream, asked))) => {
            metrics::counter!("distmirror_handshakes_total", "outcome" => "ok").increment(1);
            connection.serve_tunnel(stream, Via::Tunnel(authority, asked)).await;
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no handshake in time".to_owned(),
    };
    metrics::counter!("distmirror_handshakes_total", "outcome" => "failed").increment(1);
    log_failure(&authority, connection.client, &outcome);
}

fn log_failure(authority: &Authority, client: SocketAddr, problem: &str) {
    tracing::debug!(%authority, %client, problem, "TLS handshake failed");
}

/// Reads the ClientHello and shows the leaf. Returns the stream, and the name in SNI if it is not the authority's host.
async fn handshake(
    shared: &Shared,
    mut stream: Prefixed,
    authority: &Authority,
) -> io::Result<(TlsStream<Prefixed>, Option<String>)> {
    if stream.first_byte().await? != TLS_HANDSHAKE {
        stream.write_all(NOT_TLS).await?;
        return Err(io::Error::other("what follows the CONNECT is not TLS"));
    }
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let asked = hello.client_hello().server_name().map(str::to_owned);
    let other = asked.filter(|name| Host::parse(name).is_ok_and(|host| host != authority.host));
    let config = match shared.leaves.config(&authority.host) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%authority, %error, "cannot mint");
            return Err(io::Error::other("no certificate"));
        }
    };
    Ok((hello.into_stream(config).await?, other))
}

/// A connection of which some bytes were read already: those that came in one segment with the CONNECT.
#[derive(Debug)]
pub(crate) struct Prefixed {
    prefix: Bytes,
    stream: TcpStream,
}

impl Prefixed {
    /// The next byte, which stays to be read.
    async fn first_byte(&mut self) -> io::Result<u8> {
        if self.prefix.is_empty() {
            let mut buffer = [0; 1];
            self.stream.read_exact(&mut buffer).await?;
            self.prefix = Bytes::copy_from_slice(&buffer);
        }
        Ok(self.prefix[0])
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The content type of a TLS record that begins a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What a client hears that speaks something else; most of those that do, speak HTTP.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nProxy-Status: distmirror; error=http_request_error; details=\"bad_request\"\r\n\
    Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: 68\r\nConnection: close\r\n\r\n\
    distmirror: bad_request\nInside CONNECT only TLS is understood here.\n";
