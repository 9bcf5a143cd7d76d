//! The pull workflow of the OCI distribution specification 1.1: every MUST and SHOULD of "Pull", "Listing Tags", "Listing
//! Referrers", "Determining Support" and "Error Codes" that a registry may be asked for which was filled beforehand and takes
//! nothing, by every face of the mirror. The registries that the content came from are gone.
//!
//! One sentence is not kept, on purpose: a repository of which nobody declared anything is 403 `DENIED` and not 404, because
//! clients show the text of that.

mod content;
mod discovery;
mod errors;
mod pulling;

use reqwest::Method;
use serde_json::Value;
use testkit::Upstream;

use self::content::Content;
use super::{
    faces::{Face, Got},
    stage::secure_registry,
};
use crate::support::{Backends, Reach, Server};

/// A server that holds this content, which is to be had nowhere else any more.
struct Stage {
    server: Server,
    /// Each content with the faces of the registry that it came from.
    content: Vec<(Content, [Face; 4])>,
}

impl Stage {
    async fn with(content: Vec<Content>) -> Self {
        let (mut real, played) = (secure_registry().await, Upstream::start(&[]).await);
        let server = Server::start(Backends::embedded, Reach::from(&real).and(&played)).await;
        let mut declared = Vec::new();
        for content in content {
            let registry = content.hold(&real, &played).await;
            let reference = format!("{registry}/{}@{}", content.repository, content.root);
            declared.push((server.declare_image(&reference, Value::from("all")).await, registry, content));
        }
        let mut content = Vec::new();
        for (artifact, registry, held) in declared {
            server.wait_for(&artifact, "present").await;
            content.push((held, Face::all(&server, &registry).await));
        }
        real.stop().await;
        played.stop();
        Self { server, content }
    }

    /// Every content by every face.
    fn all(&self) -> impl Iterator<Item = (&Content, &Face)> {
        self.content.iter().flat_map(|(content, faces)| faces.iter().map(move |face| (content, face)))
    }
}

/// A digest that nothing here has.
fn nobody() -> String {
    format!("sha256:{}", "0".repeat(64))
}

/// GET and HEAD of something that is not there: the status, and an error of this code.
async fn assert_refused(face: &Face, path: &str, status: u16, code: &str) {
    let refused = face.get(path).await;
    assert_error(face, path, &refused, status, code);
    let head = face.head(path).await;
    assert_eq!((head.status, head.body.len()), (status, 0), "{} HEAD {path}", face.name);
    assert_same_fields(face, path, &refused, &head);
}

/// "Error Codes": a body of this form, with one of these codes.
fn assert_error(face: &Face, path: &str, refused: &Got, status: u16, code: &str) {
    const CODES: [&str; 14] = [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    ];
    let at = format!("{} {path}: {}", face.name, refused.text());
    assert_eq!((refused.status, refused.field("content-type")), (status, "application/json"), "{at}");
    let document = refused.json();
    let errors = document["errors"].as_array().expect("a list of errors");
    assert!(!errors.is_empty() && document.as_object().is_some_and(|fields| fields.len() == 1), "{at}");
    for error in errors {
        let fields = error.as_object().expect("an error is an object");
        assert!(fields.keys().all(|field| ["code", "message", "detail"].contains(&field.as_str())), "{at}");
        assert!(CODES.iter().any(|known| error["code"] == *known) && error["message"].is_string(), "{at}");
    }
    assert_eq!(refused.error().0, code, "{at}");
}

/// RFC 9110 section 9.3.2: HEAD has the fields of GET.
fn assert_same_fields(face: &Face, path: &str, get: &Got, head: &Got) {
    let fields = |got: &Got| {
        let mut fields = got.headers.clone();
        fields.remove("date");
        fields
    };
    assert_eq!(fields(head), fields(get), "{} {path}", face.name);
}

/// Sends a request with more fields.
async fn ask(face: &Face, method: Method, path: &str, fields: &[(&str, &str)]) -> Got {
    let request = face.request(method, path);
    Got::of(fields.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}
