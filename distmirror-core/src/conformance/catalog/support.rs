//! What the cases build their artifacts, times and requests from.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    Algorithm, Artifact, ArtifactId, Catalog, Checksums, Content, Declaration, Digests, Fetched, Job, LeaseRequest,
    Miss, MissReport, NewDeclaration, PageRequest, Source, State, StoredBlob,
};

/// How long the leases of these cases hold.
pub(super) const LEASE_FOR: Duration = Duration::from_secs(30);

/// A time so many seconds after the start of every case; it has microseconds, which must not be lost.
pub(super) fn at(seconds: i64) -> Timestamp {
    const START_MICROSECONDS: i64 = 1_767_225_600_123_456;
    Timestamp::from_microsecond(START_MICROSECONDS + seconds * 1_000_000).expect("the cases stay within this century")
}

/// A declaration without a checksum.
pub(super) fn wanted(uri: &str) -> NewDeclaration {
    NewDeclaration {
        name: uri.parse::<crate::Uri>().expect("the cases use good URIs").into(),
        expected: Checksums::none(),
        image: None,
        who: "alice".to_owned(),
        reason: "the build needs it".to_owned(),
        project: None,
        license: None,
        ticket: None,
    }
}

/// A declaration with these checksums of these bytes.
pub(super) fn wanted_with(uri: &str, bytes: &[u8], algorithms: &[Algorithm]) -> NewDeclaration {
    let digests = Digests::of(bytes);
    let expected = Checksums::new(algorithms.iter().map(|algorithm| digests.get(*algorithm)))
        .expect("the cases use strong checksums");
    NewDeclaration { expected, ..wanted(uri) }
}

/// Declares without a checksum.
pub(super) async fn declare(catalog: &Arc<dyn Catalog>, uri: &str, seconds: i64) -> Artifact {
    catalog.declare(&wanted(uri), at(seconds)).await.expect("a declaration without a checksum is accepted").artifact
}

/// The artifact as it stands.
pub(super) async fn artifact(catalog: &Arc<dyn Catalog>, id: ArtifactId) -> Artifact {
    catalog.artifact(id).await.expect("artifact answers").expect("the artifact is on record")
}

/// The declarations of one artifact.
pub(super) async fn declarations(catalog: &Arc<dyn Catalog>, id: ArtifactId) -> Vec<Declaration> {
    catalog.declarations(&[id]).await.expect("declarations answers").remove(&id).unwrap_or_default()
}

/// The blobs of one artifact.
pub(super) async fn blobs(catalog: &Arc<dyn Catalog>, id: ArtifactId) -> Vec<StoredBlob> {
    catalog.blobs(&[id]).await.expect("blobs answers").remove(&id).unwrap_or_default()
}

/// A request for this many jobs.
pub(super) fn request(limit: usize) -> LeaseRequest {
    LeaseRequest { worker: "worker-1".to_owned(), limit, lease_for: LEASE_FOR, busy_hosts: Vec::new() }
}

/// Every job that is due, up to a hundred.
pub(super) async fn lease_all(catalog: &Arc<dyn Catalog>, seconds: i64) -> Vec<Job> {
    catalog.lease(&request(100), at(seconds)).await.expect("lease answers")
}

/// The one job that is due.
pub(super) async fn lease_one(catalog: &Arc<dyn Catalog>, seconds: i64) -> Job {
    let mut jobs = lease_all(catalog, seconds).await;
    assert_eq!(jobs.len(), 1, "exactly one artifact is due");
    jobs.remove(0)
}

/// What a fetch of these bytes brings.
pub(super) fn fetched(bytes: &[u8]) -> Fetched {
    Fetched::file(Content {
        digests: Digests::of(bytes),
        size: bytes.len() as u64,
        content_type: Some("application/gzip".to_owned()),
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source {
            final_url: "https://mirror.test/x".to_owned(),
            redirects: Vec::new(),
            peer_certificate_sha256: None,
            note: None,
        },
    })
}

/// Declares, leases and completes one artifact with these bytes; nothing else may be due.
pub(super) async fn present(catalog: &Arc<dyn Catalog>, uri: &str, bytes: &[u8], seconds: i64) -> Artifact {
    let declared = declare(catalog, uri, seconds).await;
    let job = lease_one(catalog, seconds).await;
    catalog
        .complete(&job.lease, &fetched(bytes), at(seconds))
        .await
        .expect("the first bytes of an artifact without a checksum count");
    let artifact = artifact(catalog, declared.id).await;
    assert_eq!(artifact.state, State::Present, "a completed artifact is present");
    artifact
}

/// A report of one request.
pub(super) fn report(uri: &str, seconds: i64) -> MissReport {
    MissReport {
        name: wanted(uri).name,
        count: 1,
        first_seen: at(seconds),
        last_seen: at(seconds),
        method: "GET".to_owned(),
        client: "192.0.2.1".to_owned(),
        user_agent: None,
        project: None,
    }
}

/// Records one request for each of these.
pub(super) async fn miss_all(catalog: &Arc<dyn Catalog>, uris: &[&str], seconds: i64) {
    let reports: Vec<_> = uris.iter().map(|uri| report(uri, seconds)).collect();
    catalog.record_misses(&reports).await.expect("record_misses answers");
}

/// Every miss that is found with this text, up to a thousand.
pub(super) async fn misses(catalog: &Arc<dyn Catalog>, text: Option<&str>) -> Vec<Miss> {
    catalog.misses(text, &PageRequest::first(1000)).await.expect("misses answers").items
}

/// The names of those.
pub(super) async fn missed(catalog: &Arc<dyn Catalog>, text: Option<&str>) -> Vec<String> {
    misses(catalog, text).await.iter().map(|miss| miss.name.to_string()).collect()
}

/// Runs so many tasks at once and gathers what they return.
pub(super) async fn at_once<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|number| tokio::spawn(task(number))).collect();
    let mut results = Vec::with_capacity(count);
    for task in tasks {
        results.push(task.await.expect("no task of a case panics"));
    }
    results
}
