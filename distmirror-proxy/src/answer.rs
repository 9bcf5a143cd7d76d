//! From what is known of an artifact to the answer. Conditions and ranges are decided from the catalog's row alone, so that
//! 304, 412 and 416 touch no blob store.

use std::ops::Range;

use base64::{Engine, engine::general_purpose::STANDARD};
use distmirror_core::{Held, Mirror};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::{
    body::Body,
    condition::{self, Outcome, Validators},
    metrics::answered,
    range::{self, Wanted},
    refusal::Refusal,
};

/// Answers a GET or HEAD request for an artifact in service.
pub(crate) async fn hit(
    mirror: &Mirror,
    held: &Held,
    method: &Method,
    request: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let etag = format!("\"{}\"", held.blob);
    let last_modified = held.last_modified.as_deref().and_then(|text| httpdate::parse_http_date(text).ok());
    let stored = Validators { etag: &etag, last_modified };
    let fields = || representation_fields(held, &etag);
    match condition::evaluate(request, &stored) {
        Outcome::NotModified => return Ok(bodiless(StatusCode::NOT_MODIFIED, fields())),
        Outcome::Failed => return Ok(empty(StatusCode::PRECONDITION_FAILED, fields())),
        Outcome::Proceed => {}
    }
    if *method == Method::HEAD {
        return Ok(with_length(StatusCode::OK, fields(), held.size, Body::empty()));
    }
    // A second field would be more ranges, and those are ignored together.
    let asked = condition::single(request, header::RANGE).and_then(|value| value.to_str().ok());
    let asked = asked.filter(|_| condition::range_applies(request, &stored));
    match range::wanted(asked, held.size) {
        Wanted::Whole => send(mirror, held, None, fields()).await,
        Wanted::Part(part) => send(mirror, held, Some(part), fields()).await,
        Wanted::Unsatisfiable => {
            let mut fields = fields();
            insert(&mut fields, header::CONTENT_RANGE, &format!("bytes */{}", held.size));
            Ok(empty(StatusCode::RANGE_NOT_SATISFIABLE, fields))
        }
    }
}

async fn send(
    mirror: &Mirror,
    held: &Held,
    part: Option<Range<u64>>,
    mut fields: HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let read = mirror.open(held, part.clone()).await?;
    let (status, length) = match &part {
        None => (StatusCode::OK, held.size),
        Some(part) => {
            insert(&mut fields, header::CONTENT_RANGE, &format!("bytes {}-{}/{}", part.start, part.end - 1, held.size));
            (StatusCode::PARTIAL_CONTENT, part.end - part.start)
        }
    };
    Ok(with_length(status, fields, length, Body::blob(read.body, length)))
}

/// The fields that every answer about the representation carries.
fn representation_fields(held: &Held, etag: &str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(16);
    insert(&mut fields, header::ETAG, etag);
    insert(
        &mut fields,
        HeaderName::from_static("repr-digest"),
        &format!("sha-256=:{}:", STANDARD.encode(held.blob.as_bytes())),
    );
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert("cache-status", HeaderValue::from_static("distmirror; hit"));
    let content_type = held.content_type.as_deref().unwrap_or("application/octet-stream");
    insert(&mut fields, header::CONTENT_TYPE, content_type);
    for (name, value) in [
        (header::LAST_MODIFIED, &held.last_modified),
        (header::CONTENT_DISPOSITION, &held.content_disposition),
        (header::CONTENT_ENCODING, &held.content_encoding),
    ] {
        if let Some(value) = value {
            insert(&mut fields, name, value);
        }
    }
    fields
}

/// Upstream's values were checked when they came in; one that is no field value all the same is left out.
fn insert(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}

fn with_length(status: StatusCode, mut fields: HeaderMap, length: u64, body: Body) -> Response<Body> {
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    respond(status, fields, body)
}

/// 304: no body and no length of one (RFC 9110 section 15.4.5).
fn bodiless(status: StatusCode, mut fields: HeaderMap) -> Response<Body> {
    fields.remove(header::CONTENT_TYPE);
    respond(status, fields, Body::empty())
}

/// An empty body, which the fields of the representation do not describe.
fn empty(status: StatusCode, mut fields: HeaderMap) -> Response<Body> {
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_DISPOSITION,
        HeaderName::from_static("repr-digest"),
    ] {
        fields.remove(name);
    }
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    with_length(status, fields, 0, Body::empty())
}

fn respond(status: StatusCode, fields: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    answered("hit", response)
}
