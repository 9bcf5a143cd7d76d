//! `/images`: from registries to repositories to images, as people browse them.

use std::sync::Arc;

use distmirror_core::{Filter, Kind, Registry, Repository, RepositoryTotals};
use poem::{
    Response, handler,
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};

use crate::{
    json::{self, Artifact},
    listing::{given, page_request},
    problem::{FieldError, Problem},
    site::Site,
};

#[derive(Debug, Default, Deserialize)]
struct ImageQuery {
    registry: Option<String>,
    repository: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Registries {
    /// The only one that is shown.
    only: Option<String>,
    registries: Vec<Shelf>,
}

/// A registry with its repositories.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shelf {
    registry: String,
    repositories: Vec<Shown>,
    /// How many more there are.
    more: usize,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    path: String,
    declared: u64,
    present: u64,
}

#[derive(Serialize)]
struct Images {
    registry: String,
    repository: String,
    items: Vec<Artifact>,
    is_first: bool,
    next: Option<String>,
}

/// All registries, one of them, or the images of one repository.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>, Query(query): Query<ImageQuery>) -> Result<Response, Problem> {
    let bad = |field: &'static str| move |message| Problem::bad_query(vec![FieldError::new(field, message)]);
    let registry = given(query.registry).map(|name| Registry::parse(&name)).transpose().map_err(bad("registry"))?;
    match (registry, given(query.repository)) {
        (registry, None) => registries(&site, registry).await,
        (Some(registry), Some(path)) => {
            let repository = Repository::new(registry, &path).map_err(bad("repository"))?;
            images(&site, &repository, query.cursor.as_deref()).await
        }
        (None, Some(_)) => Err(bad("registry")("is missing: a repository is in one".to_owned())),
    }
}

async fn registries(site: &Site, only: Option<Registry>) -> Result<Response, Problem> {
    let found = site.mirror.catalog().repositories(only.as_ref()).await?;
    let most_shown = if only.is_some() { usize::MAX } else { MOST_SHOWN };
    let page = Registries { only: only.map(|registry| registry.to_string()), registries: shelves(found, most_shown) };
    Ok(site.templates.page("images.html", "/images", &page))
}

async fn images(site: &Site, repository: &Repository, cursor: Option<&str>) -> Result<Response, Problem> {
    let page = page_request(None, cursor)?;
    let catalog = site.mirror.catalog();
    let (registry, path) = (repository.registry().to_string(), repository.path().to_owned());
    let filter = Filter {
        kind: Some(Kind::Image),
        host: Some(registry.clone()),
        repository: Some(path.clone()),
        ..Filter::default()
    };
    let found = catalog.list(&filter, &page).await?;
    let list = json::artifacts(catalog.as_ref(), found).await?;
    let is_first = page.after.is_none();
    let images = Images { registry, repository: path, items: list.items, is_first, next: list.next };
    Ok(site.templates.page("repository.html", "/images", &images))
}

/// Repositories by registry; they come in that order.
fn shelves(found: Vec<RepositoryTotals>, most_shown: usize) -> Vec<Shelf> {
    let mut shelves: Vec<Shelf> = Vec::new();
    for RepositoryTotals { repository, declared, present } in found {
        let registry = repository.registry().as_str();
        if shelves.last().is_none_or(|shelf| shelf.registry != registry) {
            shelves.push(Shelf { registry: registry.to_owned(), repositories: Vec::new(), more: 0 });
        }
        let Some(shelf) = shelves.last_mut() else { continue };
        if shelf.repositories.len() < most_shown {
            shelf.repositories.push(Shown { path: repository.path().to_owned(), declared, present });
        } else {
            shelf.more += 1;
        }
    }
    shelves
}

/// How many repositories of each registry are shown where all registries are.
const MOST_SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_stand_with_their_registry() {
        let totals = |registry: &str, path: &str| RepositoryTotals {
            repository: Repository::new(Registry::parse(registry).unwrap(), path).unwrap(),
            declared: 2,
            present: 1,
        };
        let found =
            vec![totals("docker.io", "a"), totals("quay.io", "a"), totals("quay.io", "b"), totals("quay.io", "c")];
        let shelves = shelves(found, 2);
        let told = |shelf: &Shelf| {
            let paths: Vec<_> = shelf.repositories.iter().map(|shown| shown.path.as_str()).collect();
            format!("{}: {} +{}", shelf.registry, paths.join(" "), shelf.more)
        };
        assert_eq!(shelves.iter().map(told).collect::<Vec<_>>(), ["docker.io: library/a +0", "quay.io: a b +1"]);
    }
}
