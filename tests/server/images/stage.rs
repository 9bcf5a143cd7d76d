//! Images in real registries, and a server that may fetch them.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use testkit::{Registry, RegistryOptions, image::Image, registry};

use super::faces::Face;
use crate::support::{Backends, Server};

/// An image in a repository, under the name by which clients reach the registry through the proxy.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    /// `LOCALHOST:PORT`
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) image: Image,
}

impl Pinned {
    /// Puts an image into a registry.
    pub(super) async fn push(registry: &Registry, repository: &str, image: Image, tags: &[&str]) -> Self {
        registry.push(repository, &image, tags).await;
        Self { registry: registry.proxied_host(), repository: repository.to_owned(), image }
    }

    /// As people write it.
    pub(super) fn reference(&self) -> String {
        format!("{}/{}@{}", self.registry, self.repository, self.image.digest())
    }

    /// As the mirror writes it.
    pub(super) fn canonical(&self) -> String {
        self.reference().to_lowercase()
    }

    /// The path of the manifest after `/v2/`.
    pub(super) fn manifest_path(&self) -> String {
        format!("{}/manifests/{}", self.repository, self.image.digest())
    }

    /// The path of a blob after `/v2/`.
    pub(super) fn blob_path(&self, digest: &str) -> String {
        format!("{}/blobs/{digest}", self.repository)
    }

    /// The digests of the layers, the lowest first.
    pub(super) fn layers(&self) -> Vec<String> {
        let layers = self.image.document()["layers"].as_array().expect("an image has layers");
        layers.iter().map(|layer| layer["digest"].as_str().expect("a digest is text").to_owned()).collect()
    }

    /// What the API says of it when it is here with everything that belongs to it.
    pub(super) fn assert_present(&self, artifact: &Value) {
        assert_eq!(artifact["state"], "present", "{artifact}");
        let registry = self.registry.to_lowercase();
        for (field, expected) in [
            ("kind", "image"),
            ("trust", "verified"),
            ("reference", &self.canonical()),
            ("registry", &registry),
            ("repository", &self.repository),
            ("digest", self.image.digest()),
            ("media_type", self.image.media_type()),
        ] {
            assert_eq!(artifact[field], expected, "{field}: {artifact}");
        }
        let listed = artifact["blobs"].as_array().expect("a list of blobs").iter();
        let listed: BTreeSet<&str> = listed.filter_map(|blob| blob["digest"].as_str()).collect();
        let blobs = self.image.all_blobs();
        let manifests = self.image.all_manifests().into_iter().map(Image::digest);
        for digest in blobs.keys().map(String::as_str).chain(manifests) {
            assert!(listed.contains(digest), "{digest} is not listed: {artifact}");
        }
    }
}

/// A registry with TLS, and a server over SQLite and a folder that fetches from it.
pub(super) struct Stage {
    pub(super) registry: Registry,
    pub(super) server: Server,
}

impl Stage {
    pub(super) async fn set() -> Self {
        let registry = secure_registry().await;
        let server = Server::start(Backends::embedded, &registry).await;
        Self { registry, server }
    }

    /// Puts an image into the registry.
    pub(super) async fn push(&self, repository: &str, image: Image) -> Pinned {
        Pinned::push(&self.registry, repository, image, &[]).await
    }

    /// Puts an image into the registry, declares it, and waits until it is here.
    pub(super) async fn hold(&self, repository: &str, image: Image) -> (Pinned, Value) {
        let pinned = self.push(repository, image).await;
        let declared = self.server.declare_image(&pinned.reference(), Value::Null).await;
        let artifact = self.server.wait_for(&declared, "present").await;
        (pinned, artifact)
    }

    /// Every way to ask for what the registry has.
    pub(super) async fn faces(&self) -> [Face; 4] {
        Face::all(&self.server, &self.registry.proxied_host()).await
    }
}

/// A registry with TLS, for everybody.
pub(super) async fn secure_registry() -> Registry {
    registry(RegistryOptions { tls: true, ..Default::default() }).await
}

/// An index for two platforms.
pub(super) fn two_platforms(seed: &str) -> Image {
    let arm64 = Image::oci(seed).platform("linux/arm64").label("of", "arm64").layer_bytes(5000);
    Image::index(&[Image::oci(seed).build(), arm64.build()])
}

/// The list that stands in for the referrers API, with the tag under which it is pushed.
pub(super) fn referrers_list(subject: &Image, referrers: &[&Image]) -> (Image, String) {
    let entries: Vec<Value> = referrers.iter().map(|referrer| referrer.descriptor()).collect();
    let list = Image::index(&[]).edited(|list| list["manifests"] = json!(entries));
    (list, subject.digest().replace(':', "-"))
}

/// skopeo writes each blob to a file that its digest names, and manifests with an ending.
pub(super) fn assert_copied(image: &Image, folder: &Path) {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    assert!(read("manifest.json") == *image.manifest(), "{}", image.digest());
    for part in image.all_manifests().iter().filter(|part| part.digest() != image.digest()) {
        assert!(read(&format!("{}.manifest.json", hex(part.digest()))) == *part.manifest(), "{}", part.digest());
    }
    for (digest, bytes) in image.all_blobs() {
        assert!(read(&hex(&digest)) == bytes, "{digest}");
    }
}
