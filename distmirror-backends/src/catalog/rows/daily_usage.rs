//! The rows of `daily_usage`: how much one user used one artifact on one day.

use distmirror_core::{
    DailyUsage, UsageReport, UsedBy,
    catalog::rules,
    usage::{day_of, start_of},
};
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::Attempt,
    rows::{malformed, micros, parsed, text, time, usage},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "daily_usage")]
pub struct Model {
    /// By [`rules::daily_usage_id`], so that each is there once.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub artifact: Uuid,
    /// The moment at which the day begins.
    pub day: i64,
    /// Who used it: a project, or else a client.
    pub project: Option<String>,
    pub client: Option<String>,
    pub requests: i64,
    pub bytes: i64,
    pub first_used_at: i64,
    pub last_used_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn daily_usage(self) -> Attempt<DailyUsage> {
        let by = match (self.project, self.client) {
            (Some(project), _) => UsedBy::Project(project.into()),
            (None, Some(client)) => UsedBy::Client(parsed(&client)?),
            (None, None) => return Err(malformed("usage by nobody")),
        };
        let sum = [self.requests, self.bytes, self.first_used_at, self.last_used_at];
        Ok(DailyUsage { id: self.id, day: day_of(time(self.day)?), by, usage: usage(sum)? })
    }
}

impl ActiveModel {
    /// A row that counts nothing yet.
    pub(in crate::catalog) fn new(report: &UsageReport) -> Self {
        let (project, client) = match &report.by {
            UsedBy::Project(project) => (Some(text(project)), None),
            UsedBy::Client(address) => (None, Some(address.to_string())),
        };
        Self {
            id: Set(rules::daily_usage_id(report.artifact, report.day, &report.by)),
            artifact: Set(report.artifact.0),
            day: Set(micros(start_of(report.day))),
            project: Set(project),
            client: Set(client),
            requests: Set(0),
            bytes: Set(0),
            first_used_at: Set(micros(report.usage.first_used_at)),
            last_used_at: Set(micros(report.usage.last_used_at)),
        }
    }
}
