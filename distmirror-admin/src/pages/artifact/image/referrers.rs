//! What refers to an image: signatures, lists of materials, attestations.

use std::collections::HashSet;

use distmirror_core::{
    Digest, ImageName, Result, StoredBlob,
    image::manifest::{Manifest, Parts},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::{
    MOST_READ, MOST_ROWS, READ_AT_ONCE,
    document::Documents,
    facts::{Fact, Facts, cut},
};

#[derive(Debug, Serialize)]
pub(super) struct Referrers {
    /// The first of them in detail.
    rows: Vec<Referrer>,
    /// How many more there are.
    more: usize,
}

#[derive(Debug, Default, Serialize)]
struct Referrer {
    digest: String,
    /// Size in bytes of everything that it consists of.
    size: u64,
    /// What it refers to.
    about: String,
    /// What sort of artifact it is.
    artifact_type: Option<String>,
    annotations: Facts,
    /// Why something is not shown.
    problem: Option<String>,
}

/// What refers to the image or to one of these manifests of it, also if it was declared on its own.
///
/// # Errors
/// The catalog's trouble.
pub(super) async fn read(documents: &Documents<'_>, images: &[&StoredBlob]) -> Result<Referrers> {
    let elsewhere = elsewhere(documents, images).await?;
    let mut known = HashSet::new();
    let own = documents.referring().cloned().filter_map(|blob| Some((documents.subject(&blob)?, blob)));
    let found: Vec<_> = own.chain(elsewhere).filter(|(_, blob)| known.insert(blob.digest)).collect();
    let rows = found.iter().take(MOST_ROWS).enumerate();
    let rows: Vec<_> =
        rows.map(|(number, (subject, blob))| one(documents, subject, blob, number < MOST_READ)).collect();
    let rows = stream::iter(rows).buffered(READ_AT_ONCE).collect().await;
    Ok(Referrers { rows, more: found.len().saturating_sub(MOST_ROWS) })
}

/// What the mirror tells clients that ask what refers to these.
async fn elsewhere(documents: &Documents<'_>, images: &[&StoredBlob]) -> Result<Vec<(Digest, StoredBlob)>> {
    let subjects: HashSet<Digest> = images.iter().map(|blob| blob.digest).chain([*documents.name.digest()]).collect();
    let all: Vec<_> = subjects.into_iter().map(|subject| of_subject(documents, subject)).collect();
    let found: Vec<Vec<_>> = stream::iter(all).buffered(READ_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn of_subject(documents: &Documents<'_>, subject: Digest) -> Result<Vec<(Digest, StoredBlob)>> {
    let name = ImageName::new(documents.name.repository().clone(), subject);
    let found = documents.mirror.referrers(&name).await?;
    Ok(found.into_iter().map(|blob| (subject, blob)).collect())
}

async fn one(documents: &Documents<'_>, subject: &Digest, blob: &StoredBlob, in_detail: bool) -> Referrer {
    let mut referrer = Referrer {
        digest: blob.digest.to_string(),
        size: blob.size,
        about: documents.called(subject),
        ..Referrer::default()
    };
    if in_detail {
        match documents.manifest(blob).await {
            Ok(manifest) => referrer.add(&manifest),
            Err(problem) => referrer.problem = Some(problem),
        }
    }
    if documents.is_attestation(blob) {
        referrer.artifact_type = Some("attestation".to_owned());
    }
    referrer
}

impl Referrer {
    fn add(&mut self, manifest: &Manifest) {
        self.artifact_type = manifest.listed_type().map(cut);
        self.annotations = Facts::of(&manifest.annotations);
        let Parts::Image { config, layers } = &manifest.parts else { return };
        let sizes = layers.iter().map(|layer| layer.size).chain([config.size]);
        self.size = sizes.fold(self.size, u64::saturating_add);
        let predicates = layers.iter().filter_map(|layer| Some((PREDICATE, layer.annotations.get(PREDICATE)?)));
        self.annotations.items.extend(predicates.take(MOST_READ).map(|(name, value)| Fact::new(name, value)));
    }
}

/// How layers of attestations say what they attest.
const PREDICATE: &str = "in-toto.io/predicate-type";
