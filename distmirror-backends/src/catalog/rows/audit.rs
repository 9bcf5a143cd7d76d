//! The rows of `audit`.

use distmirror_core::{ArtifactId, AuditEntry};
use jiff::Timestamp;
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::Attempt,
    rows::{micros, text, time},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub at: i64,
    pub who: String,
    pub action: String,
    pub artifact: Option<Uuid>,
    pub detail: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn entry(self) -> Attempt<AuditEntry> {
        let Self { id, at, who, action, artifact, detail } = self;
        Ok(AuditEntry { id, at: time(at)?, who, action, artifact: artifact.map(ArtifactId), detail })
    }
}

impl ActiveModel {
    pub(in crate::catalog) fn new(
        at: Timestamp,
        who: &str,
        action: &str,
        artifact: Option<ArtifactId>,
        detail: &str,
    ) -> Self {
        Self {
            id: Set(Uuid::now_v7()),
            at: Set(micros(at)),
            who: Set(text(who)),
            action: Set(action.to_owned()),
            artifact: Set(artifact.map(|id| id.0)),
            detail: Set(text(detail)),
        }
    }
}
