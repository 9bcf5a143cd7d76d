//! The rows of `total_usage`: how much an artifact was used in all, kept so that a list asks for one row an artifact.

use distmirror_core::{ArtifactId, Usage};
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::Attempt,
    rows::{micros, usage},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "total_usage")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub artifact: Uuid,
    pub requests: i64,
    pub bytes: i64,
    pub first_used_at: i64,
    pub last_used_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn usage(&self) -> Attempt<Usage> {
        usage([self.requests, self.bytes, self.first_used_at, self.last_used_at])
    }
}

impl ActiveModel {
    /// A row that counts nothing yet.
    pub(in crate::catalog) fn new(artifact: ArtifactId, usage: &Usage) -> Self {
        Self {
            artifact: Set(artifact.0),
            requests: Set(0),
            bytes: Set(0),
            first_used_at: Set(micros(usage.first_used_at)),
            last_used_at: Set(micros(usage.last_used_at)),
        }
    }
}
