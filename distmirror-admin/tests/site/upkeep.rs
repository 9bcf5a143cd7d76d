//! What is known of stored bytes and of upstream, in the API and on the pages: warnings, damage, watches, platforms that lack.

use distmirror_core::{ArtifactId, Content, Failure, Fetched, Source, Watch, WatchStatus};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    pages::{NASTY, id, page},
    sample::Sample,
    support::{Site, content},
};

fn artifact_id(artifact: &Value) -> ArtifactId {
    id(artifact).parse().expect("an id")
}

async fn watch(site: &Site, artifact: &Value, status: WatchStatus, detail: &str) {
    let watch = Watch { at: Timestamp::UNIX_EPOCH, status, detail: detail.to_owned() };
    site.mirror.catalog().record_watch(artifact_id(artifact), &watch).await.expect("it is there");
}

#[tokio::test]
async fn a_page_in_place_of_a_file_is_warned_of() {
    let site = Site::start().await;
    let uri = "http://h/tool.tar.gz";
    let html = Content { content_type: Some("text/html; charset=utf-8".to_owned()), ..content(b"<html>", uri) };
    let artifact = site.present_with(uri, html).await;
    let warnings = artifact["warnings"].as_array().unwrap();
    assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains("HTML"), "{artifact}");
    let shown = page(&site, &format!("/artifacts/{}", id(&artifact))).await.body;
    assert!(shown.contains("<strong>Warning:</strong> upstream sent an HTML page"), "{shown}");
    for path in ["/artifacts", "/"] {
        assert!(page(&site, path).await.body.contains("badge warned"), "{path}");
    }
    let plain = site.present("http://h/other.tar.gz", b"bytes").await;
    for (member, value) in [("warnings", json!([])), ("damage", json!(null)), ("watch", json!(null))] {
        assert_eq!(plain[member], value);
    }
    assert!(!page(&site, &format!("/artifacts/{}", id(&plain))).await.body.contains("Warning"));
}

#[tokio::test]
async fn damage_shows_until_the_same_bytes_came_again() {
    let site = Site::start().await;
    let artifact = site.present("http://h/x", b"bytes").await;
    let path = format!("/artifacts/{}", id(&artifact));
    site.mirror.report_damage(artifact_id(&artifact), NASTY).await.unwrap();
    let shown = site.shown(&artifact).await;
    assert_eq!((&shown["state"], &shown["damage"]), (&json!("present"), &json!(NASTY)));
    assert!(shown["next_attempt_at"].is_string(), "{shown}");
    let html = page(&site, &path).await.body;
    for part in ["Damaged, being fetched again", "waiting for a worker", "http-equiv=\"refresh\"", "badge damaged"] {
        assert!(html.contains(part), "no {part} in {html}");
    }
    assert!(!html.contains("alert(1)</script>"));
    assert!(page(&site, "/artifacts").await.body.contains("badge damaged"));

    let job = site.lease().await;
    let failure = Failure::new("answered 404");
    site.mirror.catalog().fail(&job.lease, &failure, None, Timestamp::now()).await.unwrap();
    let html = page(&site, &path).await.body;
    for part in ["so that it is still damaged", "answered 404", &format!("{path}/retry"), "It is not tried again"] {
        assert!(html.contains(part), "no {part} in {html}");
    }
    assert!(page(&site, "/artifacts").await.body.contains("Still damaged: answered 404"));
    assert_eq!(site.submit(&format!("{path}/retry"), &[]).await.status, 303);

    let job = site.lease().await;
    let again = Fetched::file(content(b"bytes", "http://h/x"));
    site.mirror.catalog().complete(&job.lease, &again, Timestamp::now()).await.unwrap();
    assert_eq!(site.shown(&artifact).await["damage"], json!(null));
    assert!(!page(&site, &path).await.body.contains("amaged,"));
}

#[tokio::test]
async fn what_upstream_has_now_is_shown_and_filtered_by() {
    let site = Site::start().await;
    let names = ["gone", "changed", "unknown", "same", "never"];
    let mut artifacts = Vec::new();
    for name in names {
        artifacts.push(site.present(&format!("http://h/{name}.bin"), name.as_bytes()).await);
    }
    for (artifact, status) in
        artifacts.iter().zip([WatchStatus::Gone, WatchStatus::Changed, WatchStatus::Unknown, WatchStatus::Same])
    {
        watch(&site, artifact, status, NASTY).await;
    }
    let gone = site.shown(&artifacts[0]).await;
    assert_eq!(gone["watch"], json!({"at": "1970-01-01T00:00:00Z", "status": "gone", "detail": NASTY}));
    for (artifact, parts) in artifacts.iter().zip([
        &["sole known copy", "Upstream: gone", "only copy left"][..],
        &["changed upstream", "Upstream: changed", "stays as it is"],
        &["<dd>unknown, when asked"],
        &["<dd>same, when asked"],
        &[],
    ]) {
        let html = page(&site, &format!("/artifacts/{}", id(artifact))).await.body;
        for part in parts {
            assert!(html.contains(part), "no {part} in {html}");
        }
        assert!(!html.contains("alert(1)</script>"));
        assert_eq!(html.contains("Upstream now"), !parts.is_empty());
    }
    for name in &names[..4] {
        let list = site.get(&format!("/api/v1/artifacts?watch={name}")).await.json();
        let found: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["uri"].clone()).collect();
        assert_eq!(found, [format!("http://h/{name}.bin")]);
        let html = page(&site, &format!("/artifacts?watch={name}")).await.body;
        assert_eq!(html.matches("<tr>").count(), 1 + 1, "{name}");
    }
    let list = page(&site, "/artifacts?watch=gone&q=h").await.body;
    for part in [
        "href=\"/artifacts?q=h\" aria-current=\"true\">gone upstream",
        "href=\"/artifacts?q=h&amp;watch=changed\"",
        "name=\"watch\" value=\"gone\"",
    ] {
        assert!(list.contains(part), "no {part} in {list}");
    }
    let overview = page(&site, "/").await.body;
    for part in ["href=\"/artifacts?watch=gone\">Upstream is gone: 1<", "Upstream has changed: 1<", "sole known copy"] {
        assert!(overview.contains(part), "no {part} in {overview}");
    }
    assert_eq!(page(&site, "/artifacts?watch=lost").await.status, 400);
    assert_eq!(site.get("/api/v1/artifacts?watch=lost").await.bad_fields(), ["watch"]);
    assert!(page(&site, "/artifacts?watch=gone&q=nothing").await.body.contains("Nothing matches"));
}

#[tokio::test]
async fn an_image_tells_which_platforms_it_lacks() {
    let site = Site::start().await;
    let sample = Sample::new("word");
    let image = sample.present(&site).await;
    assert_eq!(image["platforms_lacking"], json!(null));
    let path = format!("/artifacts/{}", id(&image));
    let more = site.submit(&format!("{path}/platforms"), &[("platform", "linux/riscv64")]).await;
    assert_eq!(more.status, 303, "{more:?}");
    let job = site.lease().await;
    let lacking = "linux/riscv64".parse().unwrap();
    let failure = Failure { lacking, ..Failure::new("the image has no platform `linux/riscv64`") };
    site.mirror.catalog().fail(&job.lease, &failure, None, Timestamp::now()).await.unwrap();
    let shown = site.shown(&image).await;
    assert_eq!((&shown["platforms_lacking"], &shown["whole"]), (&json!("linux/riscv64"), &json!(true)));
    let html = page(&site, &path).await.body;
    assert!(html.contains("The image has no <code>linux/riscv64</code>."), "{html}");
}

#[tokio::test]
async fn how_bytes_came_that_were_not_fetched_is_told() {
    let site = Site::start().await;
    let source = Source { note: Some(NASTY.to_owned()), ..Source::default() };
    let artifact = site.present_with("https://h/x", Content { source, ..content(b"bytes", "") }).await;
    assert_eq!(artifact["source"]["note"], json!(NASTY));
    let html = page(&site, &format!("/artifacts/{}", id(&artifact))).await.body;
    assert!(html.contains("<dt>How</dt>") && html.contains(", not fetched"), "{html}");
    assert!(!html.contains("Final URL") && !html.contains("alert(1)</script>"), "{html}");
}
