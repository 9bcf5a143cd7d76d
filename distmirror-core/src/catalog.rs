//! The record of artifacts, declarations, fetch jobs, misses, usage and audit: the [`Catalog`] trait.
//!
//! It is one trait in five parts, along the lines of who asks: [`Artifacts`] for people and the proxy, [`Images`] for the
//! registry faces, [`Fetches`] for workers, [`Ledger`] for what was missed, what was used and what was done, [`Upkeep`] for scrubs and watches. Implementers find the decisions that all catalogs share in [`rules`].

pub mod rules;
mod wrapper;

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

pub use self::wrapper::CatalogWrapper;
use crate::{
    Artifact, ArtifactId, Backlog, DailyUsage, Declaration, Declared, Digest, Failure, Fetched, Job, Kind, Lease,
    LeaseRequest, Miss, MissReport, NameKey, NewDeclaration, Page, PageRequest, Progress, Registry, Repository, Result,
    Scrub, Sha256, State, StoredBlob, Totals, Usage, UsageBatch, Watch, WatchStatus,
};

/// Which artifacts a list shows. An empty filter shows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only from this upstream host, as [`ArtifactName::host`](crate::ArtifactName::host) gives it.
    pub host: Option<String>,
    /// Only images of the repository with this path, in whatever registry.
    pub repository: Option<String>,
    /// Only with a declaration for this project.
    pub project: Option<String>,
    /// Only if upstream was last seen like this.
    pub watch: Option<WatchStatus>,
    /// Only with this text somewhere in the canonical name; literal, and ASCII letters match in either case.
    pub text: Option<String>,
}

/// Artifacts and their declarations.
///
/// # Promises
/// 1. One artifact per name, however many declare it at once and through however many processes; all of them get its id.
/// 2. What `declare` acknowledged is durable.
/// 3. `declare` of a name that is on record adds the declaration and changes nothing of what is present. A checksum that
///    contradicts one on record, or the bytes that are here, is [`Error::ChecksumConflict`](crate::Error::ChecksumConflict)
///    and changes nothing. A checksum where there was none is added.
/// 4. Declaring removes the miss of that name.
/// 5. Declaring more platforms of an image that is present makes it due, and it stays present.
/// 6. `list` is newest first; following `next` shows every artifact that was there at the start exactly once.
#[async_trait]
pub trait Artifacts: fmt::Debug + Send + Sync + 'static {
    /// Records a declaration, and the artifact if it is new; a new artifact is due to be fetched at once.
    async fn declare(&self, wanted: &NewDeclaration, now: Timestamp) -> Result<Declared>;

    /// The artifact with this id.
    async fn artifact(&self, id: ArtifactId) -> Result<Option<Artifact>>;

    /// The artifact with this name; one point look-up.
    async fn named(&self, key: &NameKey) -> Result<Option<Artifact>>;

    /// The first present artifact whose own bytes have this digest; if there is none, a quarantined one.
    async fn holding(&self, digest: &Digest) -> Result<Option<Artifact>>;

    /// Artifacts that pass the filter, newest first.
    async fn list(&self, filter: &Filter, page: &PageRequest) -> Result<Page<Artifact>>;

    /// Who declared these artifacts, oldest first each; an id that has no declarations is absent. However many ids there
    /// are, it takes a few queries, so that a page asks once for everything that it shows.
    async fn declarations(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<Declaration>>>;

    /// The blobs that these artifacts consist of, in order; an id of what was not fetched is absent. However many ids there
    /// are, it takes a few queries.
    async fn blobs(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<StoredBlob>>>;

    /// How much there is.
    async fn totals(&self) -> Result<Totals>;

    /// Makes an artifact present with bytes that a person supplied, whoever is fetching it; they must have the checksums on
    /// record.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::ChecksumMismatch`](crate::Error::ChecksumMismatch), or
    /// [`Error::WrongState`](crate::Error::WrongState) if it is present and not damaged, or quarantined.
    async fn fulfil(&self, id: ArtifactId, fetched: &Fetched, who: &str, now: Timestamp) -> Result<Artifact>;

    /// Takes a present artifact out of service; its content stays on record.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), or [`Error::WrongState`](crate::Error::WrongState) unless it is present.
    async fn quarantine(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact>;

    /// Puts a quarantined artifact back into service as it was.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), or [`Error::WrongState`](crate::Error::WrongState) unless it is quarantined.
    async fn release(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact>;
}

/// What registries, repositories and the parts of images are on record.
///
/// # Promises
/// 1. `part` and `referrers` find exactly what [`StoredBlob::part_key`] and [`StoredBlob::subject_key`] name, as soon as
///    [`Fetches::complete`] has returned.
/// 2. What no artifact in service consists of is never shown as if it were.
#[async_trait]
pub trait Images: fmt::Debug + Send + Sync + 'static {
    /// The part of an image that has this key, and an artifact that it belongs to: one in service if there is one, else one
    /// in quarantine. Where all that is known is that an index lists it, it has the role [`Unfetched`](crate::Role::Unfetched).
    async fn part(&self, key: &NameKey) -> Result<Option<(Artifact, StoredBlob)>>;

    /// The manifests of artifacts in service that refer to the one with this key, each digest once, in no particular order.
    async fn referrers(&self, subject: &NameKey) -> Result<Vec<StoredBlob>>;

    /// Whether an image of this registry was declared; of this path in it, if one is given.
    async fn has_images(&self, registry: &Registry, path: Option<&str>) -> Result<bool>;

    /// Every repository of which an image was declared, by name; only those of one registry if it is given.
    async fn repositories(&self, registry: Option<&Registry>) -> Result<Vec<RepositoryTotals>>;
}

/// How many images of a repository are on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryTotals {
    /// The repository.
    pub repository: Repository,
    /// How many images were declared.
    pub declared: u64,
    /// How many of them are in service.
    pub present: u64,
}

/// Fetch jobs and the leases on them. Time is an argument everywhere.
///
/// # Promises
/// 1. An artifact is handed out by `lease` when it is due: newly declared, to be tried again and that time has come, or
///    leased with an expiry that has passed. It is handed out to one caller only, however many ask at once.
/// 2. `renew`, `complete` and `fail` do nothing but return [`Error::LeaseLost`](crate::Error::LeaseLost) unless the
///    lease is the latest one on an artifact that is still being fetched. An expired lease that nobody took over is still
///    the latest.
/// 3. `complete` makes the artifact present, with its content and blobs, in one step; content that contradicts the
///    checksums on record at that moment is [`Error::ChecksumMismatch`](crate::Error::ChecksumMismatch) and changes nothing.
/// 4. A present artifact is never handed out again, unless its stored bytes are damaged or it is an image of which more is
///    wanted. It stays present throughout; `complete` adds blobs to it and takes none away, and its content never changes.
/// 5. If more of an image is wanted when it is completed than was when it was leased, it is due again.
/// 6. `backlog` counts exactly what `lease` would hand out at that time to who asks for everything.
#[async_trait]
pub trait Fetches: fmt::Debug + Send + Sync + 'static {
    /// Hands out jobs that are due, those that are longest due first.
    async fn lease(&self, request: &LeaseRequest, now: Timestamp) -> Result<Vec<Job>>;

    /// How much is due.
    async fn backlog(&self, now: Timestamp) -> Result<Backlog>;

    /// Keeps the lease until `expires_at` and records how far the fetch is.
    async fn renew(&self, lease: &Lease, expires_at: Timestamp, progress: Progress) -> Result<()>;

    /// Ends the job: the artifact is present.
    async fn complete(&self, lease: &Lease, fetched: &Fetched, now: Timestamp) -> Result<()>;

    /// Ends the job: the attempt failed, and is due again at `retry_at` if there is such a time.
    async fn fail(&self, lease: &Lease, failure: &Failure, retry_at: Option<Timestamp>, now: Timestamp) -> Result<()>;

    /// Gives the job back undone, due at once and as if it had not been taken up: the worker stops. The audit does not
    /// tell of it.
    async fn give_back(&self, lease: &Lease, now: Timestamp) -> Result<()>;

    /// Makes an artifact that failed, waits, or lacks something due now, and counts its attempts anew. It is pending again unless it is
    /// present; why it failed is forgotten here and stays in the audit.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), or [`Error::WrongState`](crate::Error::WrongState) if it is here as a whole,
    /// quarantined or being fetched.
    async fn retry(&self, id: ArtifactId, who: &str, now: Timestamp) -> Result<Artifact>;
}

/// What was asked for in vain, what was used by whom, and what was done by whom.
///
/// # Promises
/// 1. Reports of one name make one miss: counts add up, the first and the last time are kept.
/// 2. A name that is declared has no miss: `record_misses` passes over it.
/// 3. `misses` is ordered by the last request, latest first.
/// 4. What declares, retries, fetches, quarantines or releases an artifact writes its audit entry in the same step.
/// 5. `record_usage` applies a batch as a whole or not at all, and once: for a day at least it is known again by its id.
/// 6. Usage of one artifact on one day by one user adds up, and keeps the first and the last time; `usage` is the sum of all
///    days and users.
/// 7. `daily_usage` has the latest day first.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Adds reports to the record.
    async fn record_misses(&self, reports: &[MissReport]) -> Result<()>;

    /// The misses that wait for a decision; `text` as in [`Filter::text`].
    async fn misses(&self, text: Option<&str>, page: &PageRequest) -> Result<Page<Miss>>;

    /// How many misses wait for a decision.
    async fn miss_count(&self) -> Result<u64>;

    /// One miss.
    async fn miss(&self, id: Uuid) -> Result<Option<Miss>>;

    /// From now on no miss is recorded for names that match the pattern (`*` stands for any characters); those on record go.
    async fn ignore_misses(&self, pattern: &str, reason: &str, who: &str, now: Timestamp) -> Result<()>;

    /// Every pattern that is ignored.
    async fn ignored_patterns(&self) -> Result<Vec<String>>;

    /// Adds a batch to the record.
    async fn record_usage(&self, batch: &UsageBatch) -> Result<()>;

    /// How much these artifacts were used in all; an id of what was never used is absent. However many ids there are, it
    /// takes a few queries, each of one row an artifact.
    async fn usage(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Usage>>;

    /// How much an artifact was used on each day by each user.
    async fn daily_usage(&self, id: ArtifactId, page: &PageRequest) -> Result<Page<DailyUsage>>;

    /// What was done, latest first; only to one artifact if one is named.
    async fn audit(&self, artifact: Option<ArtifactId>, page: &PageRequest) -> Result<Page<AuditEntry>>;
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Identifies it; sorts by time.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who did it: a person, or a worker.
    pub who: String,
    /// What: `declared`, `fetched`, `supplied`, `failed`, `retried`, `damaged`, `quarantined`, `released`, `ignored`.
    pub action: String,
    /// To which artifact.
    pub artifact: Option<ArtifactId>,
    /// The reason or the outcome in words.
    pub detail: String,
}

/// What is done to keep stored bytes right, and what is known of upstream since.
///
/// # Promises
/// 1. Damage of an artifact in service that is reported makes it due. It stays in service, and `complete` with the same bytes
///    ends the damage; other bytes are [`Error::ChecksumMismatch`](crate::Error::ChecksumMismatch). Nothing else changes.
/// 2. A scrub reads back as it was saved last.
/// 3. `unreferenced` names exactly those blobs that belong to no artifact.
/// 4. `to_watch` names artifacts in service, those never watched first, then the one that was watched longest ago; none that was
///    watched or fetched since `before`.
#[async_trait]
pub trait Upkeep: fmt::Debug + Send + Sync + 'static {
    /// Notes that stored bytes of an artifact are missing or wrong. Of what is not in service, or known to be damaged, nothing
    /// is noted.
    async fn report_damage(&self, id: ArtifactId, problem: &str, now: Timestamp) -> Result<()>;

    /// Those of these blobs that belong to no artifact.
    async fn unreferenced(&self, blobs: &[Sha256]) -> Result<Vec<Sha256>>;

    /// Writes the record of a scrub.
    async fn save_scrub(&self, scrub: &Scrub) -> Result<()>;

    /// The record of one scrub.
    async fn scrub(&self, id: Uuid) -> Result<Option<Scrub>>;

    /// The latest scrubs, the last one first.
    async fn scrubs(&self, limit: usize) -> Result<Vec<Scrub>>;

    /// Artifacts of which upstream should be asked again.
    async fn to_watch(&self, before: Timestamp, limit: usize) -> Result<Vec<Artifact>>;

    /// Records what upstream was seen to have.
    async fn record_watch(&self, id: ArtifactId, watch: &Watch) -> Result<()>;
}

/// The whole record: whoever implements the five parts implements it.
pub trait Catalog: Artifacts + Images + Fetches + Ledger + Upkeep {}

impl<T: Artifacts + Images + Fetches + Ledger + Upkeep> Catalog for T {}
