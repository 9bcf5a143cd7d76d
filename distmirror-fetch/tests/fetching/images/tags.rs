//! What a tag names now: asked in one request, which brings nothing.

use std::time::Duration;

use distmirror_core::{Failure, ImageReference, ResolvedTag, TagResolver};
use testkit::{Answer, image::Image};

use crate::support::{ImagePlace, Registry, image_options, options, sha256};

async fn resolve(registry: &Registry, reference: &str) -> Result<ResolvedTag, Failure> {
    let reference = ImageReference::parse(&format!("http://{}/team/app{reference}", registry.host())).unwrap();
    ImagePlace::new().fetcher.resolve(&reference).await
}

#[tokio::test]
async fn a_tag_names_the_digest_of_what_it_gives() {
    let image = Image::docker("a").build();
    let other = Image::oci("b").build();
    let registry = Registry::start().await;
    registry.put_manifest("1.0", image.media_type(), image.manifest().clone());
    registry.put_manifest("latest", other.media_type(), other.manifest().clone());
    // What the registry says of the bytes counts for nothing.
    registry.before_all(|request| {
        let lie = || Answer::new(200).header("docker-content-digest", &format!("sha256:{}", "0".repeat(64)));
        (request.uri().path().ends_with("lie")).then(|| lie().body(Image::oci("b").build().manifest().clone()))
    });
    for (reference, tag, named) in [
        (":1.0".to_owned(), "1.0", &image),
        (String::new(), "latest", &other),
        (":lie".to_owned(), "lie", &other),
        (format!(":1.0@{}", other.digest()), "1.0", &image),
    ] {
        let resolved = resolve(&registry, &reference).await.unwrap();
        assert_eq!(resolved.name.to_string(), format!("{}/team/app@{}", registry.host(), named.digest()));
        assert_eq!((resolved.tag.as_str(), resolved.media_type.as_str()), (tag, named.media_type()));
        assert_eq!(resolved.platforms, []);
    }
    let asked = registry.asked();
    assert_eq!(asked, ["1.0", "latest", "lie", "1.0"].map(|tag| format!("GET manifests/{tag}")));
}

#[tokio::test]
async fn the_platforms_of_an_index_are_offered() {
    let [amd64, arm64, unknown] =
        ["linux/amd64", "linux/arm64/v8", "unknown/unknown"].map(|platform| Image::oci("a").platform(platform).build());
    let index = Image::index(&[amd64, arm64, unknown, Image::artifact("application/x", "chart")]);
    let registry = Registry::start().await;
    registry.put_manifest("v1", index.media_type(), index.manifest().clone());
    let resolved = resolve(&registry, ":v1").await.unwrap();
    let platforms: Vec<_> = resolved.platforms.iter().map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(resolved.media_type, index.media_type());
}

#[tokio::test]
async fn a_tag_that_names_nothing_says_why() {
    let registry = Registry::start().await;
    registry.put_manifest("page", "text/html", "<html>");
    registry.put_manifest("old", "application/json", r#"{"schemaVersion": 1}"#);
    registry.at("manifests/busy", |_| Answer::new(429).header("retry-after", "9"));
    registry.at("manifests/closed", |_| Answer::new(401).header("www-authenticate", "Basic realm=\"x\""));
    registry.at("manifests/huge", |_| Answer::new(200).header("content-length", "104857600").stall_after(0));
    for (tag, words, wait) in [
        ("missing", "answered 404 Not Found", None),
        ("page", "what `page` names is no manifest", None),
        ("old", "schema version 1", None),
        ("busy", "answered 429", Some(9)),
        ("closed", "fetch.credentials", None),
        ("huge", "more than the", None),
    ] {
        let failure = resolve(&registry, &format!(":{tag}")).await.unwrap_err();
        assert!(failure.message.contains(words), "{tag}: {failure}");
        assert_eq!(failure.retry_after, wait.map(Duration::from_secs), "{tag}");
    }
    let inside = ImageReference::parse(&format!("http://{}/team/app:1", registry.host())).unwrap();
    let outside = ImagePlace::with(&options(&[]), image_options()).fetcher;
    let failure = outside.resolve(&inside).await.unwrap_err().message;
    assert!(failure.contains("address not allowed"), "{failure}");
}

#[tokio::test]
async fn without_a_scheme_a_registry_is_asked_over_https() {
    let image = Image::oci("a").build();
    let registry = Registry::start().await;
    registry.put_manifest("1", image.media_type(), image.manifest().clone());
    let reference = ImageReference::parse(&format!("{}/team/app:1", registry.https_host())).unwrap();
    let resolved = ImagePlace::trusting(&[&registry], Vec::new()).fetcher.resolve(&reference).await.unwrap();
    assert_eq!(*resolved.name.digest(), sha256(image.manifest()));
}
