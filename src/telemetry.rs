//! Metrics: the recorder behind the `metrics` facade that all crates count with, and the words for what they count.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Installs the recorder of this process; the handle writes the text of `/metrics`.
///
/// # Errors
/// When the process has a recorder already.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = PrometheusBuilder::new().set_buckets(&FETCH_SECONDS)?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Says what is counted, and shows zero for what was not counted yet, so that an alarm can tell zero from absence.
fn describe() {
    gauge!("distmirror_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    describe_gauge!("distmirror_build_info", "The version that runs; always 1.");
    describe_counter!("distmirror_proxy_responses_total", "Answers of the proxy by code; `hit` is a present artifact.");
    for code in ["hit", "undeclared", "pending", "fetch_failed"] {
        counter!("distmirror_proxy_responses_total", "code" => code).absolute(0);
    }
    describe_counter!("distmirror_handshakes_total", "TLS handshakes inside CONNECT by outcome.");
    describe_counter!("distmirror_leaves_minted_total", "Leaf certificates signed.");
    describe_counter!("distmirror_misses_dropped_total", "Undeclared names that were not recorded, for want of room.");
    describe_counter!("distmirror_usage_dropped_total", "Requests that were not counted as usage, for want of room.");
    describe_counter!("distmirror_fetches_total", "Ended fetches by outcome.");
    describe_histogram!("distmirror_fetch_seconds", Unit::Seconds, "How long fetches took by outcome.");
    describe_counter!("distmirror_fetch_bytes_total", Unit::Bytes, "Bytes received from upstream.");
    describe_gauge!("distmirror_fetches_running", "Fetches that run now.");
    describe_counter!("distmirror_blob_cache_hits_total", "Blobs that were read from a copy on local disk.");
    describe_counter!(
        "distmirror_blob_cache_misses_total",
        "Blobs that were read from the object store behind the cache."
    );
    describe_counter!("distmirror_blob_cache_fills_total", "Copies of hot blobs that were made, by outcome.");
    describe_counter!("distmirror_blob_cache_evictions_total", "Copies that went to make room.");
    describe_counter!("distmirror_blob_cache_bad_copies_total", "Copies that were found damaged, and thrown away.");
    describe_gauge!("distmirror_blob_cache_bytes", Unit::Bytes, "What copies take on disk, with those being made.");
    for name in [
        "distmirror_leaves_minted_total",
        "distmirror_misses_dropped_total",
        "distmirror_usage_dropped_total",
        "distmirror_fetch_bytes_total",
    ] {
        counter!(name).absolute(0);
    }
}

/// The bounds of the buckets that durations are counted in, in seconds.
const FETCH_SECONDS: [f64; 10] = [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];

const UPKEEP_EVERY: Duration = Duration::from_secs(5);
