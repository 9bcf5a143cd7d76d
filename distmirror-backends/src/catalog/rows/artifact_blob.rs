//! The rows of `artifact_blobs`: which blobs belong to an artifact, in order.

use distmirror_core::{ArtifactId, NameKey, Repository, Sha256, StoredBlob};
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::Attempt,
    rows::{bytes, count, number, parsed, text},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "artifact_blobs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub artifact: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    pub role: String,
    pub blob: Vec<u8>,
    pub size: i64,
    pub media_type: Option<String>,
    /// The digest by which it is known upstream, unless that is the blob's own.
    pub digest: Option<String>,
    pub platform: Option<String>,
    pub subject: Option<String>,
    /// What it is found by as a part of an image; see [`StoredBlob::part_key`].
    pub part_key: Option<Vec<u8>>,
    /// What it is found by as a referrer; see [`StoredBlob::subject_key`].
    pub subject_key: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::artifact::Entity", from = "Column::Artifact", to = "super::artifact::Column::Id")]
    Artifact,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn stored(&self) -> Attempt<StoredBlob> {
        let blob = Sha256::from_bytes(bytes(&self.blob)?);
        Ok(StoredBlob {
            blob,
            role: parsed(&self.role)?,
            digest: self.digest.as_deref().map(parsed).transpose()?.unwrap_or_else(|| blob.into()),
            size: count(self.size)?,
            media_type: self.media_type.clone(),
            platform: self.platform.as_deref().map(parsed).transpose()?,
            subject: self.subject.as_deref().map(parsed).transpose()?,
        })
    }
}

impl ActiveModel {
    /// The row of a blob of an artifact; of an image, the one in this repository.
    pub(in crate::catalog) fn new(
        artifact: ArtifactId,
        position: i32,
        stored: &StoredBlob,
        repository: Option<&Repository>,
    ) -> Self {
        let key = |key: Option<NameKey>| Set(key.map(|key| key.as_bytes().to_vec()));
        Self {
            artifact: Set(artifact.0),
            position: Set(position),
            role: Set(stored.role.to_string()),
            blob: Set(stored.blob.as_bytes().to_vec()),
            size: Set(number(stored.size)),
            media_type: Set(stored.media_type.as_deref().map(text)),
            digest: Set((stored.digest != stored.blob.into()).then(|| stored.digest.to_string())),
            platform: Set(stored.platform.as_ref().map(ToString::to_string)),
            subject: Set(stored.subject.map(|subject| subject.to_string())),
            part_key: key(repository.and_then(|repository| stored.part_key(repository))),
            subject_key: key(repository.and_then(|repository| stored.subject_key(repository))),
        }
    }
}
