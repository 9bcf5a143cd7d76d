//! `/audit`: what was done, and by whom.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use distmirror_core::{ArtifactId, Catalog};
use futures::{StreamExt, TryStreamExt, stream};
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
    /// What the artifacts that the entries are about are called, by id.
    names: HashMap<String, String>,
    is_first: bool,
    next: Option<String>,
}

/// The list.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>, Query(query): Query<AuditQuery>) -> Result<Response, Problem> {
    let page = page_request(None, query.cursor.as_deref())?;
    let catalog = site.mirror.catalog();
    let found = catalog.audit(None, &page).await?;
    let names = names(catalog.as_ref(), found.items.iter().filter_map(|entry| entry.artifact)).await?;
    let List { items, next } = List::of(found);
    Ok(site.templates.page("audit.html", "/audit", &Audit { items, names, is_first: page.after.is_none(), next }))
}

/// The names of these artifacts, which are looked up several at a time.
pub(super) async fn names(
    catalog: &dyn Catalog,
    ids: impl Iterator<Item = ArtifactId>,
) -> distmirror_core::Result<HashMap<String, String>> {
    let ids: HashSet<ArtifactId> = ids.collect();
    let look_ups = ids.into_iter().map(|id| catalog.artifact(id));
    let found: Vec<_> = stream::iter(look_ups).buffer_unordered(LOOK_UPS_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().map(|artifact| (artifact.id.to_string(), artifact.name.to_string())).collect())
}

const LOOK_UPS_AT_ONCE: usize = 8;
