//! What is done to keep stored bytes right, and to know what has become of upstream: scrubs and watches.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{ArtifactId, Sha256};

/// A pass over everything that is stored, in which each blob is hashed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrub {
    /// Identifies it; sorts by time.
    pub id: Uuid,
    /// Who wanted it.
    pub who: String,
    /// Whether what is damaged is to be fetched again.
    pub repair: bool,
    /// How many blobs were hashed.
    pub checked: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// What is not as it should be; the first [`MAX_DAMAGED`] of it.
    pub damaged: Vec<Damage>,
    /// How many blobs of the store belong to no artifact: of fetches that failed, or that still run.
    pub unreferenced: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When its record was last written; one that runs writes every few seconds.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Scrub {
    /// A scrub that begins now.
    pub fn begin(who: &str, repair: bool, now: Timestamp) -> Self {
        Self {
            id: Uuid::now_v7(),
            who: who.to_owned(),
            repair,
            checked: 0,
            bytes: 0,
            damaged: Vec::new(),
            unreferenced: 0,
            started_at: now,
            updated_at: now,
            finished_at: None,
        }
    }

    /// How it stands at this time, in a word: `running`, `done`, or `stopped` if whoever ran it is gone.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match self.finished_at {
            Some(_) => "done",
            None if now.duration_since(self.updated_at).as_secs() > SILENT_SECONDS => "stopped",
            None => "running",
        }
    }

    /// Adds something that is not as it should be.
    pub fn add(&mut self, damage: Damage) {
        if self.damaged.len() < MAX_DAMAGED {
            self.damaged.push(damage);
        }
    }
}

/// A blob that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Damage {
    /// An artifact that it belongs to.
    pub artifact: ArtifactId,
    /// The blob, as hexadecimal SHA-256.
    pub sha256: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Damage {
    /// Something wrong with a blob.
    pub fn new(artifact: ArtifactId, blob: &Sha256, problem: impl Into<String>) -> Self {
        Self { artifact, sha256: blob.hex(), problem: problem.into() }
    }
}

/// What upstream was last seen to have under the name of an artifact. It never changes what is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// When it was asked.
    pub at: Timestamp,
    /// What came of it.
    pub status: WatchStatus,
    /// That in words, with the cause.
    pub detail: String,
}

/// What came of asking upstream again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchStatus {
    /// It is as it was, as far as can be told without downloading it.
    Same,
    /// It says that there is no such thing (404 or 410): what is stored may be the only copy left.
    Gone,
    /// It has other bytes now.
    Changed,
    /// Nothing can be told: it did not answer, or wants to know who asks.
    Unknown,
}

impl WatchStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Same, Self::Gone, Self::Changed, Self::Unknown];

    /// The word for it everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Gone => "gone",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for WatchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WatchStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| {
            format!("`{}` is not what upstream can be: use same, gone, changed or unknown", text.escape_debug())
        })
    }
}

/// How much damage one scrub lists.
pub const MAX_DAMAGED: usize = 1000;

/// After how many seconds without a word a scrub counts as stopped.
const SILENT_SECONDS: i64 = 60;
