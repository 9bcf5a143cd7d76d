//! `/`: how things stand.

use std::sync::Arc;

use distmirror_core::{Filter, PageRequest, State};
use poem::{Response, handler, web::Data};
use serde::Serialize;

use crate::{
    json::{self, Artifact},
    pages::misses::Row,
    problem::Problem,
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
    proxy: String,
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
    let overview = Overview {
        artifacts: totals.artifacts(),
        states: State::ALL.map(|state| (state.as_str(), totals.in_state(state))).to_vec(),
        waiting: totals.misses,
        fetching,
        failed,
        latest,
        misses: misses.items.into_iter().map(Row::from).collect(),
        proxy: site.options.proxy_address.clone(),
    };
    Ok(site.templates.page("overview.html", "/", &overview))
}

async fn in_state(site: &Site, state: Option<State>, page: PageRequest) -> distmirror_core::Result<Vec<Artifact>> {
    let catalog = site.mirror.catalog();
    let found = catalog.list(&Filter { state, ..Filter::default() }, &page).await?;
    Ok(json::artifacts(catalog.as_ref(), found).await?.items)
}
