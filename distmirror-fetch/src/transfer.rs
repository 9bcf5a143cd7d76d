//! A body on its way into the spool, with every limit on it.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use distmirror_core::{Failure, Hashing, Spool, error};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

/// How slow a body may come. There is no limit on the whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long nothing may come.
    pub(crate) idle_timeout: Duration,
    /// How many bytes a second must come, over as long as nothing might; 0 for no limit.
    pub(crate) minimum_rate: u64,
}

/// Watches how fast a body comes.
struct Watcher {
    pace: Pace,
    since: Instant,
    bytes: u64,
}

impl Watcher {
    fn new(pace: Pace) -> Self {
        Self { pace, since: Instant::now(), bytes: 0 }
    }

    /// Counts a piece, and tells if those of the last while were too few.
    fn came(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.pace.idle_timeout {
            return Ok(());
        }
        let wanted = self.pace.minimum_rate.saturating_mul(elapsed.as_secs().max(1));
        let (bytes, minimum_rate) = (self.bytes, self.pace.minimum_rate);
        (self.since, self.bytes) = (Instant::now(), 0);
        if bytes >= wanted {
            return Ok(());
        }
        Err(format!(
            "too slow, {bytes} bytes came in {elapsed:.0?}, and fetch.minimum_rate is {minimum_rate} bytes a second"
        ))
    }
}

/// Takes a body in. `total` is how many bytes the spool has at the end, if that is known. `came` is told of each piece, in bytes.
///
/// What came before a failure stays in the spool, except where it is more than the total or the limit.
pub(crate) async fn receive<H: Hashing>(
    mut body: Incoming,
    total: Option<u64>,
    spool: &mut Spool<H>,
    came: impl Fn(u64),
    pace: Pace,
) -> Result<(), Failure> {
    let mut watcher = Watcher::new(pace);
    loop {
        let piece = next_piece(&mut body, pace.idle_timeout).await;
        let Some(data) = piece.map_err(|cause| truncated(spool, total, &cause))? else { break };
        let bytes = data.len() as u64;
        watcher.came(bytes).map_err(|cause| truncated(spool, total, &cause))?;
        if let Some(total) = total.filter(|total| spool.received() + bytes > *total) {
            spool.restart(None).await?;
            return Err(Failure::new(format!("more than the {total} bytes that were to come")));
        }
        take_in(spool, data).await?;
        came(bytes);
    }
    match total {
        Some(total) if total != spool.received() => Err(truncated(spool, Some(total), "the body ended")),
        _ => Ok(()),
    }
}

/// Reads a body piece by piece, which are kept nowhere; how many bytes it had.
pub(crate) async fn pass(
    mut body: Incoming,
    limit: u64,
    pace: Pace,
    mut piece: impl FnMut(Bytes),
) -> Result<u64, Failure> {
    let mut watcher = Watcher::new(pace);
    let mut received = 0;
    let cut = |received: u64, cause: String| Failure::new(format!("truncated after {received} bytes: {cause}"));
    while let Some(data) = next_piece(&mut body, pace.idle_timeout).await.map_err(|cause| cut(received, cause))? {
        let bytes = data.len() as u64;
        watcher.came(bytes).map_err(|cause| cut(received, cause))?;
        received += bytes;
        if received > limit {
            return Err(too_much(limit));
        }
        piece(data);
    }
    Ok(received)
}

/// Reads a small body into memory: a manifest, a token.
pub(crate) async fn receive_small(body: Incoming, limit: u64, pace: Pace) -> Result<Bytes, Failure> {
    if hyper::body::Body::size_hint(&body).lower() > limit {
        return Err(too_much(limit));
    }
    let mut bytes = BytesMut::new();
    pass(body, limit, pace, |piece| bytes.extend_from_slice(&piece)).await?;
    Ok(bytes.freeze())
}

/// In other words than those for what is larger than `fetch.max_file_bytes`, which would not help here.
fn too_much(limit: u64) -> Failure {
    Failure::new(format!("more than the {limit} bytes that are read of such an answer"))
}

/// The next piece of a body, `None` at its end; or why none came.
async fn next_piece(body: &mut Incoming, idle_timeout: Duration) -> Result<Option<Bytes>, String> {
    loop {
        match timeout(idle_timeout, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                metrics::counter!("distmirror_fetch_bytes_total").increment(data.len() as u64);
                return Ok(Some(data));
            }
            Ok(Some(Err(cause))) => return Err(error::chain(&cause)),
            Err(_) => return Err(format!("timed out, nothing came for {idle_timeout:?}")),
        }
    }
}

async fn take_in<H: Hashing>(spool: &mut Spool<H>, data: Bytes) -> Result<(), Failure> {
    match spool.write(data).await {
        Err(error @ error::Error::TooLarge { .. }) => {
            spool.restart(None).await?;
            Err(error.into())
        }
        written => Ok(written?),
    }
}

fn truncated<H: Hashing>(spool: &Spool<H>, total: Option<u64>, cause: &str) -> Failure {
    let received = spool.received();
    Failure::new(match total {
        Some(total) => format!("truncated: {received} of {total} bytes: {cause}"),
        None => format!("truncated after {received} bytes: {cause}"),
    })
}
