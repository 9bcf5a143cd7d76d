//! The fetcher for container images: manifests byte for byte, then every config and layer, then what refers to them.
//!
//! An image is fetched as a whole or not at all: the first part that cannot be had fails the attempt. What came until then is
//! verified and stays in the blob store, where no catalog names it, and is not fetched again by the next attempt. Addresses
//! that documents name (`urls`) are never followed, and data in them (`data`) is never used.

mod choose;
mod part;
mod slots;
mod tree;

use std::sync::Arc;

use async_trait::async_trait;
use distmirror_core::{
    ArtifactName, Content, Digests, Failure, Fetched, Fetcher, ImageName, ImageReference, Intake, Job, Kind, Platform,
    ProgressMeter, ResolvedTag, Scheme, Sha256, TagResolver,
    image::manifest::{Manifest, Parts},
};

use self::{slots::Slots, tree::Tree};
use crate::{Answer, Credentials, UpstreamClient, registry::Session};

/// How images are fetched.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// Who may sign in where.
    pub credentials: Vec<Credentials>,
    /// How many parts come from one registry at a time, of all images together.
    pub per_registry: usize,
    /// Whether what refers to an image comes along: signatures, lists of materials, attestations.
    pub referrers: bool,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self { credentials: Vec::new(), per_registry: 4, referrers: true }
    }
}

/// Fetches images.
#[derive(Debug, Clone)]
pub struct ImageFetcher {
    client: UpstreamClient,
    options: ImageOptions,
    /// Shared by clones.
    slots: Arc<Slots>,
}

impl ImageFetcher {
    /// A fetcher that asks through this client.
    pub fn new(client: UpstreamClient, options: ImageOptions) -> Self {
        let slots = Arc::new(Slots::new(options.per_registry));
        Self { client, options, slots }
    }

    /// Asks whether the registry still has the image.
    pub(crate) async fn look(&self, name: &ImageName, scheme: Scheme) -> Result<Answer, Failure> {
        Session::new(&self.client, &self.options.credentials, name.repository(), scheme).look(name.digest()).await
    }

    async fn bring(
        &self,
        job: &Job,
        name: &ImageName,
        intake: &Intake,
        meter: &ProgressMeter,
    ) -> Result<Fetched, Failure> {
        let selection = job.artifact.selection.clone();
        let selection = selection.ok_or_else(|| Failure::new("nobody said which platforms are wanted"))?;
        // If it has nothing of what is wanted, that is to be told again.
        let wanted = Some(selection.to_be_had()).filter(|wanted| !wanted.is_empty()).unwrap_or(selection.wanted);
        let session = Session::new(&self.client, &self.options.credentials, name.repository(), selection.scheme);
        let mut tree = Tree::new(&session, intake, meter);
        let sent = session.manifest(&name.digest().to_string()).await?;
        let (content_type, source) = (sent.content_type.clone(), sent.source.clone());
        let bytes = sent.bytes.clone();
        let root = tree.root(name.digest(), sent).await?;
        tree.grow(&root, &wanted).await?;
        if self.options.referrers {
            tree.add_referrers().await?;
        }
        let blobs = tree.finish(&wanted, &self.slots).await?;
        // Computed again over at most 4 MiB: all of them are told of an artifact's own bytes.
        let digests = Digests::of(&bytes);
        let content = Content {
            digests,
            size: bytes.len() as u64,
            content_type: Some(root.media_type).or(content_type),
            content_disposition: None,
            content_encoding: None,
            last_modified: None,
            source,
        };
        Ok(Fetched { content, blobs, platforms: Some(wanted) })
    }
}

#[async_trait]
impl Fetcher for ImageFetcher {
    fn kind(&self) -> Kind {
        Kind::Image
    }

    async fn fetch(&self, job: &Job, intake: &Intake, meter: &ProgressMeter) -> Result<Fetched, Failure> {
        match &job.artifact.name {
            ArtifactName::Image(name) => self.bring(job, name, intake, meter).await,
            other => Err(Failure::new(format!("`{other}` is no image"))),
        }
    }
}

#[async_trait]
impl TagResolver for ImageFetcher {
    async fn resolve(&self, reference: &ImageReference) -> Result<ResolvedTag, Failure> {
        let scheme = reference.scheme.unwrap_or(Scheme::Https);
        let session = Session::new(&self.client, &self.options.credentials, &reference.repository, scheme);
        let tag = reference.tag.as_deref().unwrap_or(LATEST);
        let sent = session.manifest(tag).await?;
        let manifest = Manifest::parse(&sent.bytes, sent.content_type.as_deref())
            .map_err(|problem| Failure::new(format!("what `{tag}` names {problem}")))?;
        let platforms = match &manifest.parts {
            Parts::Index(entries) => entries.iter().filter_map(|entry| entry.platform.clone()).collect(),
            Parts::Image { .. } => Vec::new(),
        };
        Ok(ResolvedTag {
            name: ImageName::new(reference.repository.clone(), Sha256::of(&sent.bytes).into()),
            tag: tag.to_owned(),
            media_type: manifest.media_type,
            platforms: platforms.into_iter().filter(|platform: &Platform| !platform.is_unknown()).collect(),
        })
    }
}

/// The tag that is meant when none is written.
const LATEST: &str = "latest";
