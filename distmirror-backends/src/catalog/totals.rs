//! Counting a million rows takes a while, and a page that shows the totals is loaded often: an answer is used for a moment.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use distmirror_core::Totals;

/// How long what other processes do may stay out of the totals. What this one does is in them at once.
const USED_FOR: Duration = Duration::from_secs(2);

/// The last answer, until something is written.
#[derive(Debug, Default)]
pub(super) struct TotalsCache {
    /// Counts the writes of this process.
    writes: AtomicU64,
    last: Mutex<Option<Counted>>,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    totals: Totals,
    at: Instant,
    writes: u64,
}

impl TotalsCache {
    /// Tells that something was written.
    pub(super) fn forget(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// The last answer, if it still holds.
    pub(super) fn last(&self) -> Option<Totals> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|counted| counted.at.elapsed() < USED_FOR && counted.writes == self.moment())
            .map(|counted| counted.totals)
    }

    /// The moment to be handed to [`keep`](Self::keep); to be asked for before counting, because what is written
    /// meanwhile may be in the count or not.
    pub(super) fn moment(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Keeps an answer that was counted since this moment.
    pub(super) fn keep(&self, totals: Totals, writes: u64) {
        let counted = Counted { totals, at: Instant::now(), writes };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }
}
