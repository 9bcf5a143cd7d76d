//! `/`: how things stand.

use std::sync::Arc;

use distmirror_core::{Filter, PageRequest, Result as CoreResult, State, WatchStatus};
use poem::{Response, handler, web::Data};
use serde::Serialize;

use crate::{
    json::{self, Artifact, Scrub},
    pages::misses::Row,
    problem::Problem,
    scrubs,
    site::Site,
};

#[derive(Serialize)]
struct Overview {
    artifacts: u64,
    states: Vec<(&'static str, u64)>,
    waiting: u64,
    fetching: Vec<Artifact>,
    failed: Vec<Artifact>,
    latest: Vec<Artifact>,
    misses: Vec<Row>,
    gone: Count,
    changed: Count,
    /// The last scrub.
    scrub: Option<Scrub>,
    proxy: String,
}

/// How many there are, as far as they were counted.
#[derive(Serialize)]
struct Count {
    number: usize,
    and_more: bool,
}

/// The overview.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>) -> Result<Response, Problem> {
    let catalog = site.mirror.catalog();
    let (few, some) = (PageRequest::first(5), PageRequest::first(20));
    let (totals, misses) = tokio::try_join!(catalog.totals(), catalog.misses(None, &few))?;
    let (fetching, failed, latest) = tokio::try_join!(
        in_state(&site, Some(State::Fetching), some),
        in_state(&site, Some(State::Failed), few),
        in_state(&site, None, few),
    )?;
    let (gone, changed, scrubs) = tokio::try_join!(
        count(&site, WatchStatus::Gone),
        count(&site, WatchStatus::Changed),
        scrubs::latest(&site, 1),
    )?;
    let overview = Overview {
        artifacts: totals.artifacts(),
        states: State::ALL.map(|state| (state.as_str(), totals.in_state(state))).to_vec(),
        waiting: totals.misses,
        fetching,
        failed,
        latest,
        misses: misses.items.into_iter().map(Row::from).collect(),
        gone,
        changed,
        scrub: scrubs.into_iter().next(),
        proxy: site.options.proxy_address.clone(),
    };
    Ok(site.templates.page("overview.html", "/", &overview))
}

async fn in_state(site: &Site, state: Option<State>, page: PageRequest) -> CoreResult<Vec<Artifact>> {
    let catalog = site.mirror.catalog();
    let found = catalog.list(&Filter { state, ..Filter::default() }, &page).await?;
    Ok(json::artifacts(catalog.as_ref(), found).await?.items)
}

/// Counts artifacts of which upstream was last seen like this, as long as that is cheap.
async fn count(site: &Site, watch: WatchStatus) -> CoreResult<Count> {
    let filter = Filter { watch: Some(watch), ..Filter::default() };
    let found = site.mirror.catalog().list(&filter, &PageRequest::first(MOST_COUNTED)).await?;
    Ok(Count { number: found.items.len(), and_more: found.next.is_some() })
}

const MOST_COUNTED: usize = 100;
