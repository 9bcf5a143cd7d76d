//! `/api/v1/artifacts/preflight`, and looking first on `/declare`: what there is to know before something is declared.

use std::sync::Arc;

use distmirror_admin::Options;
use distmirror_core::{Digests, Failure, Probe, Prober, Uri};
use serde_json::{Value, json};

use crate::{
    pages::{id, page},
    support::Site,
};

const PREFLIGHT: &str = "/api/v1/artifacts/preflight";

/// Says of each URI what its path asks for.
#[derive(Debug)]
struct Scripted;

#[async_trait::async_trait]
impl Prober for Scripted {
    async fn probe(&self, uri: &Uri) -> Result<Probe, Failure> {
        if uri.path() == "/away" {
            return Err(Failure::new("cannot resolve `<b>away</b>`"));
        }
        let content_type = if uri.path().starts_with("/page") { "text/html" } else { "application/gzip" };
        let is_missing = uri.path() == "/missing";
        Ok(Probe {
            status: if is_missing { 404 } else { 200 },
            final_uri: "https://cdn.test/file?signature=hunter2".parse().expect("a URI"),
            redirects: vec![uri.clone()],
            size: Some(5),
            content_type: Some(content_type.to_owned()),
        })
    }
}

async fn site() -> Site {
    Site::start_with(Options { prober: Some(Arc::new(Scripted)), ..Options::default() }).await
}

async fn look(site: &Site, body: Value) -> Value {
    let answer = site.post(PREFLIGHT, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn codes(looked: &Value) -> Vec<&str> {
    looked["advice"].as_array().expect("a list").iter().map(|advice| advice["code"].as_str().expect("a word")).collect()
}

#[tokio::test]
async fn it_tells_what_upstream_has_and_declares_nothing() {
    let site = site().await;
    let looked = look(&site, json!({"uri": "HTTPS://h.test:443/a.tar.gz"})).await;
    assert_eq!(
        (&looked["uri"], &looked["declared"], &looked["held"]),
        (&json!("https://h.test/a.tar.gz"), &json!(null), &json!(null))
    );
    let found = &looked["found"];
    assert_eq!(
        (&found["status"], &found["size"], &found["content_type"]),
        (&json!(200), &json!(5), &json!("application/gzip"))
    );
    assert_eq!((&found["other_host"], &found["redirects"]), (&json!("cdn.test"), &json!(["https://h.test/a.tar.gz"])));
    assert!(!looked.to_string().contains("hunter2"), "{looked}");
    assert_eq!(codes(&looked), Vec::<&str>::new());
    for (uri, expected) in [
        ("https://h.test/page.zip", "login_page"),
        ("https://h.test/missing", "not_found"),
        ("https://h.test/away", "unreachable"),
        ("https://github.com/o/r/archive/v1.tar.gz", "changes"),
        ("http://h.test/a.tar.gz", "unprotected"),
    ] {
        let looked = look(&site, json!({"uri": uri})).await;
        assert_eq!(codes(&looked), [expected], "{looked}");
        assert!(looked["advice"][0]["remedy"].as_str().is_some_and(|remedy| remedy.len() > 20), "{looked}");
    }
    assert_eq!(site.get("/api/v1/artifacts").await.json()["items"], json!([]));
}

#[tokio::test]
async fn what_is_here_already_is_named() {
    let site = site().await;
    let present = site.present("https://h.test/a.tar.gz", b"bytes").await;
    let sha256 = Digests::of(b"bytes").sha256.hex();
    let looked = look(&site, json!({"uri": "https://mirror.test/a.tar.gz", "sha256": sha256})).await;
    assert_eq!((&looked["held"]["id"], codes(&looked)), (&present["id"], vec!["held"]));
    let again = look(&site, json!({"uri": "https://h.test/a.tar.gz", "sha256": sha256})).await;
    assert_eq!((&again["declared"]["state"], codes(&again)), (&json!("present"), vec!["declared"]));
    assert_eq!(again["held"], json!(null), "it is not held under another name");
}

#[tokio::test]
async fn bad_input_is_refused_with_every_field() {
    let site = site().await;
    let bad = json!({"uri": "ftp://x/y", "sha256": "abc", "reasn": "r"});
    assert_eq!(site.post(PREFLIGHT, &bad).await.bad_fields(), ["reasn"], "what cannot be read is not looked at");
    assert_eq!(
        site.post(PREFLIGHT, &json!({"uri": "ftp://x/y", "sha256": "abc"})).await.bad_fields(),
        ["uri", "sha256"]
    );
    let image = json!({"reference": format!("h.test/a@sha256:{}", "0".repeat(64))});
    assert_eq!(site.post(PREFLIGHT, &image).await.bad_fields(), ["kind"]);
}

#[tokio::test]
async fn without_a_way_to_ask_upstream_what_is_known_is_told() {
    let site = Site::start().await;
    let looked = look(&site, json!({"uri": "https://github.com/o/r/archive/v1.tar.gz"})).await;
    assert_eq!((&looked["found"], codes(&looked)), (&json!(null), vec!["changes"]));
}

#[tokio::test]
async fn the_form_looks_first_and_keeps_what_was_typed() {
    let site = site().await;
    let present = site.present("https://h.test/a.tar.gz", b"bytes").await;
    let uris = "https://h.test/new.tar.gz\nhttps://h.test/page.zip\nhttps://h.test/away\nhttps://h.test/a.tar.gz";
    let shown = site.submit("/declare", &[("uri", uris), ("project", "billing"), ("look", "now")]).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    for part in [
        "Upstream has",
        "application/gzip",
        "cdn.test",
        "perhaps a login page",
        "cannot resolve <code>&lt;b&gt;away&lt;/b&gt;</code>",
        "value=\"billing\"",
        &format!("href=\"/artifacts/{}\"", id(&present)),
    ] {
        assert!(shown.body.contains(part), "no {part} in {}", shown.body);
    }
    assert!(!shown.body.contains("hunter2") && !shown.body.contains("id=\"reason-errors\""), "{}", shown.body);
    assert_eq!(site.get("/api/v1/artifacts").await.json()["items"].as_array().map(Vec::len), Some(1));

    let bad = site.submit("/declare", &[("uri", "ftp://x/y"), ("look", "now")]).await;
    assert!(bad.status == 422 && bad.body.contains("id=\"uri-errors\""), "{bad:?}");
    let many: Vec<String> = (0..25).map(|n| format!("https://h.test/{n}.gz")).collect();
    let many = site.submit("/declare", &[("uri", &many.join("\n")), ("look", "now")]).await;
    assert!(many.body.contains("The last 5 were not looked at") && many.body.contains("19.gz"), "{}", many.body);
    assert!(page(&site, "/declare").await.body.contains("name=\"look\""));
}
