//! `/images`: what registries and repositories hold, and what a tag names now.

use std::sync::Arc;

use distmirror_core::{ImageReference, Registry, ResolvedTag};
use poem::http::StatusCode;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use crate::{
    api::Tag,
    listing::given,
    problem::{FieldError, Problem},
    request,
    site::Site,
};

/// A reference to be resolved.
#[derive(Debug, Default, Object)]
struct ResolveRequest {
    /// A reference with a tag, such as `debian:12`; required. Without a tag `latest` is meant.
    reference: Option<String>,
}

/// What a tag names at this moment.
#[derive(Debug, Object)]
struct Resolved {
    /// The reference to declare: with the tag, which is kept as a note, and the digest.
    reference: String,
    /// The digest.
    digest: String,
    /// The media type of the manifest or index.
    media_type: String,
    /// The platforms to choose from; none if it is no index.
    platforms: Vec<String>,
}

/// Repositories of which images were declared.
#[derive(Debug, Object)]
struct Repositories {
    items: Vec<Repository>,
}

/// A repository of which images were declared.
#[derive(Debug, Object)]
struct Repository {
    registry: String,
    /// Its path in the registry.
    repository: String,
    /// How many images were declared.
    declared: u64,
    /// How many of them are in service.
    present: u64,
}

/// `/images` over this site.
pub(crate) struct ImagesApi(pub(super) Arc<Site>);

#[OpenApi(prefix_path = "/images", tag = "Tag::Images")]
impl ImagesApi {
    /// Resolve a tag to a digest, now
    ///
    /// It asks the registry and declares nothing. What a tag names changes, so that images are declared by digest only.
    #[oai(path = "/resolve", method = "post")]
    async fn resolve(&self, body: request::Json<ResolveRequest>) -> Result<Json<Resolved>, Problem> {
        let reference = body.check(|body| {
            let text = body.reference.unwrap_or_default();
            ImageReference::parse(text.trim()).map_err(|message| distmirror_core::Error::invalid("reference", message))
        })?;
        let ResolvedTag { name, tag, media_type, platforms } = resolve(&self.0, &reference).await?;
        Ok(Json(Resolved {
            reference: format!("{}:{tag}@{}", name.repository(), name.digest()),
            digest: name.digest().to_string(),
            media_type,
            platforms: platforms.iter().map(ToString::to_string).collect(),
        }))
    }

    /// List repositories of which images were declared, by name
    #[oai(path = "/repositories", method = "get")]
    async fn repositories(
        &self,
        /// Only those of this registry.
        registry: Query<Option<String>>,
    ) -> Result<Json<Repositories>, Problem> {
        let bad = |message| Problem::bad_query(vec![FieldError::new("registry", message)]);
        let registry = given(registry.0).map(|name| Registry::parse(&name).map_err(bad)).transpose()?;
        let found = self.0.mirror.catalog().repositories(registry.as_ref()).await?;
        let items = found.into_iter().map(|totals| Repository {
            registry: totals.repository.registry().to_string(),
            repository: totals.repository.path().to_owned(),
            declared: totals.declared,
            present: totals.present,
        });
        Ok(Json(Repositories { items: items.collect() }))
    }
}

/// Asks the registry what a tag names.
///
/// # Errors
/// 502 with what the registry said, 503 where this process may not ask.
pub(crate) async fn resolve(site: &Site, reference: &ImageReference) -> Result<ResolvedTag, Problem> {
    let Some(resolver) = &site.options.tag_resolver else {
        let detail = "this process cannot ask registries: find the digest out by other means, as `skopeo inspect` does";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_resolved", detail));
    };
    resolver.resolve(reference).await.map_err(|failure| {
        Problem::new(
            StatusCode::BAD_GATEWAY,
            "not_resolved",
            format!("`{reference}` cannot be resolved: {}", failure.message),
        )
    })
}
