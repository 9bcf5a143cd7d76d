//! The rows of `declarations`.

use distmirror_core::{ArtifactId, Declaration, NewDeclaration};
use jiff::Timestamp;
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::Attempt,
    rows::{micros, text, time},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "declarations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub artifact: Uuid,
    pub who: String,
    pub reason: String,
    pub project: Option<String>,
    pub license: Option<String>,
    pub ticket: Option<String>,
    pub at: i64,
    pub tag: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn declaration(self) -> Attempt<Declaration> {
        let Self { id, who, reason, project, license, ticket, at, tag, .. } = self;
        Ok(Declaration { id, who, reason, project, license, ticket, tag, at: time(at)? })
    }
}

impl ActiveModel {
    pub(in crate::catalog) fn new(artifact: ArtifactId, wanted: &NewDeclaration, now: Timestamp) -> Self {
        let optional = |value: &Option<String>| Set(value.as_deref().map(text));
        Self {
            id: Set(Uuid::now_v7()),
            artifact: Set(artifact.0),
            who: Set(text(&wanted.who)),
            reason: Set(text(&wanted.reason)),
            project: optional(&wanted.project),
            license: optional(&wanted.license),
            ticket: optional(&wanted.ticket),
            at: Set(micros(now)),
            tag: Set(wanted.image.as_ref().and_then(|image| image.tag.as_deref()).map(text)),
        }
    }
}
