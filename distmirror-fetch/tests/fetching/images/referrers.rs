//! What refers to an image: found by the API or by the stand-in tag, brought along, and left out where it does not belong.

use std::time::Duration;

use distmirror_core::Role;
use distmirror_fetch::{FetchOptions, ImageOptions};
use serde_json::{Value, json};
use testkit::{Answer, image::Image};

use crate::support::{ImagePlace, OCI_INDEX, Registry, Trap, in_lines, layers, lines_of, list_of, reaching_loopback};

fn signature(of: &Image, words: &str) -> Image {
    Image::artifact("application/vnd.example.signature", words.to_owned()).with_subject(of)
}

/// An image, a signature of it, and a registry that holds both and lists nothing yet.
async fn signed() -> (Image, Image, Registry) {
    let image = Image::oci("a").layers(1).build();
    let signature = signature(&image, "signed");
    let registry = Registry::with(&image).await;
    registry.push(&signature);
    (image, signature, registry)
}

/// The tag that stands in for the referrers of an image.
fn stand_in(image: &Image) -> String {
    image.digest().replace(':', "-")
}

/// Fetches an image with what refers to it, and compares that with these.
async fn check_comes(what: &str, registry: &Registry, expected: &[&Image]) {
    let fetched = ImagePlace::with_referrers().fetch(&registry.job(expected[0].digest(), "all")).await;
    let fetched = fetched.unwrap_or_else(|failure| panic!("{what}: {failure}"));
    assert_eq!(in_lines(&fetched.blobs), lines_of(expected), "{what}");
}

#[tokio::test]
async fn what_the_api_lists_comes_along() {
    let (image, signature, registry) = signed().await;
    registry.put_referrers(&image, &[&signature]);
    check_comes("API", &registry, &[&image, &signature]).await;
    assert_eq!(registry.times(&format!("GET manifests/{}", stand_in(&image))), 0, "{:?}", registry.asked());
}

#[tokio::test]
async fn without_the_api_the_tag_stands_in() {
    let (image, signature, registry) = signed().await;
    registry.put_manifest(&stand_in(&image), OCI_INDEX, list_of(&[&signature]));
    check_comes("tag", &registry, &[&image, &signature]).await;
}

#[tokio::test]
async fn an_empty_list_is_an_answer() {
    let (image, signature, registry) = signed().await;
    registry.put_referrers(&image, &[]);
    registry.put_manifest(&stand_in(&image), OCI_INDEX, list_of(&[&signature]));
    check_comes("nothing", &registry, &[&image]).await;
}

#[tokio::test]
async fn whatever_stands_at_the_place_of_the_tag_may_be_no_list() {
    let (image, signature, registry) = signed().await;
    for (what, media_type, bytes) in [
        ("a page", "text/html", b"<html>".to_vec()),
        ("an image", image.media_type(), image.manifest().to_vec()),
        ("a signature", signature.media_type(), signature.manifest().to_vec()),
    ] {
        registry.put_manifest(&stand_in(&image), media_type, bytes);
        check_comes(what, &registry, &[&image]).await;
    }
}

#[tokio::test]
async fn every_page_of_the_list_is_read() {
    let (image, first, registry) = signed().await;
    let second = signature(&image, "signed again");
    registry.push(&second);
    let thing = format!("referrers/{}", image.digest());
    let pages = [list_of(&[&first]), list_of(&[&second])];
    for link in [
        format!("</v2/team/app/{thing}?page=2>; rel=\"next\""),
        "<?page=2>; rel=next".to_owned(),
        format!("<{}>; rel=\"next\"", registry.upstream.url(&format!("/v2/team/app/{thing}?page=2"))),
    ] {
        let (pages, sent) = (pages.clone(), link.clone());
        registry.at(&thing, move |request| match request.uri().query() {
            None => Answer::ok(pages[0].clone()).header("link", &sent),
            Some(_) => Answer::ok(pages[1].clone()),
        });
        check_comes(&link, &registry, &[&image, &first, &second]).await;
    }
}

#[tokio::test]
async fn a_page_elsewhere_is_not_read() {
    let (image, signature, registry) = signed().await;
    let trap = Trap::set();
    let thing = format!("referrers/{}", image.digest());
    for target in [
        format!("http://127.0.0.1:{}/v2/team/app/{thing}?page=2", trap.port()),
        format!("http://localhost:{}/v2/team/app/{thing}?page=2", registry.upstream.http_port()),
        format!("//localhost/v2/team/app/{thing}?page=2"),
        "ftp://127.0.0.1/".to_owned(),
        "http://[".to_owned(),
    ] {
        let (list, link) = (list_of(&[&signature]), format!("<{target}>; rel=\"next\""));
        registry.at(&thing, move |_| Answer::ok(list.clone()).header("link", &link));
        check_comes(&target, &registry, &[&image, &signature]).await;
    }
    assert!(trap.is_untouched());
    assert!(registry.asked().iter().all(|asked| !asked.contains("page=2")), "{:?}", registry.asked());
}

#[tokio::test]
async fn a_page_of_the_same_host_over_http_is_not_read_by_who_came_over_https() {
    let (image, signature, registry) = signed().await;
    let target = format!("http://{}/v2/team/app/page-2", registry.https_host());
    let (list, link) = (list_of(&[&signature]), format!("<{target}>; rel=\"next\""));
    registry.at(&format!("referrers/{}", image.digest()), move |_| Answer::ok(list.clone()).header("link", &link));
    let trusted_roots = vec![std::fs::read_to_string(registry.upstream.ca_pem_path()).unwrap()];
    let options = FetchOptions { trusted_roots, ..reaching_loopback() };
    let place = ImagePlace::with(&options, ImageOptions::default());
    let fetched = place.fetch(&registry.https_job(image.digest())).await.unwrap();
    assert_eq!(in_lines(&fetched.blobs), lines_of(&[&image, &signature]));
}

#[tokio::test]
async fn pages_that_go_round_in_circles_end() {
    let (image, signature, registry) = signed().await;
    let thing = format!("referrers/{}", image.digest());
    let (list, link) = (list_of(&[&signature]), format!("</v2/team/app/{thing}>; rel=\"next\""));
    registry.at(&thing, move |_| Answer::ok(list.clone()).header("link", &link));
    check_comes("a circle", &registry, &[&image, &signature]).await;
    assert_eq!(registry.times(&format!("GET {thing}")), 20);
}

#[tokio::test]
async fn what_refers_to_a_referrer_comes_and_no_further() {
    let (image, first, registry) = signed().await;
    let second = signature(&first, "the signature is signed");
    let third = signature(&second, "and that too");
    for (subject, referrer) in [(&image, &first), (&first, &second), (&second, &third)] {
        registry.push(referrer);
        registry.put_referrers(subject, &[referrer]);
    }
    check_comes("levels", &registry, &[&image, &first, &second]).await;
    assert_eq!(registry.times(&format!("GET manifests/{}", third.digest())), 0);
}

#[tokio::test]
async fn children_of_an_index_have_referrers_too_but_only_those_that_are_here() {
    let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|platform| Image::oci(platform).platform(platform).build());
    let index = Image::index(&[amd64.clone(), arm64.clone()]);
    let registry = Registry::with(&index).await;
    let signatures = [&index, &amd64, &arm64].map(|image| signature(image, image.digest()));
    for (subject, signature) in [&index, &amd64, &arm64].into_iter().zip(&signatures) {
        registry.push(signature);
        registry.put_referrers(subject, &[signature]);
    }
    check_comes("all", &registry, &[&index, &signatures[0], &signatures[1], &signatures[2]]).await;
    let fetched = ImagePlace::with_referrers().fetch(&registry.job(index.digest(), "usual")).await.unwrap();
    let digests: Vec<_> = fetched.blobs.iter().map(|blob| blob.digest.to_string()).collect();
    let has = |image: &Image| digests.iter().any(|digest| digest == image.digest());
    assert_eq!(signatures.each_ref().map(has), [true, true, false]);
}

#[tokio::test]
async fn what_refers_to_something_else_is_left_out() {
    let (image, signature_of_it, registry) = signed().await;
    let other = Image::oci("other").build();
    let stranger = signature(&other, "of another image");
    let unrelated = Image::artifact("application/x", "of nothing");
    registry.push(&stranger);
    registry.push(&unrelated);
    registry.put_referrers(&image, &[&stranger, &unrelated, &signature_of_it]);
    check_comes("strangers", &registry, &[&image, &signature_of_it]).await;
    for left_out in [&stranger, &unrelated] {
        let blob = &layers(left_out)[0];
        assert_eq!(registry.times(&format!("GET blobs/{blob}")), 0);
    }
}

#[tokio::test]
async fn a_registry_that_lists_the_same_for_every_subject_is_understood() {
    let image = Image::oci("a").build();
    let index = Image::index(std::slice::from_ref(&image));
    let registry = Registry::with(&index).await;
    let [of_index, of_image] = [&index, &image].map(|subject| signature(subject, subject.digest()));
    for subject in [&index, &image] {
        registry.put_referrers(subject, &[&of_image, &of_index]);
    }
    registry.push(&of_index);
    registry.push(&of_image);
    check_comes("one list", &registry, &[&index, &of_index, &of_image]).await;
}

#[tokio::test]
async fn what_is_left_out_counts_against_the_limit() {
    let (image, _, registry) = signed().await;
    let other = Image::oci("other").build();
    let strangers: Vec<_> = (0..40)
        .map(|number| signature(&other, &format!("{number}")).with_annotation("padding", &"x".repeat(5000)))
        .collect();
    strangers.iter().for_each(|stranger| registry.push(stranger));
    registry.put_referrers(&image, &strangers.iter().collect::<Vec<_>>());
    let place = ImagePlace::with_referrers().limited_to(100_000);
    let failure = place.failure(&registry, image.digest()).await.message;
    assert!(failure.contains("too large") && failure.contains("fetch.referrers"), "{failure}");
}

#[tokio::test]
async fn a_referrer_may_be_an_index() {
    let (image, _, registry) = signed().await;
    let children = [Image::artifact("application/x", "one"), Image::docker("two").platform("linux/arm64").build()];
    let index = Image::index(&children).with_subject(&image);
    registry.push(&index);
    registry.put_referrers(&image, &[&index]);
    check_comes("index", &registry, &[&image, &index]).await;
}

#[tokio::test]
async fn a_referrer_that_lists_what_nobody_wanted_brings_it() {
    let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|platform| Image::oci(platform).platform(platform).build());
    let index = Image::index(&[amd64.clone(), arm64.clone()]);
    let registry = Registry::with(&index).await;
    let referrer = Image::index(std::slice::from_ref(&arm64)).with_subject(&index);
    registry.push(&referrer);
    registry.put_referrers(&index, &[&referrer]);
    let fetched = ImagePlace::with_referrers().fetch(&registry.job(index.digest(), "usual")).await.unwrap();
    let roles: Vec<_> =
        fetched.blobs.iter().filter(|blob| blob.digest.to_string() == arm64.digest()).map(|blob| blob.role).collect();
    assert_eq!(roles, [Role::Manifest], "here, and not at the same time on record as absent");
}

#[tokio::test]
async fn a_referrer_of_a_kind_that_cannot_be_kept_is_left_out() {
    let (image, signature, registry) = signed().await;
    // As the drafts of the specification had it.
    let media_type = "application/vnd.oci.artifact.manifest.v1+json";
    let draft = json!({"mediaType": media_type, "blobs": [], "subject": signature.document()["subject"]});
    let draft = draft.to_string();
    let digest = registry.put_document(media_type, draft.clone().into_bytes());
    let mut list: Value = serde_json::from_slice(&list_of(&[&signature])).unwrap();
    let entry = json!({"mediaType": media_type, "digest": digest, "size": draft.len()});
    list["manifests"].as_array_mut().unwrap().insert(0, entry);
    let list = list.to_string();
    registry.at(&format!("referrers/{}", image.digest()), move |_| Answer::ok(list.clone()));
    check_comes("draft", &registry, &[&image, &signature]).await;
}

#[tokio::test]
async fn switched_off_nothing_is_asked() {
    let (image, signature, registry) = signed().await;
    registry.put_referrers(&image, &[&signature]);
    let fetched = ImagePlace::new().fetch(&registry.job(image.digest(), "all")).await.unwrap();
    assert_eq!(in_lines(&fetched.blobs), lines_of(&[&image]));
    let asked = registry.asked();
    assert!(asked.iter().all(|asked| !asked.contains("referrers") && !asked.contains("sha256-")), "{asked:?}");
}

#[tokio::test]
async fn who_has_or_gives_no_list_has_none() {
    for status in [400, 401, 403, 404, 405, 410, 501] {
        for thing in ["referrers/", "manifests/sha256-"] {
            let (image, signature, registry) = signed().await;
            let list = list_of(&[&signature]);
            registry.before_all(move |request| {
                let is = |thing: &str| request.uri().path().contains(thing);
                match (is(thing), is("manifests/sha256-")) {
                    (true, _) => Some(Answer::new(status)),
                    (false, true) => Some(Answer::ok(list.clone())),
                    _ => None,
                }
            });
            let expected: &[_] = if thing == "referrers/" { &[&image, &signature] } else { &[&image] };
            check_comes(&format!("{status} for {thing}"), &registry, expected).await;
        }
    }
}

#[tokio::test]
async fn a_list_that_is_for_others_is_none_even_where_a_token_was_to_be_had() {
    let (image, _, registry) = signed().await;
    let challenge = format!("Bearer realm=\"{}\"", registry.upstream.url("/token"));
    registry.upstream.on("/token", |_| Answer::ok(r#"{"token": "for.anybody"}"#));
    registry.before_all(move |request| {
        let closed = ["referrers/", "manifests/sha256-"].iter().any(|thing| request.uri().path().contains(thing));
        closed.then(|| Answer::new(401).header("www-authenticate", &challenge))
    });
    check_comes("closed", &registry, &[&image]).await;
}

#[tokio::test]
async fn trouble_with_the_list_fails_the_image_and_names_the_way_out() {
    for status in [408, 429, 500, 502, 503, 504] {
        for thing in ["referrers/", "manifests/sha256-"] {
            let (image, _, registry) = signed().await;
            registry.before_all(move |request| {
                let matches = request.uri().path().contains(thing);
                matches.then(|| Answer::new(status).header("retry-after", "8"))
            });
            let failure = ImagePlace::with_referrers().failure(&registry, image.digest()).await;
            for words in [&format!("answered {status}"), image.digest(), "fetch.referrers = false"] {
                assert!(failure.message.contains(words), "{status} for {thing}: {failure}");
            }
            let wait = matches!(status, 429 | 503).then_some(Duration::from_secs(8));
            assert_eq!(failure.retry_after, wait, "{status} for {thing}");
        }
    }
}

#[tokio::test]
async fn a_broken_list_fails_the_image() {
    let (image, signature, registry) = signed().await;
    let thing = format!("referrers/{}", image.digest());
    let list = list_of(&[&signature]);
    let link = format!("</v2/team/app/{thing}?page=2>; rel=\"next\"");
    for (what, first, second, words) in [
        ("cut", Answer::ok(list.clone()).break_after(10), Answer::new(404), "truncated"),
        (
            "huge",
            Answer::new(200).header("content-length", "104857600").stall_after(0),
            Answer::new(404),
            "more than the",
        ),
        ("next page missing", Answer::ok(list.clone()).header("link", &link), Answer::new(404), "answered 404"),
        ("next page closed", Answer::ok(list.clone()).header("link", &link), Answer::new(403), "answered 403"),
    ] {
        registry.at(&thing, move |request| match request.uri().query() {
            None => first.clone(),
            Some(_) => second.clone(),
        });
        let failure = ImagePlace::with_referrers().failure(&registry, image.digest()).await.message;
        assert!(failure.contains(words) && failure.contains("fetch.referrers"), "{what}: {failure}");
    }
}

#[tokio::test]
async fn a_referrer_that_is_broken_fails_the_image() {
    for missing in ["manifest", "blob", "wrong"] {
        let (image, signature, registry) = signed().await;
        registry.put_referrers(&image, &[&signature]);
        let blob = layers(&signature).remove(0);
        let named = match missing {
            "manifest" => signature.digest().to_owned(),
            _ => blob.clone(),
        };
        match missing {
            "manifest" => registry.at(&format!("manifests/{named}"), |_| Answer::new(404)),
            "blob" => registry.at(&format!("blobs/{named}"), |_| Answer::new(404)),
            _ => registry.put_blob(&blob, "tigned"),
        }
        let failure = ImagePlace::with_referrers().failure(&registry, image.digest()).await.message;
        assert!(failure.contains(&named), "{missing}: {failure}");
    }
}
