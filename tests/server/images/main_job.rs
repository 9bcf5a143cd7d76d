//! The main job with images, end to end, over pairs of backends: declared over REST and the command line, fetched from two
//! real registries, one of which wants a password, and pulled with every client when both are gone, before and after a kill.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Registry, RegistryOptions, image::Image, registry};

use super::{
    faces::Face,
    pull,
    stage::{Pinned, referrers_list, secure_registry, two_platforms},
};
use crate::support::{Backends, Reach, Server};

#[tokio::test]
async fn sqlite_and_local_directory() {
    main_job(Backends::embedded).await;
}

#[tokio::test]
async fn postgres_and_s3() {
    let (mut postgres, garage) = (testkit::postgres().await, testkit::garage().await);
    let backends =
        Backends { catalog: postgres.fresh_database().await, blobs: garage.fresh_url(), options: garage.options() };
    main_job(|_| backends).await;
    assert!(postgres.process().exit_status().is_none(), "PostgreSQL is still there");
}

/// What is in the registries: one of each kind.
struct Images {
    docker: Pinned,
    signed: Pinned,
    signature: Image,
    multi: Pinned,
    chart: Pinned,
    private: Pinned,
}

impl Images {
    async fn push(open: &Registry, locked: &Registry) -> Self {
        let signed = Image::oci("signed").layers(3).build();
        let signature = Image::artifact("application/vnd.example.signature.v1", "signed").with_subject(&signed);
        let (list, tag) = referrers_list(&signed, &[&signature]);
        open.push("team/signed", &signed, &[]).await;
        open.push("team/signed", &signature, &[]).await;
        let chart = Image::artifact("application/vnd.example.chart.v1", vec![7; 10_000]);
        let images = Self {
            docker: Pinned::push(open, "team/docker", Image::docker("docker").build(), &[]).await,
            signed: Pinned::push(open, "team/signed", signed, &[]).await,
            signature,
            multi: Pinned::push(open, "team/multi", two_platforms("multi"), &["1.0"]).await,
            chart: Pinned::push(open, "team/chart", chart, &["1.0"]).await,
            private: Pinned::push(locked, "secret/app", Image::oci("private").build(), &[]).await,
        };
        // This registry knows nothing of referrers; those who push keep a list of them under a tag.
        open.push("team/signed", &list, &[&tag]).await;
        images
    }

    /// All but the signature, which comes along with what it signs.
    fn declared(&self) -> [&Pinned; 5] {
        [&self.docker, &self.signed, &self.multi, &self.chart, &self.private]
    }
}

async fn main_job(backends: impl FnOnce(&Path) -> Backends) {
    let folder = TempDir::new().expect("a temporary folder");
    let mut open = secure_registry().await;
    let mut locked = registry(RegistryOptions { tls: true, sign_in: true }).await;
    let images = Images::push(&open, &locked).await;
    let reach = Reach::from(&open).and(&locked).signing_in(&locked, folder.path());
    let mut server = Server::start(backends, reach).await;

    declare(&server, &images).await;
    assert_each_layer_came_once(&open, &images.signed).await;
    assert_each_layer_came_once(&locked, &images.private).await;
    assert!(!server.log().contains(locked.password()), "a password in the log");

    open.stop().await;
    locked.stop().await;
    pull_everything(&server, &images).await;
    server.kill_and_restart().await;
    pull_everything(&server, &images).await;
    server.stop().await;
}

/// Some over REST, one with the command line, one by the tag that it has now.
async fn declare(server: &Server, images: &Images) {
    let multi = command(server, &["declare", "image", &images.multi.reference(), "--all-platforms"]).await;
    assert!(multi.contains("present  sha256:") && multi.contains(&images.multi.canonical()), "{multi}");
    let tagged = format!("{}/{}:1.0", images.chart.registry, images.chart.repository);
    let chart = command(server, &["declare", "image", &tagged, "--resolve"]).await;
    assert!(chart.contains(&images.chart.canonical()), "{chart}");

    let mut declared = Vec::new();
    for pinned in [&images.docker, &images.signed, &images.private] {
        declared.push(server.declare_image(&pinned.reference(), Value::Null).await);
    }
    for artifact in declared {
        server.wait_for(&artifact, "present").await;
    }
    for pinned in images.declared() {
        let path = format!("/artifacts/lookup?uri={}", pinned.reference());
        let (_, artifact) = server.api(reqwest::Method::GET, &path, None).await;
        pinned.assert_present(&artifact);
    }
}

/// Runs a command that declares and waits; what it printed.
async fn command(server: &Server, arguments: &[&str]) -> String {
    let output = server.command(&[arguments, &["--reason", "the test needs it", "--wait"]].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

async fn assert_each_layer_came_once(registry: &Registry, pinned: &Pinned) {
    let requests = registry.requests().await;
    for layer in pinned.layers() {
        let path = format!("/v2/{}", pinned.blob_path(&layer));
        let came = |asked: &&testkit::RegistryRequest| {
            asked.method == "GET" && asked.status == 200 && asked.path.starts_with(&path)
        };
        assert_eq!(requests.iter().filter(came).count(), 1, "{layer}: {requests:?}");
    }
}

/// With every client what it can pull.
async fn pull_everything(server: &Server, images: &Images) {
    for pinned in images.declared() {
        pull::with_curl(server, pinned).await;
        pull::with_skopeo(server, pinned).await;
    }
    for pinned in [&images.docker, &images.multi, &images.private] {
        pull::with_podman(server, pinned).await;
        pull::with_containerd(server, pinned).await;
    }
    // Who asks what refers to the image is told of the signature, which is here too.
    let signature = Pinned { image: images.signature.clone(), ..images.signed.clone() };
    for face in Face::all(server, &images.signed.registry).await {
        let subject = images.signed.image.digest();
        let got = face.get(&format!("{}/referrers/{subject}", images.signed.repository)).await;
        assert_eq!(got.json()["manifests"], Value::from(vec![signature.image.descriptor()]), "{}", face.name);
    }
    pull::with_curl(server, &signature).await;
}
