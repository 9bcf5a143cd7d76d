//! Implementations that keep everything in memory: for tests, examples and trying things out.

mod blob_store;
mod catalog;
mod usage;

pub use blob_store::MemoryBlobStore;
pub use catalog::MemoryCatalog;
