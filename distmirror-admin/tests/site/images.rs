//! Images: browsing them, the page of one, and how they show in lists.

use distmirror_core::{ArtifactName, Failure, ImageName, Payload, Role};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    pages::{NASTY, id, page},
    sample::{PREDICATE, SIGNATURE, Sample},
    support::Site,
};

const REPOSITORY: &str = "/images?registry=quay.io&repository=team%2Ftool";

/// Checks that all of these stand on a page.
fn has(html: &str, parts: &[&str]) {
    for part in parts {
        assert!(html.contains(part), "no {part} in {html}");
    }
}

#[tokio::test]
async fn images_are_browsed_from_registry_to_repository_to_image() {
    let site = Site::start().await;
    has(&page(&site, "/images").await.body, &["No image is declared yet", "/declare?kind=image"]);

    let sample = Sample::new("v");
    let image = sample.present(&site).await;
    let link = "/images?registry=quay.io&amp;repository=team%2Ftool";
    has(
        &page(&site, "/images").await.body,
        &["<a href=\"/images?registry=quay.io\">quay.io</a>", link, ">team/tool</a>"],
    );
    has(&page(&site, "/images?registry=QUAY.io%3A443").await.body, &["<h1>quay.io</h1>", link]);
    let short = format!("{}</code></a>", &sample.digest()[..19]);
    let page_of_it = format!("href=\"/artifacts/{}\"", id(&image));
    let list = page(&site, REPOSITORY).await.body;
    has(&list, &["<h1>team/tool</h1>", &short, &page_of_it, ">1.0</span>", "badge present", ">linux/amd64</span>"]);
    assert!(!list.contains("linux/arm64"), "it is not here: {list}");

    has(&page(&site, "/images?registry=ghcr.io").await.body, &["No image of it is declared", "reference=ghcr.io%2F"]);
    let none = page(&site, "/images?registry=docker.io&repository=debian").await.body;
    has(&none, &["No image of it is declared", "reference=docker.io%2Flibrary%2Fdebian"]);
    for (bad, field) in [
        ("/images?registry=a%20b", "registry"),
        ("/images?registry=quay.io&repository=A", "repository"),
        ("/images?repository=team%2Ftool", "registry"),
        ("/images?registry=quay.io&repository=a&cursor=x", "cursor"),
    ] {
        let answer = page(&site, bad).await;
        assert!(answer.status == 400 && answer.body.contains(&format!("{field}: ")), "{bad}: {answer:?}");
    }
}

#[tokio::test]
async fn a_repository_comes_in_pages() {
    let site = Site::start().await;
    for number in 0..60 {
        Sample::new(&number.to_string()).declared(&site).await;
    }
    let first = page(&site, REPOSITORY).await.body;
    let start =
        first.find("href=\"/images?registry=quay.io&amp;repository=team%2Ftool&amp;cursor=").expect("a next page");
    let link = &first[start + 6..];
    let second = page(&site, &link[..link.find('"').unwrap()].replace("&amp;", "&")).await.body;
    assert_eq!(second.matches("<tr>").count(), 1 + 10);
    assert!(second.contains("First page") && !second.contains("Next page"));
}

#[tokio::test]
async fn the_page_of_an_image_shows_what_it_consists_of() {
    let site = Site::start().await;
    let sample = Sample::new("v");
    let image = sample.present(&site).await;
    let html = page(&site, &format!("/artifacts/{}", id(&image))).await.body;
    let reference = sample.reference();
    has(
        &html,
        &[
            "<title>tool · distmirror</title>",
            "<a href=\"/images?registry=quay.io&amp;repository=team%2Ftool\">team/tool</a>",
            "tag 1.0",
            "name=\"platform\" value=\"linux/arm64\"",
            "name=\"platform\" value=\"all\"",
            "[&quot;/bin/tool&quot;,&quot;v&quot;]",
            "1000:1000",
            "2026-03-14T09:26:53Z",
            "<a href=\"https://example.test/tool\" rel=\"noopener noreferrer nofollow\">",
            "<dd>Apache-2.0</dd>",
            "<dd>javascript:alert(1)</dd>",
            "org.example.built-by",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "2.0 KiB",
            SIGNATURE,
            "about the image",
            "<strong>attestation</strong>",
            "about linux/amd64",
            PREDICATE,
            &format!("podman pull {reference}</pre>"),
            &format!("docker pull {reference}</pre>"),
            "location = &quot;127.0.0.1:3128/quay.io&quot;",
            "https://quay.io/v2/team/tool/manifests/",
        ],
    );
    assert!(!html.contains("value=\"linux/amd64\"") && !html.contains("href=\"javascript"), "{html}");
    assert_eq!(html.matches("<summary>linux/").count(), 1, "an attestation is no image");
}

#[tokio::test]
async fn what_somebody_else_declared_about_it_is_shown_too() {
    let site = Site::start().await;
    let first = Sample::new("v");
    let image = first.present(&site).await;
    Sample::new("w").signing(&first).present(&site).await;
    let html = page(&site, &format!("/artifacts/{}", id(&image))).await.body;
    assert_eq!(html.matches("about the image").count(), 2, "{html}");
}

#[tokio::test]
async fn whatever_authors_and_people_write_of_images_comes_out_escaped() {
    let site = Site::start().await;
    let image = Sample::new(NASTY).present(&site).await;
    let encoded: String = url::form_urlencoded::byte_serialize(NASTY.as_bytes()).collect();
    for path in [
        format!("/artifacts/{}", id(&image)),
        REPOSITORY.to_owned(),
        "/artifacts?kind=image".to_owned(),
        format!("/images?registry={encoded}"),
        format!("/images?registry=quay.io&repository={encoded}"),
        format!("/artifacts?kind=image&repository={encoded}"),
        format!("/declare?kind=image&reference={encoded}&platforms={encoded}"),
    ] {
        let html = page(&site, &path).await.body;
        for raw in ["alert(1)</script>", "\"'{{", "49&amp;"] {
            assert!(!html.contains(raw), "{path} has {raw}: {html}");
        }
    }
    for resolve in ["", "now"] {
        let fields = [("kind", "image"), ("reference", NASTY), ("platforms", NASTY), ("resolve", resolve)];
        let failed = site.submit("/declare", &fields).await;
        assert!(failed.status == 422 && !failed.body.contains("alert(1)</script>"), "{failed:?}");
    }
}

#[tokio::test]
async fn a_part_that_cannot_be_read_costs_its_own_place_only() {
    let site = Site::start().await;
    let sample = Sample::new("v");
    let image = sample.declared(&site).await;
    let config = sample.usual()[1].digest();
    sample.bring(&site, &|part| part.digest() != config).await;
    let path = format!("/artifacts/{}", id(&image));
    let lost = page(&site, &path).await;
    assert_eq!(lost.status, 200);
    has(&lost.body, &[&format!("<code>{config}</code> cannot be shown"), "application/vnd.oci.image.layer", SIGNATURE]);

    let manifest = &sample.usual()[0];
    let damaged = vec![b' '; manifest.bytes.len()];
    site.mirror.blobs().put(&manifest.stored.blob, Payload::Bytes(damaged.into())).await.unwrap();
    let damaged = page(&site, &path).await;
    has(&damaged.body, &[&format!("<code>{}</code> cannot be shown", manifest.digest()), SIGNATURE]);
    assert!(!damaged.body.contains("application/vnd.oci.image.layer"), "{damaged:?}");

    let index = Sample::new("w");
    let image = index.declared(&site).await;
    index.bring(&site, &|part| part.stored.role != Role::Index).await;
    let lost = page(&site, &format!("/artifacts/{}", id(&image))).await;
    has(&lost.body, &[&format!("<code>{}</code> cannot be shown", index.digest()), "value=\"linux/arm64\""]);
}

#[tokio::test]
async fn a_platform_is_added_with_one_click() {
    let site = Site::start().await;
    let sample = Sample::new("v");
    let image = sample.present(&site).await;
    let path = format!("/artifacts/{}", id(&image));
    let added = site.submit(&format!("{path}/platforms"), &[("platform", "linux/arm64"), ("reason", " ")]).await;
    assert_eq!((added.status, added.header("location")), (303, format!("{path}?done=more").as_str()));
    let shown = page(&site, added.header("location")).await.body;
    has(
        &shown,
        &[
            "Wanted from now on.",
            "In service, and more of it is on its way",
            "data-whole=\"false\"",
            "waiting for a worker",
            "badge pending\">wanted",
            "platform linux/arm64 was added on its page",
        ],
    );
    assert!(!shown.contains("value=\"linux/arm64\""), "it is wanted already: {shown}");
    has(&page(&site, REPOSITORY).await.body, &["data-whole=\"false\""]);

    let job = site.lease().await;
    let failure = Failure::new("`https://quay.io/v2/` answered 503 Service Unavailable");
    site.mirror.catalog().fail(&job.lease, &failure, None, Timestamp::now()).await.unwrap();
    let failed = page(&site, &path).await.body;
    has(&failed, &["badge present", "not all that is wanted is here", "answered 503", &format!("{path}/retry")]);
    has(&page(&site, "/artifacts").await.body, &["More of it was wanted"]);
    assert_eq!(site.submit(&format!("{path}/retry"), &[]).await.status, 303);

    sample.bring(&site, &|_| true).await;
    let whole = page(&site, &path).await.body;
    assert!(!whole.contains("data-whole=\"false\"") && !whole.contains("answered 503</"), "{whole}");
    assert_eq!(whole.matches("<summary>linux/").count(), 2);
    let shown = site.get(&format!("/api/v1{path}")).await.json();
    assert_eq!((&shown["whole"], shown["declarations"].as_array().unwrap().len()), (&Value::Bool(true), 2));
}

#[tokio::test]
async fn bad_platforms_are_refused_on_the_page() {
    let site = Site::start().await;
    let image = Sample::new("v").present(&site).await;
    let file = site.declared("http://h/x").await;
    let path = |artifact: &Value| format!("/artifacts/{}/platforms", id(artifact));
    for (artifact, fields, says) in [
        (&image, vec![], "platform: is missing"),
        (&image, vec![("platform", "linux")], "platforms: "),
        (&image, vec![("platform", "all"), ("reason", "\u{7}")], "reason: "),
        (&file, vec![("platform", "all")], "platform: belongs to images"),
    ] {
        let refused = site.submit(&path(artifact), &fields).await;
        assert!(refused.status == 422 && refused.body.contains(says), "{fields:?}: {refused:?}");
    }
    let unknown = "/artifacts/00000000-0000-0000-0000-000000000000/platforms";
    assert_eq!(site.submit(unknown, &[("platform", "all")]).await.status, 404);

    let all = site.submit(&path(&image), &[("platform", "all"), ("reason", "we ship to ARM")]).await;
    assert_eq!(all.status, 303);
    let shown = site.get(&format!("/api/v1/artifacts/{}", id(&image))).await.json();
    assert_eq!(
        (&shown["platforms_wanted"], &shown["declarations"][1]["reason"]),
        (&"all usual".into(), &"we ship to ARM".into())
    );
}

#[tokio::test]
async fn an_image_that_is_not_here_yet_says_what_is_wanted() {
    let site = Site::start().await;
    let image = Sample::new("v").declared(&site).await;
    let path = format!("/artifacts/{}", id(&image));
    has(
        &page(&site, &path).await.body,
        &["<code>usual</code>", "data-state=\"pending\"", "data-whole=\"false\"", "podman pull"],
    );
    let job = site.lease().await;
    let failure = Failure::new("the image has no platform `linux/riscv64`: it has `linux/amd64`");
    site.mirror.catalog().fail(&job.lease, &failure, None, Timestamp::now()).await.unwrap();
    has(&page(&site, &path).await.body, &["stays wanted", "reference=quay.io%2Fteam%2Ftool\""]);
}

#[tokio::test]
async fn an_image_out_of_service_can_be_put_back() {
    let site = Site::start().await;
    let image = Sample::new("v").present(&site).await;
    let path = format!("/artifacts/{}", id(&image));
    assert_eq!(site.submit(&format!("{path}/quarantine"), &[("reason", "withdrawn")]).await.status, 303);
    let shown = page(&site, &path).await.body;
    has(&shown, &["Out of service.", "id=\"release\"", "linux/arm64"]);
    assert!(!shown.contains("name=\"platform\""), "{shown}");
    assert_eq!(site.submit(&format!("{path}/release"), &[("reason", "checked")]).await.status, 303);
}

#[tokio::test]
async fn lists_show_images_beside_files() {
    let site = Site::start().await;
    let sample = Sample::new("v");
    let image = sample.present(&site).await;
    site.declared("http://h/file.bin").await;
    let short = format!("<span class=\"query\">@{}</span> <span class=\"kind\">image</span>", &sample.digest()[..19]);
    for path in ["/", "/artifacts", "/artifacts?kind=image", "/artifacts?host=quay.io&repository=team%2Ftool", "/audit"]
    {
        has(&page(&site, path).await.body, &[&short, "<span class=\"stem\">quay.io/team/</span>", id(&image)]);
    }
    let images = page(&site, "/artifacts?kind=image&state=present").await.body;
    has(
        &images,
        &["href=\"/artifacts?kind=file&amp;state=present\"", "href=\"/artifacts?kind=image\"", "name=\"kind\""],
    );
    assert!(!images.contains("file.bin"), "{images}");
    assert!(!page(&site, "/artifacts?kind=file").await.body.contains(&short));
}

#[tokio::test]
async fn misses_of_images_lead_to_the_form() {
    let site = Site::start().await;
    let sample = Sample::new("v");
    site.missed_name(ArtifactName::Image(ImageName::parse(&sample.reference()).unwrap())).await;
    site.missed("https://registry-1.docker.io/v2/library/debian/manifests/12").await;
    site.missed("https://quay.io/v2/team/tool/tags/list").await;
    let encoded: String = url::form_urlencoded::byte_serialize(sample.reference().as_bytes()).collect();
    let pin = "href=\"/declare?kind=image&amp;reference=docker.io%2Flibrary%2Fdebian%3A12\"";
    let misses = page(&site, "/misses").await.body;
    has(&misses, &[&format!("href=\"/declare?kind=image&amp;reference={encoded}\""), pin, "Pin it"]);
    assert_eq!(misses.matches("name=\"ids\" value=").count(), 1, "only what has a digest can be ticked: {misses}");
    assert_eq!(misses.matches("Pin it").count(), 1, "{misses}");
    site.declared("http://h/x").await;
    has(&page(&site, "/").await.body, &[pin]);

    let items = site.get("/api/v1/misses").await.json()["items"].clone();
    let miss = items.as_array().unwrap().iter().find(|miss| miss["reference"].is_string()).expect("the image").clone();
    let declared = site.submit("/misses/declare", &[("ids", id(&miss)), ("reason", "a build wants it")]).await;
    has(&page(&site, declared.header("location")).await.body, &["a build wants it", &sample.digest()]);
}
