//! The least that a client must do to push (OCI distribution specification 1.1, section "Push").

use bytes::Bytes;
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, LOCATION},
};

use crate::image::Image;

pub(super) struct Pusher<'registry> {
    pub(super) client: &'registry Client,
    pub(super) login: Option<(&'static str, &'registry str)>,
    /// Where the repository is, such as `http://127.0.0.1:5000/v2/team/tool`.
    pub(super) base: String,
}

impl Pusher<'_> {
    /// Blobs first, then manifests, children first: a registry refuses what points at nothing.
    pub(super) async fn push(&self, image: &Image, tags: &[&str]) {
        for (digest, bytes) in image.all_blobs() {
            self.push_blob(&digest, bytes).await;
        }
        for part in image.all_manifests() {
            self.push_manifest(part, part.digest()).await;
        }
        for tag in tags {
            self.push_manifest(image, tag).await;
        }
    }

    async fn push_blob(&self, digest: &str, bytes: Bytes) {
        let known = send(self.request(Method::HEAD, &format!("{}/blobs/{digest}", self.base))).await;
        if known.status().is_success() {
            return;
        }
        let begun = send(self.request(Method::POST, &format!("{}/blobs/uploads/", self.base))).await;
        let begun = accepted(begun, StatusCode::ACCEPTED, digest).await;
        let place = begun.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let mut place: Url = place.and_then(|place| begun.url().join(place).ok()).expect("an upload has a place");
        place.query_pairs_mut().append_pair("digest", digest);
        let upload = self.request(Method::PUT, place.as_str()).header(CONTENT_TYPE, "application/octet-stream");
        accepted(send(upload.body(bytes)).await, StatusCode::CREATED, digest).await;
    }

    async fn push_manifest(&self, image: &Image, reference: &str) {
        let request = self.request(Method::PUT, &format!("{}/manifests/{reference}", self.base));
        let request = request.header(CONTENT_TYPE, image.media_type()).body(image.manifest().clone());
        accepted(send(request).await, StatusCode::CREATED, reference).await;
    }

    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let request = self.client.request(method, url);
        match self.login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap_or_else(|error| panic!("the registry did not answer: {error:?}"))
}

async fn accepted(response: Response, expected: StatusCode, what: &str) -> Response {
    let status = response.status();
    if status != expected {
        panic!("the registry refused {what}: {status} {}", response.text().await.unwrap_or_default());
    }
    response
}
