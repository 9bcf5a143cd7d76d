//! `/misses`: decide about what was asked for in vain.

use std::{collections::BTreeMap, sync::Arc};

use distmirror_core::Error;
use poem::{
    Response, handler,
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};

use crate::{
    api::parse_ids,
    identity::Who,
    json::Miss,
    listing::{given, page_request},
    pages::{Flash, done, form::Form, naming},
    problem::Problem,
    site::Site,
};

#[derive(Debug, Default, Deserialize)]
struct MissQuery {
    q: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Misses {
    flash: Option<&'static str>,
    alert: Option<String>,
    q: Option<String>,
    /// What was ticked and typed before an attempt that failed.
    ticked: Vec<String>,
    typed: BTreeMap<&'static str, String>,
    items: Vec<Row>,
    is_first: bool,
    next: Option<String>,
}

/// A miss as pages show it.
#[derive(Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    miss: Miss,
    /// What was asked for.
    name: String,
    /// The reference that was asked for by its tag, which can be declared once it has a digest.
    tag: Option<String>,
}

impl From<distmirror_core::Miss> for Row {
    fn from(miss: distmirror_core::Miss) -> Self {
        let name = miss.name.to_string();
        Self { tag: naming::reference_of_tag(&name), name, miss: miss.into() }
    }
}

/// The list.
#[handler]
pub(super) async fn show(
    site: Data<&Arc<Site>>,
    Query(query): Query<MissQuery>,
    flash: Flash,
) -> Result<Response, Problem> {
    render(&site, query, flash.0, None).await
}

/// Declares the ticked misses with one reason.
#[handler]
pub(super) async fn declare(site: Data<&Arc<Site>>, who: Who, form: Form) -> Result<Response, Problem> {
    let ids: Vec<String> = form.all("ids").map(str::to_owned).collect();
    let outcome = match parse_ids(&ids) {
        Ok(ids) => {
            let project = form.given("project");
            site.mirror.declare_misses(&ids, form.text("reason"), project.as_deref(), &who.0).await
        }
        Err(problems) => Err(Error::Invalid(problems)),
    };
    match outcome.as_deref() {
        Ok([only]) => Ok(done(&format!("/artifacts/{}", only.artifact.id), "declared")),
        _ => finish(&site, form, outcome.map(drop), "all-declared").await,
    }
}

/// Ignores what matches a pattern.
#[handler]
pub(super) async fn ignore(site: Data<&Arc<Site>>, who: Who, form: Form) -> Result<Response, Problem> {
    let outcome = site.mirror.ignore_misses(form.text("pattern"), form.text("ignore_reason"), &who.0).await;
    finish(&site, form, outcome, "ignored").await
}

async fn finish(
    site: &Site,
    form: Form,
    outcome: distmirror_core::Result<()>,
    what: &str,
) -> Result<Response, Problem> {
    match outcome.map_err(Problem::from) {
        Ok(()) => Ok(done("/misses", what)),
        Err(problem) if problem.is_mendable() => {
            let status = problem.status_code();
            let mut page = render(site, MissQuery::default(), None, Some((problem, form))).await?;
            page.set_status(status);
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

async fn render(
    site: &Site,
    query: MissQuery,
    flash: Option<&'static str>,
    failed: Option<(Problem, Form)>,
) -> Result<Response, Problem> {
    let page = page_request(None, query.cursor.as_deref())?;
    let q = given(query.q);
    let found = site.mirror.catalog().misses(q.as_deref(), &page).await?;
    let next = found.next.map(|next| next.to_string());
    let items = found.items.into_iter().map(Row::from).collect();
    let (alert, form) = failed.map_or_else(Default::default, |(problem, form)| (Some(problem.detail), form));
    let misses = Misses {
        flash,
        alert,
        q,
        ticked: form.all("ids").map(str::to_owned).collect(),
        typed: FIELDS.map(|field| (field, form.text(field).to_owned())).into(),
        items,
        is_first: page.after.is_none(),
        next,
    };
    Ok(site.templates.page("misses.html", "/misses", &misses))
}

const FIELDS: [&str; 4] = ["reason", "project", "pattern", "ignore_reason"];
