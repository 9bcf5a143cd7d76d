//! Watches upstream: asks again, slowly, whether what was fetched is still there and still the same.
//!
//! It never changes what is served. Only 404 and 410 mean that something is gone, and only other bytes that it has changed;
//! everything else leaves the question open.

use std::{pin::pin, sync::Arc, time::Duration};

use distmirror_core::{
    Artifact, ArtifactName, Content, Failure, Hashing, ImageName, Mirror, PartHasher, Scheme, Uri, Watch, WatchStatus,
};
use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::{Answer, FileFetcher, ImageFetcher, headers, transfer};

/// How upstream is watched.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// After how long upstream is asked again about the same artifact.
    pub every: Duration,
    /// How long to wait between two questions, whoever is asked.
    pub pause: Duration,
    /// How often to look whether there is something to ask, when there is not.
    pub poll_interval: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30 * 24 * 3600),
            pause: Duration::from_secs(2),
            poll_interval: Duration::from_secs(60),
        }
    }
}

/// Asks upstream again about what is present.
#[derive(Debug)]
pub struct UpstreamWatch {
    mirror: Arc<Mirror>,
    files: FileFetcher,
    images: ImageFetcher,
    options: WatchOptions,
}

impl UpstreamWatch {
    /// A watch over what this mirror holds, which asks as these fetchers do.
    pub fn new(mirror: Arc<Mirror>, files: FileFetcher, images: ImageFetcher, options: WatchOptions) -> Self {
        Self { mirror, files, images, options }
    }

    /// Watches until `shutdown` is ready.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let watched = tokio::select! {
                watched = self.one() => watched,
                () = &mut shutdown => return,
            };
            let pause = if watched { self.options.pause } else { self.options.poll_interval };
            tokio::select! {
                () = sleep(pause) => {}
                () = &mut shutdown => return,
            }
        }
    }

    /// Asks about the artifact that is longest due; whether there was one.
    pub async fn one(&self) -> bool {
        let before = Timestamp::now().checked_sub(self.options.every).unwrap_or(Timestamp::MIN);
        let catalog = self.mirror.catalog();
        let due = catalog.to_watch(before, 1).await;
        let Some(artifact) = due.unwrap_or_default().pop() else { return false };
        let (status, detail) = self.look(&artifact).await;
        metrics::counter!("distmirror_watched_total", "status" => status.as_str()).increment(1);
        if matches!(status, WatchStatus::Gone | WatchStatus::Changed) {
            let name = artifact.name.redacted();
            tracing::warn!(artifact = %artifact.id, name, status = status.as_str(), detail, "upstream is not as it was");
        }
        let watch = Watch { at: Timestamp::now(), status, detail };
        if let Err(error) = catalog.record_watch(artifact.id, &watch).await {
            tracing::warn!(artifact = %artifact.id, error = error.chain(), "cannot record what upstream has");
            return false;
        }
        true
    }

    async fn look(&self, artifact: &Artifact) -> (WatchStatus, String) {
        let seen = match (&artifact.name, &artifact.content) {
            (ArtifactName::File(uri), Some(content)) => self.file(uri, content).await,
            (ArtifactName::Image(name), Some(_)) => self.image(artifact, name).await,
            _ => Err(Failure::new("there is nothing to compare with")),
        };
        seen.unwrap_or_else(|failure| (WatchStatus::Unknown, failure.message))
    }

    async fn file(&self, uri: &Uri, content: &Content) -> Result<(WatchStatus, String), Failure> {
        let head = self.files.look(Method::HEAD, uri, &HeaderMap::new()).await?;
        if head.response.status() == StatusCode::OK && agrees(&head, content) {
            return Ok((WatchStatus::Same, "length and date are as they were".to_owned()));
        }
        // Some servers know no HEAD, and say strange things of it: what counts is whether the file can be had.
        let get = self.files.look(Method::GET, uri, &headers::first_byte()).await?;
        match get.response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok((WatchStatus::Gone, get.refusal().message)),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT if agrees(&get, content) => {
                Ok((WatchStatus::Same, "length and date are as they were".to_owned()))
            }
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => self.compare(uri, content).await,
            _ => Err(get.refusal()),
        }
    }

    /// Downloads it again, keeps nothing of it, and compares.
    async fn compare(&self, uri: &Uri, content: &Content) -> Result<(WatchStatus, String), Failure> {
        let answer = self.files.look(Method::GET, uri, &HeaderMap::new()).await?;
        if answer.response.status() != StatusCode::OK {
            return Err(answer.refusal());
        }
        let mut hasher = PartHasher::default();
        let limit = content.size.saturating_mul(2).max(MOST_COMPARED_BYTES);
        let (body, pace) = (answer.response.into_body(), self.files.pace());
        let size = transfer::pass(body, limit, pace, |piece| hasher.update(&piece)).await?;
        let found = hasher.finish().sha256;
        if found == content.blob() {
            return Ok((WatchStatus::Same, "downloaded again, and the bytes are the same".to_owned()));
        }
        Ok((WatchStatus::Changed, format!("upstream has {size} bytes with `{found}` now")))
    }

    async fn image(&self, artifact: &Artifact, name: &ImageName) -> Result<(WatchStatus, String), Failure> {
        let scheme = artifact.selection.as_ref().map_or(Scheme::Https, |selection| selection.scheme);
        let answer = self.images.look(name, scheme).await?;
        match answer.response.status() {
            StatusCode::OK => Ok((WatchStatus::Same, "the registry has it".to_owned())),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok((WatchStatus::Gone, answer.refusal().message)),
            _ => Err(answer.refusal()),
        }
    }
}

/// Whether what an answer tells of the file contradicts nothing that is known. An answer that tells nothing agrees with nothing.
fn agrees(answer: &Answer, content: &Content) -> bool {
    let fields = answer.response.headers();
    let date = headers::printable(fields, header::LAST_MODIFIED);
    let same_date = match (&date, &content.last_modified) {
        (Some(now), Some(then)) => now == then,
        _ => true,
    };
    headers::total(&answer.response) == Some(content.size) && same_date
}

/// At least so many bytes are looked at of what is compared.
const MOST_COMPARED_BYTES: u64 = 16 * 1024 * 1024;
