//! What an answer is counted as: one use of its artifact, with as many bytes as the connection took.

use std::{fmt, sync::Arc, time::Instant};

use distmirror_core::{ArtifactId, Mirror, UsedBy};
use jiff::Timestamp;

use crate::{metrics::METRICS, slots::Slot};

/// Counts what is sent of an artifact, and notes it at the end, whatever kind of end that is: a body is dropped when all of it
/// was handed over, and when the connection broke.
pub(crate) struct Tally {
    mirror: Arc<Mirror>,
    pub(crate) artifact: ArtifactId,
    by: UsedBy,
    bytes: u64,
    /// Whoever waits for the slots of all connections has waited for what is noted here.
    slot: Arc<Slot>,
    /// When it was asked for, until the first bytes are sent.
    pub(crate) asked_at: Option<Instant>,
}

impl Tally {
    pub(crate) fn new(mirror: Arc<Mirror>, artifact: ArtifactId, by: UsedBy, slot: Arc<Slot>) -> Self {
        slot.activity.answer_begins();
        Self { mirror, artifact, by, bytes: 0, slot, asked_at: None }
    }

    /// So many bytes more were handed to the connection.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.slot.activity.happened();
        if let Some(asked_at) = self.asked_at.take() {
            METRICS.first_byte.record(asked_at.elapsed());
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.slot.activity.answer_ends();
        METRICS.sent_bytes.increment(self.bytes);
        self.mirror.used(self.artifact, self.by.clone(), self.bytes, Timestamp::now());
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("artifact", &self.artifact)
            .field("by", &self.by)
            .field("bytes", &self.bytes)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}
