//! [`Mirror`]: what front ends call. One object over a catalog and a blob store, with the memory that makes serving quick.
//!
//! It never fetches anything. Present artifacts never change, so they are answered from memory, also while the catalog is
//! away; an entry is checked against the catalog every few seconds, so that quarantine by another process takes effect.

mod images;
mod measure;
mod misses;
mod scrub;
mod usage;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use metrics::Counter;
use moka::sync::Cache;
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::images::Part;
use self::{misses::GatheredMisses, usage::GatheredUsage};
use crate::{
    Artifact, ArtifactId, ArtifactName, BlobBody, BlobRead, BlobStore, Catalog, Content, Declare, Declared, Digest,
    Error, Fetched, ImageName, NameKey, NewDeclaration, Original, Platform, Result, Role, Sha256, State, StoredBlob,
    Uri, declaration,
    preflight::{Preflight, Prober},
    verify::{self, Verifier},
};

/// How much a mirror remembers, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many present artifacts are remembered; about 1 KiB each.
    pub cached_artifacts: u64,
    /// After how long a remembered artifact is looked up again.
    pub revalidate_after: Duration,
    /// How long that look-up may take before memory answers.
    pub revalidate_within: Duration,
    /// How many different misses are gathered between two reports to the catalog; more are counted and dropped.
    pub gathered_misses: usize,
    /// With how many misses the catalog is full: what is gathered from then on is counted and dropped, until a person has
    /// declared or ignored some. One report, of `gathered_misses` at most, may go past it.
    pub recorded_misses: u64,
    /// How many different uses (artifact, day and user) are gathered between two reports to the catalog, at most about 150
    /// bytes each; more are counted and dropped. While the catalog is away, as many again wait to be reported.
    pub gathered_usage: usize,
    /// Whether a declaration of a file must have a checksum. Images always have one.
    pub require_checksum: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cached_artifacts: 100_000,
            revalidate_after: Duration::from_secs(5),
            revalidate_within: Duration::from_millis(500),
            gathered_misses: 10_000,
            recorded_misses: 100_000,
            gathered_usage: 50_000,
            require_checksum: false,
        }
    }
}

/// Bytes that are in service: a file, or a part of an image.
#[derive(Debug)]
pub struct Held {
    /// The artifact that they belong to.
    pub artifact: ArtifactId,
    /// Its name.
    pub name: ArtifactName,
    /// What they are to it.
    pub role: Role,
    /// The digest by which they are known upstream.
    pub digest: Digest,
    /// Where they are.
    pub blob: Sha256,
    /// How many there are.
    pub size: u64,
    /// Upstream's `Content-Type`, or the media type of a manifest.
    pub content_type: Option<String>,
    /// Upstream's `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// Upstream's `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// Upstream's `Last-Modified`, verbatim.
    pub last_modified: Option<String>,
}

impl Held {
    /// The artifact's own bytes.
    fn content(artifact: ArtifactId, name: ArtifactName, content: Content) -> Self {
        let (role, digest) = match &name {
            ArtifactName::File(_) => (Role::Content, content.blob().into()),
            ArtifactName::Image(image) => (Role::Manifest, *image.digest()),
        };
        Self {
            artifact,
            name,
            role,
            digest,
            blob: content.blob(),
            size: content.size,
            content_type: content.content_type,
            content_disposition: content.content_disposition,
            content_encoding: content.content_encoding,
            last_modified: content.last_modified,
        }
    }
}

/// What is known of a name that somebody asked for.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// In service.
    Present(Arc<Held>),
    /// Nobody declared it, and of an image's part: nor anything else in its repository.
    Undeclared,
    /// Images of its repository were declared, and it is part of none.
    NotInRepository,
    /// An index that is in service lists it for this platform, which nobody wanted.
    Unfetched(Box<Artifact>, Option<Platform>),
    /// Declared and not in service: pending, being fetched, failed or quarantined. The artifact says which, and why.
    Withheld(Box<Artifact>),
}

/// The mirror: what front ends call.
#[derive(Debug)]
pub struct Mirror {
    catalog: Arc<dyn Catalog>,
    blobs: Arc<dyn BlobStore>,
    /// Where what is served is read: the same, or copies of it.
    served: Arc<dyn BlobStore>,
    options: Options,
    started: Instant,
    present: Cache<NameKey, Arc<Remembered>>,
    /// Registries and repositories of which images were declared; no declaration ever goes away.
    with_images: Cache<NameKey, ()>,
    lookups: Lookups,
    verifier: Verifier,
    misses: GatheredMisses,
    usage: GatheredUsage,
    due: Notify,
}

#[derive(Debug)]
struct Remembered {
    held: Arc<Held>,
    checked_at_ms: AtomicU64,
}

/// Counts what answered. Looked up once: every request is counted.
#[derive(Debug)]
struct Lookups {
    from_memory: Counter,
    in_catalog: Counter,
}

impl Default for Lookups {
    fn default() -> Self {
        let by = |source| metrics::counter!("distmirror_artifact_lookups_total", "source" => source);
        Self { from_memory: by("memory"), in_catalog: by("catalog") }
    }
}

impl Mirror {
    /// A mirror over this catalog and this blob store.
    pub fn new(catalog: Arc<dyn Catalog>, blobs: Arc<dyn BlobStore>, options: Options) -> Self {
        let present = Cache::new(options.cached_artifacts);
        let with_images = Cache::new(options.cached_artifacts);
        let verifier = Verifier::new(options.cached_artifacts);
        Self {
            catalog,
            served: Arc::clone(&blobs),
            blobs,
            options,
            started: Instant::now(),
            present,
            with_images,
            lookups: Lookups::default(),
            verifier,
            misses: GatheredMisses::default(),
            usage: GatheredUsage::default(),
            due: Notify::new(),
        }
    }

    /// The same mirror, which reads what it serves from this store: one that keeps copies of blobs. Everything else, such as
    /// a scrub, still sees the blob store itself.
    #[must_use]
    pub fn serving_from(self, copies: Arc<dyn BlobStore>) -> Self {
        Self { served: copies, ..self }
    }

    /// The catalog, for what needs no more than reading it.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The blob store.
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }

    /// Checks and records a declaration. If the artifact stands at failed, somebody wants it again: it is tried again at
    /// once, as [`retry`](Self::retry) does, and what is returned is pending. The audit tells of both.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every bad field, [`Error::ChecksumConflict`], or the catalog's trouble.
    pub async fn declare(&self, wanted: &Declare, who: &str) -> Result<Declared> {
        let mut declared = self.catalog.declare(&self.check(wanted, who)?, Timestamp::now()).await?;
        if declared.artifact.state == State::Failed {
            declared.artifact = self.try_again(declared.artifact, who).await?;
        }
        if declared.artifact.next_attempt_at.is_some() {
            self.due.notify_waiters();
        }
        Ok(declared)
    }

    /// Checks a declaration, also by the rules of this mirror.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every bad field.
    pub fn check(&self, wanted: &Declare, who: &str) -> Result<NewDeclaration> {
        let checked = wanted.check(who);
        let lacks_checksum = match &checked {
            Ok(declaration) => declaration.expected.is_empty(),
            Err(_) => false,
        };
        if self.options.require_checksum && lacks_checksum {
            return Err(Error::invalid("sha256", "is required here: give the checksum that the publisher names"));
        }
        checked
    }

    /// What there is to know of a file before it is declared, for which no reason is needed. Upstream is asked where somebody
    /// can do that.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every bad field, or the catalog's trouble.
    pub async fn preflight(&self, wanted: &Declare, who: &str, prober: Option<&dyn Prober>) -> Result<Preflight> {
        let reason = Some("only to look".to_owned());
        let NewDeclaration { name, expected, .. } = self.check(&Declare { reason, ..wanted.clone() }, who)?;
        let declared = self.catalog.named(&name.key()).await?;
        let ArtifactName::File(uri) = name else {
            return Err(Error::invalid("kind", "is looked at before it is declared only if it is `file`"));
        };
        let own = declared.as_ref().map(|declared| declared.id);
        let mut held = None;
        for digest in expected.iter() {
            let holder = self.catalog.holding(digest).await?;
            held = holder.filter(|holder| holder.state == State::Present && Some(holder.id) != own);
            if held.is_some() {
                break;
            }
        }
        let probe = match prober {
            Some(prober) => Some(prober.probe(&uri).await),
            None => None,
        };
        Ok(Preflight { uri, expected, declared, held, probe })
    }

    /// What is known of this name. A present artifact is answered from memory.
    ///
    /// # Errors
    /// The catalog's trouble, unless memory can answer.
    pub async fn resolve(&self, name: &ArtifactName) -> Result<Resolution> {
        let key = name.key();
        self.remembered(key, || self.named(key)).await
    }

    /// What is known of a digest: the artifact in service that has it.
    ///
    /// # Errors
    /// The catalog's trouble.
    pub async fn resolve_digest(&self, digest: &Digest) -> Result<Resolution> {
        let artifact = self.catalog.holding(digest).await?;
        Ok(artifact.map_or(Resolution::Undeclared, resolution))
    }

    /// Opens bytes that are in service, or a range of them. What comes out has been verified in this process, except for a
    /// range of a blob that the store can only stream.
    ///
    /// # Errors
    /// [`Error::BlobMissing`], [`Error::BlobCorrupt`], [`Error::StorageUnavailable`].
    pub async fn open(&self, held: &Held, range: Option<Range<u64>>) -> Result<BlobRead> {
        let asked = range.clone().unwrap_or(0..held.size);
        let read = self.served.get(&held.blob, range).await?;
        let verified = match self.verified(held, &asked, read).await {
            Err((error, Some(original))) => {
                tracing::warn!(blob = %held.blob, error = %error.chain(), "a copy of a blob is bad: reading the blob store");
                let read = original.open(asked.clone()).await?;
                Box::pin(self.verified(held, &asked, read)).await
            }
            settled => settled,
        };
        verified.map_err(|(error, _)| error)
    }

    /// What a store has handed out, verified before or while it is read. What is wrong comes with what the file is a copy of.
    async fn verified(
        &self,
        held: &Held,
        asked: &Range<u64>,
        read: BlobRead,
    ) -> Result<BlobRead, (Error, Option<Original>)> {
        let (blob, size) = (held.blob, held.size);
        let wrong_size = (read.size != size).then(|| verify::wrong_size(blob, read.size, size));
        let whole = *asked == (0..size);
        let body = match (read.body, wrong_size) {
            (BlobBody::File { original, .. }, Some(error)) => return Err((error, original)),
            (BlobBody::Stream(_), Some(error)) => return Err((error, None)),
            (BlobBody::File { file, range, original }, None) => match self.verifier.file(blob, file, size).await {
                Ok(file) => {
                    let original = original.map(|original| verify::original(blob, size, whole, original));
                    BlobBody::File { file, range, original }
                }
                Err(error) => return Err((error, original)),
            },
            (BlobBody::Stream(body), None) if whole => BlobBody::Stream(verify::stream(blob, size, body)),
            (part @ BlobBody::Stream(_), None) => part,
        };
        Ok(BlobRead { size, body })
    }

    /// The bytes of a small blob, verified and whole: what a person wants to read of an image.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a blob that is not small, and those of [`open`](Self::open).
    pub async fn read(&self, blob: &StoredBlob) -> Result<Bytes> {
        if blob.size > MAX_READ_BYTES {
            return Err(Error::TooLarge { limit: MAX_READ_BYTES });
        }
        verify::whole(&*self.blobs, &blob.blob, blob.size).await
    }

    /// The artifact with this id or this name, as a person gives it.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Invalid`] when the text is neither an id, nor a URI, nor a reference with a digest.
    pub async fn find(&self, id_or_name: &str) -> Result<Artifact> {
        let found = match id_or_name.parse::<ArtifactId>() {
            Ok(id) => self.catalog.artifact(id).await?,
            Err(_) => self.find_named(id_or_name).await?,
        };
        found.ok_or_else(|| Error::NotFound { what: "artifact", id: id_or_name.to_owned() })
    }

    /// Notes that stored bytes of an artifact are damaged, so that they are fetched again. It stays in service: what is damaged
    /// is never sent.
    ///
    /// # Errors
    /// The catalog's trouble.
    pub async fn report_damage(&self, id: ArtifactId, problem: &str) -> Result<()> {
        self.catalog.report_damage(id, problem, Timestamp::now()).await?;
        self.due.notify_waiters();
        Ok(())
    }

    /// Makes an artifact present with bytes that a person supplied: they came in through an intake, and are durable.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ChecksumMismatch`], [`Error::WrongState`] if it is present already.
    pub async fn fulfil(&self, id: ArtifactId, content: Content, who: &str) -> Result<Artifact> {
        self.catalog.fulfil(id, &Fetched::file(content), who, Timestamp::now()).await
    }

    /// Makes an artifact that failed due now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`].
    pub async fn retry(&self, id: ArtifactId, who: &str) -> Result<Artifact> {
        let artifact = self.catalog.retry(id, who, Timestamp::now()).await?;
        self.due.notify_waiters();
        Ok(artifact)
    }

    /// Takes a present artifact out of service. Its bytes are kept.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], [`Error::Invalid`] without a reason.
    pub async fn quarantine(&self, id: ArtifactId, reason: &str, who: &str) -> Result<Artifact> {
        declaration::required_text("reason", Some(reason)).map_err(Error::Invalid)?;
        let quarantined = self.catalog.quarantine(id, reason, who, Timestamp::now()).await;
        // Also after an error: perhaps it was done, and only the answer was lost.
        self.forget(id);
        if let Ok(artifact) = &quarantined {
            // What has this name may be remembered as a part of another image.
            self.present.invalidate(&artifact.name.key());
        }
        quarantined
    }

    /// Puts a quarantined artifact back into service.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], [`Error::Invalid`] without a reason.
    pub async fn release(&self, id: ArtifactId, reason: &str, who: &str) -> Result<Artifact> {
        declaration::required_text("reason", Some(reason)).map_err(Error::Invalid)?;
        self.catalog.release(id, reason, who, Timestamp::now()).await
    }

    /// What keeps this mirror from serving; empty when it is ready.
    pub async fn readiness(&self) -> Vec<Error> {
        let nothing = Sha256::from_bytes([0; 32]);
        let catalog = tokio::time::timeout(READY_WITHIN, self.catalog.artifact(ArtifactId(Uuid::nil())));
        let blobs = tokio::time::timeout(READY_WITHIN, self.blobs.stat(&nothing));
        let (catalog, blobs) = tokio::join!(catalog, blobs);
        let late = || format!("no answer within {READY_WITHIN:?}");
        let catalog = catalog.unwrap_or_else(|_| Err(Error::catalog(late()))).err();
        let blobs = blobs.unwrap_or_else(|_| Err(Error::storage(late()))).err();
        catalog.into_iter().chain(blobs).collect()
    }

    /// Waits until something becomes due to be fetched through this object; counts from this call on, also before the first
    /// poll. Other processes are not seen: workers also look at the catalog now and then.
    pub fn something_due(&self) -> impl Future<Output = ()> + Send + '_ {
        self.due.notified()
    }

    /// Makes a failed artifact due now. If somebody else did so first, it is what has become of it since.
    async fn try_again(&self, failed: Artifact, who: &str) -> Result<Artifact> {
        match self.catalog.retry(failed.id, who, Timestamp::now()).await {
            Err(Error::WrongState { .. }) => Ok(self.catalog.artifact(failed.id).await?.unwrap_or(failed)),
            retried => retried,
        }
    }

    /// An image if the text is a reference with a digest, which some URIs are as well; otherwise a file.
    async fn find_named(&self, name: &str) -> Result<Option<Artifact>> {
        if let Ok(image) = ImageName::parse(name)
            && let Some(found) = self.catalog.named(&image.manifest_key()).await?
        {
            return Ok(Some(found));
        }
        match Uri::parse(name) {
            Ok(uri) => self.catalog.named(&ArtifactName::File(uri).key()).await,
            Err(_) if ImageName::parse(name).is_ok() => Ok(None),
            Err(error) => Err(Error::invalid("uri", error.to_string())),
        }
    }

    /// Answers from memory what is remembered and not due to be looked up again; otherwise looks it up.
    async fn remembered<F>(&self, key: NameKey, look_up: impl Fn() -> F) -> Result<Resolution>
    where
        F: Future<Output = Result<Resolution>>,
    {
        let Some(remembered) = self.present.get(&key) else {
            self.lookups.in_catalog.increment(1);
            return self.remember(key, Box::pin(look_up()).await?);
        };
        let now = self.elapsed_ms();
        let due = now.saturating_sub(remembered.checked_at_ms.load(Ordering::Relaxed))
            >= self.options.revalidate_after.as_millis() as u64;
        if !due {
            self.lookups.from_memory.increment(1);
            return Ok(Resolution::Present(Arc::clone(&remembered.held)));
        }
        // Set first: while the catalog is slow, one request waits for it and the others do not.
        remembered.checked_at_ms.store(now, Ordering::Relaxed);
        self.lookups.in_catalog.increment(1);
        match tokio::time::timeout(self.options.revalidate_within, Box::pin(look_up())).await {
            Ok(Ok(resolution)) => self.remember(key, resolution),
            Ok(Err(_)) | Err(_) => Ok(Resolution::Present(Arc::clone(&remembered.held))),
        }
    }

    fn remember(&self, key: NameKey, found: Resolution) -> Result<Resolution> {
        match &found {
            Resolution::Present(held) => {
                let checked_at_ms = AtomicU64::new(self.elapsed_ms());
                self.present.insert(key, Arc::new(Remembered { held: Arc::clone(held), checked_at_ms }));
            }
            _ => self.present.invalidate(&key),
        }
        Ok(found)
    }

    /// What is in service of an artifact, an image with all its parts, is looked up again.
    fn forget(&self, id: ArtifactId) {
        for (key, _) in self.present.iter().filter(|(_, remembered)| remembered.held.artifact == id) {
            self.present.invalidate(&*key);
        }
    }

    async fn named(&self, key: NameKey) -> Result<Resolution> {
        Ok(self.catalog.named(&key).await?.map_or(Resolution::Undeclared, resolution))
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// The largest blob that is read into memory as a whole.
const MAX_READ_BYTES: u64 = 8 * 1024 * 1024;

/// How long each part of the readiness check may take.
const READY_WITHIN: Duration = Duration::from_secs(3);

fn resolution(artifact: Artifact) -> Resolution {
    match (artifact.state, artifact.content) {
        (State::Present, Some(content)) => {
            Resolution::Present(Arc::new(Held::content(artifact.id, artifact.name, content)))
        }
        (_, content) => Resolution::Withheld(Box::new(Artifact { content, ..artifact })),
    }
}

#[cfg(test)]
mod tests;
