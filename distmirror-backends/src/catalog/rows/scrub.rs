//! The rows of `scrubs`.

use distmirror_core::{Scrub, upkeep::Damage};
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::{
    attempt::{Attempt, Trouble},
    rows::{count, malformed, micros, number, text, time},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "scrubs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub who: String,
    pub repair: bool,
    pub checked: i64,
    pub bytes: i64,
    /// What is damaged, in JSON.
    pub damaged: String,
    pub unreferenced: i64,
    pub started_at: i64,
    pub updated_at: i64,
    pub finished_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::catalog) fn scrub(self) -> Attempt<Scrub> {
        let damaged: Vec<Damage> = serde_json::from_str(&self.damaged).map_err(malformed)?;
        Ok(Scrub {
            id: self.id,
            who: self.who,
            repair: self.repair,
            checked: count(self.checked)?,
            bytes: count(self.bytes)?,
            damaged,
            unreferenced: count(self.unreferenced)?,
            started_at: time(self.started_at)?,
            updated_at: time(self.updated_at)?,
            finished_at: self.finished_at.map(time).transpose()?,
        })
    }
}

impl ActiveModel {
    pub(in crate::catalog) fn new(scrub: &Scrub) -> Result<Self, Trouble> {
        Ok(Self {
            id: Set(scrub.id),
            who: Set(text(&scrub.who)),
            repair: Set(scrub.repair),
            checked: Set(number(scrub.checked)),
            bytes: Set(number(scrub.bytes)),
            damaged: Set(serde_json::to_string(&scrub.damaged).map_err(malformed)?),
            unreferenced: Set(number(scrub.unreferenced)),
            started_at: Set(micros(scrub.started_at)),
            updated_at: Set(micros(scrub.updated_at)),
            finished_at: Set(scrub.finished_at.map(micros)),
        })
    }
}
