//! What every handler shares: the mirror, the options, the templates and the assets.

use std::sync::Arc;

use distmirror_core::{Artifact, ArtifactId, Error as CoreError, Mirror};
use tokio::sync::Mutex;
use url::Url;

use crate::{Error, Metrics, Options, Result, assets::Assets, pages::Templates};

/// One admin site.
pub(crate) struct Site {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    pub(crate) assets: Assets,
    pub(crate) templates: Templates,
    /// The host of `public_url`, with its port unless that is the default one.
    pub(crate) public_host: Option<String>,
    /// Held while a scrub is started, so that no two are at once.
    pub(crate) scrub_starts: Mutex<()>,
}

impl Site {
    pub(crate) fn new(mirror: Arc<Mirror>, options: Options, metrics: Metrics) -> Result<Self> {
        let public_host = options.public_url.as_deref().map(authority).transpose()?;
        let assets = Assets::embedded();
        let templates = Templates::new(&assets)?;
        Ok(Self { mirror, options, metrics, assets, templates, public_host, scrub_starts: Mutex::default() })
    }

    /// The artifact with this id.
    ///
    /// # Errors
    /// [`CoreError::NotFound`], or the catalog's trouble.
    pub(crate) async fn artifact(&self, id: ArtifactId) -> distmirror_core::Result<Artifact> {
        let found = self.mirror.catalog().artifact(id).await?;
        found.ok_or_else(|| CoreError::NotFound { what: "artifact", id: id.to_string() })
    }
}

fn authority(url: &str) -> Result<String> {
    let parsed = Url::parse(url).ok().filter(|parsed| matches!(parsed.scheme(), "http" | "https"));
    let authority = parsed.as_ref().filter(|parsed| parsed.has_host()).map(|parsed| match parsed.port() {
        Some(port) => format!("{}:{port}", parsed.host_str().unwrap_or_default()),
        None => parsed.host_str().unwrap_or_default().to_owned(),
    });
    authority.ok_or_else(|| Error::PublicUrl { url: url.to_owned() })
}
