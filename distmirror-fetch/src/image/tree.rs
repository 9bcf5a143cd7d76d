//! An image on its way in: the documents that were read, and the configs and layers that they name.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
};

use distmirror_core::{
    Checksums, Digest, Failure, Intake, Platform, PlatformChoice, ProgressMeter, Role, Sha256, StoredBlob,
    image::{
        config::ImageConfig,
        manifest::{Descriptor, MAX_MANIFEST_BYTES, MEDIA_TYPES, Manifest, Parts},
    },
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    choose::{choose, no_platforms},
    part,
    slots::Slots,
};
use crate::registry::{SentManifest, Session};

/// Everything that was found of an image so far.
pub(super) struct Tree<'a> {
    session: &'a Session<'a>,
    intake: &'a Intake,
    meter: &'a ProgressMeter,
    /// Manifests and indexes, which are here, and manifests that nobody wanted.
    documents: Vec<StoredBlob>,
    read: HashSet<Digest>,
    /// Configs and layers, each once, in the order of the manifests.
    parts: Vec<Part>,
    sizes: HashMap<Digest, u64>,
    document_bytes: u64,
    bytes: u64,
}

/// A config or layer that is to be brought.
struct Part {
    descriptor: Descriptor,
    role: Role,
}

/// A document that was read: what it says, and where it is.
struct Document {
    manifest: Manifest,
    stored: StoredBlob,
}

impl<'a> Tree<'a> {
    pub(super) fn new(session: &'a Session<'a>, intake: &'a Intake, meter: &'a ProgressMeter) -> Self {
        Self {
            session,
            intake,
            meter,
            documents: Vec::new(),
            read: HashSet::new(),
            parts: Vec::new(),
            sizes: HashMap::new(),
            document_bytes: 0,
            bytes: 0,
        }
    }

    /// Takes in the document that the image is declared by.
    pub(super) async fn root(&mut self, digest: &Digest, sent: SentManifest) -> Result<Manifest, Failure> {
        let document = take_in(self.intake, digest, sent, None).await?;
        self.add(&document)?;
        Ok(document.manifest)
    }

    /// Adds what is wanted of what this document lists.
    pub(super) async fn grow(&mut self, root: &Manifest, wanted: &PlatformChoice) -> Result<(), Failure> {
        let Parts::Index(entries) = &root.parts else { return Ok(()) };
        let leaves = self.leaves(entries).await?;
        let chosen = choose(&leaves, wanted)?;
        let (wanted, others): (Vec<_>, Vec<_>) = leaves.into_iter().zip(chosen).partition(|(_, chosen)| *chosen);
        self.read_all(wanted.into_iter().map(|(leaf, _)| leaf).collect()).await?;
        self.documents.extend(others.into_iter().filter_map(|(leaf, _)| unfetched(&leaf)));
        Ok(())
    }

    /// Adds what refers to the documents that are here, and what refers to that.
    pub(super) async fn add_referrers(&mut self) -> Result<(), Failure> {
        let mut from = 0;
        for _ in 0..REFERRER_LEVELS {
            let subjects: Vec<Digest> = self.documents[from..]
                .iter()
                .filter(|blob| blob.role != Role::Unfetched)
                .map(|blob| blob.digest)
                .collect();
            from = self.documents.len();
            for subject in subjects {
                self.add_referrers_of(&subject).await.map_err(|failure| Failure {
                    message: format!(
                        "what refers to `{subject}` cannot be had: {}; fetch.referrers = false leaves it out",
                        failure.message
                    ),
                    ..failure
                })?;
            }
        }
        Ok(())
    }

    /// Brings every config and layer; then the image is whole, and this is what it consists of.
    pub(super) async fn finish(mut self, wanted: &PlatformChoice, slots: &Slots) -> Result<Vec<StoredBlob>, Failure> {
        self.meter.set_total(Some(self.bytes));
        let Self { session, intake, meter, .. } = self;
        let bring = async |part: &Part| {
            let Descriptor { digest, size, .. } = &part.descriptor;
            let _slot = slots.take(session.registry()).await?;
            Ok::<_, Failure>((*digest, part::fetch(session, intake, meter, digest, *size).await?))
        };
        let brought = stream::iter(&self.parts).map(bring).buffer_unordered(PARTS_AT_ONCE);
        let blobs: HashMap<Digest, Sha256> = brought.try_collect().await?;
        let stored = |part: &Part| StoredBlob {
            blob: blobs[&part.descriptor.digest],
            role: part.role,
            digest: part.descriptor.digest,
            size: part.descriptor.size,
            media_type: Some(part.descriptor.media_type.clone()),
            platform: None,
            subject: None,
        };
        let parts: Vec<_> = self.parts.iter().map(stored).collect();
        self.name_platform(&parts, wanted).await?;
        // A manifest may be listed more than once, and be wanted by another list than the one that was read first.
        let mut told = self.read;
        self.documents.retain(|blob| blob.role != Role::Unfetched || told.insert(blob.digest));
        self.documents.extend(parts);
        Ok(self.documents)
    }

    /// An image that no index lists tells what it runs on in its config; others than that cannot be had.
    async fn name_platform(&mut self, parts: &[StoredBlob], wanted: &PlatformChoice) -> Result<(), Failure> {
        let Some(root) = self.documents.first_mut().filter(|root| root.role == Role::Manifest) else { return Ok(()) };
        let config = parts.iter().find(|part| part.role == Role::Config && part.size <= MAX_MANIFEST_BYTES);
        let Some(config) = config else { return Ok(()) };
        let Some(platform) = ImageConfig::parse(&self.intake.read(&config.blob, config.size).await?).platform() else {
            return Ok(());
        };
        let lacking: Vec<_> = wanted.named().filter(|wanted| !wanted.means(&platform)).collect();
        if !lacking.is_empty() {
            return Err(no_platforms(&lacking, &format!("`{platform}`")));
        }
        root.platform = Some(platform);
        Ok(())
    }

    /// The manifests that an index leads to, through the indexes that it lists.
    async fn leaves(&mut self, entries: &[Descriptor]) -> Result<Vec<Descriptor>, Failure> {
        let mut leaves = Vec::new();
        let mut open = vec![(entries.to_vec(), 1)];
        while let Some((entries, depth)) = open.pop() {
            for entry in entries {
                if !entry.is_index() {
                    leaves.push(entry);
                    continue;
                }
                if depth == MAX_DEPTH {
                    return Err(Failure::new(format!(
                        "`{}` stands {MAX_DEPTH} indexes deep, which is too deep",
                        entry.digest
                    )));
                }
                if self.read.contains(&entry.digest) {
                    continue;
                }
                let nested = read(self.session, self.intake, &entry).await?;
                self.add(&nested)?;
                if let Parts::Index(entries) = nested.manifest.parts {
                    open.push((entries, depth + 1));
                }
            }
            check_count(leaves.len())?;
        }
        Ok(leaves)
    }

    async fn add_referrers_of(&mut self, subject: &Digest) -> Result<(), Failure> {
        for page in self.session.referrers(subject).await? {
            let list = Manifest::parse(&page.bytes, page.content_type.as_deref());
            // At the place of the tag there may be anything.
            let Ok(Manifest { parts: Parts::Index(entries), .. }) = list else { continue };
            for entry in entries {
                if self.read.contains(&entry.digest) {
                    continue;
                }
                if !MEDIA_TYPES.contains(&entry.media_type.as_str()) {
                    tracing::warn!(referrer = %entry.digest, %subject, "left out, for it is of a kind that cannot be kept");
                    continue;
                }
                let document = read(self.session, self.intake, &entry).await?;
                if document.manifest.subject.as_ref().map(|about| &about.digest) != Some(subject) {
                    tracing::warn!(referrer = %entry.digest, %subject, "listed as a referrer, and refers to something else");
                    self.came(document.stored.size)?;
                    continue;
                }
                self.add(&document)?;
                self.grow(&document.manifest, &PlatformChoice::all()).await?;
            }
        }
        Ok(())
    }

    async fn read_all(&mut self, mut wanted: Vec<Descriptor>) -> Result<(), Failure> {
        wanted.retain(|entry| self.read.insert(entry.digest));
        let (session, intake) = (self.session, self.intake);
        let documents = stream::iter(wanted).map(async |entry| read(session, intake, &entry).await);
        // One by one, so that too much is noticed before all of it is here.
        let mut documents = pin!(documents.buffered(PARTS_AT_ONCE));
        while let Some(document) = documents.try_next().await? {
            self.add(&document)?;
        }
        Ok(())
    }

    /// Puts a document on record, with what it consists of.
    fn add(&mut self, document: &Document) -> Result<(), Failure> {
        self.read.insert(document.stored.digest);
        self.came(document.stored.size)?;
        self.documents.push(document.stored.clone());
        check_count(self.documents.len())?;
        let Parts::Image { config, layers } = &document.manifest.parts else { return Ok(()) };
        let parts = std::iter::once((&**config, Role::Config)).chain(layers.iter().map(|layer| (layer, Role::Layer)));
        for (descriptor, role) in parts {
            self.add_part(descriptor, role)?;
        }
        check_count(self.parts.len())
    }

    fn add_part(&mut self, descriptor: &Descriptor, role: Role) -> Result<(), Failure> {
        match self.sizes.insert(descriptor.digest, descriptor.size) {
            Some(size) if size == descriptor.size => Ok(()),
            Some(size) => Err(Failure::new(format!(
                "`{}` has two sizes in the manifests of this image: {size} and {} bytes",
                descriptor.digest, descriptor.size
            ))),
            None => {
                self.parts.push(Part { descriptor: descriptor.clone(), role });
                self.count(descriptor.size)
            }
        }
    }

    /// Counts a document that is in the blob store now, whether or not it belongs to the image.
    fn came(&mut self, bytes: u64) -> Result<(), Failure> {
        self.meter.add_bytes(bytes);
        self.document_bytes += bytes;
        if self.document_bytes > MAX_DOCUMENT_BYTES {
            return Err(Failure::new(format!(
                "its manifests have more than {MAX_DOCUMENT_BYTES} bytes together, which is too much"
            )));
        }
        self.count(bytes)
    }

    fn count(&mut self, bytes: u64) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes);
        let limit = self.intake.max_bytes();
        if self.bytes > limit {
            return Err(Failure::new(format!(
                "too large: its parts have more than {limit} bytes together, which is fetch.max_file_bytes"
            )));
        }
        Ok(())
    }
}

/// Reads a document that another one lists.
async fn read(session: &Session<'_>, intake: &Intake, entry: &Descriptor) -> Result<Document, Failure> {
    if entry.size > MAX_MANIFEST_BYTES {
        return Err(Failure::new(format!(
            "`{}` has {} bytes; at most {MAX_MANIFEST_BYTES} are read of a manifest",
            entry.digest, entry.size
        )));
    }
    let sent = session.manifest(&entry.digest.to_string()).await?;
    take_in(intake, &entry.digest, sent, Some(entry)).await
}

/// Verifies a document, keeps it and reads it; `entry` is what lists it.
async fn take_in(
    intake: &Intake,
    digest: &Digest,
    sent: SentManifest,
    entry: Option<&Descriptor>,
) -> Result<Document, Failure> {
    let bad = |problem: String| Failure::new(format!("the manifest `{digest}` {problem}"));
    let expected = Checksums::new([*digest]).map_err(Failure::new)?;
    let received = intake.take_in(sent.bytes.clone(), &expected).await?;
    let manifest = Manifest::parse(&sent.bytes, sent.content_type.as_deref()).map_err(bad)?;
    if let Some(entry) = entry {
        if entry.size != received.size {
            return Err(bad(format!("has {} bytes, and its index says {}", received.size, entry.size)));
        }
        if entry.media_type != manifest.media_type {
            return Err(bad(format!("is a `{}`, and its index says `{}`", manifest.media_type, entry.media_type)));
        }
    }
    let is_index = matches!(manifest.parts, Parts::Index(_));
    let stored = StoredBlob {
        blob: received.digests.sha256,
        role: if is_index { Role::Index } else { Role::Manifest },
        digest: *digest,
        size: received.size,
        media_type: Some(manifest.media_type.clone()),
        platform: entry.and_then(known_platform),
        subject: manifest.subject.as_ref().map(|subject| subject.digest),
    };
    Ok(Document { manifest, stored })
}

/// The record of a manifest that nobody wanted, so that whoever asks for it hears what it is. One that is named by SHA-512 is
/// not recorded: it has no blob, and so nothing that could name one.
fn unfetched(leaf: &Descriptor) -> Option<StoredBlob> {
    Some(StoredBlob {
        blob: Sha256::try_from(leaf.digest).ok()?,
        role: Role::Unfetched,
        digest: leaf.digest,
        size: leaf.size,
        media_type: Some(leaf.media_type.clone()),
        platform: known_platform(leaf),
        subject: None,
    })
}

fn known_platform(entry: &Descriptor) -> Option<Platform> {
    entry.platform.clone().filter(|platform| !platform.is_unknown())
}

fn check_count(count: usize) -> Result<(), Failure> {
    if count > MAX_COUNT {
        return Err(Failure::new(format!("has more than {MAX_COUNT} parts, which is too many")));
    }
    Ok(())
}

/// How many parts of one image come at a time.
const PARTS_AT_ONCE: usize = 4;
/// How many bytes of manifests are read for one image: what they say is kept in memory.
const MAX_DOCUMENT_BYTES: u64 = 4 * MAX_MANIFEST_BYTES;
/// How many manifests and how many configs and layers an image may have.
const MAX_COUNT: usize = 10_000;
/// How deep indexes may stand in indexes.
const MAX_DEPTH: usize = 4;
/// How far referrers are followed: what refers to the image, and what refers to that.
const REFERRER_LEVELS: usize = 2;
