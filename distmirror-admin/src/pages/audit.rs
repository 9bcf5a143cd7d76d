//! `/audit`: what was done, and by whom.

use std::sync::Arc;

use poem::{
    Response, handler,
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};

use crate::{
    json::{AuditEntry, List},
    listing::page_request,
    problem::Problem,
    site::Site,
};

#[derive(Debug, Deserialize)]
struct AuditQuery {
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Audit {
    items: Vec<AuditEntry>,
    is_first: bool,
    next: Option<String>,
}

/// The list.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>, Query(query): Query<AuditQuery>) -> Result<Response, Problem> {
    let page = page_request(None, query.cursor.as_deref())?;
    let List { items, next } = List::of(site.mirror.catalog().audit(None, &page).await?);
    Ok(site.templates.page("audit.html", "/audit", &Audit { items, is_first: page.after.is_none(), next }))
}
