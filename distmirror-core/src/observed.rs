//! Backends that are watched: how long each operation took, and how it ended, in the metrics.

mod blob_store;
mod catalog;

pub use self::{blob_store::ObservedBlobStore, catalog::ObservedCatalog};
use crate::Result;

/// How an operation ended: with what was asked for, with an answer that says no, or with none.
fn outcome<T>(result: &Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) if error.is_unavailable() => "unavailable",
        Err(_) => "refused",
    }
}
