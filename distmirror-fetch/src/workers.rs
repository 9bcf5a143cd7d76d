//! Workers: lease what is due, run that many fetches at once, stop without losing any.
//!
//! Leases in the catalog are the only coordination between processes: any number of these may run. When a process dies,
//! its leases expire and others go on. What becomes of one job is in [`job`](crate::job).

use std::{
    collections::{HashMap, HashSet},
    iter,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use distmirror_core::{ArtifactId, Fetcher, Intake, Job, Lease, LeaseRequest, Mirror, Result};
use jiff::Timestamp;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    WorkerOptions,
    job::{self, Bench, Outcome},
};

/// Fetches what is due. Any number of them may work on one catalog, in any number of processes.
#[derive(Debug)]
pub struct Workers {
    mirror: Arc<Mirror>,
    bench: Arc<Bench>,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnceReport {
    /// How many artifacts are present now that were not.
    pub done: usize,
    /// How many failed.
    pub failed: usize,
}

impl Workers {
    /// Workers that take jobs from the mirror's catalog and hand them to the fetcher of their kind.
    pub fn new(mirror: Arc<Mirror>, intake: Intake, fetchers: Vec<Arc<dyn Fetcher>>, options: WorkerOptions) -> Self {
        let catalog = Arc::clone(mirror.catalog());
        Self { mirror, bench: Arc::new(Bench { catalog, intake, fetchers, options }) }
    }

    /// Works until `shutdown` is ready; then running fetches get [`drain`](WorkerOptions::drain), and what is not
    /// finished by then is given back. Dropping this future stops at once, and leaves the leases to expire.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut running = Running::default();
        let mut catalog_answers = true;
        loop {
            while running.ended().is_some() {}
            // Before the look, so that nothing becomes due unseen between the look and the wait.
            let due = self.mirror.something_due();
            let taken = self.take_up(&mut running).await;
            if let Err(error) = &taken
                && catalog_answers
            {
                tracing::warn!(error = error.chain(), "cannot look for due fetches; trying again until it works");
            }
            catalog_answers = taken.is_ok();
            let next_look = running.next_look(self.options().poll_interval);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = running.next_end(), if !running.is_empty() => {}
                () = due => {}
                () = sleep_until(next_look) => {}
            }
        }
        self.wind_down(running).await;
    }

    /// Fetches everything that is due now, and returns when nothing is. Retries that are due later are left for later.
    ///
    /// # Errors
    /// When the catalog cannot be asked what is due; running fetches are finished first.
    pub async fn run_once(&self) -> Result<OnceReport> {
        let mut running = Running::default();
        let mut done = 0;
        let mut failed = HashSet::new();
        loop {
            let taken = self.take_up(&mut running).await;
            let Some(first) = running.next_end().await else {
                match running.resting.next_turn() {
                    Some(turn) if taken.is_ok() => sleep_until(turn).await,
                    _ => return taken.map(|()| OnceReport { done, failed: failed.len() }),
                }
                continue;
            };
            for (artifact, outcome) in iter::once(first).chain(iter::from_fn(|| running.ended())) {
                match outcome {
                    Outcome::Done => {
                        failed.remove(&artifact);
                        done += 1;
                    }
                    Outcome::Failed => {
                        failed.insert(artifact);
                    }
                    Outcome::Lost => {}
                }
            }
        }
    }

    fn options(&self) -> &WorkerOptions {
        &self.bench.options
    }

    /// Leases jobs for all free slots, and starts them.
    async fn take_up(&self, running: &mut Running) -> Result<()> {
        loop {
            let (limit, busy_hosts) = running.room(self.options());
            if limit == 0 {
                return Ok(());
            }
            let lease_for = self.options().lease_for;
            let request = LeaseRequest { worker: self.options().name.clone(), limit, lease_for, busy_hosts };
            // Whoever waits longer would get leases that have expired.
            let jobs = job::in_time(lease_for, self.bench.catalog.lease(&request, Timestamp::now())).await?;
            let all_there_is = jobs.len() < limit;
            metrics::counter!("distmirror_leases_taken_total").increment(jobs.len() as u64);
            for job in jobs {
                running.resting.rest(job.artifact.name.host(), self.options().per_host_pause, Instant::now());
                running.start(&self.bench, job);
            }
            if all_there_is {
                return Ok(());
            }
        }
    }

    async fn wind_down(&self, mut running: Running) {
        let drained = timeout(self.options().drain, async { while running.next_end().await.is_some() {} }).await;
        if drained.is_ok() {
            return;
        }
        let unfinished = running.abort().await;
        tracing::info!(count = unfinished.len(), "giving unfinished fetches back");
        futures::future::join_all(unfinished.iter().map(|lease| self.bench.give_back(lease))).await;
    }
}

/// The fetches that run. Dropping it aborts them.
#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<Outcome>,
    jobs: HashMap<Id, (Lease, String)>,
    resting: Resting,
}

impl Running {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// When to look for due fetches if nothing happens before: a host may have rested long enough.
    fn next_look(&self, poll_interval: Duration) -> Instant {
        let next = Instant::now() + poll_interval;
        self.resting.next_turn().map_or(next, |turn| turn.min(next))
    }

    /// How many more jobs can be leased at once, and from which hosts none: whatever hosts they turn out to be of, no
    /// host gets more than `per_host`, and none that rests gets any.
    fn room(&mut self, options: &WorkerOptions) -> (usize, Vec<String>) {
        let (workers, per_host) = (options.workers.max(1), options.per_host.max(1));
        let mut by_host: HashMap<&str, usize> = HashMap::new();
        for (_, host) in self.jobs.values() {
            *by_host.entry(host).or_default() += 1;
        }
        let (busy, others): (Vec<_>, Vec<_>) = by_host.into_iter().partition(|(_, count)| *count >= per_host);
        let least_room = others.into_iter().map(|(_, count)| per_host - count).min().unwrap_or(per_host);
        // Two jobs of one batch may be from the same host.
        let at_once = if options.per_host_pause.is_zero() { least_room } else { 1 };
        let limit = workers.saturating_sub(self.jobs.len()).min(at_once);
        let busy = busy.into_iter().map(|(host, _)| host.to_owned());
        (limit, busy.chain(self.resting.hosts(Instant::now())).collect())
    }

    fn start(&mut self, bench: &Arc<Bench>, job: Job) {
        let place = (job.lease, job.artifact.name.host());
        let bench = Arc::clone(bench);
        let task = self.tasks.spawn(async move { bench.work(&job).await });
        self.jobs.insert(task.id(), place);
        self.show();
    }

    /// Waits until a fetch ends; `None` if none runs.
    async fn next_end(&mut self) -> Option<(ArtifactId, Outcome)> {
        let ended = self.tasks.join_next_with_id().await?;
        self.remove(ended)
    }

    /// A fetch that has ended by now; `None` if there is none. One lease fills the places of all of them.
    fn ended(&mut self) -> Option<(ArtifactId, Outcome)> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.remove(ended)
    }

    fn remove(&mut self, ended: Result<(Id, Outcome), JoinError>) -> Option<(ArtifactId, Outcome)> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), died(&error)),
        };
        let (lease, _) = self.jobs.remove(&id)?;
        self.show();
        Some((lease.artifact, outcome))
    }

    /// Stops all fetches; the leases of those that did not end by themselves.
    async fn abort(mut self) -> Vec<Lease> {
        self.tasks.abort_all();
        let mut unfinished = Vec::new();
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let place = self.jobs.remove(&ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id));
            if ended.is_err() {
                unfinished.extend(place.map(|(lease, _)| lease));
            }
        }
        self.show();
        unfinished
    }

    fn show(&self) {
        metrics::gauge!("distmirror_fetches_running").set(self.jobs.len() as f64);
    }
}

/// A task that ended without an outcome: a bug outside of the fetchers. Its lease expires.
fn died(error: &JoinError) -> Outcome {
    tracing::error!(%error, "a fetch task died");
    Outcome::Lost
}

/// Hosts from which nothing more is fetched for a moment, because a fetch from there has just begun.
#[derive(Debug, Default)]
struct Resting(HashMap<String, Instant>);

impl Resting {
    fn rest(&mut self, host: String, pause: Duration, now: Instant) {
        if !pause.is_zero() {
            self.0.insert(host, now + pause);
        }
    }

    /// All that rest still.
    fn hosts(&mut self, now: Instant) -> Vec<String> {
        self.0.retain(|_, until| *until > now);
        self.0.keys().cloned().collect()
    }

    /// When the next one has rested enough.
    fn next_turn(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_batch_of_jobs_can_exceed_the_limits() {
        for (hosts, workers, per_host, expected) in [
            ("", 8, 4, (4, "")),
            ("", 2, 4, (2, "")),
            ("a a a a", 8, 4, (4, "a")),
            ("a a a b", 8, 4, (1, "")),
            ("a a a a b b b b", 8, 4, (0, "a b")),
            ("a a a", 16, 32, (13, "")),
        ] {
            let options = WorkerOptions { workers, per_host, ..WorkerOptions::default() };
            let mut running = Running::default();
            for host in hosts.split_whitespace() {
                let task = running.tasks.spawn(async { Outcome::Done });
                let lease =
                    Lease { artifact: ArtifactId::new(), token: uuid::Uuid::new_v4(), expires_at: Timestamp::MAX };
                running.jobs.insert(task.id(), (lease, host.to_owned()));
            }
            let (limit, mut busy) = running.room(&options);
            busy.sort();
            assert_eq!((limit, busy.join(" ").as_str()), expected, "{hosts}");
        }
    }

    #[test]
    fn hosts_rest_as_long_as_they_should() {
        let mut resting = Resting::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        resting.rest("quick.test".to_owned(), Duration::ZERO, start);
        assert_eq!((resting.hosts(start), resting.next_turn()), (vec![], None));
        resting.rest("b.test".to_owned(), Duration::from_secs(3), start);
        resting.rest("a.test".to_owned(), Duration::from_secs(2), start);
        assert_eq!((resting.hosts(after(1)).len(), resting.next_turn()), (2, Some(after(2))));
        assert_eq!((resting.hosts(after(2)), resting.next_turn()), (vec!["b.test".to_owned()], Some(after(3))));
        assert!(resting.hosts(after(3)).is_empty());
    }
}
