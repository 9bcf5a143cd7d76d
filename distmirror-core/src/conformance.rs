//! Suites that every implementation of a trait passes, whoever wrote it.
//!
//! Each suite is one function that takes a way to get a fresh, empty store and runs every case; it panics at the first
//! promise that does not hold, naming it. An implementer calls it from one test:
//!
//! ```
//! # use std::sync::Arc;
//! # use distmirror_core::{conformance, memory::MemoryBlobStore};
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! conformance::blob_store(async || Arc::new(MemoryBlobStore::new())).await;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

mod blob_store;
mod catalog;

pub use blob_store::blob_store;
pub use catalog::catalog;
