//! "Determining Support", "Listing Tags" and "Listing Referrers".

use serde_json::{Value, json};

use super::{
    Stage, assert_error, assert_same_fields,
    content::{CONFIG, INDEX, MATERIALS, SIGNATURE, image_with_referrers, index_with_referrers, one_of_each},
    nobody,
};
use crate::images::faces::{Face, Got};

/// "If the response is `200 OK`, then the registry implements this specification".
#[tokio::test]
async fn it_says_that_it_is_a_registry_and_wants_no_name() {
    let stage = Stage::with(one_of_each().into_iter().take(1).collect()).await;
    let mut answers = Vec::new();
    for (_, face) in stage.all() {
        answers.push((face.name, face.get("").await));
        assert_same_fields(face, "", &face.get("").await, &face.head("").await);
    }
    let own = format!("{}/v2/", stage.server.proxy_url());
    answers.push(("the site itself", Got::of(reqwest::Client::new().get(own)).await));
    for (name, got) in answers {
        assert_eq!((got.status, got.field("docker-distribution-api-version")), (200, "registry/2.0"), "{name}");
        assert!(!got.headers.contains_key("www-authenticate") && got.json().is_object(), "{name}: {:?}", got.headers);
    }
    stage.server.stop().await;
}

/// A mirror by digests has no tags: "The list of tags MAY be empty".
#[tokio::test]
async fn the_list_of_tags_is_empty_and_well_formed() {
    let stage = Stage::with(one_of_each().into_iter().take(1).collect()).await;
    for (content, face) in stage.all() {
        for query in ["", "?n=0", "?n=1", "?n=10&last=latest", "?last=1.0"] {
            let got = face.get(&format!("{}/tags/list{query}", content.repository)).await;
            assert_eq!((got.status, got.field("content-type")), (200, "application/json"), "{} {query}", face.name);
            assert_eq!(got.json(), json!({"name": content.repository, "tags": []}), "{} {query}", face.name);
            assert!(!got.headers.contains_key("link"), "{} {query}", face.name);
        }
    }
    stage.server.stop().await;
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_listed_and_can_be_filtered_by_type() {
    let stage = Stage::with(vec![image_with_referrers(), index_with_referrers()]).await;
    for (content, face) in stage.all() {
        let of = |digest: &str| format!("{}/referrers/{digest}", content.repository);
        let all = listed(face, &of(&content.root)).await;
        assert_eq!(all.1, sorted(content.referrers.clone()), "{}", face.name);
        assert!(!all.0.headers.contains_key("oci-filters-applied"), "{}: nobody asked for a filter", face.name);
        for of_type in [SIGNATURE, MATERIALS, CONFIG, "application/vnd.example.none"] {
            let query = format!("?artifactType={}", of_type.replace('+', "%2B"));
            let (got, entries) = listed(face, &format!("{}{query}", of(&content.root))).await;
            let wanted = content.referrers.iter().filter(|entry| entry["artifactType"] == of_type);
            assert_eq!(entries, sorted(wanted.cloned().collect()), "{} {of_type}", face.name);
            assert_eq!(got.field("oci-filters-applied"), "artifactType", "{} {of_type}", face.name);
        }
        // "If a query results in no matching referrers, an empty manifest list MUST be returned", and never 404.
        let referrer = content.referrers[0]["digest"].as_str().expect("a digest is text");
        for nothing in [nobody(), format!("sha512:{}", "0".repeat(128)), referrer.to_owned()] {
            assert_eq!(listed(face, &of(&nothing)).await.1, Vec::<Value>::new(), "{} {nothing}", face.name);
        }
        // "If the request is invalid, such as a `<digest>` with an invalid syntax, a `400 Bad Request` MUST be returned".
        for bad in ["sha256:baddigest", "latest", "sha256:"] {
            assert_error(face, bad, &face.get(&of(bad)).await, 400, "DIGEST_INVALID");
        }
    }
    stage.server.stop().await;
}

/// The answer, which must be an index, and what it lists.
async fn listed(face: &Face, path: &str) -> (Got, Vec<Value>) {
    let got = face.get(path).await;
    assert_eq!((got.status, got.field("content-type")), (200, INDEX), "{} {path}: {}", face.name, got.text());
    let index = got.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(INDEX)), "{index}");
    let entries = sorted(index["manifests"].as_array().expect("an index has a list").clone());
    assert_same_fields(face, path, &got, &face.head(path).await);
    (got, entries)
}

fn sorted(mut entries: Vec<Value>) -> Vec<Value> {
    entries.sort_by_key(|entry| entry["digest"].to_string());
    entries
}
