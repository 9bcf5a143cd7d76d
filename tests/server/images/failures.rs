//! Images that cannot be had: why is said everywhere, nothing of them is served, and they come once the cause is mended.

use std::{fs, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use testkit::{Answer, Upstream, image::Image};

use super::{
    faces::{Face, Got},
    pull,
    stage::{Pinned, Stage},
};
use crate::support::{Backends, Server};

#[tokio::test]
async fn of_an_image_with_one_damaged_layer_nothing_is_served_until_it_is_mended() {
    let mut stage = Stage::set().await;
    let pinned = stage.push("team/damaged", Image::oci("damaged").layers(8).build()).await;
    // Four parts come at a time: when the last of these nine begins, at least five are here.
    let damaged = pinned.layers().pop().expect("it has layers");
    let file = stage.registry.stored_file(&damaged);
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&file, &bad).unwrap();

    let declared = stage.server.declare_image(&pinned.reference(), Value::Null).await;
    let artifact = stage.server.wait_for(&declared, "failed").await;
    let reason = artifact["last_error"].as_str().expect("it says why");
    assert!(reason.contains("checksum mismatch") && reason.contains(&damaged), "{reason}");
    assert_nothing_is_served(&stage, &pinned, &damaged).await;
    let client = pull::proxied_client(&stage.server).await;
    let refused = client.skopeo(&["inspect", "--raw", &format!("docker://{}", pinned.reference())]).await.failed();
    assert!(refused.stderr.contains("502 Bad Gateway"), "{}", refused.stderr);

    fs::write(&file, &good).unwrap();
    retry(&stage, &artifact).await;
    pinned.assert_present(&stage.server.wait_for(&artifact, "present").await);
    let requests = stage.registry.requests().await;
    stage.registry.stop().await;
    pull::with_skopeo(&stage.server, &pinned).await;
    let gets = |digest: &&String| {
        let path = format!("/v2/{}", pinned.blob_path(digest));
        requests.iter().filter(|asked| asked.method == "GET" && asked.path == path).count()
    };
    let once = pinned.image.blobs().keys().filter(|digest| gets(digest) == 1).count();
    assert!(once >= 5, "what had come is not brought again: {requests:?}");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_digest_that_the_registry_lacks_fails_with_its_answer_and_comes_when_it_is_there() {
    let mut stage = Stage::set().await;
    stage.hold("team/tool", Image::oci("first").build()).await;
    let second = Image::oci("second").build();
    let pinned =
        Pinned { registry: stage.registry.proxied_host(), repository: "team/tool".to_owned(), image: second.clone() };
    let declared = stage.server.declare_image(&pinned.reference(), Value::Null).await;
    let artifact = stage.server.wait_for(&declared, "failed").await;
    assert!(artifact["last_error"].as_str().is_some_and(|reason| reason.contains("404")), "{artifact}");
    assert_nothing_is_served(&stage, &pinned, "404").await;

    stage.push("team/tool", second).await;
    retry(&stage, &artifact).await;
    stage.server.wait_for(&artifact, "present").await;
    stage.registry.stop().await;
    pull::with_containerd(&stage.server, &pinned).await;
    stage.server.stop().await;
}

#[tokio::test]
async fn a_platform_that_the_index_lacks_is_named_with_those_that_it_has() {
    let stage = Stage::set().await;
    let pinned = stage.push("team/multi", super::stage::two_platforms("multi")).await;
    let declared = stage.server.declare_image(&pinned.reference(), serde_json::json!(["linux/riscv64"])).await;
    let artifact = stage.server.wait_for(&declared, "failed").await;
    let reason = artifact["last_error"].as_str().expect("it says why");
    for platform in ["linux/riscv64", "linux/amd64", "linux/arm64"] {
        assert!(reason.contains(platform), "{reason}");
    }
    assert_nothing_is_served(&stage, &pinned, "linux/riscv64").await;
    stage.server.stop().await;
}

#[tokio::test]
async fn of_an_image_on_its_way_nothing_is_served_and_a_kill_does_not_stop_it_for_ever() {
    let upstream = Upstream::start(&[]).await;
    let mut server = Server::start(Backends::embedded, &upstream).await;
    let registry = format!("LOCALHOST:{}", upstream.https_port());
    let pinned = Pinned { registry, repository: "team/slow".to_owned(), image: Image::oci("slow").build() };
    let typed = [("Content-Type", pinned.image.media_type())];
    upstream.file_with(&format!("/v2/{}", pinned.manifest_path()), pinned.image.manifest().clone(), &typed);
    for (digest, bytes) in pinned.image.blobs() {
        upstream.file(&format!("/v2/{}", pinned.blob_path(digest)), bytes.clone());
    }
    let layer = &pinned.layers()[1];
    let (path, slow) = (format!("/v2/{}", pinned.blob_path(layer)), pinned.image.blobs()[layer].clone());
    upstream.on(&path, move |_| Answer::ok(slow.clone()).in_pieces(1, Duration::from_millis(500)));

    let declared = server.declare_image(&pinned.reference(), Value::Null).await;
    server.wait_for(&declared, "fetching").await;
    for face in Face::all(&server, &pinned.registry).await {
        let refused = face.get(&pinned.manifest_path()).await;
        assert_eq!((refused.status, refused.error().0.as_str()), (503, "UNAVAILABLE"), "{}", face.name);
        assert!(refused.field("proxy-status").contains("details=\"pending\""), "{}", face.name);
        assert!(refused.field("retry-after").parse().is_ok_and(|seconds: u64| seconds > 0), "{}", face.name);
        assert_eq!(face.get(&pinned.blob_path(&pinned.layers()[0])).await.status, 404, "{}", face.name);
    }
    upstream.file(&path, pinned.image.blobs()[layer].clone());
    server.kill_and_restart().await;
    // The lease of the dead process has to run out first: 20 seconds.
    pinned.assert_present(&server.wait_for(&declared, "present").await);
    upstream.stop();
    pull::with_skopeo(&server, &pinned).await;
    server.stop().await;
}

/// The manifest says by every face that the fetch failed and why; of the rest there is nothing, whatever has come already.
async fn assert_nothing_is_served(stage: &Stage, pinned: &Pinned, reason: &str) {
    for face in stage.faces().await {
        let refused = face.get(&pinned.manifest_path()).await;
        assert_fetch_failed(&face, &refused, reason);
        let head = face.head(&pinned.manifest_path()).await;
        assert_eq!((head.status, head.body.len()), (502, 0), "{}", face.name);
        for child in pinned.image.children() {
            let got = face.get(&format!("{}/manifests/{}", pinned.repository, child.digest())).await;
            assert_eq!((got.status, got.error().0.as_str()), (404, "MANIFEST_UNKNOWN"), "{}", face.name);
        }
        for digest in pinned.image.all_blobs().keys() {
            let got = face.get(&pinned.blob_path(digest)).await;
            assert_eq!((got.status, got.error().0.as_str()), (404, "BLOB_UNKNOWN"), "{} {digest}", face.name);
        }
    }
}

fn assert_fetch_failed(face: &Face, refused: &Got, reason: &str) {
    assert_eq!(refused.status, 502, "{}: {}", face.name, refused.text());
    assert!(refused.field("proxy-status").contains("details=\"fetch_failed\""), "{}: {:?}", face.name, refused.headers);
    let (code, message) = refused.error();
    assert!(code == "UNAVAILABLE" && message.contains(reason) && message.contains("/artifacts/"), "{code} {message}");
}

async fn retry(stage: &Stage, artifact: &Value) {
    let path = format!("/artifacts/{}/retry", artifact["id"].as_str().expect("an artifact has an id"));
    let (status, answer) = stage.server.api(Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}
