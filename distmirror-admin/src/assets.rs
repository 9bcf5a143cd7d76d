//! The style sheet and the script, compiled in. Their addresses hold a hash of their bytes, so that browsers may keep them.

use std::sync::Arc;

use distmirror_core::Sha256;
use poem::{
    Response, handler,
    http::header,
    web::{Data, Path},
};

use crate::{problem::Problem, site::Site};

/// Every asset.
#[derive(Debug)]
pub(crate) struct Assets {
    pub(crate) style: Asset,
    pub(crate) script: Asset,
    pub(crate) icon: Asset,
}

/// One file under `/static/`.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its name there.
    name: String,
    content_type: &'static str,
    bytes: &'static str,
}

impl Assets {
    pub(crate) fn embedded() -> Self {
        Self {
            style: Asset::new("style", "css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
            script: Asset::new("script", "js", "text/javascript; charset=utf-8", include_str!("../assets/script.js")),
            icon: Asset::new("icon", "svg", "image/svg+xml", include_str!("../assets/icon.svg")),
        }
    }

    fn named(&self, name: &str) -> Option<&Asset> {
        [&self.style, &self.script, &self.icon].into_iter().find(|asset| asset.name == name)
    }
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, bytes: &'static str) -> Self {
        let hash = &Sha256::of(bytes.as_bytes()).hex()[..12];
        Self { name: format!("{stem}-{hash}.{extension}"), content_type, bytes }
    }

    /// The path under which it is served.
    pub(crate) fn path(&self) -> String {
        format!("/static/{}", self.name)
    }
}

/// One of the assets.
#[handler]
pub(crate) fn serve(site: Data<&Arc<Site>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let asset = site.assets.named(&name).ok_or_else(Problem::nothing_here)?;
    Ok(Response::builder()
        .content_type(asset.content_type)
        .header(header::CACHE_CONTROL, "public, max-age=31536000, immutable")
        .body(asset.bytes))
}
