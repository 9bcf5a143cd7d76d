//! Scrubs: started here, run as tasks of this process, one at a time.

use std::sync::Arc;

use distmirror_core::{Error, Mirror, Scrub};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use poem::http::StatusCode;
use uuid::Uuid;

use crate::{json, problem::Problem, site::Site};

/// Starts a scrub.
///
/// # Errors
/// 409 naming the one that runs, or the catalog's trouble.
pub(crate) async fn start(site: &Site, who: &str, repair: bool) -> Result<Scrub, Problem> {
    let _at_a_time = site.scrub_starts.lock().await;
    let latest = site.mirror.catalog().scrubs(1).await?;
    if let Some(running) = latest.iter().find(|scrub| scrub.state(Timestamp::now()) == "running") {
        let detail = format!("scrub `{}` is running, which {} started: wait for its end", running.id, running.who);
        return Err(Problem::new(StatusCode::CONFLICT, "wrong_state", detail));
    }
    let scrub = site.mirror.begin_scrub(who, repair).await?;
    tokio::spawn(run(Arc::clone(&site.mirror), scrub.clone(), site.options.scrub_bytes_per_second));
    Ok(scrub)
}

/// One scrub.
///
/// # Errors
/// 404, or the catalog's trouble.
pub(crate) async fn one(site: &Site, id: Uuid) -> Result<json::Scrub, Problem> {
    let found = site.mirror.catalog().scrub(id).await?;
    let scrub = found.ok_or_else(|| Error::NotFound { what: "scrub", id: id.to_string() })?;
    Ok(shown(&site.mirror, scrub).await?)
}

/// The latest scrubs, the last one first.
///
/// # Errors
/// The catalog's trouble.
pub(crate) async fn latest(site: &Site, limit: usize) -> distmirror_core::Result<Vec<json::Scrub>> {
    let found = site.mirror.catalog().scrubs(limit).await?;
    let shown = found.into_iter().map(|scrub| shown(&site.mirror, scrub));
    stream::iter(shown).buffered(COUNTED_AT_ONCE).try_collect().await
}

/// A scrub and how much of what it found is whole again.
async fn shown(mirror: &Mirror, scrub: Scrub) -> distmirror_core::Result<json::Scrub> {
    let healed = mirror.healed(&scrub).await?.len() as u64;
    Ok(json::Scrub::new(scrub, healed))
}

async fn run(mirror: Arc<Mirror>, scrub: Scrub, bytes_per_second: Option<u64>) {
    let id = scrub.id;
    match mirror.scrub(scrub, bytes_per_second).await {
        Ok(done) => tracing::info!(scrub = %id, checked = done.checked, damaged = done.damaged.len(), "scrubbed"),
        Err(error) => tracing::error!(scrub = %id, error = error.chain(), "a scrub ended early"),
    }
}

/// How many scrubs a list shows.
pub(crate) const LISTED: usize = 50;
/// Of how many scrubs at a time it is counted what is whole again.
const COUNTED_AT_ONCE: usize = 4;
