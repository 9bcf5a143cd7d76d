//! Backends that are watched: how long each operation took, and how it ended, in the metrics.

mod blob_store;
mod catalog;

use tracing::{Level, Span, field};

pub use self::{blob_store::ObservedBlobStore, catalog::ObservedCatalog};
use crate::Result;

/// A span for an operation, as a part of what it is done for; what is done for nobody in particular has none.
fn span(backend: &str, operation: &str) -> Span {
    if !tracing::span_enabled!(Level::TRACE) || Span::current().is_none() {
        return Span::none();
    }
    tracing::trace_span!(
        "operation",
        otel.name = format!("{backend} {operation}"),
        otel.kind = "client",
        distmirror.outcome = field::Empty
    )
}

/// How an operation ended: with what was asked for, with an answer that says no, or with none.
fn outcome<T>(result: &Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) if error.is_unavailable() => "unavailable",
        Err(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Error, Sha256, conformance, memory::MemoryCatalog};

    #[tokio::test]
    async fn a_catalog_that_is_watched_keeps_every_promise() {
        conformance::catalog(async || Arc::new(ObservedCatalog::new(Arc::new(MemoryCatalog::new())))).await;
    }

    #[test]
    fn a_no_is_not_trouble() {
        for (result, expected) in [
            (Ok(()), "ok"),
            (Err(Error::BlobMissing { blob: Sha256::of(b"") }), "refused"),
            (Err(Error::catalog("away")), "unavailable"),
            (Err(Error::storage("away")), "unavailable"),
        ] {
            assert_eq!(outcome(&result), expected);
        }
    }
}
