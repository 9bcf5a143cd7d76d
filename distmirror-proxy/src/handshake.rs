//! TLS as its server: the ClientHello under a deadline, the leaf for whom the connection is meant, and the requests inside.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Buf, Bytes};
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor, server::TlsStream};

use crate::{connection::Connection, face::Via, listener::Meant, metrics::METRICS, refusal::Refusal, serve::Shared};

/// Shakes hands, then answers what is asked inside. `meant` decides for whom it is, from the name that SNI asks for.
///
/// # Errors
/// Why there was no handshake, for the log; the client was told as far as it understands.
pub(crate) async fn serve<S>(
    connection: Connection,
    stream: Prefixed<S>,
    meant: impl FnOnce(Option<&str>) -> Result<Meant, AlertDescription>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let started = Instant::now();
    let in_time = connection.shared.options.handshake_timeout;
    let shaken = tokio::time::timeout(in_time, Box::pin(handshake(&connection.shared, stream, meant))).await;
    let shaken = shaken.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake in time")));
    METRICS.shaken(shaken.is_ok(), started.elapsed().as_secs_f64());
    let (stream, via) = shaken?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    connection.via(via).serve(stream, is_http2).await;
    Ok(())
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    mut stream: Prefixed<S>,
    meant: impl FnOnce(Option<&str>) -> Result<Meant, AlertDescription>,
) -> io::Result<(Box<TlsStream<Prefixed<S>>>, Via)> {
    if stream.first_byte().await? != TLS_HANDSHAKE {
        // Most of those that speak something else speak HTTP.
        stream.write_all(&Refusal::bad_request("Only TLS is understood here").into_bytes()).await?;
        return Err(io::Error::other("what comes is not TLS"));
    }
    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let meant = meant(hello.client_hello().server_name());
    let (host, via) = match meant {
        Ok(meant) => meant,
        Err(alert) => {
            hello.io.write_all(&fatal(alert)).await?;
            hello.io.shutdown().await?;
            return Err(io::Error::other(format!("refused by the alert {alert:?}")));
        }
    };
    let config = shared.leaves.config(&host).map_err(|error| {
        tracing::error!(%host, %error, "cannot mint");
        io::Error::other("no certificate")
    })?;
    Ok((Box::new(hello.into_stream(config).await?), via))
}

/// A record with an alert that ends the connection, as it stands before any key is agreed on (RFC 8446 sections 5.1 and 6).
/// Written here because rustls has no way to refuse a ClientHello by an alert of one's choice.
fn fatal(alert: AlertDescription) -> [u8; 7] {
    [TLS_ALERT, 3, 3, 0, 2, 2, alert.into()]
}

/// A connection of which some bytes were read already: those that came in one segment with a CONNECT.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    prefix: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    pub(crate) fn new(prefix: Bytes, stream: S) -> Self {
        Self { prefix, stream }
    }

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

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
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

/// The content types of TLS records with an alert, and of those that begin a handshake (RFC 8446 section 5.1).
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;
