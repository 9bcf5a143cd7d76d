//! A body on its way into the spool, with every limit on it.

use std::time::Duration;

use distmirror_core::{Failure, ProgressMeter, Spool, error};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

/// Takes a body in. `total` is how many bytes the spool has at the end, if upstream announced that.
///
/// What came before a failure stays in the spool, except where it is more than the limit.
pub(crate) async fn receive(
    mut body: Incoming,
    total: Option<u64>,
    spool: &mut Spool,
    meter: &ProgressMeter,
    idle_timeout: Duration,
) -> Result<(), Failure> {
    let counter = metrics::counter!("distmirror_fetch_bytes_total");
    meter.set_total(total);
    meter.set_bytes(spool.received());
    loop {
        let frame = match timeout(idle_timeout, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(cause))) => return Err(truncated(spool, total, &error::chain(&cause))),
            Err(_) => return Err(truncated(spool, total, &format!("timed out, nothing came for {idle_timeout:?}"))),
        };
        let Ok(data) = frame.into_data() else { continue };
        counter.increment(data.len() as u64);
        take_in(spool, data).await?;
        meter.set_bytes(spool.received());
    }
    match total {
        Some(total) if total != spool.received() => Err(truncated(spool, Some(total), "the body ended")),
        _ => Ok(()),
    }
}

async fn take_in(spool: &mut Spool, data: bytes::Bytes) -> Result<(), Failure> {
    match spool.write(data).await {
        Err(error @ error::Error::TooLarge { .. }) => {
            spool.restart(None).await?;
            Err(error.into())
        }
        written => Ok(written?),
    }
}

fn truncated(spool: &Spool, total: Option<u64>, cause: &str) -> Failure {
    let received = spool.received();
    Failure::new(match total {
        Some(total) => format!("truncated: {received} of {total} bytes: {cause}"),
        None => format!("truncated after {received} bytes: {cause}"),
    })
}
