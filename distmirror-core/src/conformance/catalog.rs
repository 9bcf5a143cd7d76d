//! What every [`Catalog`] does: one case for each promise of its parts, in a module for each part.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is their verdict")]

mod declaring;
mod fetching;
mod images;
mod leases;
mod ledger;
mod listing;
mod service;
mod support;
mod upkeep;
mod usage;

use std::sync::Arc;

use crate::Catalog;

/// Runs every case, each on a catalog of its own.
///
/// # Panics
/// At the first promise that is not kept, naming it.
pub async fn catalog<C: Catalog>(fresh: impl AsyncFn() -> Arc<C>) {
    let fresh = async || {
        let catalog: Arc<dyn Catalog> = fresh().await;
        catalog
    };
    declaring::every_case(&fresh).await;
    listing::every_case(&fresh).await;
    leases::every_case(&fresh).await;
    fetching::every_case(&fresh).await;
    images::every_case(&fresh).await;
    service::every_case(&fresh).await;
    ledger::every_case(&fresh).await;
    upkeep::every_case(&fresh).await;
    usage::every_case(&fresh).await;
}
