//! What workers and watches count, in words.

use distmirror_core::WatchStatus;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::job::Outcome;

/// Describes the metrics of [`Workers`](crate::Workers) and of an [`UpstreamWatch`](crate::UpstreamWatch), and shows zero for what
/// was not counted yet. To be called once, after the recorder is installed.
pub fn describe_metrics() {
    describe_counter!("distmirror_fetches_total", "Ended fetches by outcome.");
    describe_histogram!("distmirror_fetch_seconds", Unit::Seconds, "How long fetches took by outcome.");
    describe_counter!("distmirror_fetch_bytes_total", Unit::Bytes, "Bytes received from upstream.");
    describe_gauge!("distmirror_fetches_running", "Fetches that run now; each holds a lease.");
    describe_counter!("distmirror_leases_taken_total", "Fetches that were taken up.");
    describe_counter!("distmirror_lease_renewals_total", "Renewals of leases by outcome.");
    describe_counter!("distmirror_watched_total", "Questions to upstream whether it still has something, by answer.");
    for outcome in [Outcome::Done, Outcome::Failed, Outcome::Lost] {
        counter!("distmirror_fetches_total", "outcome" => outcome.as_str()).absolute(0);
        let _ = histogram!("distmirror_fetch_seconds", "outcome" => outcome.as_str());
    }
    for outcome in ["ok", "lost", "failed"] {
        counter!("distmirror_lease_renewals_total", "outcome" => outcome).absolute(0);
    }
    for status in WatchStatus::ALL {
        counter!("distmirror_watched_total", "status" => status.as_str()).absolute(0);
    }
    counter!("distmirror_fetch_bytes_total").absolute(0);
    counter!("distmirror_leases_taken_total").absolute(0);
    gauge!("distmirror_fetches_running").set(0.0);
}
