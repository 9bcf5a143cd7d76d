//! Closing a connection such that its end arrives.
//!
//! Whoever closes a socket on which something lies unread resets the connection, and the other side may lose what it has not
//! read yet (RFC 9112 section 9.6). What lies there is everyday: a client of HTTP/2 gives credit for what it is reading, until
//! the last byte. So the writing side is closed first, and what still comes is read and dropped until the client closes, too.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream that lingers when it is shut down.
#[derive(Debug)]
pub(crate) struct Lingering<S> {
    stream: S,
    /// Since its writing side is closed.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, until } = &mut *self;
        let until = match until {
            Some(until) => until,
            None => {
                ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
                until.insert(Box::pin(sleep(LINGER)))
            }
        };
        loop {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut dropped = [0; 4096];
            let mut buffer = ReadBuf::new(&mut dropped);
            // That the client is gone is as good as that it has closed.
            let is_over =
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).is_err() || buffer.filled().is_empty();
            if is_over {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// How long a client may take to close.
const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// More than the client reads at once, and less than the buffers of two sockets hold.
    const BYTES: usize = 100_000;

    #[tokio::test]
    async fn what_a_client_still_sends_costs_it_nothing_of_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let serving = tokio::spawn(async move {
            let mut served = Lingering::new(socket);
            served.write_all(&[7; BYTES]).await.unwrap();
            served.shutdown().await.unwrap();
        });
        let mut received = vec![0; 10];
        client.read_exact(&mut received).await.unwrap();
        client.write_all(b"credit").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.read_to_end(&mut received).await.expect("nothing is reset");
        assert_eq!(received.len(), BYTES);
        drop(client);
        tokio::time::timeout(LINGER, serving).await.expect("it ends when the client closes").unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_closes_is_waited_for_in_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let ended = tokio::time::timeout(5 * LINGER, Lingering::new(socket).shutdown()).await;
        ended.expect("it does not wait for ever").unwrap();
    }
}
