//! `/misses`: what was asked for and nobody declared.

use std::sync::Arc;

use distmirror_core::{Page, Problem as FieldProblem, declaration::required_text};
use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};
use uuid::Uuid;

use crate::{
    api::Tag,
    identity::Who,
    json::{self, Artifact, List, Miss},
    listing::{given, page_request},
    problem::Problem,
    request::{self, both},
    site::Site,
};

/// Misses to be declared with one reason.
#[derive(Debug, Default, Object)]
struct DeclareMissesRequest {
    /// The ids of the misses; required.
    ids: Option<Vec<String>>,
    /// Why they are needed; required.
    reason: Option<String>,
    /// The project that needs them.
    project: Option<String>,
}

/// Misses to be ignored.
#[derive(Debug, Default, Object)]
struct IgnoreRequest {
    /// What URIs to ignore look like; `*` stands for any characters. Required.
    pattern: Option<String>,
    /// Why they are of no interest; required.
    reason: Option<String>,
}

/// `/misses` over this site.
pub(crate) struct MissesApi(pub(super) Arc<Site>);

#[OpenApi(prefix_path = "/misses", tag = "Tag::Misses")]
impl MissesApi {
    /// List misses, the latest first
    #[oai(path = "/", method = "get")]
    async fn list(
        &self,
        /// Only with this text in the URI.
        q: Query<Option<String>>,
        /// At most so many; 50 if left out, 1000 at most.
        limit: Query<Option<u64>>,
        /// `next` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<List<Miss>>, Problem> {
        let page = page_request(limit.0, cursor.as_deref())?;
        let found = self.0.mirror.catalog().misses(given(q.0).as_deref(), &page).await?;
        Ok(Json(List::of(found)))
    }

    /// Declare misses with one reason
    ///
    /// Nothing is declared if one of them is unknown or the reason is missing.
    #[oai(path = "/declare", method = "post")]
    async fn declare(
        &self,
        who: Who,
        body: request::Json<DeclareMissesRequest>,
    ) -> Result<Json<List<Artifact>>, Problem> {
        let ((ids, reason), project) = body.check(|body| {
            let ids = parse_ids(&body.ids.unwrap_or_default());
            Ok((both(ids, required_text("reason", body.reason.as_deref()))?, body.project))
        })?;
        let declared = self.0.mirror.declare_misses(&ids, &reason, project.as_deref(), &who.0).await?;
        let items = declared.into_iter().map(|declared| declared.artifact).collect();
        Ok(Json(json::artifacts(self.0.mirror.catalog().as_ref(), Page { items, next: None }).await?))
    }

    /// Ignore misses from now on
    #[oai(path = "/ignore", method = "post")]
    async fn ignore(&self, who: Who, body: request::Json<IgnoreRequest>) -> Result<Ignored, Problem> {
        let (pattern, reason) = body.check(|body| {
            both(required_text("pattern", body.pattern.as_deref()), required_text("reason", body.reason.as_deref()))
        })?;
        self.0.mirror.ignore_misses(&pattern, &reason, &who.0).await?;
        Ok(Ignored::Done)
    }
}

#[derive(ApiResponse)]
enum Ignored {
    /// Those on record are gone, and no new ones are recorded.
    #[oai(status = 204)]
    Done,
}

/// Reads the ids of misses.
///
/// # Errors
/// One problem for each that is no id, or that there are none.
pub(crate) fn parse_ids(texts: &[String]) -> Result<Vec<Uuid>, Vec<FieldProblem>> {
    let (mut ids, mut problems) = (Vec::new(), Vec::new());
    for text in texts {
        match text.parse() {
            Ok(id) => ids.push(id),
            Err(_) => {
                problems.push(FieldProblem::new("ids", format!("`{}` is not an id (a UUID)", text.escape_debug())))
            }
        }
    }
    if texts.is_empty() {
        problems.push(FieldProblem::new("ids", "is empty: name at least one miss"));
    }
    if problems.is_empty() { Ok(ids) } else { Err(problems) }
}
