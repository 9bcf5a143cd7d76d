//! What is shown of an image: its platforms, what is inside of each, what refers to it, and how clients pull it.
//!
//! Only so much is read from the blob store as a person looks at. A blob that cannot be read costs its own place on the page
//! and nothing else.

mod document;
mod facts;
mod inside;
mod platforms;
mod pull;
mod referrers;

use distmirror_core::{Artifact, ImageName, Result};
use serde::Serialize;

use self::{
    document::Documents, facts::Facts, inside::Inside, platforms::Platforms, pull::Client, referrers::Referrers,
};
use super::command::fetch_ca;
use crate::site::Site;

#[derive(Serialize)]
pub(super) struct View {
    /// The platforms to choose from, if it is an index.
    platforms: Option<Platforms>,
    /// What the author of the index wrote to it.
    annotations: Facts,
    /// The images that are here, the first of them in detail.
    insides: Vec<Inside>,
    /// How many more there are.
    more_insides: usize,
    /// Why something of the index is not shown.
    problem: Option<String>,
    referrers: Referrers,
    clients: Vec<Client>,
    /// How to get the CA certificate that clients must trust.
    fetch_ca: String,
}

/// The image as far as it is here.
///
/// # Errors
/// The catalog's trouble.
pub(super) async fn view(site: &Site, name: &ImageName, artifact: &Artifact) -> Result<View> {
    let blobs = site.mirror.catalog().blobs(&[artifact.id]).await?.remove(&artifact.id).unwrap_or_default();
    let documents = Documents::read(&site.mirror, name, &blobs).await;
    let images: Vec<_> = documents.images().collect();
    let read = &images[..images.len().min(MOST_READ)];
    let media_type = artifact.content.as_ref().and_then(|content| content.content_type.as_deref());
    Ok(View {
        platforms: documents.is_index().then(|| Platforms::of(artifact, &blobs)),
        annotations: documents.annotations(),
        insides: inside::read(&documents, read).await,
        more_insides: images.len() - read.len(),
        problem: documents.problem.clone(),
        referrers: referrers::read(&documents, read).await?,
        clients: pull::clients(name, media_type, &site.options.proxy_address),
        fetch_ca: fetch_ca(&site.options.proxy_address),
    })
}

/// How many manifests of images, and of what refers to them, are read for one page.
const MOST_READ: usize = 20;
/// How many of them are read at a time.
const READ_AT_ONCE: usize = 4;
/// How many rows a table has.
const MOST_ROWS: usize = 500;
