//! `/declare` for images, and `/api/v1/images`: from tags to digests.

use std::sync::Arc;

use distmirror_admin::Options;
use distmirror_core::{Failure, ImageName, ImageReference, ResolvedTag, TagResolver};
use serde_json::json;

use crate::{
    pages::{id, page},
    sample::Sample,
    support::Site,
};

/// Knows one tag, of two platforms.
#[derive(Debug)]
struct Scripted(ImageName);

#[async_trait::async_trait]
impl TagResolver for Scripted {
    async fn resolve(&self, reference: &ImageReference) -> Result<ResolvedTag, Failure> {
        if reference.repository != *self.0.repository() {
            return Err(Failure::new("`https://quay.io/v2/` answered 404 <b>Not Found</b>"));
        }
        Ok(ResolvedTag {
            name: self.0.clone(),
            tag: reference.tag.clone().unwrap_or_else(|| "latest".to_owned()),
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            platforms: ["linux/amd64", "linux/arm/v7"].map(|platform| platform.parse().expect("a platform")).into(),
        })
    }
}

async fn site_with(sample: &Sample) -> Site {
    let resolver = Scripted(ImageName::parse(&sample.reference()).expect("a name"));
    Site::start_with(Options { tag_resolver: Some(Arc::new(resolver)), ..Options::default() }).await
}

async fn resolve(site: &Site, reference: &str, platforms: &str) -> crate::support::Answer {
    let fields =
        [("kind", "image"), ("reference", reference), ("platforms", platforms), ("reason", "r"), ("resolve", "now")];
    site.submit("/declare", &fields).await
}

#[tokio::test]
async fn the_form_takes_files_or_images() {
    let site = Site::start().await;
    let file = page(&site, "/declare").await.body;
    assert!(file.contains("name=\"uri\"") && !file.contains("name=\"reference\""), "{file}");
    let image = page(&site, "/declare?kind=image&reference=registry.test%2F&platforms=linux%2Farm64").await.body;
    for part in [
        ">registry.test/</textarea>",
        "name=\"kind\" value=\"image\"",
        "value=\"linux/arm64\"",
        "href=\"/declare\"",
        "name=\"resolve\"",
    ] {
        assert!(image.contains(part), "no {part} in {image}");
    }
    assert!(!image.contains("name=\"sha256\"") && !image.contains("has-errors"), "{image}");
}

#[tokio::test]
async fn images_are_declared_by_digest() {
    let site = Site::start().await;
    let sample = Sample::new("v");
    let tagged = format!("quay.io/team/tool:1.0@{}", sample.digest());
    let fields =
        [("kind", "image"), ("reference", &tagged), ("platforms", "linux/amd64, linux/arm64"), ("reason", "r")];
    let declared = site.submit("/declare", &fields).await;
    let (path, _) = declared.header("location").split_once("?done=declared").expect("declared");
    let shown = site.get(&format!("/api/v1{path}")).await.json();
    assert_eq!(
        (&shown["reference"], &shown["platforms_wanted"]),
        (&sample.reference().into(), &"linux/amd64 linux/arm64".into())
    );
    assert_eq!(shown["declarations"][0]["tag"], "1.0");

    let link = format!("/declare?kind=image&reference={}", tagged.replace('/', "%2F"));
    assert!(page(&site, &link).await.body.contains(&format!("href=\"/artifacts/{}\"", id(&shown))));
    let two = format!("{tagged}\r\n\r\nquay.io/team/other@{}", sample.digest());
    let both = site.submit("/declare", &[("kind", "image"), ("reference", &two), ("reason", "r")]).await;
    assert_eq!(both.header("location"), "/artifacts?done=all-declared");
}

#[tokio::test]
async fn a_tag_is_refused_with_the_advice_to_pin_it() {
    let site = Site::start().await;
    let fields = [("kind", "image"), ("reference", "debian:12"), ("platforms", "linux"), ("reason", "")];
    let refused = site.submit("/declare", &fields).await;
    assert_eq!(refused.status, 422);
    for part in [
        "pin it as <code>docker.io/library/debian@sha256:HEX</code>",
        ">debian:12</textarea>",
        "id=\"platforms-errors\"",
        "id=\"reason-errors\"",
        "class=\"aside wanted\"",
        "formnovalidate",
    ] {
        assert!(refused.body.contains(part), "no {part} in {}", refused.body);
    }
    let several =
        site.submit("/declare", &[("kind", "image"), ("reference", "debian:12\r\nftp://x"), ("reason", "r")]).await;
    assert!(several.body.contains("debian:12: names no digest") && several.body.contains("ftp://x: "), "{several:?}");
    assert_eq!(site.get("/api/v1/artifacts").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_tag_is_resolved_now_and_kept_as_a_note() {
    let sample = Sample::new("v");
    let site = site_with(&sample).await;
    let resolved = resolve(&site, "http://quay.io/team/tool:1.0", "linux/arm").await;
    let pinned = format!("http://quay.io/team/tool:1.0@{}", sample.digest());
    assert_eq!(resolved.status, 200, "{resolved:?}");
    for part in [
        &format!(">{pinned}</textarea>"),
        "<code>quay.io/team/tool:1.0</code> now names",
        "<code>linux/arm/v7</code>",
        "value=\"linux/arm\"",
        ">r</textarea>",
    ] {
        assert!(resolved.body.contains(part), "no {part} in {}", resolved.body);
    }
    assert!(
        !resolved.body.contains("aside wanted") && !resolved.body.contains("It is declared already"),
        "{resolved:?}"
    );
    assert_eq!(site.get("/api/v1/artifacts").await.json()["items"], json!([]), "resolving declares nothing");

    let declared = site.submit("/declare", &[("kind", "image"), ("reference", &pinned), ("reason", "r")]).await;
    let shown = page(&site, declared.header("location")).await.body;
    assert!(shown.contains("tag 1.0"), "{shown}");
    let again = resolve(&site, "quay.io/team/tool", "").await.body;
    assert!(again.contains("tool:latest@sha256:") && again.contains("It is declared already"), "{again}");
}

#[tokio::test]
async fn what_cannot_be_resolved_says_so_at_the_field() {
    let sample = Sample::new("v");
    let site = site_with(&sample).await;
    let mixed = format!(
        "quay.io/other/x:1\r\nquay.io/team/tool:1.0\r\nquay.io/team/tool@{}\r\nnot a reference",
        sample.digest()
    );
    let resolved = resolve(&site, &mixed, "linux/riscv64 linux/amd64").await;
    assert_eq!(resolved.status, 422);
    let lines = format!(
        ">quay.io/other/x:1\nquay.io/team/tool:1.0@{digest}\nquay.io/team/tool@{digest}\nnot a reference</textarea>",
        digest = sample.digest()
    );
    for part in [
        lines.as_str(),
        "<code>quay.io/other/x:1</code> cannot be resolved",
        "answered 404 &lt;b&gt;",
        "not a reference has <code>",
        "has no platform <code>linux/riscv64</code>: it has linux/amd64, linux/arm/v7",
        "now names",
    ] {
        assert!(resolved.body.contains(part), "no {part} in {}", resolved.body);
    }
    let many = "debian:12\r\n".repeat(21);
    assert!(resolve(&site, &many, "").await.body.contains("more than 20 tags"));
    assert!(resolve(&site, "", "").await.body.contains("is missing: write"));

    let without = Site::start().await;
    let refused = resolve(&without, "debian:12", "").await;
    assert!(refused.status == 422 && refused.body.contains("this process cannot ask registries"), "{refused:?}");
}

#[tokio::test]
async fn the_api_resolves_tags_and_lists_repositories() {
    let sample = Sample::new("v");
    let site = site_with(&sample).await;
    let resolve = async |reference: &str| site.post("/api/v1/images/resolve", &json!({"reference": reference})).await;
    let resolved = resolve("quay.io/team/tool:1.0").await.json();
    assert_eq!(resolved["reference"], format!("quay.io/team/tool:1.0@{}", sample.digest()));
    assert_eq!(
        (&resolved["digest"], &resolved["platforms"]),
        (&sample.digest().into(), &json!(["linux/amd64", "linux/arm/v7"]))
    );
    assert_eq!(resolve("debian:12").await.json()["code"], "not_resolved");
    assert_eq!(resolve("ftp://x").await.bad_fields(), ["reference"]);

    sample.present(&site).await;
    let listed = site.get("/api/v1/images/repositories?registry=quay.io").await.json();
    assert_eq!(
        listed["items"],
        json!([{"registry": "quay.io", "repository": "team/tool", "declared": 1, "present": 1}])
    );
    assert_eq!(site.get("/api/v1/images/repositories?registry=ghcr.io").await.json()["items"], json!([]));
    assert_eq!(site.get("/api/v1/images/repositories?registry=a%20b").await.bad_fields(), ["registry"]);
}
