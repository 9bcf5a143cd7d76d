//! Usage as a catalog in memory keeps it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use uuid::Uuid;

use crate::{ArtifactId, DailyUsage, Usage, UsageBatch, UsedBy, catalog::rules};

#[derive(Debug, Default)]
pub(super) struct UsageTables {
    by_day: BTreeMap<(ArtifactId, Date, UsedBy), Usage>,
    totals: BTreeMap<ArtifactId, Usage>,
    batches: BTreeSet<Uuid>,
}

impl UsageTables {
    pub(super) fn record(&mut self, batch: &UsageBatch) {
        if !self.batches.insert(batch.id) {
            return;
        }
        self.batches = self.batches.split_off(&rules::oldest_batch_kept(batch.id));
        for report in &batch.reports {
            let add = |known: &mut Usage| *known = known.and(report.usage);
            let key = (report.artifact, report.day, report.by.clone());
            self.by_day.entry(key).and_modify(add).or_insert(report.usage);
            self.totals.entry(report.artifact).and_modify(add).or_insert(report.usage);
        }
    }

    pub(super) fn total(&self, artifact: ArtifactId) -> Option<Usage> {
        self.totals.get(&artifact).copied()
    }

    pub(super) fn by_day(&self, artifact: ArtifactId) -> Vec<DailyUsage> {
        let own = self.by_day.iter().filter(|((of, ..), _)| *of == artifact);
        own.map(|((_, day, by), usage)| DailyUsage {
            id: rules::daily_usage_id(artifact, *day, by),
            day: *day,
            by: by.clone(),
            usage: *usage,
        })
        .collect()
    }
}
