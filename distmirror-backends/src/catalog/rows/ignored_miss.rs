//! The rows of `ignored_misses`: patterns of names of which no miss is recorded.

use distmirror_core::Sha256;
use jiff::Timestamp;
use sea_orm::{Set, entity::prelude::*};

use crate::catalog::rows::{micros, text};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ignored_misses")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// SHA-256 of the pattern, so that each is there once.
    pub pattern_key: Vec<u8>,
    pub pattern: String,
    pub reason: String,
    pub who: String,
    pub at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl ActiveModel {
    pub(in crate::catalog) fn new(pattern: &str, reason: &str, who: &str, now: Timestamp) -> Self {
        Self {
            id: Set(Uuid::now_v7()),
            pattern_key: Set(Sha256::of(pattern.as_bytes()).as_bytes().to_vec()),
            pattern: Set(text(pattern)),
            reason: Set(text(reason)),
            who: Set(text(who)),
            at: Set(micros(now)),
        }
    }
}
