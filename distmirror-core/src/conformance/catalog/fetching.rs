//! Promises 3 and 4 of [`Fetches`](crate::Fetches), and how attempts end.

use std::sync::Arc;

use crate::{
    Algorithm, ArtifactId, Catalog, Content, Digests, Error, Failure, Fetched, Sha256, Source, State, StoredBlob,
    Trust,
    conformance::catalog::support::{
        artifact, at, at_once, blobs, declare, fetched, lease_all, lease_one, present, wanted, wanted_with,
    },
};

const URI: &str = "https://h.test/a";

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    completing_records_everything(fresh().await).await;
    completing_with_little_known(fresh().await).await;
    of_completions_at_once_one_counts(fresh().await).await;
    contradicting_content_changes_nothing(fresh().await).await;
    a_checksum_that_came_during_the_fetch_counts(fresh().await).await;
    what_is_present_is_never_handed_out_again(fresh().await).await;
    a_failure_is_tried_again_at_its_time(fresh().await).await;
    a_failure_without_a_time_waits_for_a_person(fresh().await).await;
    a_retry_counts_attempts_anew(fresh().await).await;
    a_retry_brings_a_waiting_artifact_forward(fresh().await).await;
    a_retry_is_refused_where_there_is_nothing_to_retry(fresh().await).await;
}

fn elaborate() -> Fetched {
    let content = Content {
        digests: Digests::of(b"abc"),
        size: 9_007_199_254_740_993,
        content_type: Some("text/html; charset=\"utf-8\"; name=\"ä🦀\"".to_owned()),
        content_disposition: Some("attachment; filename=\"a b.tar\"".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        last_modified: Some("Tue, 15 Nov 1994 12:45:26 GMT".to_owned()),
        source: Source {
            final_url: "https://cdn.test/x?a=1&b=%20".to_owned(),
            redirects: vec!["https://h.test/a".to_owned(), format!("https://h.test/{}", "r".repeat(8000))],
            peer_certificate_sha256: Some(Sha256::of(b"certificate").hex()),
            note: Some("supplied by alice ä".to_owned()),
        },
    };
    let blob = StoredBlob {
        size: 5_000_000_000,
        media_type: Some("application/json".to_owned()),
        ..StoredBlob::of_file(&content)
    };
    Fetched { blobs: vec![blob], content, platforms: None }
}

async fn completing_records_everything(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    assert_eq!(blobs(&catalog, declared.id).await, [], "what is not here yet has no blobs");
    let brought = elaborate();
    catalog.complete(&job.lease, &brought, at(7)).await.expect("the holder completes");
    let here = artifact(&catalog, declared.id).await;
    assert_eq!(here.content.as_ref(), Some(&brought.content), "promise 3: the content is on record as it was brought");
    assert_eq!(
        (here.state, here.fetched_at, here.trust()),
        (State::Present, Some(at(7)), Trust::FirstUse),
        "promise 3: the artifact is present"
    );
    assert_eq!(
        (here.next_attempt_at, here.progress, here.last_error.as_ref()),
        (None, None, None),
        "what is present waits for nothing"
    );
    assert_eq!(catalog.named(&here.name.key()).await.unwrap(), Some(here), "named finds it so");
    the_blobs_are_there(&catalog, declared.id, &brought).await;
}

/// As they were brought, and of no other artifact.
async fn the_blobs_are_there(catalog: &Arc<dyn Catalog>, id: ArtifactId, brought: &Fetched) {
    let other = present(catalog, "https://h.test/other", b"other", 8).await;
    assert_eq!(blobs(catalog, id).await, brought.blobs, "promise 3: the blobs are on record as they were brought");
    assert_eq!(blobs(catalog, other.id).await, fetched(b"other").blobs, "each artifact has blobs of its own");
    catalog.quarantine(id, "r", "alice", at(9)).await.unwrap();
    assert_eq!(blobs(catalog, id).await, brought.blobs, "what is quarantined keeps its blobs");
}

async fn completing_with_little_known(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    let source = Source::default();
    let content = Content {
        digests: Digests::of(b""),
        size: 0,
        content_type: None,
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source,
    };
    catalog.complete(&job.lease, &Fetched::file(content.clone()), at(0)).await.expect("an empty file is a file");
    assert_eq!(artifact(&catalog, declared.id).await.content, Some(content), "what is unknown stays unknown");
}

async fn of_completions_at_once_one_counts(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let lease = lease_one(&catalog, 0).await.lease;
    let shared = Arc::clone(&catalog);
    let results = at_once(8, move |number| {
        let catalog = Arc::clone(&shared);
        async move { catalog.complete(&lease, &fetched(format!("bytes {number}").as_bytes()), at(1)).await }
    })
    .await;
    let winners: Vec<_> = (0..8).filter(|number| results[*number].is_ok()).collect();
    assert_eq!(winners.len(), 1, "promise 2: a job is completed once");
    assert!(
        results.iter().filter_map(|result| result.as_ref().err()).all(|error| matches!(error, Error::LeaseLost { .. })),
        "the others have lost the lease"
    );
    let content = artifact(&catalog, declared.id).await.content.unwrap();
    assert_eq!(
        content.digests,
        Digests::of(format!("bytes {}", winners[0]).as_bytes()),
        "the bytes are those of the one that was told so"
    );
}

async fn contradicting_content_changes_nothing(catalog: Arc<dyn Catalog>) {
    for (number, algorithm) in [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake2b].into_iter().enumerate() {
        let uri = format!("{URI}/{number}");
        let declared = catalog.declare(&wanted_with(&uri, b"abc", &[algorithm]), at(0)).await.unwrap().artifact;
        let job = lease_one(&catalog, 0).await;
        let before = artifact(&catalog, declared.id).await;
        let refused = catalog.complete(&job.lease, &fetched(b"other"), at(1)).await;
        let Err(Error::ChecksumMismatch { expected, received, size }) = refused else {
            panic!("promise 3: content that contradicts the declared {algorithm} is a mismatch: {refused:?}")
        };
        let digest = |bytes: &[u8]| Digests::of(bytes).get(algorithm).to_string();
        assert_eq!((expected, received, size), (digest(b"abc"), digest(b"other"), 5), "the mismatch names both sides");
        assert_eq!(artifact(&catalog, declared.id).await, before, "promise 3: a mismatch changes nothing");
        catalog.fail(&job.lease, &Failure::new("mismatch"), None, at(2)).await.expect("the lease is still held");
    }
    let right = wanted_with("https://h.test/right", b"abc", &[Algorithm::Sha512]);
    let declared = catalog.declare(&right, at(0)).await.unwrap().artifact;
    catalog
        .complete(&lease_one(&catalog, 0).await.lease, &fetched(b"abc"), at(1))
        .await
        .expect("the declared bytes are accepted");
    assert_eq!(
        artifact(&catalog, declared.id).await.trust(),
        Trust::Verified,
        "what has the declared checksum is verified"
    );
}

async fn a_checksum_that_came_during_the_fetch_counts(catalog: Arc<dyn Catalog>) {
    declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    catalog
        .declare(&wanted_with(URI, b"abc", &[Algorithm::Sha256]), at(1))
        .await
        .expect("a checksum may come during the fetch");
    let refused = catalog.complete(&job.lease, &fetched(b"other"), at(2)).await;
    assert!(
        matches!(refused, Err(Error::ChecksumMismatch { .. })),
        "promise 3: the checksums on record at that moment count: {refused:?}"
    );
    catalog.complete(&job.lease, &fetched(b"abc"), at(3)).await.expect("the declared bytes are accepted");
}

async fn what_is_present_is_never_handed_out_again(catalog: Arc<dyn Catalog>) {
    let here = present(&catalog, URI, b"abc", 0).await;
    let century = 100 * 365 * 86400;
    assert!(lease_all(&catalog, century).await.is_empty(), "promise 4: a present artifact is never handed out again");
    catalog.declare(&wanted(URI), at(1)).await.unwrap();
    assert!(lease_all(&catalog, century).await.is_empty(), "promise 4: also when it is declared again");
    catalog.quarantine(here.id, "r", "alice", at(2)).await.unwrap();
    assert!(lease_all(&catalog, century).await.is_empty(), "promise 4: nor when it is in quarantine");
    catalog.release(here.id, "r", "alice", at(3)).await.unwrap();
    assert!(lease_all(&catalog, century).await.is_empty(), "promise 4: nor when it was released");
}

async fn a_failure_is_tried_again_at_its_time(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    let failure = Failure::new(format!("404 not found: {} 🦀", "x".repeat(5000)));
    catalog.fail(&job.lease, &failure, Some(at(60)), at(1)).await.expect("the holder fails");
    let failed = artifact(&catalog, declared.id).await;
    assert_eq!(
        (failed.state, failed.attempts, failed.next_attempt_at),
        (State::Failed, 1, Some(at(60))),
        "a failed artifact is tried again at its time"
    );
    assert_eq!(failed.last_error.as_ref(), Some(&failure.message), "why it failed is on record");
    assert!(lease_all(&catalog, 59).await.is_empty(), "promise 1: not before that time");
    let again = lease_one(&catalog, 60).await;
    assert_eq!((again.attempt, again.artifact.attempts), (2, 2), "promise 1: at that time, as the next attempt");
    catalog.complete(&again.lease, &fetched(b"abc"), at(61)).await.unwrap();
    let here = artifact(&catalog, declared.id).await;
    assert_eq!((here.attempts, here.last_error), (2, None), "attempts are counted, and success ends the failure");
}

async fn a_failure_without_a_time_waits_for_a_person(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    catalog.fail(&job.lease, &Failure::new("gone"), None, at(1)).await.unwrap();
    assert_eq!(artifact(&catalog, declared.id).await.next_attempt_at, None, "only a person can make it");
    assert!(lease_all(&catalog, 1_000_000_000).await.is_empty(), "promise 1: what has no time is not handed out");
}

async fn a_retry_counts_attempts_anew(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    for attempt in 1..=3 {
        let job = lease_one(&catalog, attempt.into()).await;
        assert_eq!(job.attempt, attempt, "attempts count up");
        let retry_at = (attempt < 3).then(|| at(i64::from(attempt) + 1));
        catalog.fail(&job.lease, &Failure::new("no"), retry_at, at(attempt.into())).await.unwrap();
    }
    let retried = catalog.retry(declared.id, "bob", at(50)).await.expect("what failed can be retried");
    assert_eq!(
        (retried.state, retried.next_attempt_at, retried.attempts),
        (State::Pending, Some(at(50)), 3),
        "a retry makes it due now; the record of attempts stays"
    );
    assert_eq!(retried.last_error, None, "a retried artifact is pending, not failed");
    assert_eq!(artifact(&catalog, declared.id).await, retried, "what retry returns is on record");
    let job = lease_one(&catalog, 50).await;
    assert_eq!((job.attempt, job.artifact.attempts), (1, 4), "a retry counts the attempts of a job anew");
    catalog.give_back(&job.lease, at(51)).await.unwrap();
    assert_eq!(lease_one(&catalog, 51).await.attempt, 1, "giving back does not disturb the count");
}

async fn a_retry_brings_a_waiting_artifact_forward(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    catalog.fail(&job.lease, &Failure::new("no"), Some(at(9999)), at(1)).await.unwrap();
    catalog.retry(declared.id, "bob", at(2)).await.expect("what waits can be retried");
    assert_eq!(lease_one(&catalog, 2).await.artifact.id, declared.id, "a retry makes it due now");
    let pending = declare(&catalog, "https://h.test/b", 100).await;
    catalog.retry(pending.id, "bob", at(3)).await.expect("what is pending can be retried");
}

async fn a_retry_is_refused_where_there_is_nothing_to_retry(catalog: Arc<dyn Catalog>) {
    let unknown = catalog.retry(ArtifactId::new(), "bob", at(0)).await;
    assert!(unknown.is_err_and(|error| error.is_not_found()), "an unknown artifact is not found");
    let here = present(&catalog, URI, b"abc", 0).await;
    let refused = async |id, expected| match catalog.retry(id, "bob", at(1)).await {
        Err(Error::WrongState { artifact, state, .. }) => {
            assert_eq!((artifact, state), (id, expected), "the refusal names artifact and state")
        }
        other => panic!("a retry of what is {expected} is refused: {other:?}"),
    };
    refused(here.id, State::Present).await;
    catalog.quarantine(here.id, "r", "alice", at(1)).await.unwrap();
    refused(here.id, State::Quarantined).await;
    let fetching = declare(&catalog, "https://h.test/b", 2).await;
    let job = lease_one(&catalog, 2).await;
    refused(fetching.id, State::Fetching).await;
    catalog.complete(&job.lease, &fetched(b"x"), at(3)).await.expect("a refused retry does not disturb the holder");
}
