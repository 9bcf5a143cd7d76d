//! The part of [`Mirror`] that shows how much there is, as gauges.

use jiff::Timestamp;

use super::Mirror;
use crate::{Result, State};

impl Mirror {
    /// Shows what this process has in memory. Costs nothing to speak of.
    pub fn measure_memory(&self) {
        // The count is brought up to date by this, or by many look-ups.
        self.present.run_pending_tasks();
        metrics::gauge!("distmirror_artifacts_cached").set(self.present.entry_count() as f64);
        metrics::gauge!("distmirror_misses_gathered").set(self.misses.len() as f64);
        metrics::gauge!("distmirror_usage_gathered").set(self.usage.len() as f64);
    }

    /// Shows what is in the catalog: how many artifacts, how much of them waits for a worker, and what was scrubbed. Asks for
    /// numbers of rows, which takes a while of many.
    ///
    /// # Errors
    /// The catalog's trouble; what was shown before stays.
    pub async fn measure_catalog(&self, now: Timestamp) -> Result<()> {
        let totals = self.catalog.totals().await?;
        let backlog = self.catalog.backlog(now).await?;
        let scrubs = self.catalog.scrubs(LATEST_SCRUBS).await?;
        for state in State::ALL {
            metrics::gauge!("distmirror_artifacts", "state" => state.as_str()).set(totals.in_state(state) as f64);
        }
        metrics::gauge!("distmirror_misses").set(totals.misses as f64);
        metrics::gauge!("distmirror_fetches_due").set(backlog.due as f64);
        let waited = backlog.oldest_due_at.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
        metrics::gauge!("distmirror_fetches_oldest_due_seconds").set(waited.max(0.0));
        let complete = scrubs.iter().find(|scrub| scrub.finished_at.is_some());
        let complete = complete.map_or(0, |scrub| scrub.started_at.as_second());
        metrics::gauge!("distmirror_scrub_last_complete_timestamp_seconds").set(complete as f64);
        Ok(())
    }
}

/// Among so many scrubs there is one that ended, if scrubs end at all.
const LATEST_SCRUBS: usize = 20;
