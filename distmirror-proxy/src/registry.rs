//! Answers as a registry: the pull half of the OCI distribution specification, over what the mirror holds.
//!
//! Nobody is ever asked who they are. An undeclared registry or repository is refused with 403, because clients show the text
//! of that and not the one of 404; within a repository that is on record, what is not there is 404.

use std::collections::BTreeMap;

use distmirror_core::{
    ArtifactName, Held, ImageName, Registry, Repository, Resolution, StoredBlob, Uri,
    image::manifest::{self, Manifest},
    mirror::Part,
};
use http::{HeaderValue, Method, Response, request::Parts};
use serde::Serialize;

use crate::{
    body::Body,
    connection::Connection,
    face::{RegistryRequest, Wanted, registry::uri_of_tag},
    metrics::answered,
    refusal::{API_VERSION, Code, Refusal},
    site,
};

/// Answers what is asked of a registry.
pub(crate) async fn answer(
    connection: &Connection,
    parts: &Parts,
    request: &RegistryRequest,
) -> Result<Response<Body>, Refusal> {
    let desk = Desk { connection, parts };
    let refusal = match desk.wanted(request).await {
        Ok(mut response) => {
            let fields = response.headers_mut();
            fields.insert(API_VERSION.0, HeaderValue::from_static(API_VERSION.1));
            let namespace = request.registry.as_ref().filter(|_| request.by_namespace);
            let namespace = namespace.and_then(|registry| HeaderValue::from_str(registry.as_str()).ok());
            namespace.into_iter().for_each(|registry| drop(fields.insert("oci-namespace", registry)));
            return Ok(response);
        }
        Err(refusal) => refusal,
    };
    // A file may lie at any path, also at one that looks like a registry's.
    if let Some(uri) = request.file.as_ref().filter(|_| refusal.code.is_absence()) {
        let name = ArtifactName::File(uri.clone());
        let resolution = connection.shared.mirror.resolve(&name).await;
        match resolution.map_err(|error| Refusal::from(error).about(&name).of_registry())? {
            Resolution::Present(held) => return connection.hit(parts, &held).await,
            Resolution::Withheld(artifact) => return Err(connection.withheld(&artifact)),
            Resolution::Undeclared | Resolution::NotInRepository | Resolution::Unfetched(..) => {}
        }
    }
    desk.record(&request.wanted, refusal.code);
    Err(refusal.of_registry())
}

/// Answers at the URI at which clients of a registry get tokens. Some insist on one before they ask for anything; it opens
/// nothing, since nothing is locked.
pub(crate) async fn token(
    connection: &Connection,
    parts: &Parts,
    registry: &Registry,
    uri: Uri,
) -> Result<Response<Body>, Refusal> {
    let name = ArtifactName::File(uri);
    let is_declared = connection.shared.mirror.has_images(registry, None).await?;
    if !is_declared || !matches!(connection.shared.mirror.resolve(&name).await?, Resolution::Undeclared) {
        return connection.artifact(parts, &[name]).await;
    }
    Ok(json(DUMMY_TOKEN))
}

/// Who answers one request.
struct Desk<'a> {
    connection: &'a Connection,
    parts: &'a Parts,
}

impl Desk<'_> {
    async fn wanted(&self, request: &RegistryRequest) -> Result<Response<Body>, Refusal> {
        match &request.wanted {
            Wanted::Support => self.support(request.registry.as_ref()).await,
            Wanted::Manifest(name) => self.part(name, Part::Manifest).await,
            Wanted::Blob(name) => self.part(name, Part::Blob).await,
            Wanted::Tag(repository, tag) => Err(self.tag(repository, tag).await?),
            Wanted::Tags(repository) => self.tags(repository).await,
            Wanted::Referrers(subject, of_type) => self.referrers(subject, of_type.as_deref()).await,
            Wanted::Other => {
                Err(Refusal::new(Code::NoSuchPage, "this registry does not do that: it serves pulls by digest"))
            }
            Wanted::Malformed(code, problem) => Err(Refusal::new(*code, problem.clone())),
        }
    }

    async fn support(&self, registry: Option<&Registry>) -> Result<Response<Body>, Refusal> {
        match registry {
            // Clients that announce the protocol ask for it first, and show nobody what stands in a refusal of that: they are to
            // come as far as the manifest, which is refused in words and recorded.
            Some(_) if self.parts.headers.contains_key(API_VERSION.0) => Ok(json("{}")),
            Some(registry) if !self.connection.shared.mirror.has_images(registry, None).await? => {
                Err(self.denied(&format!("{registry}/")))
            }
            _ => Ok(json("{}")),
        }
    }

    async fn part(&self, name: &ImageName, part: Part) -> Result<Response<Body>, Refusal> {
        let resolution = self.connection.shared.mirror.resolve_part(name, part).await;
        match resolution.map_err(|error| Refusal::from(error).about(name))? {
            Resolution::Present(held) => self.hit(&held).await,
            Resolution::Withheld(artifact) => Err(self.connection.withheld(&artifact)),
            Resolution::Undeclared => Err(self.denied(name.as_str())),
            Resolution::NotInRepository => Err(self.unknown(name, part)),
            Resolution::Unfetched(artifact, platform) => {
                let platform = platform.map(|platform| format!(" {platform}")).unwrap_or_default();
                let detail = format!(
                    "it is the platform{platform} of `{}`, which was declared without it: its page adds it with one click",
                    artifact.name
                );
                let refusal = Refusal::new(Code::ManifestUnknown, detail).about(name);
                Err(refusal.linked(artifact.id, &self.connection.shared.options.admin_url))
            }
        }
    }

    async fn hit(&self, held: &Held) -> Result<Response<Body>, Refusal> {
        let mut response = self.connection.hit(self.parts, held).await?;
        if let Ok(digest) = HeaderValue::from_str(&held.digest.to_string()) {
            response.headers_mut().insert("docker-content-digest", digest);
        }
        Ok(response)
    }

    /// No tag is ever served: what it names would change. Says what to do instead.
    async fn tag(&self, repository: &Repository, tag: &str) -> Result<Refusal, Refusal> {
        let reference = format!("{repository}:{tag}");
        if !self.is_declared(repository).await? {
            return Ok(self.denied(&reference));
        }
        let detail =
            format!("what a tag names changes, so that there are digests only: pin it as {repository}@sha256:HEX");
        let refusal = Refusal::new(Code::ManifestUnknown, detail).about(&reference);
        Ok(refusal.declared_at(&reference, &self.connection.shared.options.admin_url))
    }

    async fn tags(&self, repository: &Repository) -> Result<Response<Body>, Refusal> {
        if !self.is_declared(repository).await? {
            return Err(self.denied(&repository.to_string()));
        }
        Ok(json(serde_json::json!({"name": repository.path(), "tags": []}).to_string()))
    }

    async fn referrers(&self, subject: &ImageName, of_type: Option<&str>) -> Result<Response<Body>, Refusal> {
        if !self.is_declared(subject.repository()).await? {
            return Err(self.denied(subject.as_str()));
        }
        let mirror = &self.connection.shared.mirror;
        // Of what is not here yet nobody knows what refers to it.
        if let Resolution::Withheld(artifact) = mirror.resolve_part(subject, Part::Manifest).await? {
            return Err(self.connection.withheld(&artifact));
        }
        let mut entries = Vec::new();
        for blob in mirror.referrers(subject).await?.into_iter().take(MAX_REFERRERS) {
            let entry = Entry::read(&blob, &mirror.read(&blob).await?);
            entries.extend(entry.filter(|entry| of_type.is_none() || entry.artifact_type.as_deref() == of_type));
        }
        let index = Index { schema_version: 2, media_type: manifest::OCI_INDEX, manifests: entries };
        let body = serde_json::to_vec(&index).map_err(|error| Refusal::bad_request(error.to_string()))?;
        let mut response = typed(manifest::OCI_INDEX, body);
        if of_type.is_some() {
            response.headers_mut().insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }

    async fn is_declared(&self, repository: &Repository) -> Result<bool, Refusal> {
        let mirror = &self.connection.shared.mirror;
        Ok(mirror.has_images(repository.registry(), Some(repository.path())).await?)
    }

    fn denied(&self, reference: &str) -> Refusal {
        Refusal::denied(reference, &self.connection.shared.options.admin_url)
    }

    fn unknown(&self, name: &ImageName, part: Part) -> Refusal {
        match part {
            Part::Manifest => {
                let detail = "other images of this repository were declared, and this one was not";
                let refusal = Refusal::new(Code::ManifestUnknown, detail).about(name);
                refusal.declared_at(name.as_str(), &self.connection.shared.options.admin_url)
            }
            Part::Blob => {
                Refusal::new(Code::BlobUnknown, "no declared image of this repository has such a blob").about(name)
            }
        }
    }

    /// Records what can be declared, or would be by another name. Clients ask for blobs only after the manifest.
    fn record(&self, wanted: &Wanted, code: Code) {
        if !matches!(self.parts.method, Method::GET | Method::HEAD)
            || !matches!(code, Code::Denied | Code::ManifestUnknown)
        {
            return;
        }
        let name = match wanted {
            Wanted::Manifest(name) => Some(ArtifactName::Image(name.clone())),
            Wanted::Tag(repository, tag) => uri_of_tag(repository, tag).map(ArtifactName::File),
            _ => None,
        };
        let mirror = &self.connection.shared.mirror;
        name.into_iter().for_each(|name| mirror.missed(self.connection.miss(&name, self.parts)));
    }
}

/// The answer to a question for referrers (OCI distribution specification, "Listing Referrers").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Entry {
    fn read(blob: &StoredBlob, bytes: &[u8]) -> Option<Self> {
        let manifest = Manifest::parse(bytes, blob.media_type.as_deref()).ok()?;
        let artifact_type = manifest.listed_type().map(str::to_owned);
        let Manifest { media_type, annotations, .. } = manifest;
        Some(Self { media_type, digest: blob.digest.to_string(), size: blob.size, artifact_type, annotations })
    }
}

fn json(body: impl Into<bytes::Bytes>) -> Response<Body> {
    typed("application/json", body)
}

fn typed(content_type: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    answered("registry", site::typed(content_type, body))
}

/// What whoever insists on a token gets: always the same, for nothing.
const DUMMY_TOKEN: &str =
    r#"{"token":"distmirror-needs-none","access_token":"distmirror-needs-none","expires_in":3600}"#;

/// How many referrers are listed.
const MAX_REFERRERS: usize = 1000;
