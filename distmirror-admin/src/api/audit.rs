//! `/audit`: what was done, and by whom.

use std::sync::Arc;

use distmirror_core::ArtifactId;
use poem_openapi::{OpenApi, param::Query, payload::Json};
use uuid::Uuid;

use crate::{
    api::Tag,
    json::{AuditEntry, List},
    listing::page_request,
    problem::Problem,
    site::Site,
};

/// `/audit` over this site.
pub(crate) struct AuditApi(pub(super) Arc<Site>);

#[OpenApi(tag = "Tag::Audit")]
impl AuditApi {
    /// List what was done, the latest first
    #[oai(path = "/audit", method = "get")]
    async fn list(
        &self,
        /// Only what was done to this artifact.
        artifact: Query<Option<Uuid>>,
        /// At most so many; 50 if left out, 1000 at most.
        limit: Query<Option<u64>>,
        /// `next` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<List<AuditEntry>>, Problem> {
        let page = page_request(limit.0, cursor.as_deref())?;
        let found = self.0.mirror.catalog().audit(artifact.map(ArtifactId), &page).await?;
        Ok(Json(List::of(found)))
    }
}
