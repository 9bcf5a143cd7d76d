//! The manifests of an image, and what each is to it.

use std::collections::{BTreeMap, HashMap, HashSet};

use distmirror_core::{
    Digest, ImageName, Mirror, Role, StoredBlob,
    image::manifest::{Manifest, Parts},
};

use super::facts::Facts;
use crate::pages::naming::short;

/// What is on record of an image, and the index if it is one.
pub(super) struct Documents<'a> {
    pub(super) mirror: &'a Mirror,
    pub(super) name: &'a ImageName,
    blobs: &'a [StoredBlob],
    own: HashSet<Digest>,
    /// Manifests that the index calls attestations, with what they attest.
    attests: HashMap<Digest, Digest>,
    annotations: BTreeMap<String, String>,
    /// Why the index could not be read.
    pub(super) problem: Option<String>,
}

impl<'a> Documents<'a> {
    /// The manifests among these blobs. Of them only the index is read now.
    pub(super) async fn read(mirror: &'a Mirror, name: &'a ImageName, blobs: &'a [StoredBlob]) -> Self {
        let own = blobs.iter().filter(|blob| is_document(blob)).map(|blob| blob.digest).collect();
        let (attests, annotations, problem) = Default::default();
        let mut documents = Self { mirror, name, blobs, own, attests, annotations, problem };
        if let Some(index) = documents.root().filter(|root| root.role == Role::Index) {
            match documents.manifest(index).await {
                Ok(index) => documents.know(index),
                Err(problem) => documents.problem = Some(problem),
            }
        }
        documents
    }

    /// Whether there are platforms to choose from.
    pub(super) fn is_index(&self) -> bool {
        self.root().is_some_and(|root| root.role == Role::Index)
    }

    /// What the author of the index wrote to it.
    pub(super) fn annotations(&self) -> Facts {
        Facts::of(&self.annotations)
    }

    /// The manifests that are images, or what else was published in their place.
    pub(super) fn images(&self) -> impl Iterator<Item = &'a StoredBlob> {
        self.blobs.iter().filter(|blob| blob.role == Role::Manifest && self.subject(blob).is_none())
    }

    /// The manifests that refer to another one of the image.
    pub(super) fn referring(&self) -> impl Iterator<Item = &'a StoredBlob> {
        let is_here = |blob: &&StoredBlob| matches!(blob.role, Role::Manifest | Role::Index);
        self.blobs.iter().filter(is_here).filter(|blob| self.subject(blob).is_some())
    }

    /// What this one refers to, if that belongs to the image.
    pub(super) fn subject(&self, blob: &StoredBlob) -> Option<Digest> {
        if blob.digest == *self.name.digest() {
            return None;
        }
        let attested = self.attests.get(&blob.digest).copied();
        attested.or(blob.subject).filter(|subject| self.own.contains(subject))
    }

    /// Whether the index calls it an attestation.
    pub(super) fn is_attestation(&self, blob: &StoredBlob) -> bool {
        self.attests.contains_key(&blob.digest)
    }

    /// What people call the manifest that has this digest.
    pub(super) fn called(&self, digest: &Digest) -> String {
        let platform = || self.blobs.iter().find(|blob| blob.digest == *digest)?.platform.as_ref();
        match platform() {
            _ if digest == self.name.digest() => "the image".to_owned(),
            Some(platform) => platform.to_string(),
            None => short(&digest.to_string()).to_owned(),
        }
    }

    /// A config that is on record.
    pub(super) fn config(&self, digest: &Digest) -> Option<&'a StoredBlob> {
        self.blobs.iter().find(|blob| blob.role == Role::Config && blob.digest == *digest)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Why it is not shown, for people.
    pub(super) async fn manifest(&self, blob: &StoredBlob) -> Result<Manifest, String> {
        let bytes = self.bytes(blob).await?;
        Manifest::parse(&bytes, blob.media_type.as_deref()).map_err(|problem| format!("`{}` {problem}", blob.digest))
    }

    /// The bytes of a manifest or config.
    ///
    /// # Errors
    /// Why they are not shown, for people.
    pub(super) async fn bytes(&self, blob: &StoredBlob) -> Result<Vec<u8>, String> {
        self.mirror.read(blob).await.map(Vec::from).map_err(|error| {
            tracing::error!(image = %self.name, digest = %blob.digest, error = error.chain(), "cannot show a part of an image");
            format!("`{}` cannot be shown: {error}", blob.digest)
        })
    }

    fn root(&self) -> Option<&'a StoredBlob> {
        self.blobs.iter().find(|blob| is_document(blob) && blob.digest == *self.name.digest())
    }

    fn know(&mut self, index: Manifest) {
        if let Parts::Index(entries) = &index.parts {
            let attests = entries.iter().filter_map(|entry| Some((entry.digest, entry.attests()?.parse().ok()?)));
            self.attests = attests.collect();
        }
        self.annotations = index.annotations;
    }
}

fn is_document(blob: &StoredBlob) -> bool {
    matches!(blob.role, Role::Index | Role::Manifest | Role::Unfetched)
}
