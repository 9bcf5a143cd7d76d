//! Pulling by digest with the real clients, each told of the mirror in its own manner. Every byte is compared.

use std::collections::BTreeSet;

use testkit::{Containerd, ImageClient, containerd, curl, image::Image};

use super::stage::{Pinned, assert_copied};
use crate::support::Server;

/// skopeo and podman as people use them: through the proxy, with the CA.
pub(super) async fn proxied_client(server: &Server) -> ImageClient {
    ImageClient::new().through(&server.proxy_url()).trusting(&server.ca_pem_path().await)
}

/// Copies with skopeo through the proxy, an index with all that it lists.
pub(super) async fn with_skopeo(server: &Server, pinned: &Pinned) {
    copy_with_skopeo(&proxied_client(server).await, &pinned.reference(), &pinned.image).await;
}

/// Copies what this client finds under this reference.
pub(super) async fn copy_with_skopeo(client: &ImageClient, reference: &str, image: &Image) {
    let copy = client.directory().join("copy");
    let (from, to) = (format!("docker://{reference}"), format!("dir:{}", copy.display()));
    client.skopeo(&["copy", "--all", "--preserve-digests", &from, &to]).await.succeeded();
    assert_copied(image, &copy);
}

/// Pulls with podman through the proxy.
pub(super) async fn with_podman(server: &Server, pinned: &Pinned) {
    pull_with_podman(&proxied_client(server).await, &pinned.reference(), &pinned.image).await;
}

/// Pulls what this client finds under this reference, and what of it runs here.
pub(super) async fn pull_with_podman(client: &ImageClient, reference: &str, image: &Image) {
    let pulled = client.podman(&["pull", "--quiet", reference]).await.succeeded();
    assert_eq!(format!("sha256:{}", pulled.stdout.trim()), amd64_of(image).document()["config"]["digest"]);
}

/// Pulls with containerd.
pub(super) async fn with_containerd(server: &Server, pinned: &Pinned) {
    let containerd = mirrored_containerd(server, &pinned.registry).await;
    containerd.pull(&pinned.canonical(), &[]).await.succeeded();
    let amd64 = amd64_of(&pinned.image);
    let both = [&pinned.image, amd64].map(|part| part.digest().to_owned());
    let expected: BTreeSet<String> = amd64.all_blobs().into_keys().chain(both).collect();
    assert_eq!(containerd.content().await, expected);
}

/// A containerd that is told of the mirror by `hosts.toml`, and so names this registry by `?ns=`.
pub(super) async fn mirrored_containerd(server: &Server, registry: &str) -> Containerd {
    let containerd = containerd(ImageClient::new()).await;
    let mirror = server.proxy_url();
    let hosts = format!("server = {mirror:?}\n[host.{mirror:?}]\ncapabilities = [\"pull\"]\n");
    containerd.set_hosts(&registry.to_lowercase(), &hosts);
    containerd
}

/// Downloads manifests, blobs and a part of a blob with curl: at the mirror's own site, and through CONNECT.
pub(super) async fn with_curl(server: &Server, pinned: &Pinned) {
    let site = format!("{}/v2/{}", server.proxy_url(), pinned.registry.to_lowercase());
    let tunnelled = format!("https://{}/v2", pinned.registry);
    for base in [site, tunnelled] {
        let ask = async |arguments: &[&str], path: &str| {
            let url = format!("{base}/{path}");
            let all = [arguments, &[url.as_str()]].concat();
            if base.starts_with("https") { server.curl(&all).await } else { curl(&all).await }
        };
        for part in pinned.image.all_manifests() {
            let got = ask(&[], &format!("{}/manifests/{}", pinned.repository, part.digest())).await;
            assert!(got.status == 200 && got.body == *part.manifest(), "{got:?}");
            let told = (got.header("content-type"), got.header("docker-content-digest"));
            assert_eq!(told, (Some(part.media_type()), Some(part.digest())));
        }
        for (digest, bytes) in pinned.image.all_blobs() {
            let got = ask(&[], &pinned.blob_path(&digest)).await;
            assert!(got.status == 200 && got.body == bytes, "{digest}: {:?}", got.headers);
            assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()));
            let got = ask(&["--range", "1-"], &pinned.blob_path(&digest)).await;
            assert!(got.status == 206 && got.body == bytes[1..], "{digest}: {:?}", got.headers);
        }
    }
}

/// What a machine with an `amd64` processor runs of it.
fn amd64_of(image: &Image) -> &Image {
    image.children().first().unwrap_or(image)
}
