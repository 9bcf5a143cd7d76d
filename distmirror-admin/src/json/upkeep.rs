//! What is known of stored bytes and of upstream: watches and scrubs.

use distmirror_core as core;
use jiff::Timestamp;
use poem_openapi::Object;
use serde::Serialize;
use uuid::Uuid;

use super::Moment;

/// What upstream was last seen to have. It never changes what is served.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Watch {
    /// When it was asked.
    at: Moment,
    /// `same`, `gone`, `changed` or `unknown`.
    status: String,
    /// That in words, with the cause.
    detail: String,
}

/// A pass over everything that is stored, in which each blob is hashed again.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Scrub {
    pub(crate) id: Uuid,
    /// `running`, `done`, or `stopped` if whoever ran it is gone.
    state: String,
    /// Who wanted it.
    who: String,
    /// Whether what is damaged is to be fetched again.
    repair: bool,
    /// How many blobs were hashed.
    checked: u64,
    /// How many bytes they had.
    bytes: u64,
    /// What is not as it should be; the first 1000 of it.
    pub(crate) damaged: Vec<Damage>,
    /// How many blobs of the store belong to no artifact.
    unreferenced: u64,
    /// How many of the damaged artifacts are whole again.
    healed: u64,
    started_at: Moment,
    #[oai(nullable)]
    finished_at: Option<Moment>,
}

/// A blob that is not as it should be.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Damage {
    /// An artifact that it belongs to.
    pub(crate) artifact: Uuid,
    /// The blob.
    sha256: String,
    /// What is wrong with it.
    problem: String,
}

impl Scrub {
    /// A scrub of whose damaged artifacts so many are whole again.
    pub(crate) fn new(scrub: core::Scrub, healed: u64) -> Self {
        Self {
            id: scrub.id,
            state: scrub.state(Timestamp::now()).to_owned(),
            who: scrub.who,
            repair: scrub.repair,
            checked: scrub.checked,
            bytes: scrub.bytes,
            damaged: scrub.damaged.into_iter().map(Into::into).collect(),
            unreferenced: scrub.unreferenced,
            healed,
            started_at: scrub.started_at.into(),
            finished_at: scrub.finished_at.map(Into::into),
        }
    }
}

impl From<core::Watch> for Watch {
    fn from(watch: core::Watch) -> Self {
        Self { at: watch.at.into(), status: watch.status.to_string(), detail: watch.detail }
    }
}

impl From<core::upkeep::Damage> for Damage {
    fn from(damage: core::upkeep::Damage) -> Self {
        Self { artifact: damage.artifact.0, sha256: damage.sha256, problem: damage.problem }
    }
}
