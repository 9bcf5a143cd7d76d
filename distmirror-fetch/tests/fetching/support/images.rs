//! A place to fetch images into, which looks at every byte that came.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use distmirror_core::{
    ArtifactName, BlobStore, Digests, Failure, Fetched, Fetcher, ImageName, Intake, Job, Platform, PlatformChoice,
    ProgressMeter, Role, Scheme, Selection, Sha256, StoredBlob, memory::MemoryBlobStore,
};
use distmirror_fetch::{Credentials, FetchOptions, ImageFetcher, ImageOptions, UpstreamClient};
use futures::TryStreamExt;
use tempfile::TempDir;
use testkit::image::Image;

use super::{LIMIT_BYTES, Registry, job, options};

/// What fetches images into memory. Whatever comes of a fetch, no blob has other bytes than its name says, and no failure
/// shows a secret.
pub(crate) struct ImagePlace {
    pub(crate) blobs: Arc<MemoryBlobStore>,
    pub(crate) fetcher: ImageFetcher,
    intake: Intake,
    folder: Arc<TempDir>,
}

impl ImagePlace {
    /// One that may reach loopback, and leaves out what refers to an image.
    pub(crate) fn new() -> Self {
        Self::with(&reaching_loopback(), image_options())
    }

    /// One that trusts these registries and has these credentials.
    pub(crate) fn trusting(registries: &[&Registry], credentials: Vec<Credentials>) -> Self {
        let certificate = |registry: &&Registry| std::fs::read_to_string(registry.upstream.ca_pem_path()).unwrap();
        let trusted_roots = registries.iter().map(certificate).collect();
        let options = FetchOptions { trusted_roots, ..reaching_loopback() };
        Self::with(&options, ImageOptions { credentials, ..image_options() })
    }

    /// One that brings along what refers to an image.
    pub(crate) fn with_referrers() -> Self {
        Self::with(&reaching_loopback(), ImageOptions::default())
    }

    pub(crate) fn with(options: &FetchOptions, images: ImageOptions) -> Self {
        let fetcher = ImageFetcher::new(UpstreamClient::new(options).unwrap(), images);
        let (blobs, folder) = (Arc::new(MemoryBlobStore::new()), Arc::new(tempfile::tempdir().unwrap()));
        Self::open(blobs, fetcher, folder, LIMIT_BYTES)
    }

    /// The same place after the process was started again.
    pub(crate) fn again(&self) -> Self {
        let (blobs, folder) = (Arc::clone(&self.blobs), Arc::clone(&self.folder));
        Self::open(blobs, self.fetcher.clone(), folder, self.intake.max_bytes())
    }

    /// The same place, with another limit on what is let in.
    pub(crate) fn limited_to(self, bytes: u64) -> Self {
        Self::open(self.blobs, self.fetcher, self.folder, bytes)
    }

    fn open(blobs: Arc<MemoryBlobStore>, fetcher: ImageFetcher, folder: Arc<TempDir>, max_bytes: u64) -> Self {
        let store: Arc<dyn BlobStore> = Arc::<MemoryBlobStore>::clone(&blobs);
        let intake = Intake::open(folder.path(), store, max_bytes).unwrap();
        Self { blobs, fetcher, intake, folder }
    }

    pub(crate) async fn fetch(&self, job: &Job) -> Result<Fetched, Failure> {
        self.fetch_measured(job, &ProgressMeter::default()).await
    }

    pub(crate) async fn fetch_measured(&self, job: &Job, meter: &ProgressMeter) -> Result<Fetched, Failure> {
        let outcome = self.fetcher.fetch(job, &self.intake, meter).await;
        self.check_blobs().await;
        match &outcome {
            Ok(fetched) => self.check_named(fetched).await,
            Err(failure) => check_no_secret(&failure.message),
        }
        outcome
    }

    /// Fetches all of an image over http, and returns why that failed.
    pub(crate) async fn failure(&self, registry: &Registry, digest: &str) -> Failure {
        self.fetch(&registry.job(digest, "all")).await.expect_err(digest)
    }

    /// Leaves bytes in the spool, as a transfer of this part that was killed does.
    pub(crate) fn spool(&self, digest: &str, bytes: &[u8]) {
        let file = self.folder.path().join(digest.replace(':', "-"));
        std::fs::write(file.with_extension("part"), bytes).unwrap();
        let mark = format!("{digest}\n{:020} {}", bytes.len(), Sha256::of(bytes).hex());
        std::fs::write(file.with_extension("validator"), mark).unwrap();
    }

    /// How many files lie in the spool.
    pub(crate) fn spooled_files(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count()
    }

    /// How many bytes lie in the spool.
    pub(crate) fn spooled_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.map(|file| file.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
    }

    /// The bytes of a blob that is here.
    pub(crate) async fn bytes(&self, blob: &Sha256) -> Bytes {
        let size = self.blobs.stat(blob).await.unwrap().unwrap_or_else(|| panic!("{blob} is not here"));
        self.intake.read(blob, size).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn check_blobs(&self) {
        for stat in self.blobs.list().try_collect::<Vec<_>>().await.unwrap() {
            self.bytes(&stat.blob).await;
        }
    }

    async fn check_named(&self, fetched: &Fetched) {
        for named in fetched.blobs.iter().filter(|named| named.role != Role::Unfetched) {
            let bytes = self.bytes(&named.blob).await;
            assert!(Digests::of(&bytes).matches(&named.digest), "{named:?}");
            assert_eq!(bytes.len() as u64, named.size, "{named:?}");
        }
    }
}

/// May reach loopback, and has all the time that a busy machine needs.
pub(crate) fn reaching_loopback() -> FetchOptions {
    let time = Duration::from_secs(10);
    FetchOptions { connect_timeout: time, idle_timeout: time, ..options(&["127.0.0.0/8", "::1"]) }
}

pub(crate) fn image_options() -> ImageOptions {
    ImageOptions { referrers: false, ..ImageOptions::default() }
}

/// A job for the image with this digest, in the one repository that there is.
pub(crate) fn image_job(host: &str, digest: &str, platforms: &str, scheme: Scheme) -> Job {
    let mut job = job("https://placeholder.test/");
    job.artifact.name = ArtifactName::Image(ImageName::parse(&format!("{host}/team/app@{digest}")).unwrap());
    job.artifact.selection =
        Some(Selection { wanted: platforms.parse().unwrap(), held: None, lacking: PlatformChoice::default(), scheme });
    job
}

/// Credentials for this host, with a name and [`PASSWORD`].
pub(crate) fn credentials(host: &str) -> Credentials {
    Credentials {
        host: host.to_owned(),
        username: Some("me".to_owned()),
        secret: PASSWORD.to_owned(),
        token_hosts: Vec::new(),
    }
}

/// The digests of an image's layers, as its manifest has them.
pub(crate) fn layers(image: &Image) -> Vec<String> {
    let layers = image.document()["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// One line for each of these, in an order of its own.
pub(crate) fn in_lines(blobs: &[StoredBlob]) -> Vec<String> {
    let mut lines: Vec<_> = blobs
        .iter()
        .map(|blob| {
            let platform = blob.platform.as_ref().map(Platform::to_string);
            let subject = blob.subject.map(|subject| subject.to_string());
            let media_type = blob.media_type.as_deref().unwrap_or("-");
            line(blob.role.as_str(), &blob.digest.to_string(), blob.size, media_type, platform, subject)
        })
        .collect();
    lines.sort();
    lines
}

/// The same for all that the documents of an image name, without looking at it through our own code.
pub(crate) fn lines_of(images: &[&Image]) -> Vec<String> {
    let mut lines: Vec<_> = images.iter().flat_map(|image| image.all_manifests()).flat_map(lines_of_one).collect();
    lines.sort();
    lines.dedup();
    lines
}

fn lines_of_one(image: &Image) -> Vec<String> {
    let document = image.document();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let role = if document["manifests"].is_array() { "index" } else { "manifest" };
    let size = image.manifest().len() as u64;
    let subject = text(&document["subject"]["digest"]);
    let own = line(role, image.digest(), size, image.media_type(), platform(image), subject);
    let config = document.get("config").map(|config| ("config", config));
    let layers = document["layers"].as_array().into_iter().flatten().map(|layer| ("layer", layer));
    let parts = config.into_iter().chain(layers).map(|(role, part)| {
        let [digest, media_type] = ["digest", "mediaType"].map(|name| part[name].as_str().unwrap());
        line(role, digest, part["size"].as_u64().unwrap(), media_type, None, None)
    });
    parts.chain([own]).collect()
}

/// What an image runs on, as its configuration says.
fn platform(image: &Image) -> Option<String> {
    let config = image.blobs().get(image.document()["config"]["digest"].as_str()?)?;
    let config: serde_json::Value = serde_json::from_slice(config).unwrap();
    let parts = ["os", "architecture", "variant"].map(|name| config[name].as_str());
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join("/")).filter(|platform| !platform.is_empty())
}

fn line(
    role: &str,
    digest: &str,
    size: u64,
    media_type: &str,
    platform: Option<String>,
    subject: Option<String>,
) -> String {
    let [platform, subject] = [platform, subject].map(|text| text.unwrap_or_else(|| "-".to_owned()));
    format!("{role} {digest} {size} {media_type} {platform} {subject}")
}

/// Panics if the text has any secret in it that these tests know.
pub(crate) fn check_no_secret(text: &str) {
    let basic = STANDARD.encode(format!("me:{PASSWORD}"));
    for secret in [PASSWORD, TOKEN, &basic] {
        assert!(!text.contains(secret), "`{secret}` is shown: {text}");
    }
}

/// The password of every sign-in.
pub(crate) const PASSWORD: &str = "hunter2 : & %";
/// The token that lets somebody in.
pub(crate) const TOKEN: &str = "open.sesame-7";
