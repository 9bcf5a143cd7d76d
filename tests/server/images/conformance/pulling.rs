//! "Pulling manifests", "Pulling blobs" and "Checking if content exists in the registry".

use bytes::Bytes;
use reqwest::Method;
use testkit::image::Image;

use super::{
    Stage, ask, assert_same_fields,
    content::{Content, one_of_each},
};
use crate::images::faces::{Face, Got};

#[tokio::test]
async fn everything_that_is_held_is_pulled_by_its_digest() {
    let stage = Stage::with(one_of_each()).await;
    for (content, face) in stage.all() {
        for document in &content.documents {
            let path = format!("{}/manifests/{}", content.repository, document.digest);
            assert_pulled(face, &path, &document.digest, &document.media_type, &document.bytes).await;
        }
        for (digest, bytes) in &content.blobs {
            let path = format!("{}/blobs/{digest}", content.repository);
            assert_pulled(face, &path, digest, "application/octet-stream", bytes).await;
        }
    }
    stage.server.stop().await;
}

/// GET gives the bytes with status 200, their digest, and their type without parameters; HEAD all of that but the bytes.
async fn assert_pulled(face: &Face, path: &str, digest: &str, media_type: &str, bytes: &Bytes) {
    let get = face.get(path).await;
    assert_hit(face, path, &get, digest, media_type, bytes.len());
    assert!(get.body == bytes, "{} {path}: other bytes", face.name);
    let head = face.head(path).await;
    assert_hit(face, path, &head, digest, media_type, bytes.len());
    assert!(head.body.is_empty(), "{} {path}: HEAD with a body", face.name);
    assert_same_fields(face, path, &get, &head);
}

fn assert_hit(face: &Face, path: &str, got: &Got, digest: &str, media_type: &str, length: usize) {
    let at = format!("{} {path}: {:?}", face.name, got.headers);
    assert_eq!(got.status, 200, "{at}");
    assert_eq!(got.field("content-type"), media_type, "{at}");
    assert_eq!(got.field("content-length"), length.to_string(), "{at}");
    assert_eq!(got.field("docker-content-digest"), digest, "{at}");
    assert_eq!(got.field("docker-distribution-api-version"), "registry/2.0", "{at}");
    for unwanted in ["www-authenticate", "content-encoding", "location", "set-cookie", "warning"] {
        assert!(!got.headers.contains_key(unwanted), "{at}");
    }
}

/// "The client SHOULD include an `Accept` header"; a digest names one document, whatever is acceptable.
#[tokio::test]
async fn a_manifest_is_what_it_is_whatever_the_client_accepts() {
    let stage = Stage::with(one_of_each().into_iter().take(2).collect()).await;
    for (content, face) in stage.all() {
        let document = &content.documents[0];
        let path = format!("{}/manifests/{}", content.repository, document.digest);
        for accept in [
            "*/*",
            "application/json",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json;q=0.5, application/vnd.docker.distribution.manifest.v2+json",
            "text/html",
        ] {
            let got = ask(face, Method::GET, &path, &[("accept", accept), ("accept-encoding", "gzip, zstd")]).await;
            assert_hit(face, &path, &got, &document.digest, &document.media_type, document.bytes.len());
            assert!(got.body == document.bytes);
        }
    }
    stage.server.stop().await;
}

/// "A registry SHOULD support the `Range` request header in accordance with RFC 9110".
#[tokio::test]
async fn blobs_come_in_parts() {
    let noise = Image::oci("noise").layers(1).layer_bytes(100_000).uncompressed().build();
    let stage = Stage::with(vec![Content::new("conf/ranges", &noise)]).await;
    for (content, face) in stage.all() {
        let (digest, bytes) = content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).expect("it has blobs");
        let path = format!("{}/blobs/{digest}", content.repository);
        let size = bytes.len();
        let range = async |value: &str| ask(face, Method::GET, &path, &[("range", value)]).await;
        for (asked, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=0-", 0, size - 1),
            ("bytes=500-1499", 500, 1499),
            ("bytes=99999-", 99_999, size - 1),
            ("bytes=-7", size - 7, size - 1),
            ("bytes=100-99999999", 100, size - 1),
            ("bytes=-99999999", 0, size - 1),
        ] {
            let got = range(asked).await;
            let at = format!("{} {asked}: {:?}", face.name, got.headers);
            assert_eq!(
                (got.status, got.field("content-range")),
                (206, &*format!("bytes {first}-{last}/{size}")),
                "{at}"
            );
            assert_eq!(got.field("content-length"), (last - first + 1).to_string(), "{at}");
            assert!(got.body == bytes[first..=last], "{at}");
            assert_eq!(got.field("docker-content-digest"), digest, "of the whole blob: {at}");
        }
        for asked in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
            let got = range(&asked).await;
            assert_eq!((got.status, got.field("content-range")), (416, &*format!("bytes */{size}")), "{asked}");
        }
        for ignored in ["bytes=5-4", "bytes=x-y", "lines=0-1", "bytes"] {
            let got = range(ignored).await;
            assert!(got.status == 200 && got.body == bytes, "{} {ignored}: {:?}", face.name, got.headers);
        }
        assert_resumes(face, &path, bytes).await;
    }
    stage.server.stop().await;
}

/// Who goes on where he stopped says which state he has a part of (RFC 9110 section 13.1.5); who has all of it gets 304.
async fn assert_resumes(face: &Face, path: &str, bytes: &Bytes) {
    let tag = face.head(path).await.field("etag").to_owned();
    for (state, status, from) in [(tag.as_str(), 206, 1000), ("\"another\"", 200, 0)] {
        let got = ask(face, Method::GET, path, &[("range", "bytes=1000-"), ("if-range", state)]).await;
        assert!(got.status == status && got.body == bytes[from..], "{} {state}: {:?}", face.name, got.headers);
    }
    let got = ask(face, Method::GET, path, &[("if-none-match", &tag)]).await;
    assert_eq!((got.status, got.body.len()), (304, 0), "{}", face.name);
}
