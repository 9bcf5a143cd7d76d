//! `/scrubs`: hash again what is stored, and see what came of it.

use std::{collections::HashMap, sync::Arc};

use distmirror_core::ArtifactId;
use poem::{
    Response, handler,
    web::{Data, Path},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    identity::Who,
    json::Scrub,
    pages::{Flash, audit, done, form::Form},
    problem::Problem,
    scrubs,
    site::Site,
};

#[derive(Serialize)]
struct Scrubs {
    flash: Option<&'static str>,
    alert: Option<String>,
    items: Vec<Scrub>,
}

#[derive(Serialize)]
struct Shown {
    flash: Option<&'static str>,
    scrub: Scrub,
    /// How much is damaged, and how much of that is not shown.
    damaged: usize,
    more: usize,
    /// What the damaged artifacts are called, by id.
    names: HashMap<String, String>,
}

/// The list.
#[handler]
pub(super) async fn list(site: Data<&Arc<Site>>, flash: Flash) -> Result<Response, Problem> {
    render(&site, flash.0, None).await
}

/// Starts one.
#[handler]
pub(super) async fn start(site: Data<&Arc<Site>>, who: Who, form: Form) -> Result<Response, Problem> {
    match scrubs::start(&site, &who.0, form.given("repair").is_some()).await {
        Ok(scrub) => Ok(done(&format!("/scrubs/{}", scrub.id), "scrubbing")),
        Err(problem) if problem.is_mendable() => {
            let status = problem.status_code();
            let mut page = render(&site, None, Some(problem.detail)).await?;
            page.set_status(status);
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

/// One of them.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>, Path(id): Path<Uuid>, flash: Flash) -> Result<Response, Problem> {
    let mut scrub = scrubs::one(&site, id).await?;
    let damaged = scrub.damaged.len();
    let more = damaged.saturating_sub(MOST_ROWS);
    scrub.damaged.truncate(MOST_ROWS);
    let artifacts = scrub.damaged.iter().map(|damage| ArtifactId(damage.artifact));
    let names = audit::names(site.mirror.catalog().as_ref(), artifacts).await?;
    Ok(site.templates.page("scrub.html", SECTION, &Shown { flash: flash.0, scrub, damaged, more, names }))
}

async fn render(site: &Site, flash: Option<&'static str>, alert: Option<String>) -> Result<Response, Problem> {
    let items = scrubs::latest(site, scrubs::LISTED).await?;
    Ok(site.templates.page("scrubs.html", SECTION, &Scrubs { flash, alert, items }))
}

const SECTION: &str = "/scrubs";
/// How many rows a table has.
const MOST_ROWS: usize = 200;
