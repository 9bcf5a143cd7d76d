//! A mirror that has something.

use std::time::Duration;

use distmirror_core::{
    ArtifactId, Content, Declare, Digests, Fetched, LeaseRequest, Mirror, Payload, Sha256, Source, Uri,
};
use jiff::Timestamp;

/// Lets a file be present in a mirror over a catalog of its own.
pub(crate) async fn present(mirror: &Mirror, uri: &str, bytes: &'static [u8]) -> ArtifactId {
    let name = Uri::parse(uri).expect("a good URI").into();
    let wanted = Declare { reason: Some("tests".to_owned()), ..Declare::of(&name) };
    let id = mirror.declare(&wanted, "alice").await.expect("a catalog in memory").artifact.id;
    mirror.blobs().put(&Sha256::of(bytes), Payload::Bytes(bytes.into())).await.expect("a store in memory");
    let request = LeaseRequest {
        worker: "test".to_owned(),
        limit: 1,
        lease_for: Duration::from_secs(60),
        busy_hosts: Vec::new(),
    };
    let job = mirror.catalog().lease(&request, Timestamp::now()).await.expect("a catalog in memory").remove(0);
    let content = Content {
        digests: Digests::of(bytes),
        size: bytes.len() as u64,
        content_type: None,
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source::default(),
    };
    mirror.catalog().complete(&job.lease, &Fetched::file(content), Timestamp::now()).await.expect("the lease is held");
    id
}
