//! The part of [`Mirror`] that counts who used what: gathers it in memory, and reports it in batches.
//!
//! What is gathered has a limit: whoever can reach the proxy uses what it holds, from as many addresses as they have. What
//! goes past it is dropped and counted in `distmirror_usage_dropped_total`, by requests.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{Timestamp, civil::Date};

use crate::{ArtifactId, Mirror, Result, Usage, UsageBatch, UsageReport, UsedBy, usage::day_of};

type Counts = HashMap<(ArtifactId, Date, UsedBy), Usage>;

/// Usage that the catalog has not been told of.
#[derive(Debug, Default)]
pub(super) struct GatheredUsage {
    counts: Mutex<Counts>,
    /// What was cut into batches, which stay as they are until the catalog has taken them: if an answer is lost, it knows
    /// them again. At most as much as what is gathered.
    unreported: tokio::sync::Mutex<VecDeque<UsageBatch>>,
}

impl GatheredUsage {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A panic elsewhere leaves a whole map: each use is one operation on it.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.counts().len()
    }
}

impl Mirror {
    /// Notes an answer that ended at this time, after so many bytes of the artifact. Never waits; see
    /// [`flush_usage`](Self::flush_usage).
    pub fn used(&self, artifact: ArtifactId, by: UsedBy, bytes: u64, at: Timestamp) {
        let once = Usage::once(bytes, at);
        let mut counts = self.usage.counts();
        let room = counts.len() < self.options.gathered_usage;
        match counts.entry((artifact, day_of(at), by)) {
            Entry::Occupied(mut entry) => *entry.get_mut() = entry.get().and(once),
            Entry::Vacant(entry) if room => {
                entry.insert(once);
            }
            Entry::Vacant(_) => metrics::counter!("distmirror_usage_dropped_total").increment(1),
        }
    }

    /// Reports the gathered usage to the catalog. If the catalog has trouble it stays gathered.
    ///
    /// # Errors
    /// The catalog's trouble.
    pub async fn flush_usage(&self) -> Result<()> {
        let mut unreported = self.usage.unreported.lock().await;
        self.report_usage(&mut unreported).await?;
        let gathered = std::mem::take(&mut *self.usage.counts());
        unreported.extend(batches(gathered));
        self.report_usage(&mut unreported).await
    }

    async fn report_usage(&self, unreported: &mut VecDeque<UsageBatch>) -> Result<()> {
        while let Some(batch) = unreported.front() {
            self.catalog.record_usage(batch).await?;
            let requests = batch.reports.iter().map(|report| report.usage.requests).sum();
            metrics::counter!("distmirror_usage_recorded_total").increment(requests);
            unreported.pop_front();
        }
        Ok(())
    }
}

fn batches(gathered: Counts) -> impl Iterator<Item = UsageBatch> {
    let mut left = gathered.into_iter().map(|((artifact, day, by), usage)| UsageReport { artifact, day, by, usage });
    std::iter::from_fn(move || {
        let reports: Vec<_> = left.by_ref().take(REPORTED_AT_ONCE).collect();
        (!reports.is_empty()).then(|| UsageBatch::new(reports))
    })
}

/// How many reports go into one batch: each is a few statements, and a database may be some milliseconds away.
const REPORTED_AT_ONCE: usize = 200;
