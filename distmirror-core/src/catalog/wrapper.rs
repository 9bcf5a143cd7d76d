//! A catalog around another one: something happens around each operation, the same for all of them.

use std::{collections::HashMap, fmt, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Artifact, ArtifactId, Artifacts, AuditEntry, Backlog, Catalog, DailyUsage, Declaration, Declared, Digest, Failure,
    Fetched, Fetches, Filter, Images, Job, Lease, LeaseRequest, Ledger, Miss, MissReport, NameKey, NewDeclaration,
    Page, PageRequest, Progress, Registry, RepositoryTotals, Result, Scrub, Sha256, StoredBlob, Totals, Upkeep, Usage,
    UsageBatch, Watch,
};

/// A catalog around another one. Whoever implements this has a [`Catalog`].
pub trait CatalogWrapper: fmt::Debug + Send + Sync + 'static {
    /// The other one.
    fn inner(&self) -> &Arc<dyn Catalog>;

    /// Does an operation of the other one, or not: nothing of it was done when this is called. `operation` is the name of the
    /// method.
    fn through<T: Send>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;
}

/// Implements a part of the catalog for every wrapper.
macro_rules! around {
    ($part:ident: $(fn $operation:ident($($name:ident: $of:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl<W: CatalogWrapper> $part for W {
            $(async fn $operation(&self, $($name: $of),*) -> Result<$answer> {
                self.through(stringify!($operation), self.inner().$operation($($name),*)).await
            })*
        }
    };
}

around! { Artifacts:
    fn declare(wanted: &NewDeclaration, now: Timestamp) -> Declared;
    fn artifact(id: ArtifactId) -> Option<Artifact>;
    fn named(key: &NameKey) -> Option<Artifact>;
    fn holding(digest: &Digest) -> Option<Artifact>;
    fn list(filter: &Filter, page: &PageRequest) -> Page<Artifact>;
    fn declarations(ids: &[ArtifactId]) -> HashMap<ArtifactId, Vec<Declaration>>;
    fn blobs(ids: &[ArtifactId]) -> HashMap<ArtifactId, Vec<StoredBlob>>;
    fn totals() -> Totals;
    fn fulfil(id: ArtifactId, fetched: &Fetched, who: &str, now: Timestamp) -> Artifact;
    fn quarantine(id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Artifact;
    fn release(id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Artifact;
}

around! { Images:
    fn part(key: &NameKey) -> Option<(Artifact, StoredBlob)>;
    fn referrers(subject: &NameKey) -> Vec<StoredBlob>;
    fn has_images(registry: &Registry, path: Option<&str>) -> bool;
    fn repositories(registry: Option<&Registry>) -> Vec<RepositoryTotals>;
}

around! { Fetches:
    fn lease(request: &LeaseRequest, now: Timestamp) -> Vec<Job>;
    fn backlog(now: Timestamp) -> Backlog;
    fn renew(lease: &Lease, expires_at: Timestamp, progress: Progress) -> ();
    fn complete(lease: &Lease, fetched: &Fetched, now: Timestamp) -> ();
    fn fail(lease: &Lease, failure: &Failure, retry_at: Option<Timestamp>, now: Timestamp) -> ();
    fn give_back(lease: &Lease, now: Timestamp) -> ();
    fn retry(id: ArtifactId, who: &str, now: Timestamp) -> Artifact;
}

around! { Upkeep:
    fn report_damage(id: ArtifactId, problem: &str, now: Timestamp) -> ();
    fn unreferenced(blobs: &[Sha256]) -> Vec<Sha256>;
    fn save_scrub(scrub: &Scrub) -> ();
    fn scrub(id: Uuid) -> Option<Scrub>;
    fn scrubs(limit: usize) -> Vec<Scrub>;
    fn to_watch(before: Timestamp, limit: usize) -> Vec<Artifact>;
    fn record_watch(id: ArtifactId, watch: &Watch) -> ();
}

around! { Ledger:
    fn record_misses(reports: &[MissReport]) -> ();
    fn misses(text: Option<&str>, page: &PageRequest) -> Page<Miss>;
    fn miss_count() -> u64;
    fn miss(id: Uuid) -> Option<Miss>;
    fn ignore_misses(pattern: &str, reason: &str, who: &str, now: Timestamp) -> ();
    fn ignored_patterns() -> Vec<String>;
    fn record_usage(batch: &UsageBatch) -> ();
    fn usage(ids: &[ArtifactId]) -> HashMap<ArtifactId, Usage>;
    fn daily_usage(id: ArtifactId, page: &PageRequest) -> Page<DailyUsage>;
    fn audit(artifact: Option<ArtifactId>, page: &PageRequest) -> Page<AuditEntry>;
}
