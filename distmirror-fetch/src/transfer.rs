//! A body on its way into the spool, with every limit on it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use distmirror_core::{Failure, Hashing, Spool, error};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

/// Takes a body in. `total` is how many bytes the spool has at the end, if that is known. `came` is told of each piece, in bytes.
///
/// What came before a failure stays in the spool, except where it is more than the total or the limit.
pub(crate) async fn receive<H: Hashing>(
    mut body: Incoming,
    total: Option<u64>,
    spool: &mut Spool<H>,
    came: impl Fn(u64),
    idle_timeout: Duration,
) -> Result<(), Failure> {
    while let Some(data) = next_piece(&mut body, idle_timeout).await.map_err(|cause| truncated(spool, total, &cause))? {
        let bytes = data.len() as u64;
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

/// Reads a small body into memory: a manifest, a token.
pub(crate) async fn receive_small(mut body: Incoming, limit: u64, idle_timeout: Duration) -> Result<Bytes, Failure> {
    let too_much = || Failure::new(format!("more than the {limit} bytes that are read of such an answer"));
    if hyper::body::Body::size_hint(&body).lower() > limit {
        return Err(too_much());
    }
    let mut bytes = BytesMut::new();
    let cut = |received: usize, cause: String| Failure::new(format!("truncated after {received} bytes: {cause}"));
    while let Some(data) = next_piece(&mut body, idle_timeout).await.map_err(|cause| cut(bytes.len(), cause))? {
        if (bytes.len() + data.len()) as u64 > limit {
            return Err(too_much());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
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
