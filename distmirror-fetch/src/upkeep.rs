//! The rolling scrub: now and then everything that is stored is hashed again, slowly, and what is damaged is fetched again.
//!
//! Any number of processes may run it: whoever finds that the last scrub is old enough and that none runs begins one. Two that
//! begin at the same moment do the work twice, and harm nothing.

use std::{pin::pin, sync::Arc, time::Duration};

use distmirror_core::{Mirror, Result};
use jiff::Timestamp;
use tokio::time::sleep;

/// How everything that is stored is hashed again.
#[derive(Debug, Clone)]
pub struct ScrubOptions {
    /// How long after one scrub began the next one does.
    pub every: Duration,
    /// The most bytes that are read a second.
    pub bytes_per_second: u64,
    /// How often to look whether it is time.
    pub poll_interval: Duration,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30 * 24 * 3600),
            bytes_per_second: 20_000_000,
            poll_interval: Duration::from_secs(600),
        }
    }
}

/// Scrubs a mirror again and again.
#[derive(Debug)]
pub struct RollingScrub {
    mirror: Arc<Mirror>,
    options: ScrubOptions,
}

impl RollingScrub {
    /// A scrub of what this mirror holds.
    pub fn new(mirror: Arc<Mirror>, options: ScrubOptions) -> Self {
        Self { mirror, options }
    }

    /// Scrubs until `shutdown` is ready.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = sleep(self.options.poll_interval) => {}
                () = &mut shutdown => return,
            }
            let done = tokio::select! {
                done = self.when_due() => done,
                () = &mut shutdown => return,
            };
            if let Err(error) = done {
                tracing::warn!(error = error.chain(), "the scrub did not end; it is begun again later");
            }
        }
    }

    async fn when_due(&self) -> Result<()> {
        let now = Timestamp::now();
        let last = self.mirror.catalog().scrubs(1).await?.pop();
        let begins_after = now.checked_sub(self.options.every).unwrap_or(Timestamp::MIN);
        let is_due = last.is_none_or(|last| match last.state(now) {
            "running" => false,
            "done" => last.started_at < begins_after,
            _ => true,
        });
        if !is_due {
            return Ok(());
        }
        let scrub = self.mirror.begin_scrub("rolling scrub", true).await?;
        let done = self.mirror.scrub(scrub, Some(self.options.bytes_per_second)).await?;
        tracing::info!(blobs = done.checked, bytes = done.bytes, damaged = done.damaged.len(), "scrubbed");
        Ok(())
    }
}
