//! Taking artifacts out of service and putting them back.

use std::sync::Arc;

use crate::{
    ArtifactId, Catalog, Error, Result, State,
    conformance::catalog::support::{artifact, at, at_once, declare, lease_one, present},
};

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    a_quarantined_artifact_keeps_its_content(fresh().await).await;
    only_what_is_present_can_be_quarantined(fresh().await).await;
    of_quarantines_at_once_one_counts(fresh().await).await;
}

async fn a_quarantined_artifact_keeps_its_content(catalog: Arc<dyn Catalog>) {
    let before = present(&catalog, "https://h.test/a", b"abc", 0).await;
    let reason = "backdoor 🦠: siehe Bericht";
    let hidden = catalog.quarantine(before.id, reason, "bob", at(1)).await.expect("what is present can be quarantined");
    assert_eq!(
        (hidden.state, hidden.quarantine_reason.as_deref()),
        (State::Quarantined, Some(reason)),
        "the reason is on record"
    );
    assert_eq!(
        (&hidden.content, hidden.fetched_at),
        (&before.content, before.fetched_at),
        "the content stays on record"
    );
    assert_eq!(artifact(&catalog, before.id).await, hidden, "what quarantine returns is on record");
    let back =
        catalog.release(before.id, "false alarm", "bob", at(2)).await.expect("what is quarantined can be released");
    assert_eq!(back, before, "a released artifact is as it was");
    assert_eq!(artifact(&catalog, before.id).await, before, "what release returns is on record");
}

async fn only_what_is_present_can_be_quarantined(catalog: Arc<dyn Catalog>) {
    let unknown = ArtifactId::new();
    assert!(
        catalog.quarantine(unknown, "r", "bob", at(0)).await.is_err_and(|error| error.is_not_found()),
        "an unknown artifact is not found"
    );
    assert!(
        catalog.release(unknown, "r", "bob", at(0)).await.is_err_and(|error| error.is_not_found()),
        "an unknown artifact is not found"
    );
    let here = present(&catalog, "https://h.test/a", b"abc", 0).await;
    refused(catalog.release(here.id, "r", "bob", at(1)).await, State::Present);
    catalog.quarantine(here.id, "first", "bob", at(1)).await.unwrap();
    refused(catalog.quarantine(here.id, "second", "bob", at(2)).await, State::Quarantined);
    assert_eq!(
        artifact(&catalog, here.id).await.quarantine_reason.as_deref(),
        Some("first"),
        "a refusal changes nothing"
    );
    let waiting = declare(&catalog, "https://h.test/b", 0).await;
    refused(catalog.quarantine(waiting.id, "r", "bob", at(1)).await, State::Pending);
    refused(catalog.release(waiting.id, "r", "bob", at(1)).await, State::Pending);
    lease_one(&catalog, 0).await;
    refused(catalog.quarantine(waiting.id, "r", "bob", at(1)).await, State::Fetching);
}

fn refused(result: Result<crate::Artifact>, expected: State) {
    match result {
        Err(Error::WrongState { state, .. }) => assert_eq!(state, expected, "the refusal names the state"),
        other => panic!("what is {expected} must be refused: {other:?}"),
    }
}

async fn of_quarantines_at_once_one_counts(catalog: Arc<dyn Catalog>) {
    let here = present(&catalog, "https://h.test/a", b"abc", 0).await;
    let shared = Arc::clone(&catalog);
    let results = at_once(8, move |number| {
        let catalog = Arc::clone(&shared);
        async move { catalog.quarantine(here.id, &format!("reason {number}"), "bob", at(1)).await }
    })
    .await;
    let winner = results.into_iter().filter_map(Result::ok).collect::<Vec<_>>();
    assert_eq!(winner.len(), 1, "of those who quarantine at once, one does it");
    assert_eq!(artifact(&catalog, here.id).await, winner[0], "and it is that one's reason that is on record");
}
