//! A catalog in maps behind one mutex: every call is one step. Nothing of it outlives the process.

mod tables;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use self::tables::{Entry, Tables};
use crate::{
    Artifact, ArtifactId, Artifacts, AuditEntry, Backlog, Cursor, DailyUsage, Declaration, Declared, Digest, Failure,
    Fetched, Fetches, Filter, Images, Job, Lease, LeaseRequest, Ledger, Miss, MissReport, NameKey, NewDeclaration,
    Page, PageRequest, Progress, Registry, Repository, RepositoryTotals, Result, Role, Scrub, Sha256, State,
    StoredBlob, Totals, Upkeep, Usage, UsageBatch, Watch, catalog::rules, miss::matches_pattern, usage::start_of,
};

/// A catalog in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    tables: Mutex<Tables>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic elsewhere leaves whole rows: nothing panics between the changes of one step.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Artifacts for MemoryCatalog {
    async fn declare(&self, wanted: &NewDeclaration, now: Timestamp) -> Result<Declared> {
        let tables = &mut *self.tables();
        let key = wanted.name.key();
        let is_new = !tables.ids.contains_key(&key);
        let id = *tables.ids.entry(key).or_insert_with(|| {
            let entry = Entry::new(wanted, now);
            let id = entry.artifact.id;
            tables.artifacts.insert(id, entry);
            id
        });
        let entry = tables.entry(id)?;
        entry.artifact.expected = rules::checksums_after(&entry.artifact, wanted)?;
        entry.artifact.selection = rules::selection_after(&entry.artifact, wanted);
        if rules::is_due_after_declaring(&entry.artifact, entry.artifact.selection.as_ref()) {
            entry.make_due(now);
        }
        let NewDeclaration { who, reason, project, license, ticket, image, .. } = wanted.clone();
        let tag = image.and_then(|image| image.tag);
        entry.declarations.push(Declaration {
            id: Uuid::now_v7(),
            who,
            reason,
            project,
            license,
            ticket,
            tag,
            at: now,
        });
        let artifact = entry.artifact.clone();
        tables.misses.remove(&key);
        tables.note(now, &wanted.who, "declared", Some(id), &wanted.reason);
        Ok(Declared { artifact, is_new })
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Option<Artifact>> {
        Ok(self.tables().artifacts.get(&id).map(|entry| entry.artifact.clone()))
    }

    async fn named(&self, key: &NameKey) -> Result<Option<Artifact>> {
        let tables = self.tables();
        let entry = tables.ids.get(key).and_then(|id| tables.artifacts.get(id));
        Ok(entry.map(|entry| entry.artifact.clone()))
    }

    async fn holding(&self, digest: &Digest) -> Result<Option<Artifact>> {
        let tables = self.tables();
        let holds =
            |artifact: &&Artifact| artifact.content.as_ref().is_some_and(|content| content.digests.matches(digest));
        let holders = tables.artifacts.values().map(|entry| &entry.artifact).filter(holds);
        Ok(holders.min_by_key(|artifact| artifact.state != State::Present).cloned())
    }

    async fn list(&self, filter: &Filter, page: &PageRequest) -> Result<Page<Artifact>> {
        let tables = self.tables();
        let after = |id: ArtifactId| page.after.is_none_or(|cursor| id.0 < cursor.id);
        let entries = tables.artifacts.values().rev().filter(|entry| after(entry.artifact.id) && entry.passes(filter));
        let items = entries.take(page.limit + 1).map(|entry| entry.artifact.clone()).collect();
        Ok(Page::cut(items, page.limit, |artifact| Cursor { key: 0, id: artifact.id.0 }))
    }

    async fn declarations(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<Declaration>>> {
        let tables = self.tables();
        let of = |id: &ArtifactId| tables.artifacts.get(id).map(|entry| (*id, entry.declarations.clone()));
        Ok(ids.iter().filter_map(of).collect())
    }

    async fn blobs(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<StoredBlob>>> {
        let tables = self.tables();
        let of = |id: &ArtifactId| tables.artifacts.get(id).map(|entry| (*id, entry.blobs.clone()));
        Ok(ids.iter().filter_map(of).filter(|(_, blobs)| !blobs.is_empty()).collect())
    }

    async fn totals(&self) -> Result<Totals> {
        let tables = self.tables();
        let mut totals = Totals { misses: tables.misses.len() as u64, ..Totals::default() };
        for entry in tables.artifacts.values() {
            *totals.in_state_mut(entry.artifact.state) += 1;
        }
        Ok(totals)
    }

    async fn fulfil(&self, id: ArtifactId, fetched: &Fetched, who: &str, now: Timestamp) -> Result<Artifact> {
        let mut tables = self.tables();
        let entry = tables.entry(id)?;
        rules::check_fulfil(&entry.artifact)?;
        rules::check_content(&entry.artifact, &fetched.content)?;
        entry.receive(fetched, now);
        let artifact = entry.artifact.clone();
        tables.note(now, who, "supplied", Some(id), rules::supplied_detail(fetched));
        Ok(artifact)
    }

    async fn quarantine(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact> {
        let mut tables = self.tables();
        let entry = tables.entry(id)?;
        rules::check_quarantine(&entry.artifact)?;
        entry.wait(State::Quarantined, None);
        entry.artifact.quarantine_reason = Some(reason.to_owned());
        let artifact = entry.artifact.clone();
        tables.note(now, who, "quarantined", Some(id), reason);
        Ok(artifact)
    }

    async fn release(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact> {
        let mut tables = self.tables();
        let entry = tables.entry(id)?;
        rules::check_release(&entry.artifact)?;
        entry.wait(State::Present, None);
        entry.artifact.quarantine_reason = None;
        if entry.artifact.lacks_something() {
            entry.make_due(now);
        }
        let artifact = entry.artifact.clone();
        tables.note(now, who, "released", Some(id), reason);
        Ok(artifact)
    }
}

#[async_trait]
impl Images for MemoryCatalog {
    async fn part(&self, key: &NameKey) -> Result<Option<(Artifact, StoredBlob)>> {
        let tables = self.tables();
        let found = tables.artifacts.values().flat_map(|entry| entry.parts(key).map(|part| (&entry.artifact, part)));
        let first =
            found.min_by_key(|(artifact, part)| (part.role == Role::Unfetched, artifact.state != State::Present));
        Ok(first.map(|(artifact, part)| (artifact.clone(), part.clone())))
    }

    async fn referrers(&self, subject: &NameKey) -> Result<Vec<StoredBlob>> {
        let tables = self.tables();
        let in_service = tables.artifacts.values().filter(|entry| entry.artifact.state == State::Present);
        let mut found: Vec<StoredBlob> = Vec::new();
        for entry in in_service {
            let Some(repository) = entry.repository() else { continue };
            for blob in entry.blobs.iter().filter(|blob| blob.subject_key(repository).as_ref() == Some(subject)) {
                if !found.iter().any(|known| known.digest == blob.digest) {
                    found.push(blob.clone());
                }
            }
        }
        Ok(found)
    }

    async fn has_images(&self, registry: &Registry, path: Option<&str>) -> Result<bool> {
        let is_it = |repository: &Repository| {
            repository.registry() == registry && path.is_none_or(|path| repository.path() == path)
        };
        Ok(self.tables().artifacts.values().filter_map(Entry::repository).any(is_it))
    }

    async fn repositories(&self, registry: Option<&Registry>) -> Result<Vec<RepositoryTotals>> {
        let tables = self.tables();
        let mut totals: BTreeMap<&Repository, RepositoryTotals> = BTreeMap::new();
        for entry in tables.artifacts.values() {
            let Some(repository) = entry.repository() else { continue };
            if registry.is_some_and(|registry| registry != repository.registry()) {
                continue;
            }
            let repository_totals = totals.entry(repository).or_insert_with(|| RepositoryTotals {
                repository: repository.clone(),
                declared: 0,
                present: 0,
            });
            repository_totals.declared += 1;
            repository_totals.present += u64::from(entry.artifact.state == State::Present);
        }
        Ok(totals.into_values().collect())
    }
}

#[async_trait]
impl Fetches for MemoryCatalog {
    async fn lease(&self, request: &LeaseRequest, now: Timestamp) -> Result<Vec<Job>> {
        let mut tables = self.tables();
        let is_free = |artifact: &Artifact| !request.busy_hosts.contains(&artifact.name.host());
        let mut due: Vec<&mut Entry> = tables
            .artifacts
            .values_mut()
            .filter(|entry| entry.due_at.is_some_and(|at| at <= now) && is_free(&entry.artifact))
            .collect();
        due.sort_by_key(|entry| entry.due_at);
        Ok(due.into_iter().take(request.limit).map(|entry| entry.hand_out(request, now)).collect())
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog> {
        let tables = self.tables();
        let due = || tables.artifacts.values().filter_map(|entry| entry.due_at).filter(|at| *at <= now);
        Ok(Backlog { due: due().count() as u64, oldest_due_at: due().min() })
    }

    async fn renew(&self, lease: &Lease, expires_at: Timestamp, progress: Progress) -> Result<()> {
        let mut tables = self.tables();
        let (entry, _) = tables.leased(lease)?;
        entry.due_at = Some(expires_at);
        entry.artifact.progress = Some(progress);
        Ok(())
    }

    async fn complete(&self, lease: &Lease, fetched: &Fetched, now: Timestamp) -> Result<()> {
        let mut tables = self.tables();
        let (entry, worker) = tables.leased(lease)?;
        rules::check_content(&entry.artifact, &fetched.content)?;
        entry.receive(fetched, now);
        tables.note(now, &worker, "fetched", Some(lease.artifact), rules::fetched_detail(fetched));
        Ok(())
    }

    async fn fail(&self, lease: &Lease, failure: &Failure, retry_at: Option<Timestamp>, now: Timestamp) -> Result<()> {
        let mut tables = self.tables();
        let (entry, worker) = tables.leased(lease)?;
        entry.artifact.selection = rules::selection_after_failing(&entry.artifact, failure);
        let is_wanted = entry.artifact.state != State::Present || entry.artifact.lacks_something();
        entry.wait(rules::state_after_failing(&entry.artifact), retry_at.filter(|_| is_wanted));
        entry.artifact.last_error = Some(failure.message.clone());
        tables.note(now, &worker, "failed", Some(lease.artifact), &failure.message);
        Ok(())
    }

    async fn give_back(&self, lease: &Lease, now: Timestamp) -> Result<()> {
        let mut tables = self.tables();
        let (entry, _) = tables.leased(lease)?;
        entry.artifact.attempts = entry.artifact.attempts.saturating_sub(1);
        entry.wait(rules::state_after_giving_back(&entry.artifact), Some(now));
        Ok(())
    }

    async fn retry(&self, id: ArtifactId, who: &str, now: Timestamp) -> Result<Artifact> {
        let mut tables = self.tables();
        let entry = tables.entry(id)?;
        rules::check_retry(&entry.artifact)?;
        entry.make_due(now);
        let artifact = entry.artifact.clone();
        tables.note(now, who, "retried", Some(id), "");
        Ok(artifact)
    }
}

#[async_trait]
impl Upkeep for MemoryCatalog {
    async fn report_damage(&self, id: ArtifactId, problem: &str, now: Timestamp) -> Result<()> {
        let mut tables = self.tables();
        let entry = tables.entry(id)?;
        if entry.artifact.state != State::Present || entry.artifact.damage.is_some() {
            return Ok(());
        }
        entry.make_due(now);
        entry.artifact.damage = Some(problem.to_owned());
        tables.note(now, "scrub", "damaged", Some(id), problem);
        Ok(())
    }

    async fn unreferenced(&self, blobs: &[Sha256]) -> Result<Vec<Sha256>> {
        let tables = self.tables();
        let has =
            |blob: &Sha256| tables.artifacts.values().any(|entry| entry.blobs.iter().any(|own| own.blob == *blob));
        Ok(blobs.iter().filter(|blob| !has(blob)).copied().collect())
    }

    async fn save_scrub(&self, scrub: &Scrub) -> Result<()> {
        self.tables().scrubs.insert(scrub.id, scrub.clone());
        Ok(())
    }

    async fn scrub(&self, id: Uuid) -> Result<Option<Scrub>> {
        Ok(self.tables().scrubs.get(&id).cloned())
    }

    async fn scrubs(&self, limit: usize) -> Result<Vec<Scrub>> {
        Ok(self.tables().scrubs.values().rev().take(limit).cloned().collect())
    }

    async fn to_watch(&self, before: Timestamp, limit: usize) -> Result<Vec<Artifact>> {
        let tables = self.tables();
        let is_due = |artifact: &&Artifact| {
            artifact.state == State::Present
                && artifact.fetched_at.is_some_and(|at| at < before)
                && artifact.watch.as_ref().is_none_or(|watch| watch.at < before)
        };
        let mut due: Vec<_> = tables.artifacts.values().map(|entry| &entry.artifact).filter(is_due).collect();
        due.sort_by_key(|artifact| artifact.watch.as_ref().map(|watch| watch.at));
        Ok(due.into_iter().take(limit).cloned().collect())
    }

    async fn record_watch(&self, id: ArtifactId, watch: &Watch) -> Result<()> {
        self.tables().entry(id)?.artifact.watch = Some(watch.clone());
        Ok(())
    }
}

#[async_trait]
impl Ledger for MemoryCatalog {
    async fn record_misses(&self, reports: &[MissReport]) -> Result<()> {
        let mut tables = self.tables();
        for report in reports {
            tables.add_miss(report);
        }
        Ok(())
    }

    async fn misses(&self, text: Option<&str>, page: &PageRequest) -> Result<Page<Miss>> {
        let tables = self.tables();
        let wanted = |miss: &&Miss| text.is_none_or(|text| rules::contains_text(miss.name.as_str(), text));
        let all = tables.misses.values().filter(wanted).cloned().collect();
        Ok(latest_first(all, page, |miss| Cursor { key: miss.last_seen.as_microsecond(), id: miss.id }))
    }

    async fn miss_count(&self) -> Result<u64> {
        Ok(self.tables().misses.len() as u64)
    }

    async fn miss(&self, id: Uuid) -> Result<Option<Miss>> {
        Ok(self.tables().misses.values().find(|miss| miss.id == id).cloned())
    }

    async fn ignore_misses(&self, pattern: &str, reason: &str, who: &str, now: Timestamp) -> Result<()> {
        let mut tables = self.tables();
        if !tables.ignored.iter().any(|known| known == pattern) {
            tables.ignored.push(pattern.to_owned());
        }
        tables.misses.retain(|_, miss| !matches_pattern(pattern, miss.name.as_str()));
        tables.note(now, who, "ignored", None, rules::ignored_detail(pattern, reason));
        Ok(())
    }

    async fn ignored_patterns(&self) -> Result<Vec<String>> {
        Ok(self.tables().ignored.clone())
    }

    async fn record_usage(&self, batch: &UsageBatch) -> Result<()> {
        self.tables().usage.record(batch);
        Ok(())
    }

    async fn usage(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Usage>> {
        let tables = self.tables();
        Ok(ids.iter().filter_map(|id| Some((*id, tables.usage.total(*id)?))).collect())
    }

    async fn daily_usage(&self, id: ArtifactId, page: &PageRequest) -> Result<Page<DailyUsage>> {
        let all = self.tables().usage.by_day(id);
        Ok(latest_first(all, page, |daily| Cursor { key: start_of(daily.day).as_microsecond(), id: daily.id }))
    }

    async fn audit(&self, artifact: Option<ArtifactId>, page: &PageRequest) -> Result<Page<AuditEntry>> {
        let tables = self.tables();
        let wanted = |entry: &&AuditEntry| artifact.is_none() || entry.artifact == artifact;
        let all = tables.audit.iter().filter(wanted).cloned().collect();
        Ok(latest_first(all, page, |entry| Cursor { key: entry.at.as_microsecond(), id: entry.id }))
    }
}

/// The page of a list that is ordered by its cursors, greatest first.
fn latest_first<T>(mut items: Vec<T>, page: &PageRequest, place: impl Fn(&T) -> Cursor) -> Page<T> {
    let order = |cursor: Cursor| (cursor.key, cursor.id);
    items.retain(|item| page.after.is_none_or(|after| order(place(item)) < order(after)));
    items.sort_by_key(|item| std::cmp::Reverse(order(place(item))));
    Page::cut(items, page.limit, place)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_every_promise() {
        crate::conformance::catalog(async || Arc::new(MemoryCatalog::new())).await;
    }
}
