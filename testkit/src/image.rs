//! Container images, built in memory: nothing is downloaded, and the same seed gives the same bytes.
//!
//! Layers are real tar archives whose `diff_ids` are right, so that every client unpacks them; what they contain is
//! noise. Nothing here talks to a registry: see [`registry()`](crate::registry()) for that.

mod builder;
mod layer;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use self::builder::ImageBuilder;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// One manifest or index with everything below it. A clone shares the bytes.
///
/// # Examples
///
/// ```
/// use testkit::image::Image;
///
/// let amd64 = Image::oci("tool").layers(3).build();
/// let arm64 = Image::oci("tool").platform("linux/arm64/v8").build();
/// let index = Image::index(&[amd64, arm64]);
/// let signature = Image::artifact("application/vnd.example.signature.v1", "signed").with_subject(&index);
/// assert_eq!(index.all_manifests().len(), 3);
/// assert_eq!(signature.document()["subject"]["digest"], index.digest());
/// ```
#[derive(Debug, Clone)]
pub struct Image {
    document: Value,
    manifest: Bytes,
    media_type: &'static str,
    digest: String,
    platform: Option<Value>,
    blobs: BTreeMap<String, Bytes>,
    children: Vec<Image>,
}

impl Image {
    /// Begins an image in OCI's format. Images of one seed share their layers, if these have the same size.
    pub fn oci(seed: &str) -> ImageBuilder {
        ImageBuilder::new(seed, false)
    }

    /// Begins an image in Docker's format, version 2 schema 2, with the same layers as in OCI's.
    pub fn docker(seed: &str) -> ImageBuilder {
        ImageBuilder::new(seed, true)
    }

    /// An OCI index over these, each with its platform if it has one.
    pub fn index(children: &[Self]) -> Self {
        Self::over(children, OCI_INDEX)
    }

    /// Docker's manifest list over these.
    pub fn manifest_list(children: &[Self]) -> Self {
        Self::over(children, DOCKER_LIST)
    }

    /// An OCI artifact: the empty configuration and one layer with this content.
    pub fn artifact(artifact_type: &str, content: impl Into<Bytes>) -> Self {
        let (empty, content) = (Bytes::from_static(b"{}"), content.into());
        let document = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": descriptor(OCI_EMPTY, &digest(&empty), empty.len()),
            "layers": [descriptor("application/octet-stream", &digest(&content), content.len())],
        });
        let blobs = [empty, content].map(|blob| (digest(&blob), blob));
        Self::new(document, OCI_MANIFEST, blobs.into(), Vec::new())
    }

    fn over(children: &[Self], media_type: &'static str) -> Self {
        let manifests: Vec<Value> = children.iter().map(Self::entry).collect();
        let document = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        Self::new(document, media_type, BTreeMap::new(), children.to_vec())
    }

    /// The manifest is indented, so that a copy which was parsed and written again differs from it.
    fn new(document: Value, media_type: &'static str, blobs: BTreeMap<String, Bytes>, children: Vec<Self>) -> Self {
        let manifest = Bytes::from(serde_json::to_vec_pretty(&document).expect("JSON can be written as text"));
        let digest = digest(&manifest);
        Self { document, manifest, media_type, digest, platform: None, blobs, children }
    }

    /// Makes this refer to another image or artifact, as a signature refers to what it signs.
    #[must_use]
    pub fn with_subject(self, subject: &Self) -> Self {
        let subject = descriptor(subject.media_type, &subject.digest, subject.manifest.len());
        self.edited(|manifest| manifest["subject"] = subject)
    }

    /// Adds an annotation to the manifest.
    #[must_use]
    pub fn with_annotation(self, name: &str, value: &str) -> Self {
        self.edited(|manifest| manifest["annotations"][name] = value.into())
    }

    /// Changes the manifest in any way, also to one that lies; the digest follows.
    #[must_use]
    pub fn edited(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.document);
        let edited = Self::new(self.document, self.media_type, self.blobs, self.children);
        Self { platform: self.platform, ..edited }
    }

    /// The manifest as a registry stores it.
    pub fn manifest(&self) -> &Bytes {
        &self.manifest
    }

    /// The manifest, parsed.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The media type of the manifest.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// The digest of the manifest, such as `sha256:9f86...`.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Configuration and layers by digest; an index has none of its own.
    pub fn blobs(&self) -> &BTreeMap<String, Bytes> {
        &self.blobs
    }

    /// What an index lists.
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// How a list of referrers has it: type, digest and size, platform, artifact type and annotations.
    ///
    /// An index made by [`Image::index`] leaves out the last two, because skopeo 1.9 cannot copy one that has them.
    pub fn descriptor(&self) -> Value {
        let mut entry = self.entry();
        for name in ["artifactType", "annotations"] {
            if let Some(value) = self.document.get(name) {
                entry[name] = value.clone();
            }
        }
        entry
    }

    fn entry(&self) -> Value {
        let mut entry = descriptor(self.media_type, &self.digest, self.manifest.len());
        if let Some(platform) = &self.platform {
            entry["platform"] = platform.clone();
        }
        entry
    }

    /// This manifest and all below it, children first, as a registry wants them pushed.
    pub fn all_manifests(&self) -> Vec<&Self> {
        self.children.iter().flat_map(Self::all_manifests).chain([self]).collect()
    }

    /// The blobs of this manifest and of all below it.
    pub fn all_blobs(&self) -> BTreeMap<String, Bytes> {
        self.all_manifests().into_iter().flat_map(|part| part.blobs.clone()).collect()
    }
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;

    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
