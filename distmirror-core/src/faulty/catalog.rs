//! A catalog that fails on purpose.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::Faults;
use crate::{
    Artifact, ArtifactId, Artifacts, AuditEntry, Catalog, DailyUsage, Declaration, Declared, Digest, Error, Failure,
    Fetched, Fetches, Filter, Images, Job, Lease, LeaseRequest, Ledger, Miss, MissReport, NameKey, NewDeclaration,
    Page, PageRequest, Progress, Registry, RepositoryTotals, Result, Scrub, Sha256, StoredBlob, Totals, Upkeep, Usage,
    UsageBatch, Watch,
};

/// A catalog behind [`Faults`]. Each call is an operation, and is counted under the name of the method.
#[derive(Debug, Clone)]
pub struct FaultyCatalog {
    inner: Arc<dyn Catalog>,
    faults: Faults,
}

impl FaultyCatalog {
    /// This catalog with these faults.
    pub fn new(inner: Arc<dyn Catalog>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

/// Implements a part of the catalog: each operation is the inner one, unless it is the turn of a fault.
macro_rules! faulty {
    ($part:ident: $(fn $operation:ident($($name:ident: $of:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl $part for FaultyCatalog {
            $(async fn $operation(&self, $($name: $of),*) -> Result<$answer> {
                let work = self.inner.$operation($($name),*);
                self.faults.through(stringify!($operation), Error::catalog, work).await
            })*
        }
    };
}

faulty! { Artifacts:
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

faulty! { Images:
    fn part(key: &NameKey) -> Option<(Artifact, StoredBlob)>;
    fn referrers(subject: &NameKey) -> Vec<StoredBlob>;
    fn has_images(registry: &Registry, path: Option<&str>) -> bool;
    fn repositories(registry: Option<&Registry>) -> Vec<RepositoryTotals>;
}

faulty! { Fetches:
    fn lease(request: &LeaseRequest, now: Timestamp) -> Vec<Job>;
    fn renew(lease: &Lease, expires_at: Timestamp, progress: Progress) -> ();
    fn complete(lease: &Lease, fetched: &Fetched, now: Timestamp) -> ();
    fn fail(lease: &Lease, failure: &Failure, retry_at: Option<Timestamp>, now: Timestamp) -> ();
    fn give_back(lease: &Lease, now: Timestamp) -> ();
    fn retry(id: ArtifactId, who: &str, now: Timestamp) -> Artifact;
}

faulty! { Upkeep:
    fn report_damage(id: ArtifactId, problem: &str, now: Timestamp) -> ();
    fn unreferenced(blobs: &[Sha256]) -> Vec<Sha256>;
    fn save_scrub(scrub: &Scrub) -> ();
    fn scrub(id: Uuid) -> Option<Scrub>;
    fn scrubs(limit: usize) -> Vec<Scrub>;
    fn to_watch(before: Timestamp, limit: usize) -> Vec<Artifact>;
    fn record_watch(id: ArtifactId, watch: &Watch) -> ();
}

faulty! { Ledger:
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
