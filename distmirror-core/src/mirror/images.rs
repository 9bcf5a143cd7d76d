//! The part of [`Mirror`] that deals with images: which bytes a digest names in a repository, and what refers to it.

use std::sync::Arc;

use super::{Held, Mirror, Resolution, resolution};
use crate::{Artifact, ImageName, NameKey, Registry, Repository, Result, Role, State, StoredBlob};

/// As what a registry is asked for a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// As a manifest or an index.
    Manifest,
    /// As a config or a layer.
    Blob,
}

impl Mirror {
    /// What is known of a digest in a repository. A blob is only found where an image of that very repository has it: whoever
    /// may read one repository may not read all. What is in service is answered from memory.
    ///
    /// # Errors
    /// The catalog's trouble, unless memory can answer.
    pub async fn resolve_part(&self, name: &ImageName, part: Part) -> Result<Resolution> {
        let key = match part {
            Part::Manifest => name.manifest_key(),
            Part::Blob => name.blob_key(),
        };
        self.remembered(key, || self.look_up_part(name, part, key)).await
    }

    /// The manifests in service that refer to this one.
    ///
    /// # Errors
    /// The catalog's trouble.
    pub async fn referrers(&self, subject: &ImageName) -> Result<Vec<StoredBlob>> {
        self.catalog.referrers(&subject.subject_key()).await
    }

    /// Whether an image of this registry was declared; of this path in it, if one is given. Once it was, memory answers.
    ///
    /// # Errors
    /// The catalog's trouble, unless memory can answer.
    pub async fn has_images(&self, registry: &Registry, path: Option<&str>) -> Result<bool> {
        let key = NameKey::of("repository", &format!("{registry}/{}", path.unwrap_or_default()));
        if self.with_images.contains_key(&key) {
            return Ok(true);
        }
        let has_images = self.catalog.has_images(registry, path).await?;
        if has_images {
            self.with_images.insert(key, ());
        }
        Ok(has_images)
    }

    async fn look_up_part(&self, name: &ImageName, part: Part, key: NameKey) -> Result<Resolution> {
        // An image that was declared by this very digest decides, above all when it is in quarantine.
        let declared = match part {
            Part::Manifest => self.catalog.named(&key).await?,
            Part::Blob => None,
        };
        if let Some(artifact) = &declared
            && matches!(artifact.state, State::Present | State::Quarantined)
        {
            return Ok(resolution(artifact.clone()));
        }
        match (self.catalog.part(&key).await?, declared) {
            (Some((artifact, part)), _) if part.role != Role::Unfetched => Ok(part_resolution(artifact, part)),
            (_, Some(waiting)) => Ok(Resolution::Withheld(Box::new(waiting))),
            (Some((artifact, part)), None) => Ok(Resolution::Unfetched(Box::new(artifact), part.platform)),
            (None, None) => self.not_there(name.repository()).await,
        }
    }

    async fn not_there(&self, repository: &Repository) -> Result<Resolution> {
        let has_images = self.has_images(repository.registry(), Some(repository.path())).await?;
        Ok(if has_images { Resolution::NotInRepository } else { Resolution::Undeclared })
    }
}

fn part_resolution(artifact: Artifact, part: StoredBlob) -> Resolution {
    if artifact.state != State::Present {
        return Resolution::Withheld(Box::new(artifact));
    }
    Resolution::Present(Arc::new(Held::part(artifact, part)))
}

impl Held {
    /// A part of an image. Its config and layers are bytes to a registry, whatever the manifest calls them.
    fn part(artifact: Artifact, part: StoredBlob) -> Self {
        let is_manifest = matches!(part.role, Role::Index | Role::Manifest);
        Self {
            artifact: artifact.id,
            name: artifact.name,
            role: part.role,
            digest: part.digest,
            blob: part.blob,
            size: part.size,
            content_type: part.media_type.filter(|_| is_manifest),
            content_disposition: None,
            content_encoding: None,
            last_modified: None,
        }
    }
}
