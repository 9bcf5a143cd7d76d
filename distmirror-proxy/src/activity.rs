//! Connections on which nothing happens.
//!
//! HTTP/1.1 needs no more than a deadline for each head, and the kernel's for what a client does not take (`TCP_USER_TIMEOUT`,
//! see `listener`). On a connection of HTTP/2 a client may stay for ever that asks nothing, or takes nothing of a stream: its
//! socket moves, its window does not. So what happens is counted, and somebody looks at the count now and then, which costs
//! less than a timer for every write.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::slots::Slot;

/// What happens on a connection, tunnels in it included.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// How often something happened that counts: a request, its answer, a piece of a body that was taken.
    events: AtomicU64,
    /// How many requests wait for us and not for the client.
    at_work: AtomicU32,
    /// How many answers are not handed over yet.
    answers: AtomicU32,
    /// Whether the kernel takes no more for the client. How long that may last is the kernel's matter.
    is_blocked: AtomicBool,
}

impl Activity {
    /// Something happened.
    pub(crate) fn happened(&self) {
        self.events.fetch_add(1, Relaxed);
    }

    /// An answer is to be handed over.
    pub(crate) fn answer_begins(&self) {
        self.answers.fetch_add(1, Relaxed);
    }

    /// It was handed over, or is not any more.
    pub(crate) fn answer_ends(&self) {
        self.answers.fetch_sub(1, Relaxed);
    }

    /// How much has happened so far.
    pub(crate) fn so_far(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Ready when nothing has happened for so long, or a quarter longer.
    pub(crate) async fn quiet(&self, limit: Duration) {
        let (mut seen, mut quiet_looks) = (self.so_far(), 0);
        while quiet_looks < LOOKS {
            tokio::time::sleep(limit / LOOKS).await;
            let events = self.so_far();
            let is_quiet = events == seen && self.at_work.load(Relaxed) == 0 && !self.is_blocked.load(Relaxed);
            quiet_looks = if is_quiet { quiet_looks + 1 } else { 0 };
            seen = events;
        }
    }

    /// Waits until a client that was told to end has no reason to be there: it has asked nothing since `began`, or nothing happens
    /// for so long while an answer is not handed over. One that may still be reading what lies in buffers on its way, where
    /// nobody sees it, has more time.
    pub(crate) async fn stalled(&self, began: u64, limit: Duration) {
        for _ in 0..PATIENCE {
            if self.so_far() == began {
                return;
            }
            self.quiet(limit).await;
            if self.answers.load(Relaxed) > 0 {
                return;
            }
        }
    }
}

/// A request is being answered: while this lives nothing is quiet.
#[derive(Debug)]
pub(crate) struct Work(Arc<Slot>);

impl Work {
    pub(crate) fn begin(slot: &Arc<Slot>) -> Self {
        slot.activity.at_work.fetch_add(1, Relaxed);
        Self(Arc::clone(slot))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.activity.happened();
        self.0.activity.at_work.fetch_sub(1, Relaxed);
    }
}

/// The stream of a connection, which knows whether the kernel takes more.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    slot: Arc<Slot>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, slot: Arc<Slot>) -> Self {
        Self { stream, slot }
    }

    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        self.slot.activity.is_blocked.store(written.is_pending(), Relaxed);
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How many times as long somebody is waited for who has nothing to take.
const PATIENCE: u32 = 20;
/// How often somebody looks within the time after which a connection counts as quiet.
const LOOKS: u32 = 4;

#[cfg(test)]
mod tests {
    use std::{future::Future, net::Ipv4Addr, time::Instant};

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::slots::Slots;

    const LIMIT: Duration = Duration::from_millis(200);

    fn slot() -> Arc<Slot> {
        Arc::new(Slots::new(1, 1).take(Ipv4Addr::LOCALHOST.into()).unwrap())
    }

    /// It is not quiet until `what` has ended, and quiet soon after.
    async fn lasts<F: Future>(slot: &Slot, what: F) -> F::Output {
        let output = tokio::select! {
            () = slot.activity.quiet(LIMIT) => panic!("it is not quiet"),
            output = what => output,
        };
        tokio::time::timeout(100 * LIMIT, slot.activity.quiet(LIMIT)).await.expect("it is quiet now");
        output
    }

    #[tokio::test]
    async fn what_happens_now_and_then_is_not_quiet() {
        let slot = slot();
        let until = Instant::now() + 5 * LIMIT;
        lasts(&slot, async {
            // Awake oftener than anybody looks, however late this task is: each look sees another count.
            while Instant::now() < until {
                slot.activity.happened();
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn our_own_work_is_not_quiet() {
        let slot = slot();
        let work = Work::begin(&slot);
        lasts(&slot, async move {
            tokio::time::sleep(5 * LIMIT).await;
            drop(work);
        })
        .await;
    }

    #[tokio::test]
    async fn a_kernel_that_takes_no_more_is_not_quiet() {
        let slot = slot();
        let (ours, theirs) = tokio::io::duplex(1);
        let mut stream = Watched::new(ours, Arc::clone(&slot));
        lasts(&slot, async move {
            let _ = tokio::time::timeout(5 * LIMIT, stream.write_all(b"more than one byte")).await;
            drop(theirs);
            let _ = stream.write_all(b"x").await;
        })
        .await;
    }
}
