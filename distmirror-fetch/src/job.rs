//! One attempt at one job: fetch while renewing the lease, then record how it ended.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use distmirror_core::{
    Artifact, Catalog, Content, Error, Failure, Fetched, Fetcher, Intake, Job, Kind, Lease, ProgressMeter, Result,
    Source, State,
};
use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{Instrument, field};
use uuid::Uuid;

use crate::{WorkerOptions, backoff};

/// What every attempt needs; shared by all of them.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) intake: Intake,
    pub(crate) fetchers: Vec<Arc<dyn Fetcher>>,
    pub(crate) options: WorkerOptions,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The artifact is present.
    Done,
    /// The attempt failed, and that is on record.
    Failed,
    /// Somebody else holds the lease now, or the end could not be recorded: somebody else will.
    Lost,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

impl Bench {
    /// Does a job to its end.
    pub(crate) async fn work(&self, job: &Job) -> Outcome {
        let attempt = Attempt { bench: self, job, name: job.artifact.name.redacted(), meter: ProgressMeter::default() };
        let started = Instant::now();
        let span = tracing::trace_span!(
            "fetch",
            distmirror.artifact = %job.artifact.id,
            distmirror.name = attempt.name,
            distmirror.attempt = i64::from(job.attempt),
            distmirror.outcome = field::Empty,
            distmirror.bytes = field::Empty,
            otel.status_code = field::Empty,
        );
        let outcome = attempt.run().instrument(span.clone()).await;
        span.record("distmirror.outcome", outcome.as_str());
        span.record("distmirror.bytes", i64::try_from(attempt.meter.progress().bytes).unwrap_or(i64::MAX));
        if outcome == Outcome::Failed {
            span.record("otel.status_code", "ERROR");
        }
        let seconds = started.elapsed().as_secs_f64();
        attempt.log(outcome, seconds);
        metrics::counter!("distmirror_fetches_total", "outcome" => outcome.as_str()).increment(1);
        metrics::histogram!("distmirror_fetch_seconds", "outcome" => outcome.as_str()).record(seconds);
        outcome
    }

    /// Gives an interrupted job back, so that others need not wait for the lease to expire.
    pub(crate) async fn give_back(&self, lease: &Lease) {
        match in_time(GIVE_BACK_WITHIN, self.catalog.give_back(lease, Timestamp::now())).await {
            // Lost means that the job ended after all, or that somebody else has it.
            Ok(()) | Err(Error::LeaseLost { .. }) => {}
            Err(error) => {
                let error = error.chain();
                tracing::warn!(artifact = %lease.artifact, error, "cannot give a fetch back: its lease will expire");
            }
        }
    }

    fn fetcher(&self, kind: Kind) -> Option<&dyn Fetcher> {
        self.fetchers.iter().find(|fetcher| fetcher.kind() == kind).map(Arc::as_ref)
    }
}

/// A job while it is worked on.
struct Attempt<'a> {
    bench: &'a Bench,
    job: &'a Job,
    /// The artifact's name for the log.
    name: String,
    meter: ProgressMeter,
}

impl Attempt<'_> {
    async fn run(&self) -> Outcome {
        tokio::select! {
            result = self.fetch() => match result {
                Ok(fetched) => self.complete(&fetched).await,
                Err(failure) => self.fail(&failure).await,
            },
            () = self.until_lease_is_lost() => Outcome::Lost,
        }
    }

    async fn fetch(&self) -> Result<Fetched, Failure> {
        let kind = self.job.artifact.name.kind();
        let Some(fetcher) = self.bench.fetcher(kind) else {
            return Err(Failure::new(format!("nothing here knows how to fetch the kind `{kind}`")));
        };
        if let Some(held) = self.held_already().await {
            return Ok(held);
        }
        // What is damaged must not be taken from where it lies.
        let is_damaged = self.job.artifact.damage.is_some();
        let intake = if is_damaged { &self.bench.intake.distrusting() } else { &self.bench.intake };
        let fetch = AssertUnwindSafe(fetcher.fetch(self.job, intake, &self.meter)).catch_unwind();
        fetch.await.unwrap_or_else(|panic| Err(Failure::new(format!("the fetcher panicked: {}", words(&*panic)))))
    }

    /// The declared bytes of a file, if another declared file has brought them already: then upstream need not be asked, and
    /// may be gone. If the catalog does not say, upstream is asked.
    async fn held_already(&self) -> Option<Fetched> {
        let artifact = &self.job.artifact;
        if let Some(content) = &artifact.content {
            return self.mended(content).await;
        }
        for digest in artifact.expected.iter() {
            let holder = self.bench.catalog.holding(digest).await.ok().flatten();
            let Some(holder) = holder.filter(|holder| holder.state == State::Present && is_file(holder)) else {
                continue;
            };
            let Some(content) = holder.content else { continue };
            let is_same = artifact.expected.contradicted_by(&content.digests).is_none();
            let held = self.bench.intake.held(&content.blob().into(), content.size).await;
            if is_same && matches!(held, Ok(Some(_))) {
                let note = Some(format!("not asked for: `{}` had brought the same bytes", holder.name.redacted()));
                return Some(Fetched::file(Content { source: Source { note, ..content.source }, ..content }));
            }
        }
        None
    }

    /// The bytes of a damaged file, if they are whole again: another file that has them was fetched again, or somebody put them
    /// back.
    async fn mended(&self, content: &Content) -> Option<Fetched> {
        let is_damaged_file = is_file(&self.job.artifact) && self.job.artifact.damage.is_some();
        let held = async || self.bench.intake.held(&content.blob().into(), content.size).await;
        (is_damaged_file && matches!(held().await, Ok(Some(_)))).then(|| Fetched::file(content.clone()))
    }

    /// Renews the lease again and again; returns when somebody else has it.
    ///
    /// Without the catalog nobody can take the lease over, so its trouble is waited out.
    async fn until_lease_is_lost(&self) {
        let lease_for = self.bench.options.lease_for;
        let mut ticks = interval(HEARTBEAT.min(lease_for / 4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut renewed_at, mut recorded) = (Instant::now(), self.meter.progress());
        let mut catalog_answers = true;
        loop {
            ticks.tick().await;
            let progress = self.meter.progress();
            if progress == recorded && renewed_at.elapsed() < lease_for / 4 {
                continue;
            }
            let renewal = self.bench.catalog.renew(&self.job.lease, after(lease_for), progress);
            let renewed = in_time(lease_for, renewal).await;
            metrics::counter!("distmirror_lease_renewals_total", "outcome" => renewal_outcome(&renewed)).increment(1);
            match renewed {
                Ok(()) => (renewed_at, recorded, catalog_answers) = (Instant::now(), progress, true),
                Err(Error::LeaseLost { .. }) => return,
                Err(error) if catalog_answers => {
                    tracing::warn!(artifact = %self.job.artifact.id, error = error.chain(), "cannot renew a lease");
                    catalog_answers = false;
                }
                Err(_) => {}
            }
        }
    }

    async fn complete(&self, fetched: &Fetched) -> Outcome {
        let complete = || self.bench.catalog.complete(&self.job.lease, fetched, Timestamp::now());
        match self.record(complete).await {
            Ok(()) => Outcome::Done,
            Err(Error::LeaseLost { .. }) => Outcome::Lost,
            // Above all a checksum that was declared while the bytes came.
            Err(error) => self.fail(&error.into()).await,
        }
    }

    async fn fail(&self, failure: &Failure) -> Outcome {
        let Job { lease, attempt, .. } = self.job;
        let wait = backoff::wait_after(*attempt, self.bench.options.retries, failure.retry_after, chance());
        let retry_at = wait.map(after);
        tracing::warn!(
            artifact = %lease.artifact,
            name = self.name,
            attempt,
            retry_at = retry_at.map(tracing::field::display),
            error = failure.message,
            "fetch failed"
        );
        let fail = || self.bench.catalog.fail(lease, failure, retry_at, Timestamp::now());
        match self.record(fail).await {
            Ok(()) => Outcome::Failed,
            Err(Error::LeaseLost { .. }) => Outcome::Lost,
            Err(error) => {
                tracing::error!(artifact = %lease.artifact, error = error.chain(), "cannot record that a fetch failed");
                Outcome::Lost
            }
        }
    }

    /// Records the end of the job. Until that is done the lease is renewed, as far as the catalog lets us.
    async fn record<'c>(&self, write: impl Fn() -> BoxFuture<'c, Result<()>>) -> Result<()> {
        let mut recorded = pin!(self.record_in_time(write));
        tokio::select! {
            ended = &mut recorded => ended,
            // Perhaps because it is recorded this very moment.
            () = self.until_lease_is_lost() => recorded.await,
        }
    }

    /// Writes, and waits the catalog's trouble out.
    async fn record_in_time<'c>(&self, write: impl Fn() -> BoxFuture<'c, Result<()>>) -> Result<()> {
        let started = Instant::now();
        let mut catalog_answers = true;
        loop {
            let error = match in_time(self.bench.options.lease_for, write()).await {
                Err(error) if error.is_unavailable() && started.elapsed() < RECORD_WITHIN => error,
                ended => return ended,
            };
            if catalog_answers {
                let error = error.chain();
                tracing::warn!(artifact = %self.job.artifact.id, error, "cannot record yet how a fetch ended");
                catalog_answers = false;
            }
            sleep(RECORD_PAUSE).await;
        }
    }

    /// Failures are logged where they are recorded.
    fn log(&self, outcome: Outcome, seconds: f64) {
        let (artifact, name) = (self.job.artifact.id, &self.name);
        let bytes = self.meter.progress().bytes;
        match outcome {
            Outcome::Done => tracing::info!(%artifact, name, bytes, seconds, "fetched"),
            Outcome::Failed => {}
            Outcome::Lost => tracing::warn!(%artifact, name, bytes, seconds, "left a fetch to another worker"),
        }
    }
}

fn renewal_outcome(renewed: &Result<()>) -> &'static str {
    match renewed {
        Ok(()) => "ok",
        Err(Error::LeaseLost { .. }) => "lost",
        Err(_) => "failed",
    }
}

/// A time limit on an operation of the catalog.
pub(crate) async fn in_time<T>(limit: Duration, operation: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, operation).await.unwrap_or_else(|_| Err(Error::catalog(format!("no answer within {limit:?}"))))
}

fn is_file(artifact: &Artifact) -> bool {
    artifact.name.kind() == Kind::File
}

fn after(wait: Duration) -> Timestamp {
    Timestamp::now().checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A number between 0 and 1.
fn chance() -> f64 {
    let [high, low, ..] = *Uuid::new_v4().as_bytes();
    f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX)
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// How often progress is recorded while it changes.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long to go on trying to record how a fetch ended.
const RECORD_WITHIN: Duration = Duration::from_secs(600);

/// How long to wait between two tries: less than workers wait between two looks at the catalog, so that what is here is
/// recorded before anybody fetches it again.
const RECORD_PAUSE: Duration = Duration::from_millis(250);

const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);
