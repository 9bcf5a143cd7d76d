//! A catalog that cannot be reached for a while.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use distmirror_core::{
    Artifact, ArtifactId, Artifacts, AuditEntry, Declaration, Declared, Digest, Error, Failure, Fetched, Fetches,
    Filter, Images, Job, Lease, LeaseRequest, Ledger, Miss, MissReport, NameKey, NewDeclaration, Page, PageRequest,
    Progress, Registry, RepositoryTotals, Result, Scrub, Sha256, StoredBlob, Totals, Upkeep, Watch,
    memory::MemoryCatalog,
};
use jiff::Timestamp;
use uuid::Uuid;

/// A catalog in memory, some of whose operations fail.
#[derive(Debug, Default)]
pub(crate) struct Flaky {
    inner: MemoryCatalog,
    failing: Mutex<HashMap<&'static str, usize>>,
    failed: AtomicUsize,
}

impl Flaky {
    /// The next so many calls of this operation fail.
    pub(crate) fn fail_next(&self, operation: &'static str, times: usize) {
        self.failing.lock().unwrap().insert(operation, times);
    }

    /// How many calls failed.
    pub(crate) fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    fn pass(&self, operation: &'static str) -> Result<()> {
        match self.failing.lock().unwrap().get_mut(operation) {
            Some(left @ 1..) => {
                *left -= 1;
                self.failed.fetch_add(1, Ordering::Relaxed);
                Err(Error::catalog("it is away"))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Images for Flaky {
    async fn part(&self, key: &NameKey) -> Result<Option<(Artifact, StoredBlob)>> {
        self.inner.part(key).await
    }

    async fn referrers(&self, subject: &NameKey) -> Result<Vec<StoredBlob>> {
        self.inner.referrers(subject).await
    }

    async fn has_images(&self, registry: &Registry, path: Option<&str>) -> Result<bool> {
        self.inner.has_images(registry, path).await
    }

    async fn repositories(&self, registry: Option<&Registry>) -> Result<Vec<RepositoryTotals>> {
        self.inner.repositories(registry).await
    }
}

#[async_trait]
impl Upkeep for Flaky {
    async fn report_damage(&self, id: ArtifactId, problem: &str, now: Timestamp) -> Result<()> {
        self.inner.report_damage(id, problem, now).await
    }

    async fn unreferenced(&self, blobs: &[Sha256]) -> Result<Vec<Sha256>> {
        self.inner.unreferenced(blobs).await
    }

    async fn save_scrub(&self, scrub: &Scrub) -> Result<()> {
        self.inner.save_scrub(scrub).await
    }

    async fn scrub(&self, id: Uuid) -> Result<Option<Scrub>> {
        self.inner.scrub(id).await
    }

    async fn scrubs(&self, limit: usize) -> Result<Vec<Scrub>> {
        self.inner.scrubs(limit).await
    }

    async fn to_watch(&self, before: Timestamp, limit: usize) -> Result<Vec<Artifact>> {
        self.inner.to_watch(before, limit).await
    }

    async fn record_watch(&self, id: ArtifactId, watch: &Watch) -> Result<()> {
        self.inner.record_watch(id, watch).await
    }
}

#[async_trait]
impl Fetches for Flaky {
    async fn lease(&self, request: &LeaseRequest, now: Timestamp) -> Result<Vec<Job>> {
        self.pass("lease")?;
        self.inner.lease(request, now).await
    }

    async fn renew(&self, lease: &Lease, expires_at: Timestamp, progress: Progress) -> Result<()> {
        self.pass("renew")?;
        self.inner.renew(lease, expires_at, progress).await
    }

    async fn complete(&self, lease: &Lease, fetched: &Fetched, now: Timestamp) -> Result<()> {
        self.pass("complete")?;
        self.inner.complete(lease, fetched, now).await
    }

    async fn fail(&self, lease: &Lease, failure: &Failure, retry_at: Option<Timestamp>, now: Timestamp) -> Result<()> {
        self.pass("fail")?;
        self.inner.fail(lease, failure, retry_at, now).await
    }

    async fn give_back(&self, lease: &Lease, now: Timestamp) -> Result<()> {
        self.pass("give_back")?;
        self.inner.give_back(lease, now).await
    }

    async fn retry(&self, id: ArtifactId, who: &str, now: Timestamp) -> Result<Artifact> {
        self.inner.retry(id, who, now).await
    }
}

#[async_trait]
impl Artifacts for Flaky {
    async fn declare(&self, wanted: &NewDeclaration, now: Timestamp) -> Result<Declared> {
        self.inner.declare(wanted, now).await
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Option<Artifact>> {
        self.inner.artifact(id).await
    }

    async fn named(&self, key: &NameKey) -> Result<Option<Artifact>> {
        self.inner.named(key).await
    }

    async fn holding(&self, digest: &Digest) -> Result<Option<Artifact>> {
        self.inner.holding(digest).await
    }

    async fn list(&self, filter: &Filter, page: &PageRequest) -> Result<Page<Artifact>> {
        self.inner.list(filter, page).await
    }

    async fn declarations(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<Declaration>>> {
        self.inner.declarations(ids).await
    }

    async fn blobs(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<StoredBlob>>> {
        self.inner.blobs(ids).await
    }

    async fn totals(&self) -> Result<Totals> {
        self.inner.totals().await
    }

    async fn fulfil(&self, id: ArtifactId, fetched: &Fetched, who: &str, now: Timestamp) -> Result<Artifact> {
        self.inner.fulfil(id, fetched, who, now).await
    }

    async fn quarantine(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact> {
        self.inner.quarantine(id, reason, who, now).await
    }

    async fn release(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact> {
        self.inner.release(id, reason, who, now).await
    }
}

#[async_trait]
impl Ledger for Flaky {
    async fn record_misses(&self, reports: &[MissReport]) -> Result<()> {
        self.inner.record_misses(reports).await
    }

    async fn misses(&self, text: Option<&str>, page: &PageRequest) -> Result<Page<Miss>> {
        self.inner.misses(text, page).await
    }

    async fn miss_count(&self) -> Result<u64> {
        self.inner.miss_count().await
    }

    async fn miss(&self, id: Uuid) -> Result<Option<Miss>> {
        self.inner.miss(id).await
    }

    async fn ignore_misses(&self, pattern: &str, reason: &str, who: &str, now: Timestamp) -> Result<()> {
        self.inner.ignore_misses(pattern, reason, who, now).await
    }

    async fn ignored_patterns(&self) -> Result<Vec<String>> {
        self.inner.ignored_patterns().await
    }

    async fn audit(&self, artifact: Option<ArtifactId>, page: &PageRequest) -> Result<Page<AuditEntry>> {
        self.inner.audit(artifact, page).await
    }
}
