//! The domain of distmirror: what an artifact is, what it is called, who wants it, and which bytes it has.
//!
//! Everything else depends on this crate and it depends on nothing of theirs: it names no HTTP library, no database and
//! no object store. Front ends call [`Mirror`]; backends implement [`Catalog`] and [`BlobStore`]; whatever knows how to
//! bring a kind of artifact implements [`Fetcher`]; [`Intake`] is the only way in which bytes come in.
//!
//! Start reading at [`ArtifactName`], then [`Artifact`], then [`Mirror`].

pub mod artifact;
pub mod blob;
pub mod catalog;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod declaration;
pub mod digest;
pub mod disk;
pub mod durable;
pub mod error;
#[cfg(any(test, feature = "conformance"))]
pub mod faulty;
pub mod fetcher;
pub mod image;
pub mod intake;
pub mod lease;
pub mod memory;
mod metrics;
pub mod mirror;
pub mod miss;
pub mod name;
pub mod observed;
pub mod page;
pub mod preflight;
pub mod upkeep;
pub mod uri;
pub mod usage;
mod verify;

pub use crate::{
    artifact::{
        Artifact, ArtifactId, Content, Kind, Progress, Role, Selection, Source, State, StoredBlob, Totals, Trust,
    },
    blob::{BlobBody, BlobRead, BlobStat, BlobStore, ByteStream, Original, Payload},
    catalog::{Artifacts, AuditEntry, Catalog, Fetches, Filter, Images, Ledger, RepositoryTotals, Upkeep},
    declaration::{Declaration, Declare, Declared, NewDeclaration, WantedImage},
    digest::{Algorithm, Checksums, Digest, Digests, Hasher, Hashing, PartDigests, PartHasher, Sha256},
    error::{Error, Problem, Result},
    fetcher::{Failure, Fetched, Fetcher, ProgressMeter, ResolvedTag, TagResolver},
    image::{ImageName, ImageReference, Platform, PlatformChoice, Registry, Repository},
    intake::{Intake, Received, Spool, SpoolLimits},
    lease::{Backlog, Job, Lease, LeaseRequest},
    metrics::{describe_metrics, describe_upkeep_metrics},
    mirror::{Held, Mirror, Options, Resolution},
    miss::{Miss, MissReport},
    name::{ArtifactName, NameKey},
    page::{Cursor, Page, PageRequest},
    preflight::{Advice, Preflight, Probe, Prober},
    upkeep::{Scrub, Watch, WatchStatus},
    uri::{Authority, Host, Scheme, Uri, UriError},
    usage::{DailyUsage, Usage, UsageBatch, UsageReport, UsedBy},
};
