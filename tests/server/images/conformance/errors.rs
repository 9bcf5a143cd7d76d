//! What is not there, what is malformed, and what a registry that takes nothing is asked to take.

use reqwest::Method;

use super::{Stage, assert_error, assert_refused, content::one_of_each, nobody};
use crate::images::faces::{Face, Got};

/// Two repositories with different content.
async fn set() -> Stage {
    Stage::with(one_of_each().into_iter().take(2).collect()).await
}

#[tokio::test]
async fn what_is_not_in_the_repository_is_404_by_its_code() {
    let stage = set().await;
    let [(first, faces), (second, _)] = &stage.content[..] else { panic!("two repositories") };
    let (own, other) = (first.repository, second.blobs.keys().next().expect("it has blobs"));
    for face in faces {
        for (path, code) in [
            (format!("{own}/manifests/{}", nobody()), "MANIFEST_UNKNOWN"),
            (format!("{own}/manifests/sha512:{}", "0".repeat(128)), "MANIFEST_UNKNOWN"),
            (format!("{own}/manifests/{}", second.root), "MANIFEST_UNKNOWN"),
            (format!("{own}/manifests/latest"), "MANIFEST_UNKNOWN"),
            (format!("{own}/manifests/{}", "t".repeat(128)), "MANIFEST_UNKNOWN"),
            (format!("{own}/manifests/sha256-{}", "0".repeat(64)), "MANIFEST_UNKNOWN"),
            (format!("{own}/blobs/{}", nobody()), "BLOB_UNKNOWN"),
            (format!("{own}/blobs/{other}"), "BLOB_UNKNOWN"),
        ] {
            assert_refused(face, &path, 404, code).await;
        }
        let tag = face.get(&format!("{own}/manifests/latest")).await.error().1;
        assert!(tag.contains("digests only"), "{}: {tag}", face.name);
    }
    stage.server.stop().await;
}

#[tokio::test]
async fn what_nobody_declared_is_denied_with_the_place_to_declare_it() {
    let stage = set().await;
    let [(first, faces), _] = &stage.content[..] else { panic!("two repositories") };
    let digest = first.blobs.keys().next().expect("it has blobs");
    for face in faces {
        for path in [
            format!("conf/other/manifests/{}", nobody()),
            "conf/other/manifests/latest".to_owned(),
            format!("conf/other/blobs/{digest}"),
            "conf/other/tags/list".to_owned(),
            format!("conf/other/referrers/{}", nobody()),
        ] {
            assert_refused(face, &path, 403, "DENIED").await;
            let refused = face.get(&path).await;
            let message = refused.error().1;
            assert!(message.contains("conf/other"), "{}: {message}", face.name);
            assert!(message.contains(&format!("{}/declare?kind=image&", stage.server.admin_url())), "{message}");
            assert!(refused.field("proxy-status").contains("details=\"undeclared\""), "{:?}", refused.headers);
            assert_eq!(refused.field("cache-control"), "no-store");
        }
    }
    stage.server.stop().await;
}

/// "The `<reference>` MUST NOT be in any other format", and `<name>` has its own.
#[tokio::test]
async fn what_is_malformed_is_told_and_never_found() {
    let stage = set().await;
    let [(first, faces), _] = &stage.content[..] else { panic!("two repositories") };
    let (own, hex) = (first.repository, first.root.trim_start_matches("sha256:"));
    for face in faces {
        for digest in [
            "sha256:".to_owned(),
            "sha256:abc".to_owned(),
            format!("sha256:{}0", hex),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha512:{hex}"),
            format!("sha999:{hex}"),
            format!("md5:{}", &hex[..32]),
            format!("sha256:{}", "g".repeat(64)),
        ] {
            assert_refused(face, &format!("{own}/manifests/{digest}"), 400, "DIGEST_INVALID").await;
            assert_refused(face, &format!("{own}/blobs/{digest}"), 400, "DIGEST_INVALID").await;
        }
        for name in ["Conf/image", "conf//image", "conf/.image", "conf/image-", "conf/im%20age", "conf/___x"] {
            assert_refused(face, &format!("{name}/manifests/{}", first.root), 400, "NAME_INVALID").await;
        }
        for path in ["_catalog", "conf/image", "conf/image/nonsense/x"] {
            assert_refused(face, path, 404, "UNSUPPORTED").await;
        }
    }
    stage.server.stop().await;
}

/// What one registry has is not shown as that of another.
#[tokio::test]
async fn a_registry_has_what_is_its_own_whoever_is_named_beside_it() {
    let stage = set().await;
    let [(first, faces), _] = &stage.content[..] else { panic!("two repositories") };
    let path = format!("{}/manifests/{}", first.repository, first.root);
    for other in Face::all(&stage.server, "other.test").await {
        assert_refused(&other, &path, 403, "DENIED").await;
    }
    for face in faces {
        let namespace = face.get(&path).await.field("oci-namespace").to_owned();
        assert_eq!(namespace.starts_with("localhost:"), face.name == "namespace", "{}: {namespace}", face.name);
        if matches!(face.name, "absolute-form" | "CONNECT") {
            assert_refused(face, &format!("{path}?ns=other.test"), 421, "DENIED").await;
        }
    }
    stage.server.stop().await;
}

/// "If manifest deletion is disabled, the registry MUST respond with either a `400 Bad Request` or a `405 Method Not Allowed`".
#[tokio::test]
async fn nothing_is_taken_and_nothing_is_deleted() {
    let stage = set().await;
    let [(first, faces), _] = &stage.content[..] else { panic!("two repositories") };
    let own = first.repository;
    let blob = first.blobs.keys().next().expect("it has blobs");
    for face in faces {
        for (method, path) in [
            (Method::POST, format!("{own}/blobs/uploads/")),
            (Method::POST, format!("{own}/blobs/uploads/?digest={blob}")),
            (Method::POST, format!("{own}/blobs/uploads/?mount={blob}&from=conf/docker")),
            (Method::PATCH, format!("{own}/blobs/uploads/0123")),
            (Method::PUT, format!("{own}/blobs/uploads/0123?digest={blob}")),
            (Method::PUT, format!("{own}/manifests/{}", first.root)),
            (Method::PUT, format!("{own}/manifests/1.0")),
            (Method::DELETE, format!("{own}/manifests/{}", first.root)),
            (Method::DELETE, format!("{own}/manifests/1.0")),
            (Method::DELETE, format!("{own}/blobs/{blob}")),
            (Method::POST, "conf/new/blobs/uploads/".to_owned()),
        ] {
            let body = if method == Method::DELETE { "" } else { "{}" };
            let refused = Got::of(face.request(method.clone(), &path).body(body)).await;
            assert_error(face, &path, &refused, 405, "UNSUPPORTED");
            assert_eq!(refused.field("allow"), "GET, HEAD", "{} {method} {path}", face.name);
        }
        assert_still_there(face, first).await;
    }
    stage.server.stop().await;
}

async fn assert_still_there(face: &Face, content: &super::Content) {
    let document = &content.documents[0];
    let got = face.get(&format!("{}/manifests/{}", content.repository, document.digest)).await;
    assert!(got.status == 200 && got.body == document.bytes, "{}: {}", face.name, got.status);
}
