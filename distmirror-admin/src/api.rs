//! The REST API under `/api/v1` and the document that describes it.
//!
//! Handlers read, call the mirror and represent; what is refused before them is in `guard`, what becomes of their errors in
//! `problem`.

mod artifacts;
mod audit;
mod images;
mod misses;
mod scrubs;

use std::sync::Arc;

use poem_openapi::{OpenApi, OpenApiService, Tags};

pub(crate) use crate::api::{images::resolve, misses::parse_ids};
use crate::{
    api::{artifacts::ArtifactsApi, audit::AuditApi, images::ImagesApi, misses::MissesApi, scrubs::ScrubsApi},
    site::Site,
};

/// Where the API lives.
pub(crate) const PREFIX: &str = "/api/v1";

/// The parts of the API.
#[derive(Tags)]
enum Tag {
    /// What was declared, and what became of it.
    Artifacts,
    /// What registries hold.
    Images,
    /// What was asked for and nobody declared.
    Misses,
    /// Whether what is stored is still right.
    Upkeep,
    /// What was done, and by whom.
    Audit,
}

type Api = (ArtifactsApi, ImagesApi, MissesApi, ScrubsApi, AuditApi);

/// The API over this site.
pub(crate) fn service(site: &Arc<Site>) -> OpenApiService<Api, ()> {
    let api = (
        ArtifactsApi(Arc::clone(site)),
        ImagesApi(Arc::clone(site)),
        MissesApi(Arc::clone(site)),
        ScrubsApi(Arc::clone(site)),
        AuditApi(Arc::clone(site)),
    );
    OpenApiService::new(api, "distmirror", env!("CARGO_PKG_VERSION"))
        .description(
            "Declare artifacts, see what became of them, and decide about what was asked for in vain. Errors are problem \
             details (RFC 9457) that name every invalid field. Lists come in pages: give `next` as `cursor`.",
        )
        .license(poem_openapi::LicenseObject::new("Apache-2.0"))
        .url_prefix(PREFIX)
}

/// Every path of the API with the methods that it takes.
pub(crate) fn paths() -> impl Iterator<Item = (String, Vec<poem::http::Method>)> {
    let paths = <Api as OpenApi>::meta().into_iter().flat_map(|api| api.paths);
    paths.map(|path| {
        let methods = path.operations.into_iter().map(|operation| operation.method).collect();
        // The document writes `{id}` where routes write `:id`.
        (format!("{PREFIX}{}", path.path).replace('{', ":").replace('}', ""), methods)
    })
}
