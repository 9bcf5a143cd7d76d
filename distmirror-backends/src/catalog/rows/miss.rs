//! The rows of `misses`.

use distmirror_core::{Miss, MissReport};
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::Attempt,
    rows::{count, micros, name, text, time},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "misses")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name_key: Vec<u8>,
    pub name: String,
    pub kind: String,
    pub count: i64,
    pub first_seen: i64,
    pub last_seen: i64,
    pub method: String,
    pub client: String,
    pub user_agent: Option<String>,
    pub project: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn miss(self) -> Attempt<Miss> {
        Ok(Miss {
            id: self.id,
            name: name(&self.kind, &self.name)?,
            count: count(self.count)?,
            first_seen: time(self.first_seen)?,
            last_seen: time(self.last_seen)?,
            method: self.method,
            client: self.client,
            user_agent: self.user_agent,
            project: self.project,
        })
    }
}

impl ActiveModel {
    /// A row that counts nothing yet.
    pub(in crate::catalog) fn new(report: &MissReport) -> Self {
        Self {
            id: Set(Uuid::now_v7()),
            name_key: Set(report.name.key().as_bytes().to_vec()),
            name: Set(report.name.as_str().to_owned()),
            kind: Set(report.name.kind().as_str().to_owned()),
            count: Set(0),
            first_seen: Set(micros(report.first_seen)),
            ..Self::last_request(report)
        }
    }

    /// The columns that tell of the last request.
    pub(in crate::catalog) fn last_request(report: &MissReport) -> Self {
        Self {
            last_seen: Set(micros(report.last_seen)),
            method: Set(text(&report.method)),
            client: Set(text(&report.client)),
            user_agent: Set(report.user_agent.as_deref().map(text)),
            project: Set(report.project.as_deref().map(text)),
            ..Default::default()
        }
    }
}
