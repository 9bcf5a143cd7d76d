//! What this crate counts, in words. What is counted only in some processes is described apart.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Describes the metrics of a [`Mirror`](crate::Mirror) and its backends, and shows zero for what was not counted yet. To be
/// called once, after the recorder is installed.
pub fn describe_metrics() {
    describe_histogram!(
        "distmirror_catalog_operation_seconds",
        Unit::Seconds,
        "How long operations of the catalog took, by operation and outcome."
    );
    describe_histogram!(
        "distmirror_blob_operation_seconds",
        Unit::Seconds,
        "How long operations of the blob store took until their first answer, by operation and outcome."
    );
    describe_counter!(
        "distmirror_artifact_lookups_total",
        "Names that were asked for, by what answered: `memory`, or the `catalog`."
    );
    describe_gauge!("distmirror_artifacts_cached", "Present artifacts that are remembered.");
    describe_counter!("distmirror_misses_recorded_total", "Undeclared names that were reported to the catalog.");
    describe_counter!("distmirror_misses_dropped_total", "Undeclared names that were not recorded, for want of room.");
    describe_gauge!("distmirror_misses_gathered", "Undeclared names that wait to be reported.");
    describe_counter!("distmirror_usage_recorded_total", "Requests that were reported to the catalog as usage.");
    describe_counter!("distmirror_usage_dropped_total", "Requests that were not counted as usage, for want of room.");
    describe_gauge!("distmirror_usage_gathered", "Uses, of an artifact on a day by a user, that wait to be reported.");
    for name in [
        "distmirror_misses_recorded_total",
        "distmirror_misses_dropped_total",
        "distmirror_usage_recorded_total",
        "distmirror_usage_dropped_total",
    ] {
        metrics::counter!(name).absolute(0);
    }
}

/// Describes what [`Mirror::measure_catalog`](crate::Mirror::measure_catalog) shows, and what scrubs and an [`Intake`](crate::Intake) count.
pub fn describe_upkeep_metrics() {
    describe_gauge!("distmirror_artifacts", "Declared artifacts by state.");
    describe_gauge!("distmirror_misses", "Undeclared names that wait for a decision.");
    describe_gauge!("distmirror_fetches_due", "Artifacts that wait for a worker.");
    describe_gauge!(
        "distmirror_fetches_oldest_due_seconds",
        Unit::Seconds,
        "How long the artifact has waited for a worker that has waited longest."
    );
    describe_gauge!(
        "distmirror_scrub_last_complete_timestamp_seconds",
        Unit::Seconds,
        "When the last scrub began that ended: whatever was stored then was hashed since. 0 if there was none."
    );
    describe_counter!("distmirror_scrub_bytes_total", Unit::Bytes, "Bytes that scrubs hashed.");
    describe_gauge!("distmirror_scrub_damaged", "Damaged blobs that the last scrub of this process found.");
    describe_gauge!(
        "distmirror_spool_bytes",
        Unit::Bytes,
        "Bytes in the spool, and bytes that have their place there."
    );
    metrics::counter!("distmirror_scrub_bytes_total").absolute(0);
    for name in ["distmirror_scrub_damaged", "distmirror_spool_bytes"] {
        metrics::gauge!(name).set(0.0);
    }
}
