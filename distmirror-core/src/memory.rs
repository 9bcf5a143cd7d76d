//! Implementations that keep everything in memory: for tests, examples and trying things out.

mod blob_store;
mod catalog;

pub use blob_store::MemoryBlobStore;
pub use catalog::MemoryCatalog;
