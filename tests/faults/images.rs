//! Images: declared, fetched and pulled part by part; and with more platforms than before.

use bytes::Bytes;
use distmirror_core::{Declare, ImageName, Result, State, mirror::Part};
use testkit::{Upstream, image::Image};

use crate::{
    every::{Flow, every_fault, every_fault_on_disk},
    site::{Asked, Site},
};

/// An image for two platforms, in a registry.
struct Pushed {
    upstream: Upstream,
    image: Image,
}

impl Pushed {
    async fn new() -> Self {
        let platforms = ["linux/amd64", "linux/arm64"];
        let each =
            platforms.map(|platform| Image::oci(platform).layers(2).layer_bytes(1000).platform(platform).build());
        let pushed = Self { upstream: Upstream::start(&[]).await, image: Image::index(&each) };
        for manifest in pushed.image.all_manifests() {
            let path = format!("/v2/team/app/manifests/{}", manifest.digest());
            pushed.upstream.file_with(&path, manifest.manifest().clone(), &[("content-type", manifest.media_type())]);
        }
        for (digest, bytes) in pushed.image.all_blobs() {
            pushed.upstream.file(&format!("/v2/team/app/blobs/{digest}"), bytes);
        }
        pushed
    }

    fn name(&self, digest: &str) -> ImageName {
        ImageName::parse(&self.reference(digest)).unwrap()
    }

    fn reference(&self, digest: &str) -> String {
        format!("127.0.0.1:{}/team/app@{digest}", self.upstream.http_port())
    }

    /// Every part of an image and of all below it.
    fn parts(&self, image: &Image) -> Vec<(Asked, Bytes)> {
        let manifests = image
            .all_manifests()
            .into_iter()
            .map(|manifest| (Asked::Part(self.name(manifest.digest()), Part::Manifest), manifest.manifest().clone()));
        let blobs = image.all_blobs().into_iter();
        manifests.chain(blobs.map(|(digest, bytes)| (Asked::Part(self.name(&digest), Part::Blob), bytes))).collect()
    }

    fn allow(&self, site: &Site) {
        self.parts(&self.image).into_iter().for_each(|(asked, bytes)| site.expect(asked, bytes));
    }

    async fn declare(&self, site: &Site, platforms: &str) -> Result<()> {
        let wanted = Declare {
            reference: Some(format!("http://{}", self.reference(self.image.digest()))),
            platforms: vec![platforms.to_owned()],
            reason: Some(platforms.to_owned()),
            ..Declare::default()
        };
        site.declare(&wanted).await.map(drop)
    }

    /// Pulls the manifest of an image; the rest goes the same way.
    async fn pull(&self, site: &Site, image: &Image) -> Result<()> {
        site.read(&Asked::Part(self.name(image.digest()), Part::Manifest)).await.map(drop)
    }

    async fn check_present(&self, site: &Site) {
        let name = self.name(self.image.digest());
        let artifact = site.catalog.named(&name.manifest_key()).await.unwrap().unwrap();
        assert_eq!(artifact.state, State::Present, "{}: {artifact:?}", site.about);
        assert!(artifact.selection.as_ref().unwrap().is_complete(), "{}: {artifact:?}", site.about);
        for (asked, _) in self.parts(&self.image) {
            assert!(site.read(&asked).await.is_ok(), "{}: {asked:?}", site.about);
        }
    }
}

/// An image is declared, fetched and pulled.
struct Fetching(Pushed);

impl Flow for Fetching {
    async fn prepare(&self, site: &Site) {
        self.0.allow(site);
    }

    async fn run(&self, site: &Site) -> Result<()> {
        self.0.declare(site, "all").await?;
        site.work().await?;
        self.0.pull(site, &self.0.image).await
    }

    async fn check(&self, site: &Site) {
        self.0.check_present(site).await;
    }
}

#[tokio::test]
async fn an_image_is_fetched() {
    every_fault(Fetching(Pushed::new().await)).await;
}

/// More platforms are wanted of an image that is here; what is here stays in service.
struct Growing(Pushed);

impl Flow for Growing {
    async fn prepare(&self, site: &Site) {
        self.0.allow(site);
        self.0.declare(site, "linux/amd64").await.unwrap();
        site.work().await.unwrap();
    }

    async fn run(&self, site: &Site) -> Result<()> {
        self.0.declare(site, "all").await?;
        let [here, new] = self.0.image.children() else { panic!("it is for two platforms") };
        self.0.pull(site, here).await?;
        site.work().await?;
        self.0.pull(site, new).await
    }

    async fn check(&self, site: &Site) {
        self.0.check_present(site).await;
    }
}

#[tokio::test]
async fn an_image_grows() {
    every_fault_on_disk(Growing(Pushed::new().await)).await;
}
