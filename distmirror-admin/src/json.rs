//! Artifacts, misses, scrubs and audit entries as the API shows them. The pages show the same objects.

mod ledger;
mod preflight;
mod upkeep;
mod usage;

use std::collections::HashMap;

use distmirror_core as core;
use distmirror_core::{ArtifactName, Catalog, Result, Role, digest::hex};
use poem_openapi::{
    Enum, NewType, Object,
    types::{ParseFromJSON, ToJSON, Type},
};
use serde::Serialize;
use uuid::Uuid;

pub(crate) use self::{
    ledger::{AuditEntry, Miss},
    preflight::Preflight,
    upkeep::{Scrub, Watch},
    usage::{DailyUsage, Usage},
};

/// A moment: RFC 3339, in UTC.
#[derive(Debug, Clone, Serialize, NewType)]
#[oai(from_parameter = false, from_multipart = false, to_header = false)]
pub(crate) struct Moment(String);

impl From<jiff::Timestamp> for Moment {
    fn from(at: jiff::Timestamp) -> Self {
        Self(at.to_string())
    }
}

/// Where an artifact stands.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename_all = "lowercase", remote = "core::State")]
pub(crate) enum State {
    /// Declared; no worker has taken it yet.
    Pending,
    /// Being fetched.
    Fetching,
    /// In service.
    Present,
    /// The last attempt failed.
    Failed,
    /// Taken out of service by a person; the bytes are kept.
    Quarantined,
}

/// Why the bytes are believed to be the right ones.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[serde(rename_all = "kebab-case")]
#[oai(rename_all = "kebab-case", remote = "core::Trust")]
pub(crate) enum Trust {
    /// Somebody declared a checksum, and the bytes have it.
    Verified,
    /// Declared without a checksum: whatever came first counts.
    FirstUse,
}

/// A thing that was declared.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Artifact {
    /// Identifies it for ever.
    pub(crate) id: Uuid,
    /// `file` or `image`.
    pub(crate) kind: String,
    /// The canonical URI of a file.
    #[oai(nullable)]
    pub(crate) uri: Option<String>,
    /// The canonical reference of an image, with its digest.
    #[oai(nullable)]
    pub(crate) reference: Option<String>,
    /// Where an image is, such as `docker.io`.
    #[oai(nullable)]
    registry: Option<String>,
    /// Its path in the registry, such as `library/debian`.
    #[oai(nullable)]
    repository: Option<String>,
    /// The digest that names an image.
    #[oai(nullable)]
    digest: Option<String>,
    /// The media type of its manifest or index.
    #[oai(nullable)]
    media_type: Option<String>,
    /// The platforms of an image that were declared, in words; `usual` is `linux/amd64` where the image has it, and `all`
    /// everything.
    #[oai(nullable)]
    platforms_wanted: Option<String>,
    /// Whether all of these are here. An image that is present stays so while more of it is fetched.
    #[oai(nullable)]
    pub(crate) whole: Option<bool>,
    /// The platforms of an image that were wanted and that it turned out not to have.
    #[oai(nullable)]
    platforms_lacking: Option<String>,
    /// The platforms of an image, as far as they are known.
    #[oai(nullable)]
    platforms: Option<Vec<Platform>>,
    /// What an image consists of, once it is present.
    #[oai(nullable)]
    blobs: Option<Vec<Blob>>,
    pub(crate) state: State,
    trust: Trust,
    /// The checksums that were declared for it, as `sha256:HEX`.
    expected: Vec<String>,
    /// SHA-256 of the bytes, in hexadecimal; like the other digests `null` until it is present.
    #[oai(nullable)]
    sha256: Option<String>,
    #[oai(nullable)]
    sha512: Option<String>,
    /// BLAKE2b with 512 bits.
    #[oai(nullable)]
    blake2b: Option<String>,
    #[oai(nullable)]
    sha1: Option<String>,
    #[oai(nullable)]
    md5: Option<String>,
    /// Size in bytes; of an image, that of its manifest or index, which has the digests above.
    #[oai(nullable)]
    size: Option<u64>,
    /// Size in bytes of all that an image consists of.
    #[oai(nullable)]
    total_size: Option<u64>,
    /// As upstream sent it.
    #[oai(nullable)]
    content_type: Option<String>,
    /// Who wants it and why, oldest first.
    declarations: Vec<Declaration>,
    /// How often a worker took it up.
    attempts: u32,
    /// Why the last attempt failed.
    #[oai(nullable)]
    last_error: Option<String>,
    /// When it is tried again by itself.
    #[oai(nullable)]
    next_attempt_at: Option<Moment>,
    /// How far the running fetch is.
    #[oai(nullable)]
    progress: Option<Progress>,
    /// Where the bytes came from.
    #[oai(nullable)]
    source: Option<Source>,
    /// What a person should look at before trusting the bytes, in sentences.
    warnings: Vec<String>,
    /// What is wrong with the stored bytes, until they were fetched again.
    #[oai(nullable)]
    damage: Option<String>,
    /// What upstream was last seen to have.
    #[oai(nullable)]
    watch: Option<Watch>,
    /// How much it was used; `null` as long as it never was.
    #[oai(nullable)]
    usage: Option<Usage>,
    /// Why it was taken out of service.
    #[oai(nullable)]
    quarantine_reason: Option<String>,
    /// When it was first declared.
    declared_at: Moment,
    /// When it became present.
    #[oai(nullable)]
    fetched_at: Option<Moment>,
}

/// A platform of an image.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Platform {
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: String,
    /// The digest of its manifest.
    digest: String,
    /// Whether it is here. If not, declaring the image with it brings it.
    pub(crate) present: bool,
}

/// A manifest, config or layer of an image.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Blob {
    digest: String,
    /// `index`, `manifest`, `config` or `layer`.
    role: String,
    /// Size in bytes.
    size: u64,
    #[oai(nullable)]
    media_type: Option<String>,
    /// What a manifest runs on.
    #[oai(nullable)]
    platform: Option<String>,
    /// The manifest that a manifest refers to, as a signature does.
    #[oai(nullable)]
    subject: Option<String>,
}

/// Who wants an artifact, and why.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Declaration {
    who: String,
    reason: String,
    #[oai(nullable)]
    project: Option<String>,
    /// An SPDX expression.
    #[oai(nullable)]
    license: Option<String>,
    #[oai(nullable)]
    ticket: Option<String>,
    /// The tag by which the person knew an image; a note, since a tag names whatever it names today.
    #[oai(nullable)]
    tag: Option<String>,
    at: Moment,
}

/// How far a fetch is, in bytes.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Progress {
    bytes: u64,
    /// As upstream announced it.
    #[oai(nullable)]
    total: Option<u64>,
}

/// Where the bytes of an artifact came from.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Source {
    /// The URL that answered with the bytes.
    final_url: String,
    /// Every URL that redirected on the way there, in order.
    redirects: Vec<String>,
    /// SHA-256 of the last server's certificate, in hexadecimal; `null` over plain `http`.
    #[oai(nullable)]
    peer_certificate_sha256: Option<String>,
    /// How they came if not from where they were declared.
    #[oai(nullable)]
    note: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct List<T: Type + ParseFromJSON + ToJSON> {
    pub(crate) items: Vec<T>,
    /// Give this as `cursor` to get what follows; `null` at the end.
    #[oai(nullable)]
    pub(crate) next: Option<String>,
}

impl<T: Type + ParseFromJSON + ToJSON> List<T> {
    /// A page of the domain's things as a page of what the API shows.
    pub(crate) fn of<D: Into<T>>(page: core::Page<D>) -> Self {
        let next = page.next.map(|next| next.to_string());
        Self { items: page.items.into_iter().map(Into::into).collect(), next }
    }
}

/// An artifact with its declarations and how much it was used, and an image with what it consists of.
///
/// # Errors
/// The catalog's trouble.
pub(crate) async fn artifact(catalog: &dyn Catalog, artifact: core::Artifact) -> Result<Artifact> {
    let mut page = artifacts(catalog, core::Page { items: vec![artifact.clone()], next: None }).await?;
    Ok(page.items.pop().unwrap_or_else(|| Artifact::new(artifact, Vec::new(), &[], None)))
}

/// A page of artifacts with their declarations, how much they were used and what images consist of, which is asked for all at
/// once.
///
/// # Errors
/// The catalog's trouble.
pub(crate) async fn artifacts(catalog: &dyn Catalog, page: core::Page<core::Artifact>) -> Result<List<Artifact>> {
    let ids: Vec<_> = page.items.iter().map(|artifact| artifact.id).collect();
    let declarations = if ids.is_empty() { HashMap::new() } else { catalog.declarations(&ids).await? };
    let usage = if ids.is_empty() { HashMap::new() } else { catalog.usage(&ids).await? };
    let images = page.items.iter().filter(|artifact| artifact.selection.is_some());
    let images: Vec<_> = images.map(|artifact| artifact.id).collect();
    let blobs = if images.is_empty() { HashMap::new() } else { catalog.blobs(&images).await? };
    let items = page.items.into_iter().map(|artifact| {
        // Not taken out of the map: one artifact may stand in a list twice.
        let declarations = declarations.get(&artifact.id).cloned().unwrap_or_default();
        let blobs = blobs.get(&artifact.id).map_or(&[][..], Vec::as_slice);
        let usage = usage.get(&artifact.id).copied();
        Artifact::new(artifact, declarations, blobs, usage)
    });
    Ok(List { items: items.collect(), next: page.next.map(|next| next.to_string()) })
}

impl Artifact {
    fn new(
        artifact: core::Artifact,
        declarations: Vec<core::Declaration>,
        blobs: &[core::StoredBlob],
        usage: Option<core::Usage>,
    ) -> Self {
        let (trust, warnings) = (artifact.trust().into(), artifact.warnings());
        let content = artifact.content.as_ref();
        let digests = content.map(|content| &content.digests);
        let image = match &artifact.name {
            ArtifactName::Image(name) => Some(name),
            _ => None,
        };
        let here = || blobs.iter().filter(|blob| blob.role != Role::Unfetched);
        let is_here = image.is_some() && content.is_some();
        Self {
            id: artifact.id.0,
            kind: artifact.name.kind().to_string(),
            uri: image.is_none().then(|| artifact.name.to_string()),
            reference: image.map(ToString::to_string),
            registry: image.map(|image| image.repository().registry().to_string()),
            repository: image.map(|image| image.repository().path().to_owned()),
            digest: image.map(|image| image.digest().to_string()),
            media_type: content.filter(|_| image.is_some()).and_then(|content| content.content_type.clone()),
            platforms_wanted: artifact.selection.as_ref().map(|selection| selection.wanted.to_string()),
            whole: artifact.selection.as_ref().map(|selection| selection.is_complete()),
            platforms_lacking: artifact.selection.as_ref().and_then(lacking),
            platforms: is_here.then(|| platforms(blobs)),
            blobs: is_here.then(|| here().map(Blob::from).collect()),
            total_size: is_here.then(|| here().map(|blob| blob.size).sum()),
            state: artifact.state.into(),
            trust,
            expected: artifact.expected.iter().map(ToString::to_string).collect(),
            sha256: digests.map(|digests| digests.sha256.hex()),
            sha512: digests.map(|digests| hex(&digests.sha512)),
            blake2b: digests.map(|digests| hex(&digests.blake2b)),
            sha1: digests.map(|digests| hex(&digests.sha1)),
            md5: digests.map(|digests| hex(&digests.md5)),
            size: content.map(|content| content.size),
            content_type: content.and_then(|content| content.content_type.clone()),
            source: content.map(|content| content.source.clone().into()),
            declarations: declarations.into_iter().map(Into::into).collect(),
            attempts: artifact.attempts,
            last_error: artifact.last_error,
            next_attempt_at: artifact.next_attempt_at.map(Into::into),
            progress: artifact.progress.map(Into::into),
            warnings,
            damage: artifact.damage,
            watch: artifact.watch.map(Into::into),
            usage: usage.map(Into::into),
            quarantine_reason: artifact.quarantine_reason,
            declared_at: artifact.declared_at.into(),
            fetched_at: artifact.fetched_at.map(Into::into),
        }
    }
}

fn lacking(selection: &core::Selection) -> Option<String> {
    Some(selection.lacking.to_string()).filter(|words| !words.is_empty())
}

/// Every platform once, those that are here first.
fn platforms(blobs: &[core::StoredBlob]) -> Vec<Platform> {
    let named = blobs.iter().filter_map(|blob| Some((blob.platform.as_ref()?, blob)));
    let mut all: Vec<_> = named
        .map(|(platform, blob)| Platform {
            platform: platform.to_string(),
            digest: blob.digest.to_string(),
            present: blob.role != Role::Unfetched,
        })
        .collect();
    all.sort_by_key(|platform| !platform.present);
    all
}

impl From<&core::StoredBlob> for Blob {
    fn from(blob: &core::StoredBlob) -> Self {
        Self {
            digest: blob.digest.to_string(),
            role: blob.role.to_string(),
            size: blob.size,
            media_type: blob.media_type.clone(),
            platform: blob.platform.as_ref().map(ToString::to_string),
            subject: blob.subject.map(|subject| subject.to_string()),
        }
    }
}

impl From<core::Declaration> for Declaration {
    fn from(declaration: core::Declaration) -> Self {
        let core::Declaration { who, reason, project, license, ticket, tag, at, .. } = declaration;
        Self { who, reason, project, license, ticket, tag, at: at.into() }
    }
}

impl From<core::Progress> for Progress {
    fn from(progress: core::Progress) -> Self {
        Self { bytes: progress.bytes, total: progress.total }
    }
}

impl From<core::Source> for Source {
    fn from(source: core::Source) -> Self {
        let core::Source { final_url, redirects, peer_certificate_sha256, note } = source;
        Self { final_url, redirects, peer_certificate_sha256, note }
    }
}

#[cfg(test)]
mod tests;
