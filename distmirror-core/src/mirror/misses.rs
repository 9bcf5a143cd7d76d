//! The part of [`Mirror`] that deals with misses: gathers them in memory, reports them in batches, and declares or ignores
//! them.
//!
//! Anybody who can reach the proxy can make misses, so that both what is gathered and what is on record have a limit. What
//! goes past it is dropped and counted in `distmirror_misses_dropped_total`, by names.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Declare, Declared, Error, Mirror, MissReport, NameKey, Result, declaration, error::Problem, miss::matches_pattern,
};

/// Misses that the catalog has not been told of.
#[derive(Debug, Default)]
pub(super) struct GatheredMisses {
    reports: Mutex<HashMap<NameKey, MissReport>>,
    /// Whether the catalog was full at the last report, which is worth a word in the log only when it changes.
    catalog_is_full: AtomicBool,
}

impl GatheredMisses {
    fn reports(&self) -> MutexGuard<'_, HashMap<NameKey, MissReport>> {
        // A panic elsewhere leaves a whole map: each use is one operation on it.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.reports().len()
    }
}

impl Mirror {
    /// Notes a request for something undeclared. Never waits; see [`flush_misses`](Self::flush_misses).
    pub fn missed(&self, report: MissReport) {
        let mut gathered = self.misses.reports();
        let room = gathered.len() < self.options.gathered_misses;
        match gathered.entry(report.name.key()) {
            Entry::Occupied(mut entry) => add(entry.get_mut(), report),
            Entry::Vacant(entry) if room => {
                entry.insert(report);
            }
            Entry::Vacant(_) => count_dropped(1),
        }
    }

    /// Reports the gathered misses to the catalog, less what is ignored. If the catalog has trouble they stay gathered; if
    /// it is full (see [`Options::recorded_misses`](crate::Options::recorded_misses)) they are dropped.
    ///
    /// # Errors
    /// The catalog's trouble.
    pub async fn flush_misses(&self) -> Result<()> {
        let gathered = std::mem::take(&mut *self.misses.reports());
        if gathered.is_empty() {
            return Ok(());
        }
        let reported = self.report(gathered.values()).await;
        if reported.is_err() {
            gathered.into_values().for_each(|report| self.missed(report));
        }
        reported
    }

    async fn report(&self, gathered: impl Iterator<Item = &MissReport>) -> Result<()> {
        let ignored = self.catalog.ignored_patterns().await?;
        let wanted =
            |report: &&MissReport| !ignored.iter().any(|pattern| matches_pattern(pattern, report.name.as_str()));
        let reports: Vec<MissReport> = gathered.filter(wanted).cloned().collect();
        if reports.is_empty() {
            return Ok(());
        }
        if self.is_catalog_full().await? {
            count_dropped(reports.len());
            return Ok(());
        }
        self.catalog.record_misses(&reports).await?;
        metrics::counter!("distmirror_misses_recorded_total").increment(reports.len() as u64);
        Ok(())
    }

    async fn is_catalog_full(&self) -> Result<bool> {
        let recorded = self.catalog.miss_count().await?;
        let is_full = recorded >= self.options.recorded_misses;
        let was_full = self.misses.catalog_is_full.swap(is_full, Ordering::Relaxed);
        if is_full && !was_full {
            tracing::warn!(
                recorded,
                limit = self.options.recorded_misses,
                "the catalog is full of misses: new ones are dropped until some are declared or ignored"
            );
        }
        Ok(is_full)
    }

    /// Declares misses with one reason.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown miss and [`Error::Invalid`] for a bad reason, before anything is declared.
    pub async fn declare_misses(
        &self,
        ids: &[Uuid],
        reason: &str,
        project: Option<&str>,
        who: &str,
    ) -> Result<Vec<Declared>> {
        let mut wanted = Vec::with_capacity(ids.len());
        for id in ids {
            let miss =
                self.catalog.miss(*id).await?.ok_or_else(|| Error::NotFound { what: "miss", id: id.to_string() })?;
            let project = project.map(str::to_owned).or(miss.project);
            let declare = Declare { reason: Some(reason.to_owned()), project, ..Declare::of(&miss.name) };
            self.check(&declare, who)?;
            wanted.push(declare);
        }
        let mut declared = Vec::with_capacity(wanted.len());
        for declare in &wanted {
            declared.push(self.declare(declare, who).await?);
        }
        Ok(declared)
    }

    /// Ignores misses that match a pattern, those on record and those to come.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty pattern or reason.
    pub async fn ignore_misses(&self, pattern: &str, reason: &str, who: &str) -> Result<()> {
        let mut problems = Vec::new();
        for (field, text) in [("pattern", pattern), ("reason", reason)] {
            problems.extend(declaration::required_text(field, Some(text)).err().unwrap_or_default());
        }
        if pattern.chars().all(|c| c == '*') && problems.is_empty() {
            problems.push(Problem::new("pattern", "would ignore everything: name a host or a path"));
        }
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        self.catalog.ignore_misses(pattern, reason, who, Timestamp::now()).await
    }
}

/// Adds a report to one of the same name, whichever of them is the later one: what could not be reported comes back after
/// what was gathered meanwhile.
fn add(known: &mut MissReport, report: MissReport) {
    let count = known.count.saturating_add(report.count);
    let first_seen = known.first_seen.min(report.first_seen);
    if report.last_seen >= known.last_seen {
        *known = report;
    }
    (known.count, known.first_seen) = (count, first_seen);
}

fn count_dropped(names: usize) {
    metrics::counter!("distmirror_misses_dropped_total").increment(names as u64);
}
