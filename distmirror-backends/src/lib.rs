//! Where a mirror keeps things: the catalog in SQL and the blobs in a directory or an object store, each opened from a URL.
//!
//! Nothing else in the workspace knows which database or store is in use; everything here is reached through the traits
//! of `distmirror-core`, and passes the conformance suites of that crate. Start reading at [`SqlCatalog::open`].

pub mod blobs;
pub mod catalog;

pub use crate::catalog::{CatalogOptions, SqlCatalog};
