//! `/artifacts`: declare, find, retry, take out of service and put back.

use std::sync::Arc;

use distmirror_core::{Algorithm, ArtifactId, Declare, Error, declaration::required_text};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use uuid::Uuid;

use crate::{
    api::Tag,
    fulfil::fulfil,
    identity::Who,
    json::{self, Artifact, DailyUsage, List, Preflight},
    listing::{ArtifactQuery, page_request},
    preflight,
    problem::Problem,
    request,
    site::Site,
    upload::Upload,
};

/// What is wanted and why.
#[derive(Debug, Default, Object)]
struct DeclareRequest {
    /// `file` or `image`; if it is left out, whichever of `uri` and `reference` there is.
    kind: Option<String>,
    /// The `http` or `https` URI of a file; required of one.
    uri: Option<String>,
    /// The reference of an image with its digest, such as `docker.io/library/debian@sha256:HEX`; required of one. A tag beside
    /// the digest is kept as a note. With `http://` before it the registry is reached without TLS.
    reference: Option<String>,
    /// The platforms that are wanted of an image, as `linux/arm64`, or `all`. If it is left out: `linux/amd64` where the image
    /// has it, and else all; of an image that is declared already, what was chosen before.
    platforms: Option<request::Words>,
    /// The SHA-256 that the bytes must have, in hexadecimal.
    sha256: Option<String>,
    /// The SHA-512 that the bytes must have, in hexadecimal.
    sha512: Option<String>,
    /// The BLAKE2b-512 that the bytes must have, in hexadecimal.
    blake2b: Option<String>,
    /// The SHA-1 that the bytes must have, in hexadecimal; only beside a stronger checksum.
    sha1: Option<String>,
    /// The MD5 that the bytes must have, in hexadecimal; only beside a stronger checksum.
    md5: Option<String>,
    /// Subresource Integrity metadata that the bytes must have, such as `sha512-BASE64`.
    integrity: Option<String>,
    /// Why it is needed; required.
    reason: Option<String>,
    /// The project that needs it.
    project: Option<String>,
    /// Its licence, as an SPDX expression.
    license: Option<String>,
    /// Where the request was discussed.
    ticket: Option<String>,
}

/// Why something is done.
#[derive(Debug, Default, Object)]
struct ReasonRequest {
    /// The reason; required.
    reason: Option<String>,
}

#[derive(ApiResponse)]
enum Declared {
    /// Nobody had declared it before.
    #[oai(status = 201)]
    New(Json<Artifact>, #[oai(header = "Location")] String),
    /// It was declared already; this declaration was added.
    #[oai(status = 200)]
    Known(Json<Artifact>),
}

/// `/artifacts` over this site.
pub(crate) struct ArtifactsApi(pub(super) Arc<Site>);

#[OpenApi(tag = "Tag::Artifacts")]
impl ArtifactsApi {
    /// Declare an artifact
    ///
    /// It is fetched once, verified and kept for ever. Declaring it again adds the declaration, and tries at once
    /// what had failed; with another checksum it is refused (409) and both checksums are named.
    #[oai(path = "/artifacts", method = "post")]
    async fn declare(&self, who: Who, body: request::Json<DeclareRequest>) -> Result<Declared, Problem> {
        let wanted = body.check(|body| {
            let wanted = body.to_domain();
            wanted.check(&who.0).map(|_| wanted)
        })?;
        let declared = self.0.mirror.declare(&wanted, &who.0).await?;
        let location = format!("{}/artifacts/{}", super::PREFIX, declared.artifact.id);
        let artifact = Json(self.represent(declared.artifact).await?);
        Ok(if declared.is_new { Declared::New(artifact, location) } else { Declared::Known(artifact) })
    }

    /// See what there is to know of a file before it is declared
    ///
    /// Upstream is asked for its size, its type and where it comes from, and what is known of the URI is told. Nothing is declared
    /// and nothing fetched; a reason is not needed.
    #[oai(path = "/artifacts/preflight", method = "post")]
    async fn preflight(&self, who: Who, body: request::Json<DeclareRequest>) -> Result<Json<Preflight>, Problem> {
        let wanted = body.check(|body| Ok(body.to_domain()))?;
        Ok(Json(preflight::look(&self.0, &wanted, &who.0).await?))
    }

    /// List artifacts, newest first
    #[oai(path = "/artifacts", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "one for each field of the query; this is how they are declared")]
    async fn list(
        &self,
        /// Only this kind: `file` or `image`.
        kind: Query<Option<String>>,
        /// Only in this state: `pending`, `fetching`, `present`, `failed` or `quarantined`.
        state: Query<Option<String>>,
        /// Only from this upstream host or registry, with its port unless that is the default one.
        host: Query<Option<String>>,
        /// Only images of the repository with this path, such as `library/debian`.
        repository: Query<Option<String>>,
        /// Only if upstream was last seen like this: `same`, `gone`, `changed` or `unknown`.
        watch: Query<Option<String>>,
        /// Only with a declaration for this project.
        project: Query<Option<String>>,
        /// Only with this text in the URI.
        q: Query<Option<String>>,
        /// At most so many; 50 if left out, 1000 at most.
        limit: Query<Option<u64>>,
        /// `next` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<List<Artifact>>, Problem> {
        let query = ArtifactQuery {
            kind: kind.0,
            state: state.0,
            host: host.0,
            repository: repository.0,
            watch: watch.0,
            project: project.0,
            q: q.0,
            cursor: cursor.0,
        };
        let (filter, page) = query.parse(limit.0)?;
        let found = self.0.mirror.catalog().list(&filter, &page).await?;
        Ok(Json(json::artifacts(self.0.mirror.catalog().as_ref(), found).await?))
    }

    /// Find an artifact by its URI or reference
    #[oai(path = "/artifacts/lookup", method = "get")]
    async fn lookup(
        &self,
        /// The URI of a file or the reference of an image, in any form that means the same.
        uri: Query<String>,
    ) -> Result<Json<Artifact>, Problem> {
        let found = self.0.mirror.find(&uri).await.map_err(Problem::of_query)?;
        Ok(Json(self.represent(found).await?))
    }

    /// Show an artifact
    #[oai(path = "/artifacts/:id", method = "get")]
    async fn show(&self, id: Path<Uuid>) -> Result<Json<Artifact>, Problem> {
        let found = self.0.artifact(ArtifactId(id.0)).await?;
        Ok(Json(self.represent(found).await?))
    }

    /// List who used an artifact, by day, the latest day first
    ///
    /// Reported by the proxy once a second.
    #[oai(path = "/artifacts/:id/usage", method = "get")]
    async fn usage(
        &self,
        id: Path<Uuid>,
        /// At most so many; 50 if left out, 1000 at most.
        limit: Query<Option<u64>>,
        /// `next` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<List<DailyUsage>>, Problem> {
        let page = page_request(limit.0, cursor.as_deref())?;
        let found = self.0.artifact(ArtifactId(id.0)).await?;
        Ok(Json(List::of(self.0.mirror.catalog().daily_usage(found.id, &page).await?)))
    }

    /// Fetch an artifact that failed again, now
    #[oai(path = "/artifacts/:id/retry", method = "post")]
    async fn retry(&self, who: Who, id: Path<Uuid>) -> Result<Json<Artifact>, Problem> {
        let artifact = self.0.mirror.retry(ArtifactId(id.0), &who.0).await?;
        Ok(Json(self.represent(artifact).await?))
    }

    /// Supply the bytes of a file by hand
    ///
    /// For what upstream does not give to the mirror, or does not have any more. The bytes must have the checksum that was
    /// declared; where none was, a SHA-256 must be shown with them. Other bytes are refused (409) and both digests are named.
    #[oai(path = "/artifacts/:id/content", method = "put")]
    async fn fulfil(
        &self,
        who: Who,
        id: Path<Uuid>,
        /// The SHA-256 that the bytes must have, in hexadecimal; required unless a checksum was declared.
        sha256: Query<Option<String>>,
        /// The same as `sha256`.
        #[oai(name = "X-Checksum-Sha256")]
        checksum: Header<Option<String>>,
        upload: Upload,
    ) -> Result<Json<Artifact>, Problem> {
        let artifact = fulfil(&self.0, ArtifactId(id.0), &who.0, checksum.0.or(sha256.0), upload).await?;
        Ok(Json(self.represent(artifact).await?))
    }

    /// Take an artifact out of service
    ///
    /// Its bytes are kept. Clients are told the reason.
    #[oai(path = "/artifacts/:id/quarantine", method = "post")]
    async fn quarantine(
        &self,
        who: Who,
        id: Path<Uuid>,
        body: request::Json<ReasonRequest>,
    ) -> Result<Json<Artifact>, Problem> {
        let reason = body.reason()?;
        let artifact = self.0.mirror.quarantine(ArtifactId(id.0), &reason, &who.0).await?;
        Ok(Json(self.represent(artifact).await?))
    }

    /// Put an artifact back into service
    #[oai(path = "/artifacts/:id/release", method = "post")]
    async fn release(
        &self,
        who: Who,
        id: Path<Uuid>,
        body: request::Json<ReasonRequest>,
    ) -> Result<Json<Artifact>, Problem> {
        let reason = body.reason()?;
        let artifact = self.0.mirror.release(ArtifactId(id.0), &reason, &who.0).await?;
        Ok(Json(self.represent(artifact).await?))
    }
}

impl ArtifactsApi {
    async fn represent(&self, artifact: distmirror_core::Artifact) -> Result<Artifact, Problem> {
        Ok(json::artifact(self.0.mirror.catalog().as_ref(), artifact).await?)
    }
}

impl DeclareRequest {
    fn digests(&self) -> Vec<(Algorithm, String)> {
        let text = |algorithm| match algorithm {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512 => &self.sha512,
            Algorithm::Blake2b => &self.blake2b,
            Algorithm::Sha1 => &self.sha1,
            Algorithm::Md5 => &self.md5,
        };
        Algorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, text(algorithm).clone()?))).collect()
    }

    fn to_domain(&self) -> Declare {
        let Self { kind, uri, reference, platforms, integrity, reason, project, license, ticket, .. } = self;
        Declare {
            kind: kind.clone().unwrap_or_default(),
            uri: uri.clone(),
            reference: reference.clone(),
            platforms: platforms.clone().map(|words| words.0).unwrap_or_default(),
            digests: self.digests(),
            integrity: integrity.clone(),
            reason: reason.clone(),
            project: project.clone(),
            license: license.clone(),
            ticket: ticket.clone(),
        }
    }
}

impl request::Json<ReasonRequest> {
    fn reason(self) -> Result<String, Problem> {
        self.check(|body| required_text("reason", body.reason.as_deref()).map_err(Error::Invalid))
    }
}
