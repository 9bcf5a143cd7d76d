//! What people decide about images: more platforms, out of service and back, and what was asked for and nobody declared.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::image::Image;

use super::{
    faces::{Face, Got},
    pull,
    stage::{Pinned, Stage, two_platforms},
};
use crate::support::Server;

#[tokio::test]
async fn a_platform_is_added_later_and_the_first_stays() {
    let mut stage = Stage::set().await;
    let index = two_platforms("multi");
    let (amd64, arm64) = (index.children()[0].clone(), index.children()[1].clone());
    let pinned = stage.push("team/multi", index).await;
    let arm64 = Pinned { image: arm64, ..pinned.clone() };
    let declared = stage.server.declare_image(&pinned.reference(), json!(["linux/amd64"])).await;
    stage.server.wait_for(&declared, "present").await;
    for face in stage.faces().await {
        let refused = face.get(&arm64.manifest_path()).await;
        let (code, message) = refused.error();
        assert_eq!((refused.status, code.as_str()), (404, "MANIFEST_UNKNOWN"), "{}", face.name);
        assert!(message.contains("linux/arm64") && message.contains(&page_of(&stage.server, &declared)), "{message}");
    }

    let again = stage.server.declare_image(&pinned.reference(), json!(["linux/arm64"])).await;
    assert_eq!((&again["id"], &again["state"]), (&declared["id"], &json!("present")), "the first stays in service");
    for face in stage.faces().await {
        eventually(&face, &arm64.manifest_path(), 200).await;
    }
    let (_, artifact) = stage.server.api(Method::GET, &path_of(&declared, ""), None).await;
    pinned.assert_present(&artifact);
    assert_eq!(artifact["declarations"].as_array().map(Vec::len), Some(2), "{artifact}");
    let requests = stage.registry.requests().await;
    let config = amd64.document()["config"]["digest"].as_str().unwrap();
    let came = requests.iter().filter(|asked| asked.method == "GET" && asked.path.contains(config)).count();
    assert_eq!(came, 1, "what is here is not brought again: {requests:?}");

    stage.registry.stop().await;
    pull::with_skopeo(&stage.server, &pinned).await;
    pull::with_podman(&stage.server, &pinned).await;
    stage.server.stop().await;
}

#[tokio::test]
async fn quarantine_and_release_take_effect_on_every_face() {
    let stage = Stage::set().await;
    let (pinned, artifact) = stage.hold("team/tool", Image::oci("tool").build()).await;
    let (other, _) = stage.hold("team/other", Image::oci("other").build()).await;
    let paths: Vec<String> =
        pinned.layers().iter().map(|layer| pinned.blob_path(layer)).chain([pinned.manifest_path()]).collect();

    decide(&stage.server, &artifact, "quarantine", "a backdoor in it").await;
    for face in stage.faces().await {
        for path in &paths {
            let refused = eventually(&face, path, 403).await;
            let (code, message) = refused.error();
            assert!(refused.field("proxy-status").contains("quarantined"), "{}: {:?}", face.name, refused.headers);
            assert!(code == "DENIED" && message.contains("a backdoor in it"), "{}: {message}", face.name);
            assert!(message.contains(&page_of(&stage.server, &artifact)), "{}: {message}", face.name);
        }
        assert_eq!(face.get(&other.manifest_path()).await.status, 200, "{}: the rest is in service", face.name);
    }
    let client = pull::proxied_client(&stage.server).await;
    let refused = client.podman(&["pull", &pinned.reference()]).await.failed();
    assert!(refused.stderr.contains("a backdoor in it"), "{}", refused.stderr);

    decide(&stage.server, &artifact, "release", "it was a false alarm").await;
    for face in stage.faces().await {
        for path in &paths {
            eventually(&face, path, 200).await;
        }
    }
    pull::with_podman(&stage.server, &pinned).await;
    stage.server.stop().await;
}

#[tokio::test]
async fn what_skopeo_misses_is_declared_with_one_call() {
    let mut stage = Stage::set().await;
    stage.hold("team/known", Image::oci("known").build()).await;
    let wanted = stage.push("team/wanted", Image::oci("wanted").build()).await;
    let client = pull::proxied_client(&stage.server).await;
    let refused = client.skopeo(&["inspect", "--raw", &format!("docker://{}", wanted.reference())]).await.failed();
    assert!(refused.stderr.contains(&declare_link(&stage.server, &wanted.canonical())), "{}", refused.stderr);

    let miss = miss(&stage.server, &wanted.canonical()).await;
    assert_eq!((&miss["declarable"], &miss["uri"]), (&json!(true), &Value::Null), "{miss}");
    assert!(miss["user_agent"].as_str().is_some_and(|agent| agent.starts_with("skopeo/")), "{miss}");
    let layer = &wanted.layers()[0];
    assert!(stage.registry.requests().await.iter().all(|asked| !asked.path.contains(layer)), "fetched unasked");

    let body = json!({"ids": [miss["id"]], "reason": "the build needs it"});
    let (status, declared) = stage.server.api(Method::POST, "/misses/declare", Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{declared}");
    let artifact = stage.server.wait_for(&declared["items"][0], "present").await;
    wanted.assert_present(&artifact);
    let (_, misses) = stage.server.api(Method::GET, "/misses", None).await;
    assert_eq!(misses["items"], json!([]), "what is declared is no miss");

    stage.registry.stop().await;
    for face in stage.faces().await {
        eventually(&face, &wanted.manifest_path(), 200).await;
    }
    pull::with_skopeo(&stage.server, &wanted).await;
    stage.server.stop().await;
}

/// They ask for `/v2/` first, and say nothing of the text when they are refused there.
#[tokio::test]
async fn of_a_registry_that_nobody_declared_skopeo_and_podman_show_the_declare_link() {
    let stage = Stage::set().await;
    let wanted = stage.push("team/wanted", Image::oci("wanted").build()).await;
    let client = pull::proxied_client(&stage.server).await;
    let source = format!("docker://{}", wanted.reference());
    for refused in [
        client.skopeo(&["inspect", "--raw", &source]).await.failed(),
        client.podman(&["pull", &wanted.reference()]).await.failed(),
    ] {
        assert!(refused.stderr.contains(&declare_link(&stage.server, &wanted.canonical())), "{}", refused.stderr);
    }
    miss(&stage.server, &wanted.canonical()).await;
    stage.server.stop().await;
}

#[tokio::test]
async fn what_containerd_misses_of_a_registry_that_nobody_declared_is_listed() {
    let stage = Stage::set().await;
    let wanted = stage.push("team/wanted", Image::oci("wanted").build()).await;
    let containerd = pull::mirrored_containerd(&stage.server, &wanted.registry).await;
    containerd.pull(&wanted.canonical(), &[]).await.failed();
    let miss = miss(&stage.server, &wanted.canonical()).await;
    assert_eq!(miss["declarable"], true, "{miss}");
    assert!(miss["user_agent"].as_str().is_some_and(|agent| agent.starts_with("containerd/")), "{miss}");
    stage.server.stop().await;
}

/// Asks until this is the status: for some seconds a proxy may remember what was before.
async fn eventually(face: &Face, path: &str, status: u16) -> Got {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let got = face.get(path).await;
        if got.status == status {
            return got;
        }
        assert!(Instant::now() < until, "{}: not {status}: {} {}", face.name, got.status, got.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until an image is listed as asked for.
async fn miss(server: &Server, reference: &str) -> Value {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, misses) = server.api(Method::GET, "/misses", None).await;
        let mut items = misses["items"].as_array().expect("a list of misses").iter();
        if let Some(miss) = items.find(|miss| miss["reference"] == reference) {
            return miss.clone();
        }
        assert!(Instant::now() < until, "no miss of {reference}: {misses}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn decide(server: &Server, artifact: &Value, decision: &str, reason: &str) {
    let path = path_of(artifact, &format!("/{decision}"));
    let (status, answer) = server.api(Method::POST, &path, Some(json!({"reason": reason}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

fn path_of(artifact: &Value, end: &str) -> String {
    format!("/artifacts/{}{end}", artifact["id"].as_str().expect("an artifact has an id"))
}

fn page_of(server: &Server, artifact: &Value) -> String {
    format!("{}{}", server.admin_url(), path_of(artifact, ""))
}

/// The page that declares an image, as refusals link to it.
fn declare_link(server: &Server, reference: &str) -> String {
    let escaped = reference.replace(':', "%3A").replace('/', "%2F").replace('@', "%40");
    format!("{}/declare?kind=image&reference={escaped}", server.admin_url())
}
