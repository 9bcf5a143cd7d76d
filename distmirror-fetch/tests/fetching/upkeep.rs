//! What happens to files after they are here, and where they come from when upstream has lost them: over a catalog and a blob
//! store in memory, a real client and a loopback upstream.

use std::{sync::Arc, time::Duration};

use distmirror_core::{
    Algorithm, Artifact, ArtifactId, BlobStore, Declare, Intake, Mirror, Options, Payload, Sha256, State, Watch,
    WatchStatus,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_fetch::{
    Credentials, FetchOptions, FileFetcher, FileOptions, ImageFetcher, ImageOptions, RollingScrub, ScrubOptions,
    UpstreamClient, UpstreamWatch, WatchOptions, WorkerOptions, Workers,
};
use jiff::Timestamp;
use tempfile::TempDir;
use testkit::{Answer, Upstream};

use crate::support::options;

/// A mirror in memory that fetches for real.
struct Site {
    mirror: Arc<Mirror>,
    blobs: Arc<MemoryBlobStore>,
    intake: Intake,
    files: FileFetcher,
    images: ImageFetcher,
    _folder: TempDir,
}

impl Site {
    fn new(options: FileOptions) -> Self {
        Self::reaching(&reaching_loopback(), options)
    }

    fn reaching(client: &FetchOptions, options: FileOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(MemoryBlobStore::new());
        let mirror =
            Mirror::new(Arc::new(MemoryCatalog::new()), Arc::<MemoryBlobStore>::clone(&blobs), Options::default());
        let intake = Intake::open(folder.path(), Arc::<MemoryBlobStore>::clone(&blobs), 1 << 20).unwrap();
        let client = UpstreamClient::new(client).unwrap();
        let images = ImageFetcher::new(client.clone(), ImageOptions::default());
        let files = FileFetcher::new(client, options);
        Self { mirror: Arc::new(mirror), blobs, intake, files, images, _folder: folder }
    }

    /// Declares a file, and fetches everything that is due.
    async fn declare(&self, uri: &str, sha256: Option<&[u8]>) -> Artifact {
        let digests = sha256.map(|bytes| (Algorithm::Sha256, Sha256::of(bytes).hex())).into_iter().collect();
        let (uri, reason) = (Some(uri.to_owned()), Some("r".to_owned()));
        let id = self
            .mirror
            .declare(&Declare { uri, reason, digests, ..Declare::default() }, "a")
            .await
            .unwrap()
            .artifact
            .id;
        self.work().await;
        self.artifact(id).await
    }

    async fn work(&self) {
        let fetchers = vec![Arc::new(self.files.clone()) as Arc<dyn distmirror_core::Fetcher>];
        let workers = Workers::new(Arc::clone(&self.mirror), self.intake.clone(), fetchers, WorkerOptions::default());
        workers.run_once().await.unwrap();
    }

    async fn artifact(&self, id: ArtifactId) -> Artifact {
        self.mirror.catalog().artifact(id).await.unwrap().unwrap()
    }

    /// What stands under the name of a blob is something else from now on.
    async fn damage(&self, blob: &Sha256) {
        self.blobs.put(blob, Payload::Bytes("something else".into())).await.unwrap();
    }

    fn watch(&self) -> UpstreamWatch {
        let options = WatchOptions { every: Duration::ZERO, ..WatchOptions::default() };
        UpstreamWatch::new(Arc::clone(&self.mirror), self.files.clone(), self.images.clone(), options)
    }
}

fn reaching_loopback() -> FetchOptions {
    options(&["127.0.0.0/8"])
}

fn note(artifact: &Artifact) -> &str {
    let content = artifact.content.as_ref().expect("it is present");
    content.source.note.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn what_another_file_has_brought_is_not_asked_for_again() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/a", "the bytes");
    let site = Site::new(FileOptions::default());
    let first = site.declare(&upstream.url("/a"), None).await;
    let second = site.declare(&upstream.url("/gone"), Some(b"the bytes")).await;
    assert_eq!((first.state, second.state), (State::Present, State::Present), "{:?}", second.last_error);
    assert!(note(&second).contains("/a") && upstream.hits("/gone") == 0, "{}", note(&second));
    let other = site.declare(&upstream.url("/gone-too"), Some(b"other bytes")).await;
    assert_eq!((other.state, upstream.hits("/gone-too")), (State::Failed, 1));
}

#[tokio::test]
async fn what_lies_here_damaged_is_asked_for_again() {
    let upstream = Upstream::start(&[]).await;
    let site = Site::new(FileOptions::default());
    upstream.file("/a", "the bytes");
    upstream.file("/b", "the bytes");
    let first = site.declare(&upstream.url("/a"), None).await;
    let blob = Sha256::of(b"the bytes");
    site.blobs.put(&blob, Payload::Bytes("of damage".into())).await.unwrap();
    let second = site.declare(&upstream.url("/b"), Some(b"the bytes")).await;
    assert_eq!((second.state, upstream.hits("/b")), (State::Present, 1), "{:?}", second.last_error);
    assert_eq!(site.intake.read(&blob, 9).await.unwrap(), "the bytes", "{first:?} is mended too");
}

#[tokio::test]
async fn what_upstream_has_lost_is_rescued_by_its_digest() {
    let upstream = Upstream::start(&[]).await;
    let hex = Sha256::of(b"the bytes").hex();
    upstream.file(&format!("/wrong/{hex}"), "other bytes");
    upstream.file(&format!("/cas/sha256/{hex}"), "the bytes");
    let rescue = vec![
        upstream.url("/dead/{hex}"),
        upstream.url("/wrong/{hex}"),
        upstream.url("/cas/{algorithm}/{hex}"),
        upstream.url("/never/{hex}"),
    ];
    let site = Site::new(FileOptions { rescue, ..FileOptions::default() });
    let rescued = site.declare(&upstream.url("/lost"), Some(b"the bytes")).await;
    assert_eq!(rescued.state, State::Present, "{:?}", rescued.last_error);
    assert!(note(&rescued).contains("rescued from") && note(&rescued).contains("/cas/sha256/"), "{}", note(&rescued));
    assert_eq!(upstream.hits(&format!("/never/{hex}")), 0, "the first that has it is enough");
    let unknown = site.declare(&upstream.url("/lost-too"), None).await;
    assert_eq!(unknown.state, State::Failed, "without a checksum nothing can be rescued");
    let error = unknown.last_error.unwrap();
    assert!(error.contains("/lost-too") && error.contains("404"), "the cause is what upstream said: {error}");
}

#[tokio::test]
async fn credentials_go_to_their_host_and_not_along_a_redirect() {
    let upstream = Upstream::start(&["up.test"]).await;
    let elsewhere = upstream.url_as("localhost", "/elsewhere");
    upstream.on("/here", move |_| Answer::new(302).header("Location", &elsewhere));
    upstream.file("/elsewhere", "the bytes");
    let credentials = Credentials {
        host: format!("127.0.0.1:{}", upstream.http_port()),
        username: Some("me".to_owned()),
        secret: "hunter2".to_owned(),
        token_hosts: Vec::new(),
    };
    let site = Site::new(FileOptions { credentials: vec![credentials], ..FileOptions::default() });
    assert_eq!(site.declare(&upstream.url("/here"), None).await.state, State::Present);
    let shown = |path: &str| upstream.requests(path)[0].headers().get("authorization").cloned();
    assert_eq!(shown("/here").unwrap(), "Basic bWU6aHVudGVyMg==");
    assert_eq!(shown("/elsewhere"), None);
}

#[tokio::test]
async fn a_downgrade_is_followed_only_where_it_is_allowed_and_a_checksum_tells() {
    for (allow_downgrade, sha256, expected) in [
        (true, Some(&b"the bytes"[..]), State::Present),
        (true, None, State::Failed),
        (false, Some(&b"the bytes"[..]), State::Failed),
    ] {
        let upstream = Upstream::start(&["localhost"]).await;
        let plain = upstream.url("/plain");
        upstream.on("/secure", move |_| Answer::new(302).header("Location", &plain));
        upstream.file("/plain", "the bytes");
        let trusted_roots = vec![std::fs::read_to_string(upstream.ca_pem_path()).unwrap()];
        let client = FetchOptions { trusted_roots, ..reaching_loopback() };
        let site = Site::reaching(&client, FileOptions { allow_downgrade, ..FileOptions::default() });
        let artifact = site.declare(&upstream.https_url("/secure"), sha256).await;
        assert_eq!(artifact.state, expected, "{allow_downgrade} {:?}", artifact.last_error);
    }
}

#[tokio::test]
async fn what_a_scrub_finds_damaged_is_fetched_again() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/a", "the bytes");
    upstream.file("/b", "of another");
    let site = Site::new(FileOptions::default());
    let damaged = site.declare(&upstream.url("/a"), None).await;
    site.declare(&upstream.url("/b"), None).await;
    let blob = damaged.content.as_ref().unwrap().blob();
    site.damage(&blob).await;

    let look_only = site.mirror.begin_scrub("a", false).await.unwrap();
    let found = site.mirror.scrub(look_only, None).await.unwrap();
    assert_eq!((found.checked, found.damaged.len(), &found.damaged[0].sha256), (2, 1, &blob.hex()), "{found:?}");
    assert!(site.artifact(damaged.id).await.damage.is_none(), "a scrub that does not repair only looks");

    let options =
        ScrubOptions { every: Duration::ZERO, poll_interval: Duration::from_millis(10), ..ScrubOptions::default() };
    let rolling = RollingScrub::new(Arc::clone(&site.mirror), options);
    let until_reported = async {
        while site.artifact(damaged.id).await.damage.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), rolling.run(until_reported))
        .await
        .expect("the rolling scrub reports it");

    upstream.file("/a", "other bytes meanwhile");
    site.work().await;
    let still = site.artifact(damaged.id).await;
    assert!(
        still.damage.is_some() && still.last_error.unwrap().contains("checksum mismatch"),
        "other bytes mend nothing"
    );
    upstream.file("/a", "the bytes");
    site.mirror.retry(damaged.id, "a").await.unwrap();
    site.work().await;
    let healed = site.artifact(damaged.id).await;
    assert_eq!((healed.state, healed.damage, &healed.content), (State::Present, None, &damaged.content));
    let again = site.mirror.scrub(site.mirror.begin_scrub("a", false).await.unwrap(), None).await.unwrap();
    assert_eq!((again.damaged.len(), again.unreferenced), (0, 0), "{again:?}");
}

#[tokio::test]
async fn what_upstream_has_lost_is_looked_at_first_and_heals_from_wherever_the_same_bytes_come() {
    let upstream = Upstream::start(&[]).await;
    let site = Site::new(FileOptions::default());
    upstream.file("/lost", "the bytes");
    upstream.file("/twin", "the bytes");
    upstream.file("/newer", "of another");
    let lost = site.declare(&upstream.url("/lost"), None).await;
    let twin = site.declare(&upstream.url("/twin"), None).await;
    let newer = site.declare(&upstream.url("/newer"), None).await;
    upstream.on("/lost", |_| Answer::new(404));
    let gone = Watch { at: Timestamp::now(), status: WatchStatus::Gone, detail: "404".to_owned() };
    site.mirror.catalog().record_watch(lost.id, &gone).await.unwrap();
    for artifact in [&lost, &newer] {
        site.damage(&artifact.content.as_ref().unwrap().blob()).await;
    }
    let scrub = site.mirror.scrub(site.mirror.begin_scrub("a", true).await.unwrap(), None).await.unwrap();
    let found: Vec<ArtifactId> = scrub.damaged.iter().map(|damage| damage.artifact).collect();
    assert_eq!((found[0], scrub.checked), (lost.id, 2), "the sole copy first, and each blob once: {scrub:?}");
    assert!(found.len() == 3 && found.contains(&twin.id) && found.contains(&newer.id), "{scrub:?}");
    site.work().await;
    if site.artifact(lost.id).await.damage.is_some() {
        // Its own upstream was asked before the twin had come.
        site.mirror.retry(lost.id, "a").await.unwrap();
        site.work().await;
    }
    for id in [lost.id, twin.id, newer.id] {
        let artifact = site.artifact(id).await;
        assert_eq!((artifact.state, artifact.damage), (State::Present, None), "{:?}", artifact.last_error);
    }
}

#[tokio::test]
async fn blobs_that_belong_to_nothing_are_counted() {
    let site = Site::new(FileOptions::default());
    site.blobs.put(&Sha256::of(b"orphan"), Payload::Bytes("orphan".into())).await.unwrap();
    let scrub = site.mirror.begin_scrub("a", true).await.unwrap();
    let done = site.mirror.scrub(scrub, None).await.unwrap();
    assert_eq!((done.checked, done.unreferenced, done.damaged.len()), (0, 1, 0));
}

#[tokio::test]
async fn upstream_is_watched_and_only_404_and_410_mean_gone() {
    let site = Site::new(FileOptions::default());
    for (path, answer, expected) in [
        ("/same", None, WatchStatus::Same),
        ("/changed", Some(Answer::new(200).body("other bytes, and more")), WatchStatus::Changed),
        ("/gone", Some(Answer::new(404)), WatchStatus::Gone),
        ("/gone-for-ever", Some(Answer::new(410)), WatchStatus::Gone),
        ("/forbidden", Some(Answer::new(403)), WatchStatus::Unknown),
        ("/busy", Some(Answer::new(503)), WatchStatus::Unknown),
    ] {
        let upstream = Upstream::start(&[]).await;
        upstream.file(path, "the bytes");
        let artifact = site.declare(&upstream.url(path), None).await;
        assert_eq!(artifact.state, State::Present, "{:?}", artifact.last_error);
        if let Some(answer) = answer {
            upstream.on(path, move |_| answer.clone());
        }
        assert!(site.watch().one().await, "{path} is due");
        let watch = site.artifact(artifact.id).await.watch.expect("it was watched");
        assert_eq!(watch.status, expected, "{path}: {}", watch.detail);
    }
}

#[tokio::test]
async fn a_date_that_moved_is_looked_into_and_a_server_without_head_is_not_misread() {
    let upstream = Upstream::start(&[]).await;
    let site = Site::new(FileOptions::default());
    upstream.file_with("/moved", "the bytes", &[("Last-Modified", "Tue, 03 Mar 2020 10:00:00 GMT")]);
    let moved = site.declare(&upstream.url("/moved"), None).await;
    upstream.file_with("/moved", "the bytes", &[("Last-Modified", "Wed, 04 Mar 2020 10:00:00 GMT")]);
    site.watch().one().await;
    let watch = site.artifact(moved.id).await.watch.unwrap();
    assert_eq!(watch.status, WatchStatus::Same, "the same bytes are the same: {}", watch.detail);
    assert!(watch.detail.contains("downloaded again"), "{}", watch.detail);

    upstream.file("/headless", "the bytes too");
    let headless = site.declare(&upstream.url("/headless"), None).await;
    upstream.on("/headless", |request| match request.method().as_str() {
        "HEAD" => Answer::new(404),
        _ => Answer::new(200).body("the bytes too"),
    });
    site.watch().one().await;
    assert_eq!(site.artifact(headless.id).await.watch.unwrap().status, WatchStatus::Same);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_unknown_and_not_gone() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/a", "the bytes");
    let site = Site::new(FileOptions::default());
    let artifact = site.declare(&upstream.url("/a"), None).await;
    upstream.stop();
    site.watch().one().await;
    let watch = site.artifact(artifact.id).await.watch.unwrap();
    assert_eq!(watch.status, WatchStatus::Unknown, "{}", watch.detail);
    assert_eq!(site.artifact(artifact.id).await.state, State::Present, "nothing that is served changes");
}
