//! Which platforms an image has, and which of them are here.

use distmirror_core::{Artifact, PlatformChoice, Role, State, StoredBlob};
use serde::Serialize;

use super::MOST_ROWS;

#[derive(Debug, Serialize)]
pub(super) struct Platforms {
    /// Those that are here first, otherwise in the order of the index.
    rows: Vec<Row>,
    /// How many more there are.
    more: usize,
    /// Whether there is one that nobody wants yet, and that can be added now.
    can_add: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    platform: String,
    digest: String,
    present: bool,
    /// Whether somebody wants it.
    wanted: bool,
}

impl Platforms {
    /// Those that are on record.
    pub(super) fn of(artifact: &Artifact, blobs: &[StoredBlob]) -> Self {
        let choice = artifact.selection.as_ref().map(|selection| &selection.wanted);
        let mut rows: Vec<_> = blobs.iter().filter_map(|blob| Row::of(blob, choice)).collect();
        rows.sort_by_key(|row| !row.present);
        let can_add = artifact.state == State::Present && rows.iter().any(|row| !row.present && !row.wanted);
        let more = rows.len().saturating_sub(MOST_ROWS);
        rows.truncate(MOST_ROWS);
        Self { rows, more, can_add }
    }
}

impl Row {
    fn of(blob: &StoredBlob, choice: Option<&PlatformChoice>) -> Option<Self> {
        let platform = blob.platform.as_ref()?;
        let is_wanted = |choice: &PlatformChoice| choice.is_all() || choice.named().any(|named| named.means(platform));
        Some(Self {
            platform: platform.to_string(),
            digest: blob.digest.to_string(),
            present: blob.role != Role::Unfetched,
            wanted: choice.is_some_and(is_wanted),
        })
    }
}
