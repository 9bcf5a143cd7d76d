//! Images are pushed to a real registry, and pulled by the real clients.

use std::{collections::BTreeSet, path::Path};

use testkit::{Answer, ImageClient, Registry, RegistryOptions, Upstream, containerd, curl, image::Image, registry};

/// One of each kind, by the repository it goes to.
fn one_of_each() -> Vec<(&'static str, Image)> {
    let (oci, docker) = (Image::oci("a").build(), Image::docker("b").build());
    let arm = |image: testkit::image::ImageBuilder| image.platform("linux/arm64/v8").label("of", "arm").build();
    let signature = Image::artifact("application/vnd.example.signature.v1", "signed").with_subject(&oci);
    vec![
        ("team/index", Image::index(&[oci.clone(), arm(Image::oci("a")), signature.clone()])),
        ("team/list", Image::manifest_list(&[docker.clone(), arm(Image::docker("b"))])),
        ("team/plain", Image::oci("c").uncompressed().build().with_annotation("org.example.note", "plain")),
        ("team/oci", oci),
        ("docker", docker),
        ("signature", signature),
    ]
}

async fn plain_registry() -> Registry {
    registry(RegistryOptions::default()).await
}

fn reference(registry: &Registry, repository: &str, image: &Image) -> String {
    format!("{}/{repository}@{}", registry.host(), image.digest())
}

#[tokio::test]
async fn skopeo_copies_what_was_pushed() {
    let registry = plain_registry().await;
    let client = ImageClient::new();
    for (repository, image) in one_of_each() {
        registry.push(repository, &image, &["1.0"]).await;
        let copy = client.directory().join(repository.replace('/', "-"));
        for reference in [reference(&registry, repository, &image), format!("{}/{repository}:1.0", registry.host())] {
            copy_by_skopeo(&client, &["--src-tls-verify=false"], &reference, &copy).await;
            assert_same(&image, &copy);
        }
    }
}

async fn copy_by_skopeo(client: &ImageClient, options: &[&str], reference: &str, directory: &Path) {
    let (from, to) = (format!("docker://{reference}"), format!("dir:{}", directory.display()));
    // Without the second option skopeo writes an index anew, in its own manner.
    client.skopeo(&[&["copy", "--all", "--preserve-digests"], options, &[&from, &to]].concat()).await.succeeded();
}

/// skopeo writes each blob to a file that its digest names, and manifests with an ending.
fn assert_same(image: &Image, directory: &Path) {
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    assert_eq!(read("manifest.json"), *image.manifest());
    for part in image.all_manifests().iter().filter(|part| part.digest() != image.digest()) {
        assert_eq!(read(&format!("{}.manifest.json", hex(part.digest()))), *part.manifest());
    }
    for (digest, bytes) in image.all_blobs() {
        assert_eq!(read(&hex(&digest)), bytes);
    }
}

#[tokio::test]
async fn a_registry_with_tls_is_for_who_trusts_its_authority() {
    let registry = registry(RegistryOptions { tls: true, ..Default::default() }).await;
    let image = Image::oci("secure").build();
    registry.push("team/secure", &image, &[]).await;
    let source = format!("docker://{}", reference(&registry, "team/secure", &image));
    let stranger = ImageClient::new().skopeo(&["inspect", "--raw", &source]).await.failed();
    assert!(stranger.stderr.contains("certificate signed by unknown authority"), "{}", stranger.stderr);

    let client = ImageClient::new().trusting(&registry.ca_pem_path());
    assert_eq!(client.skopeo(&["inspect", "--raw", &source]).await.succeeded().stdout.as_bytes(), image.manifest());
    let by_name = source.replace("127.0.0.1", "localhost");
    assert_eq!(client.skopeo(&["inspect", "--raw", &by_name]).await.succeeded().stdout.as_bytes(), image.manifest());
}

#[tokio::test]
async fn a_registry_with_sign_in_is_for_who_has_the_password() {
    let registry = registry(RegistryOptions { tls: true, sign_in: true }).await;
    let image = Image::docker("private").build();
    registry.push("team/private", &image, &[]).await;
    let client = ImageClient::new().trusting(&registry.ca_pem_path());
    let reference = reference(&registry, "team/private", &image);
    let copy = client.directory().join("copy");
    let refused = client.skopeo(&["inspect", "--raw", &format!("docker://{reference}")]).await.failed();
    assert!(refused.stderr.contains("authentication required"), "{}", refused.stderr);

    let credentials = format!("{}:{}", registry.user(), registry.password());
    copy_by_skopeo(&client, &["--src-creds", &credentials], &reference, &copy).await;
    assert_same(&image, &copy);
    client.podman(&["pull", "--creds", &credentials, &reference]).await.succeeded();
    client.podman(&["pull", &reference]).await.failed();
    let containerd = containerd(client).await;
    containerd.set_hosts(&registry.host(), &hosts_toml(&registry));
    containerd.pull(&reference, &["--user", &credentials]).await.succeeded();
}

#[tokio::test]
async fn podman_pulls_what_it_can_run() {
    let registry = plain_registry().await;
    let client = ImageClient::new();
    for (repository, image) in one_of_each().into_iter().filter(|(repository, _)| *repository != "signature") {
        registry.push(repository, &image, &[]).await;
        let reference = reference(&registry, repository, &image);
        let pulled = client.podman(&["pull", "--quiet", "--tls-verify=false", &reference]).await.succeeded();
        let amd64 = image.children().first().unwrap_or(&image);
        assert_eq!(format!("sha256:{}", pulled.stdout.trim()), amd64.document()["config"]["digest"]);
    }
    let labels = client.podman(&["images", "--format", "{{.Labels}}"]).await.succeeded();
    assert!(labels.stdout.contains("org.opencontainers.image.title:a"), "{}", labels.stdout);
}

#[tokio::test]
async fn skopeo_and_podman_take_a_mirror_from_registries_conf() {
    let registry = plain_registry().await;
    let image = Image::oci("mirrored").build();
    registry.push("mirror/team/tool", &image, &[]).await;
    let client = ImageClient::new().with_registries_conf(&format!(
        "[[registry]]\nprefix = \"registry.invalid\"\nlocation = \"registry.invalid\"\n\n\
         [[registry.mirror]]\nlocation = \"{}/mirror\"\ninsecure = true\n",
        registry.host()
    ));
    let reference = format!("registry.invalid/team/tool@{}", image.digest());
    let copy = client.directory().join("copy");
    copy_by_skopeo(&client, &[], &reference, &copy).await;
    assert_same(&image, &copy);
    client.podman(&["pull", &reference]).await.succeeded();
}

#[tokio::test]
async fn containerd_pulls_from_the_hosts_it_is_told() {
    let registry = plain_registry().await;
    let containerd = containerd(ImageClient::new()).await;
    for name in ["registry.invalid", "registry.invalid:5000"] {
        containerd.set_hosts(name, &hosts_toml(&registry));
    }
    let mut expected = BTreeSet::new();
    for (repository, image) in one_of_each().into_iter().filter(|(repository, _)| repository.starts_with("team/")) {
        registry.push(repository, &image, &["1.0"]).await;
        // An artifact in an index has no platform and nothing to unpack, so only what this machine runs is pulled.
        let image = image.children().first().cloned().unwrap_or(image);
        containerd.pull(&format!("registry.invalid:5000/{repository}@{}", image.digest()), &[]).await.succeeded();
        expected.extend(image.all_blobs().into_keys().chain([image.digest().to_owned()]));
    }
    assert_eq!(containerd.content().await, expected);

    let list = Image::manifest_list(&[Image::docker("x").build(), Image::docker("y").platform("linux/arm64").build()]);
    registry.push("all", &list, &["1.0"]).await;
    containerd.pull("registry.invalid/all:1.0", &["--all-platforms"]).await.succeeded();
    let held = containerd.content().await;
    assert!(list.all_blobs().keys().all(|digest| held.contains(digest)));
    let absent = containerd.pull("registry.invalid/absent:1.0", &[]).await.failed();
    assert!(absent.stderr.contains("not found"), "{}", absent.stderr);
}

fn hosts_toml(registry: &Registry) -> String {
    let url = registry.url();
    format!("server = \"{url}\"\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n")
}

#[tokio::test]
async fn a_registry_can_go_and_come_back_and_remembers_who_asked() {
    let mut registry = plain_registry().await;
    let image = Image::oci("kept").layers(1).build();
    registry.push("team/kept", &image, &["1.0"]).await;
    assert_eq!(registry.requests().await, [], "pushes do not count");
    let manifest = format!("/v2/team/kept/manifests/{}", image.digest());
    let ask = async |url: &str| curl(&["--header", &format!("Accept: {}", image.media_type()), url]).await;
    let url = format!("{}{manifest}", registry.url());
    assert_eq!(ask(&url).await.body, *image.manifest());

    registry.stop().await;
    assert_eq!(ask(&url).await.exit, 7, "nobody listens");
    registry.start().await;
    assert_eq!(ask(&url).await.body, *image.manifest());
    assert_eq!(ask(&format!("{}/v2/team/kept/tags/list", registry.url())).await.status, 200);
    let asked: Vec<_> =
        registry.requests().await.into_iter().map(|asked| (asked.method, asked.path, asked.status)).collect();
    let expected = |path: &str| ("GET".to_owned(), path.to_owned(), 200);
    assert_eq!(asked, [expected(&manifest), expected(&manifest), expected("/v2/team/kept/tags/list")]);
}

/// The proxy here refuses; that it was asked at all is what has to be arranged for.
#[tokio::test]
async fn clients_ask_a_proxy_for_a_registry_on_this_machine() {
    let proxy = Upstream::start(&[]).await;
    proxy.otherwise(|_| Answer::new(403));
    let registry = registry(RegistryOptions { tls: true, ..Default::default() }).await;
    let client = || ImageClient::new().trusting(&registry.ca_pem_path()).through(&proxy.url(""));
    let reference = format!("{}/team/tool:1.0", registry.proxied_host());
    let clients = client();
    clients.skopeo(&["inspect", &format!("docker://{reference}")]).await.failed();
    clients.podman(&["pull", &reference]).await.failed();
    let seen = proxy.all_requests().len();
    containerd(client()).await.pull(&reference, &[]).await.failed();
    let all = proxy.all_requests();
    assert!(seen >= 2 && all.len() > seen, "{all:?}");
    assert!(all.iter().all(|asked| asked.method() == "CONNECT" && asked.uri() == registry.proxied_host().as_str()));
    assert_eq!(registry.requests().await, []);
}
