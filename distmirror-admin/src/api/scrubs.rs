//! `/scrubs`: hash again what is stored.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};
use uuid::Uuid;

use crate::{
    api::Tag,
    identity::Who,
    json::{List, Scrub},
    problem::Problem,
    request, scrubs,
    site::Site,
};

/// How to scrub.
#[derive(Debug, Default, Object)]
struct ScrubRequest {
    /// Whether what is damaged is to be fetched again; `false` if it is left out.
    repair: Option<bool>,
}

#[derive(ApiResponse)]
enum Started {
    /// It runs.
    #[oai(status = 202)]
    Running(Json<Scrub>, #[oai(header = "Location")] String),
}

/// `/scrubs` over this site.
pub(crate) struct ScrubsApi(pub(super) Arc<Site>);

#[OpenApi(prefix_path = "/scrubs", tag = "Tag::Upkeep")]
impl ScrubsApi {
    /// Hash everything that is stored again
    ///
    /// It goes on after the answer, one at a time: while one runs, another one is refused (409).
    #[oai(path = "/", method = "post")]
    async fn start(
        &self,
        who: Who,
        body: request::MayBeLeftOut<request::Json<ScrubRequest>>,
    ) -> Result<Started, Problem> {
        let repair = body.0.check(|body| Ok(body.repair.unwrap_or(false)))?;
        let scrub = scrubs::start(&self.0, &who.0, repair).await?;
        let location = format!("{}/scrubs/{}", super::PREFIX, scrub.id);
        Ok(Started::Running(Json(Scrub::new(scrub, 0)), location))
    }

    /// List scrubs, the latest 50
    #[oai(path = "/", method = "get")]
    async fn list(&self) -> Result<Json<List<Scrub>>, Problem> {
        let items = scrubs::latest(&self.0, scrubs::LISTED).await?;
        Ok(Json(List { items, next: None }))
    }

    /// Show a scrub
    #[oai(path = "/:id", method = "get")]
    async fn show(&self, id: Path<Uuid>) -> Result<Json<Scrub>, Problem> {
        Ok(Json(scrubs::one(&self.0, id.0).await?))
    }
}
