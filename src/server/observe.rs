//! The metrics' part of the wiring: which there are, and what is counted now and then.

use std::{pin::pin, sync::Arc, time::Duration};

use distmirror_core::Mirror;
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::Roles;

/// Describes the metrics of the parts that run here: what is not here must not look as if it stood at zero.
pub(super) fn describe_metrics(roles: Roles) {
    distmirror_core::describe_metrics();
    distmirror_backends::catalog::describe_metrics();
    if roles.proxy {
        distmirror_proxy::describe_metrics();
        distmirror_backends::blobs::describe_cache_metrics();
    }
    if roles.admin || roles.fetch {
        distmirror_core::describe_upkeep_metrics();
    }
    if roles.fetch {
        distmirror_fetch::describe_metrics();
    }
}

/// Shows how much there is, again and again.
pub(super) async fn measure(mirror: Arc<Mirror>, stopped: impl Future<Output = ()>) {
    let mut stopped = pin!(stopped);
    let mut ticks = interval(MEASURE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut stopped => return,
        }
        mirror.measure_memory();
        if let Err(error) = mirror.measure_catalog(Timestamp::now()).await {
            tracing::debug!(error = error.chain(), "cannot count what is in the catalog");
        }
    }
}

/// How often what is in the catalog is counted.
const MEASURE_EVERY: Duration = Duration::from_secs(15);
