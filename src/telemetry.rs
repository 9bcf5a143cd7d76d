//! Metrics and traces: the recorder behind the `metrics` facade that all crates count with, and the text of `/metrics`. Each crate has the
//! words for what it counts.

mod process;
mod traces;

use std::{fmt, sync::Arc, time::Duration};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub(crate) use self::traces::Traces;

/// The metrics of this process.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: PrometheusHandle,
    /// Sets the gauges that are only looked at when somebody asks.
    show: Arc<dyn Fn() + Send + Sync>,
}

impl Metrics {
    /// Installs the recorder of this process, before anything is counted. To be called in a runtime.
    ///
    /// # Errors
    /// When the process has a recorder already.
    pub(crate) fn install() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&MOMENTS)?
            .set_buckets_for_metric(Matcher::Full("distmirror_fetch_seconds".to_owned()), &FETCHES)?
            .set_buckets_for_metric(Matcher::Full("distmirror_catalog_operation_seconds".to_owned()), &OPERATIONS)?
            .build_recorder();
        let handle = recorder.handle();
        process::begin();
        metrics::set_global_recorder(recorder)?;
        gauge!("distmirror_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        describe_gauge!("distmirror_build_info", "The version that runs; always 1.");
        describe_counter!(
            "distmirror_trace_spans_total",
            "Spans that were sent to the collector of traces, or dropped."
        );
        for outcome in ["sent", "dropped"] {
            counter!("distmirror_trace_spans_total", "outcome" => outcome).absolute(0);
        }
        let upkeep = handle.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_EVERY).await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { recorder: handle, show: Arc::new(|| {}) })
    }

    /// The same, with gauges to be set each time somebody asks.
    pub(crate) fn showing(self, show: impl Fn() + Send + Sync + 'static) -> Self {
        Self { show: Arc::new(show), ..self }
    }

    /// The text of `/metrics`.
    pub(crate) fn text(&self) -> String {
        (self.show)();
        self.recorder.render() + &process::text()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The bounds of the buckets in which durations are counted, in seconds: of what a client waits for,
const MOMENTS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// of operations of the catalog, which are many,
const OPERATIONS: [f64; 8] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 5.0];
/// and of fetches.
const FETCHES: [f64; 10] = [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];

const UPKEEP_EVERY: Duration = Duration::from_secs(5);
