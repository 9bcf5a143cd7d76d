//! Promises of [`Upkeep`](crate::Upkeep) and of [`Artifacts::fulfil`](crate::Artifacts::fulfil).

use std::sync::Arc;

use crate::{
    Catalog, Error, Failure, Filter, PageRequest, Scrub, Sha256, State, Watch, WatchStatus,
    conformance::catalog::support::{artifact, at, declare, fetched, lease_all, lease_one, present, wanted_with},
    upkeep::Damage,
};

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    damage_is_mended_while_it_is_in_service(fresh().await).await;
    what_mends_must_be_the_same_bytes(fresh().await).await;
    only_what_is_in_service_is_mended(fresh().await).await;
    scrubs_are_kept(fresh().await).await;
    blobs_of_nothing_are_told(fresh().await).await;
    what_was_watched_longest_ago_comes_first(fresh().await).await;
    what_is_watched_is_found_by_its_status(fresh().await).await;
    what_a_person_supplies_is_present(fresh().await).await;
    what_a_person_supplies_is_checked(fresh().await).await;
}

const URI: &str = "https://h.test/a";

async fn damage_is_mended_while_it_is_in_service(catalog: Arc<dyn Catalog>) {
    let id = present(&catalog, URI, b"abc", 0).await.id;
    catalog.report_damage(id, "blob `x` is missing", at(10)).await.expect("damage is reported");
    let damaged = artifact(&catalog, id).await;
    assert_eq!(
        (damaged.state, damaged.damage.as_deref(), damaged.next_attempt_at),
        (State::Present, Some("blob `x` is missing"), Some(at(10))),
        "promise 1: it is due, and stays in service"
    );
    catalog.report_damage(id, "again", at(11)).await.expect("and may be reported again");
    assert_eq!(artifact(&catalog, id).await.damage, damaged.damage, "which changes nothing");
    let job = lease_one(&catalog, 10).await;
    assert_eq!((job.artifact.state, job.attempt), (State::Present, 1));
    catalog.fail(&job.lease, &Failure::new("gone"), Some(at(20)), at(12)).await.unwrap();
    let failed = artifact(&catalog, id).await;
    assert_eq!((failed.state, failed.next_attempt_at), (State::Present, Some(at(20))), "promise 1: it is tried again");
    let job = lease_one(&catalog, 20).await;
    catalog.complete(&job.lease, &fetched(b"abc"), at(21)).await.expect("the same bytes mend it");
    let mended = artifact(&catalog, id).await;
    assert_eq!((mended.damage.as_ref(), mended.next_attempt_at, mended.last_error.as_ref()), (None, None, None));
    assert_eq!(
        (mended.content, mended.fetched_at),
        (damaged.content, damaged.fetched_at),
        "promise 1: nothing else changes"
    );
    assert!(lease_all(&catalog, 999).await.is_empty(), "and it is not due any more");
}

async fn what_mends_must_be_the_same_bytes(catalog: Arc<dyn Catalog>) {
    let id = present(&catalog, URI, b"abc", 0).await.id;
    catalog.report_damage(id, "p", at(10)).await.unwrap();
    let job = lease_one(&catalog, 10).await;
    let other = catalog.complete(&job.lease, &fetched(b"other"), at(11)).await;
    assert!(matches!(other, Err(Error::ChecksumMismatch { .. })), "promise 1: other bytes mend nothing: {other:?}");
    assert!(artifact(&catalog, id).await.damage.is_some());
}

async fn only_what_is_in_service_is_mended(catalog: Arc<dyn Catalog>) {
    let pending = declare(&catalog, URI, 0).await;
    catalog.report_damage(pending.id, "p", at(1)).await.expect("what is not here cannot be damaged");
    assert_eq!(artifact(&catalog, pending.id).await, pending);
    let unknown = catalog.report_damage(crate::ArtifactId::new(), "p", at(1)).await;
    assert!(unknown.is_err_and(|error| error.is_not_found()));
}

async fn scrubs_are_kept(catalog: Arc<dyn Catalog>) {
    assert_eq!(catalog.scrubs(5).await.unwrap(), [], "an empty catalog has none");
    let mut scrub = Scrub::begin("alice", true, at(0));
    catalog.save_scrub(&scrub).await.unwrap();
    assert_eq!(
        catalog.scrub(scrub.id).await.unwrap().as_ref(),
        Some(&scrub),
        "promise 2: it reads back as it was saved"
    );
    scrub.checked = 7;
    scrub.bytes = 5_000_000_000;
    scrub.unreferenced = 2;
    scrub.add(Damage::new(crate::ArtifactId::new(), &Sha256::of(b"x"), "it hashes to `ä`"));
    scrub.updated_at = at(5);
    scrub.finished_at = Some(at(5));
    catalog.save_scrub(&scrub).await.unwrap();
    assert_eq!(catalog.scrub(scrub.id).await.unwrap(), Some(scrub.clone()), "promise 2: and as it was saved last");
    let later = Scrub::begin("bob", false, at(6));
    catalog.save_scrub(&later).await.unwrap();
    assert_eq!(catalog.scrubs(9).await.unwrap(), [later.clone(), scrub], "promise 2: the latest first");
    assert_eq!(catalog.scrubs(1).await.unwrap(), [later]);
    assert_eq!(catalog.scrub(uuid::Uuid::nil()).await.unwrap(), None);
}

async fn blobs_of_nothing_are_told(catalog: Arc<dyn Catalog>) {
    present(&catalog, URI, b"abc", 0).await;
    let (known, unknown) = (Sha256::of(b"abc"), Sha256::of(b"other"));
    assert_eq!(
        catalog.unreferenced(&[known, unknown]).await.unwrap(),
        [unknown],
        "promise 3: those that no artifact has"
    );
    assert!(catalog.unreferenced(&[]).await.unwrap().is_empty());
}

async fn what_was_watched_longest_ago_comes_first(catalog: Arc<dyn Catalog>) {
    let ids = [
        present(&catalog, "https://h.test/1", b"1", 0).await.id,
        present(&catalog, "https://h.test/2", b"2", 1).await.id,
        present(&catalog, "https://h.test/3", b"3", 2).await.id,
    ];
    declare(&catalog, "https://h.test/pending", 3).await;
    let to_watch = async |before: i64, limit| {
        let artifacts = catalog.to_watch(at(before), limit).await.expect("to_watch answers");
        artifacts.into_iter().map(|artifact| artifact.id).collect::<Vec<_>>()
    };
    assert_eq!(to_watch(100, 9).await.len(), 3, "promise 4: everything in service, and nothing else");
    let watch = |seconds| Watch { at: at(seconds), status: WatchStatus::Same, detail: "d".to_owned() };
    catalog.record_watch(ids[0], &watch(50)).await.unwrap();
    catalog.record_watch(ids[1], &watch(40)).await.unwrap();
    assert_eq!(to_watch(100, 9).await, [ids[2], ids[1], ids[0]], "promise 4: never watched, then longest ago");
    assert_eq!(to_watch(100, 1).await, [ids[2]], "promise 4: no more than were asked for");
    assert_eq!(to_watch(45, 9).await, [ids[2], ids[1]], "promise 4: what was watched lately is left alone");
    assert!(to_watch(1, 9).await.is_empty(), "promise 4: and what was fetched lately");
}

async fn what_is_watched_is_found_by_its_status(catalog: Arc<dyn Catalog>) {
    let gone = present(&catalog, "https://h.test/1", b"1", 0).await;
    let same = present(&catalog, "https://h.test/2", b"2", 0).await;
    let watch = Watch { at: at(5), status: WatchStatus::Gone, detail: "`u` answered 404 Not Found".to_owned() };
    catalog.record_watch(gone.id, &watch).await.unwrap();
    catalog.record_watch(same.id, &Watch { status: WatchStatus::Same, ..watch.clone() }).await.unwrap();
    let after = artifact(&catalog, gone.id).await;
    assert_eq!(after.watch.as_ref(), Some(&watch), "what upstream said is on record");
    assert_eq!(crate::Artifact { watch: None, ..after }, gone, "and nothing else changes");
    let filter = Filter { watch: Some(WatchStatus::Gone), ..Filter::default() };
    let found = catalog.list(&filter, &PageRequest::first(9)).await.unwrap();
    assert_eq!(
        found.items.iter().map(|artifact| artifact.id).collect::<Vec<_>>(),
        [gone.id],
        "and it is found by that"
    );
}

async fn what_a_person_supplies_is_present(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    let supplied = catalog.fulfil(declared.id, &fetched(b"abc"), "alice", at(5)).await.expect("a person supplies it");
    assert_eq!((supplied.state, supplied.fetched_at), (State::Present, Some(at(5))));
    assert_eq!(artifact(&catalog, declared.id).await, supplied);
    let late = catalog.complete(&job.lease, &fetched(b"late"), at(6)).await;
    assert!(matches!(late, Err(Error::LeaseLost { .. })), "the worker that was at it comes too late: {late:?}");
    assert!(lease_all(&catalog, 999).await.is_empty(), "what is present is not handed out");
    let audit = catalog.audit(Some(declared.id), &PageRequest::first(1)).await.unwrap();
    assert_eq!((audit.items[0].who.as_str(), audit.items[0].action.as_str()), ("alice", "supplied"), "the audit tells");
}

async fn what_a_person_supplies_is_checked(catalog: Arc<dyn Catalog>) {
    let wanted = wanted_with(URI, b"abc", &[crate::Algorithm::Sha256]);
    let id = catalog.declare(&wanted, at(0)).await.unwrap().artifact.id;
    let before = artifact(&catalog, id).await;
    let wrong = catalog.fulfil(id, &fetched(b"other"), "alice", at(1)).await;
    assert!(matches!(wrong, Err(Error::ChecksumMismatch { .. })), "a declared checksum is law: {wrong:?}");
    assert_eq!(artifact(&catalog, id).await, before, "and nothing changes");
    catalog.fulfil(id, &fetched(b"abc"), "alice", at(2)).await.expect("the right bytes are taken");
    let again = catalog.fulfil(id, &fetched(b"abc"), "alice", at(3)).await;
    assert!(matches!(again, Err(Error::WrongState { .. })), "what is present is not supplied again: {again:?}");
    catalog.report_damage(id, "p", at(4)).await.unwrap();
    let other = catalog.fulfil(id, &fetched(b"other"), "alice", at(5)).await;
    assert!(
        matches!(other, Err(Error::ChecksumMismatch { .. })),
        "what is damaged is mended by its own bytes: {other:?}"
    );
    let mended = catalog.fulfil(id, &fetched(b"abc"), "alice", at(6)).await.expect("and by those a person may mend it");
    assert_eq!((mended.damage, mended.fetched_at), (None, Some(at(2))));
}
