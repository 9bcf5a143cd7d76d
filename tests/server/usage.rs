//! Who used what, from real clients to the API, the page and the command line; and what a kill and a stop leave of it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{RegistryOptions, Upstream, curl, image::Image, registry, sqlite3};

use crate::support::{Backends, Reach, Server};

/// Waits until an artifact was used so often; how.
async fn used(server: &Server, artifact: &Value, requests: u64) -> Value {
    let id = artifact["id"].as_str().expect("an artifact has an id");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, shown) = server.api(Method::GET, &format!("/artifacts/{id}"), None).await;
        if shown["usage"]["requests"] == requests {
            return shown["usage"].clone();
        }
        assert!(Instant::now() < until, "not used {requests} times: {shown}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn every_way_of_use_is_counted_and_shown() {
    let upstream = Upstream::start(&["files.test"]).await;
    upstream.file("/file", vec![b'x'; 100_000]);
    let registry = registry(RegistryOptions { tls: true, ..Default::default() }).await;
    let server = Server::start(Backends::embedded, Reach::from(&upstream).and(&registry)).await;
    let (http, https) = (upstream.url("/file"), upstream.https_url("/file"));
    let plain = server.wait_for(&server.declare(&http, None).await, "present").await;
    let secure = server.wait_for(&server.declare(&https, None).await, "present").await;
    let image = Image::oci("used").build();
    registry.push("team/used", &image, &[]).await;
    let repository = format!("{}/team/used", registry.proxied_host());
    let declared = server.declare_image(&format!("{repository}@{}", image.digest()), Value::Null).await;
    let held = server.wait_for(&declared, "present").await;
    assert_eq!(plain["usage"], Value::Null, "fetching is no use");

    let etag = format!("If-None-Match: \"sha256:{}\"", plain["sha256"].as_str().unwrap());
    for (arguments, status) in [
        (vec![http.as_str()], 200),
        (vec!["--range", "10-19", &http], 206),
        (vec!["--head", &http], 200),
        (vec!["--header", &etag, &http], 304),
        (vec![&https], 200),
    ] {
        assert_eq!(server.curl(&arguments).await.status, status, "{arguments:?}");
    }
    let base = format!("https://{}/v2/team/used", registry.proxied_host());
    let (layer, bytes) = image.blobs().iter().next().expect("it has blobs");
    for path in [format!("manifests/{}", image.digest()), format!("blobs/{layer}")] {
        assert_eq!(server.curl(&[&format!("{base}/{path}")]).await.status, 200, "{path}");
    }

    assert_eq!(used(&server, &plain, 3).await["bytes"], 100_010, "the whole, ten bytes, and none to HEAD; not 304");
    assert_eq!(used(&server, &secure, 1).await["bytes"], 100_000);
    assert_eq!(used(&server, &held, 2).await["bytes"], image.manifest().len() + bytes.len(), "parts are the image's");
    let id = plain["id"].as_str().unwrap();
    let (_, by_day) = server.api(Method::GET, &format!("/artifacts/{id}/usage"), None).await;
    let day = &by_day["items"][0];
    assert_eq!((&day["client"], &day["requests"], &by_day["next"]), (&json!("127.0.0.1"), &json!(3), &json!(null)));
    let page = curl(&["--noproxy", "*", &format!("{}/artifacts/{id}", server.admin_url())]).await.text();
    assert!(page.contains("in all 3 requests") && page.contains("<td>127.0.0.1</td>"), "{page}");
    let shown = server.command(&["show", id]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("(3 requests in all, 97.67 KiB sent)"), "{shown}");
    server.stop().await;
}

#[tokio::test]
async fn a_kill_loses_what_was_not_reported_and_a_stop_loses_nothing() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/file", b"the file".to_vec());
    let mut server = Server::start(Backends::embedded, &upstream).await;
    let uri = upstream.url("/file");
    let artifact = server.wait_for(&server.declare(&uri, None).await, "present").await;
    for _ in 0..3 {
        server.curl(&[&uri]).await;
    }
    used(&server, &artifact, 3).await;
    server.curl(&[&uri]).await;
    server.kill_and_restart().await;
    let (_, shown) = server.api(Method::GET, &format!("/artifacts/{}", artifact["id"].as_str().unwrap()), None).await;
    let before = shown["usage"]["requests"].as_u64().expect("what was reported is there");
    assert!((3..=4).contains(&before), "only what was gathered since the last report may be gone: {shown}");
    for _ in 0..20 {
        assert_eq!(server.curl(&[&uri]).await.body, b"the file");
    }
    // At once, so that the last of them were not reported yet.
    let folder = server.stop().await;
    let counted = sqlite3(&folder.path().join("catalog.db"), "SELECT requests, bytes FROM total_usage");
    assert_eq!(counted, format!("{}|{}", before + 20, 8 * (before + 20)));
}
