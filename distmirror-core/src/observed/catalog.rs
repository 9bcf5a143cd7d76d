//! A catalog that is watched.

use std::{sync::Arc, time::Instant};

use tracing::Instrument;

use super::{outcome, span};
use crate::{Catalog, Result, catalog::CatalogWrapper};

/// A catalog of which each operation is timed.
#[derive(Debug, Clone)]
pub struct ObservedCatalog {
    inner: Arc<dyn Catalog>,
}

impl ObservedCatalog {
    /// This catalog, watched.
    pub fn new(inner: Arc<dyn Catalog>) -> Self {
        Self { inner }
    }
}

impl CatalogWrapper for ObservedCatalog {
    fn inner(&self) -> &Arc<dyn Catalog> {
        &self.inner
    }

    async fn through<T: Send>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let started = Instant::now();
        let span = span("catalog", operation);
        let result = work.instrument(span.clone()).await;
        let labels = [("operation", operation), ("outcome", outcome(&result))];
        span.record("distmirror.outcome", outcome(&result));
        metrics::histogram!("distmirror_catalog_operation_seconds", &labels).record(started.elapsed());
        result
    }
}
