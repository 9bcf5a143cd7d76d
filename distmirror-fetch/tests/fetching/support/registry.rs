//! A registry that holds what is put into it and answers as registries do, unless a test says otherwise.

use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use distmirror_core::{Job, Scheme};
use http::{Method, header};
use testkit::{Answer, Seen, Upstream, image::Image};

use super::{image_job, sha256};

/// The registry, over http and https; dropping it stops it. Everything in it is in one repository.
pub(crate) struct Registry {
    pub(crate) upstream: Upstream,
    content: Arc<Mutex<Content>>,
}

type Script = Arc<dyn Fn(&Seen) -> Option<Answer> + Send + Sync>;

#[derive(Default)]
struct Content {
    /// Media type and bytes by path.
    held: HashMap<String, (String, Bytes)>,
    scripts: Vec<Script>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let upstream = Upstream::start(&[]).await;
        let content = Arc::new(Mutex::new(Content::default()));
        let shared = Arc::clone(&content);
        upstream.otherwise(move |request| answer(&shared, request));
        Self { upstream, content }
    }

    /// One with this image in it.
    pub(crate) async fn with(image: &Image) -> Self {
        let registry = Self::start().await;
        registry.push(image);
        registry
    }

    /// Holds this image and all below it.
    pub(crate) fn push(&self, image: &Image) {
        for (digest, bytes) in image.all_blobs() {
            self.put_blob(&digest, bytes);
        }
        for part in image.all_manifests() {
            self.put_manifest(part.digest(), part.media_type(), part.manifest().clone());
        }
    }

    /// Holds a manifest under a digest or a tag.
    pub(crate) fn put_manifest(&self, reference: &str, media_type: &str, bytes: impl Into<Bytes>) {
        self.put(&format!("manifests/{reference}"), media_type, bytes);
    }

    /// Holds a document under its own digest, and gives that.
    pub(crate) fn put_document(&self, media_type: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = sha256(&bytes).to_string();
        self.put_manifest(&digest, media_type, bytes);
        digest
    }

    /// Holds a blob under a digest, whether or not that is its own.
    pub(crate) fn put_blob(&self, digest: &str, bytes: impl Into<Bytes>) {
        self.put(&format!("blobs/{digest}"), "application/octet-stream", bytes);
    }

    /// What refers to this image, as the referrers API lists it.
    pub(crate) fn put_referrers(&self, subject: &Image, referrers: &[&Image]) {
        self.put(&format!("referrers/{}", subject.digest()), OCI_INDEX, list_of(referrers));
    }

    /// Answers requests for one thing in the repository, such as `blobs/sha256:...`, in place of what is held.
    pub(crate) fn at(&self, thing: &str, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        self.upstream.on(&path(thing), answer);
    }

    /// Is asked about every request before what is held; whoever came last is asked first.
    pub(crate) fn before_all(&self, script: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) {
        self.content.lock().unwrap().scripts.push(Arc::new(script));
    }

    /// Where it speaks http.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.upstream.http_port())
    }

    /// Where it speaks https.
    pub(crate) fn https_host(&self) -> String {
        format!("127.0.0.1:{}", self.upstream.https_port())
    }

    /// A job for an image in it, over http.
    pub(crate) fn job(&self, digest: &str, platforms: &str) -> Job {
        image_job(&self.host(), digest, platforms, Scheme::Http)
    }

    /// The same over https.
    pub(crate) fn https_job(&self, digest: &str) -> Job {
        image_job(&self.https_host(), digest, "all", Scheme::Https)
    }

    /// What was asked for, oldest first: `GET manifests/sha256:...` and the like.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.upstream.all_requests().iter().map(|request| in_words(request)).collect()
    }

    /// How often this was asked for.
    pub(crate) fn times(&self, asked: &str) -> usize {
        self.asked().iter().filter(|other| *other == asked).count()
    }

    /// The values of `Authorization` that came with requests for paths that begin so.
    pub(crate) fn authorizations(&self, path: &str) -> Vec<Option<String>> {
        let requests = self.upstream.all_requests();
        requests.iter().filter(|request| request.uri().path().starts_with(path)).map(|r| authorization(r)).collect()
    }

    fn put(&self, thing: &str, media_type: &str, bytes: impl Into<Bytes>) {
        self.content.lock().unwrap().held.insert(path(thing), (media_type.to_owned(), bytes.into()));
    }
}

/// An index that lists these as referrers.
pub(crate) fn list_of(referrers: &[&Image]) -> Vec<u8> {
    let entries: Vec<_> = referrers.iter().map(|image| image.descriptor()).collect();
    let list = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    list.to_string().into_bytes()
}

/// The credentials that came with a request.
pub(crate) fn authorization(request: &Seen) -> Option<String> {
    Some(request.headers().get(header::AUTHORIZATION)?.to_str().unwrap().to_owned())
}

fn answer(content: &Mutex<Content>, request: &Seen) -> Answer {
    let (scripts, held) = {
        let content = content.lock().unwrap();
        (content.scripts.clone(), content.held.get(request.uri().path()).cloned())
    };
    let scripted = scripts.iter().rev().find_map(|script| script(request));
    scripted.unwrap_or_else(|| match held {
        Some((media_type, bytes)) => part(request, bytes).header("content-type", &media_type),
        None => Answer::new(404),
    })
}

/// The bytes, or the rest of them that is asked for.
pub(crate) fn part(request: &Seen, bytes: Bytes) -> Answer {
    match range_start(request) {
        Some(start) if start < bytes.len() => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Answer::new(206).body(bytes.slice(start..)).header("content-range", &range)
        }
        Some(_) => Answer::new(416),
        None => Answer::ok(bytes),
    }
}

/// Where the range that is asked for starts.
pub(crate) fn range_start(request: &Seen) -> Option<usize> {
    let range = request.headers().get(header::RANGE)?.to_str().ok()?;
    let start = range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
    (request.method() == Method::GET).then_some(start)
}

fn in_words(request: &Seen) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!("{} {}", request.method(), path.strip_prefix(REPOSITORY).unwrap_or(path))
}

fn path(thing: &str) -> String {
    format!("{REPOSITORY}{thing}")
}

/// The path of the repository.
pub(crate) const REPOSITORY: &str = "/v2/team/app/";

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A port where nobody may so much as knock.
pub(crate) struct Trap(TcpListener);

impl Trap {
    pub(crate) fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether nobody connected: connections wait until they are accepted.
    pub(crate) fn is_untouched(&self) -> bool {
        self.0.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}
