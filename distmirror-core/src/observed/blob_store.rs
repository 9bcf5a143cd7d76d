//! A blob store that is watched.

use std::{ops::Range, sync::Arc, time::Instant};

use async_trait::async_trait;
use futures::stream::BoxStream;
use metrics::Histogram;

use tracing::Instrument;

use super::{outcome, span};
use crate::{BlobRead, BlobStat, BlobStore, Payload, Result, Sha256};

/// A blob store of which each operation is timed, until its first answer: what is read of a blob after that is up to who reads.
#[derive(Debug)]
pub struct ObservedBlobStore {
    inner: Arc<dyn BlobStore>,
    put: Timings,
    get: Timings,
    stat: Timings,
}

impl ObservedBlobStore {
    /// This store, watched.
    pub fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self { inner, put: Timings::of("put"), get: Timings::of("get"), stat: Timings::of("stat") }
    }
}

#[async_trait]
impl BlobStore for ObservedBlobStore {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        self.put.timed(self.inner.put(blob, payload)).await
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        self.get.timed(self.inner.get(blob, range)).await
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        self.stat.timed(self.inner.stat(blob)).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        self.inner.list()
    }
}

/// How long an operation took, by how it ended. Looked up once: each download opens a blob.
#[derive(Debug)]
struct Timings {
    operation: &'static str,
    ok: Histogram,
}

impl Timings {
    fn of(operation: &'static str) -> Self {
        Self { operation, ok: histogram(operation, "ok") }
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let span = span("blob store", self.operation);
        let result = work.instrument(span.clone()).await;
        span.record("distmirror.outcome", outcome(&result));
        match outcome(&result) {
            "ok" => self.ok.record(started.elapsed()),
            other => histogram(self.operation, other).record(started.elapsed()),
        }
        result
    }
}

fn histogram(operation: &'static str, outcome: &'static str) -> Histogram {
    metrics::histogram!("distmirror_blob_operation_seconds", "operation" => operation, "outcome" => outcome)
}
