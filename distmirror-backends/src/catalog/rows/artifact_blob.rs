//! The rows of `artifact_blobs`: which blobs belong to an artifact, in order.

use distmirror_core::{ArtifactId, Sha256, StoredBlob};
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::Attempt,
    rows::{bytes, count, number, text},
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
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn stored(self) -> Attempt<StoredBlob> {
        let Self { role, blob, size, media_type, .. } = self;
        Ok(StoredBlob { blob: Sha256::from_bytes(bytes(&blob)?), role, size: count(size)?, media_type })
    }
}

impl ActiveModel {
    pub(in crate::catalog) fn new(artifact: ArtifactId, position: i32, stored: &StoredBlob) -> Self {
        Self {
            artifact: Set(artifact.0),
            position: Set(position),
            role: Set(stored.role.clone()),
            blob: Set(stored.blob.as_bytes().to_vec()),
            size: Set(number(stored.size)),
            media_type: Set(stored.media_type.as_deref().map(text)),
        }
    }
}
