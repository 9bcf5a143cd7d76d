//! What knows how to bring one kind of artifact from upstream.

use std::{
    error::Error as StdError,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    Content, ImageName, ImageReference, Intake, Job, Kind, Platform, PlatformChoice, Progress, StoredBlob, error,
};

/// Brings artifacts of one kind. Registered with the workers by kind.
///
/// # Promises
/// 1. Every byte comes in through the [`Intake`]; when `fetch` returns `Ok`, every blob that it names is in the blob store,
///    verified and durable.
/// 2. It may be dropped at any moment, and called again for the same artifact.
/// 3. It reports to the meter at least whenever it received something.
#[async_trait]
pub trait Fetcher: fmt::Debug + Send + Sync + 'static {
    /// The kind that it knows.
    fn kind(&self) -> Kind;

    /// Brings the artifact of this job.
    async fn fetch(&self, job: &Job, intake: &Intake, meter: &ProgressMeter) -> Result<Fetched, Failure>;
}

/// What a fetch brought: blobs that are durable in the blob store.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The artifact's own bytes and where they came from.
    pub content: Content,
    /// Every blob that belongs to the artifact, in order.
    pub blobs: Vec<StoredBlob>,
    /// The platforms of an image that were wanted and are among them.
    pub platforms: Option<PlatformChoice>,
}

impl Fetched {
    /// A file: one blob, with the role `content`.
    pub fn file(content: Content) -> Self {
        let blobs = vec![StoredBlob::of_file(&content)];
        Self { content, blobs, platforms: None }
    }
}

/// Asks upstream what a tag names at this moment, for a person who wants to declare that. It brings nothing.
///
/// A trait, so that the admin side can offer it without knowing any HTTP client.
#[async_trait]
pub trait TagResolver: fmt::Debug + Send + Sync + 'static {
    /// What this reference names now; without a tag, `latest`. A digest in it is not looked at.
    async fn resolve(&self, reference: &ImageReference) -> Result<ResolvedTag, Failure>;
}

/// What a tag names at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTag {
    /// The image, by digest.
    pub name: ImageName,
    /// The tag.
    pub tag: String,
    /// The media type of its manifest.
    pub media_type: String,
    /// The platforms to choose from, if it is an index.
    pub platforms: Vec<Platform>,
}

/// Why a fetch failed, in words for the person who declared the artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The cause with both sides of a contradiction.
    pub message: String,
    /// How long upstream asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
    /// Platforms that were wanted of an image and that it does not have.
    pub lacking: PlatformChoice,
}

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None, lacking: PlatformChoice::default() }
    }

    /// What was attempted, and the error with all its causes.
    pub fn because(attempted: impl fmt::Display, error: &(dyn StdError + 'static)) -> Self {
        Self::new(format!("{attempted}: {}", error::chain(error)))
    }
}

impl From<error::Error> for Failure {
    fn from(error: error::Error) -> Self {
        Self::new(error.chain())
    }
}

/// Counts the bytes of a running fetch; read by whoever renews the lease.
#[derive(Debug, Default)]
pub struct ProgressMeter {
    bytes: AtomicU64,
    total: AtomicU64,
}

impl ProgressMeter {
    /// Sets how many bytes are here.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Adds to how many bytes are here.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes bytes back that have to come once more.
    pub fn take_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Sets how many bytes are to come in all, if upstream said so.
    pub fn set_total(&self, total: Option<u64>) {
        self.total.store(total.map_or(0, |total| total + 1), Ordering::Relaxed);
    }

    /// How far the fetch is.
    pub fn progress(&self) -> Progress {
        Progress { bytes: self.bytes.load(Ordering::Relaxed), total: self.total.load(Ordering::Relaxed).checked_sub(1) }
    }
}
