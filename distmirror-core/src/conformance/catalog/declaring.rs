//! Promises 1 to 4 of [`Artifacts`](crate::Artifacts).

use std::sync::Arc;

use crate::{
    Algorithm, ArtifactId, Catalog, Error, NewDeclaration, PageRequest, State, Trust,
    conformance::catalog::support::{
        artifact, at, at_once, declarations, declare, fetched, lease_one, present, wanted, wanted_with,
    },
};

const URI: &str = "https://example.org/a-1.0.tar.gz";

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    a_new_artifact_is_pending(fresh().await).await;
    what_is_not_on_record_is_none(fresh().await).await;
    identical_declarations_at_once_make_one_artifact(fresh().await).await;
    a_declaration_is_kept_as_it_was_written(fresh().await).await;
    declarations_of_many_artifacts_come_at_once(fresh().await).await;
    names_are_told_apart_byte_by_byte(fresh().await).await;
    long_names_are_kept_whole(fresh().await).await;
    a_checksum_is_added_where_there_was_none(fresh().await).await;
    a_checksum_may_be_added_to_what_is_present(fresh().await).await;
    a_contradicting_checksum_changes_nothing(fresh().await).await;
    a_checksum_that_contradicts_the_bytes_changes_nothing(fresh().await).await;
    of_contradicting_checksums_at_once_one_wins(fresh().await).await;
    declaring_again_leaves_what_is_present(fresh().await).await;
}

async fn a_new_artifact_is_pending(catalog: Arc<dyn Catalog>) {
    let declared =
        catalog.declare(&wanted_with(URI, b"abc", &[Algorithm::Sha256, Algorithm::Md5]), at(0)).await.unwrap();
    let new = declared.artifact;
    assert!(declared.is_new, "the first declaration of a name is new");
    assert_eq!(
        (new.state, new.trust(), new.attempts),
        (State::Pending, Trust::Verified, 0),
        "a new artifact is pending"
    );
    assert_eq!((new.name.as_str(), new.expected.iter().count()), (URI, 2), "name and checksums are kept");
    assert_eq!(
        (new.declared_at, new.next_attempt_at),
        (at(0), Some(at(0))),
        "it is due at once, and times keep their microseconds"
    );
    assert!(
        new.content.is_none()
            && new.last_error.is_none()
            && new.progress.is_none()
            && new.quarantine_reason.is_none()
            && new.fetched_at.is_none()
    );
    assert_eq!(catalog.artifact(new.id).await.unwrap().as_ref(), Some(&new), "artifact finds what declare returned");
    assert_eq!(catalog.named(&new.name.key()).await.unwrap().as_ref(), Some(&new), "named finds what declare returned");
}

async fn what_is_not_on_record_is_none(catalog: Arc<dyn Catalog>) {
    declare(&catalog, URI, 0).await;
    let unknown = ArtifactId::new();
    assert!(catalog.artifact(unknown).await.unwrap().is_none(), "an unknown id finds nothing");
    assert!(
        catalog.named(&wanted("https://example.org/b").name.key()).await.unwrap().is_none(),
        "an unknown name finds nothing"
    );
    assert!(catalog.declarations(&[unknown]).await.unwrap().is_empty(), "nobody declared an unknown artifact");
    assert!(catalog.declarations(&[]).await.unwrap().is_empty(), "no ids, no declarations");
    assert!(catalog.blobs(&[unknown]).await.unwrap().is_empty(), "an unknown artifact has no blobs");
}

async fn identical_declarations_at_once_make_one_artifact(catalog: Arc<dyn Catalog>) {
    let shared = Arc::clone(&catalog);
    let results = at_once(50, move |_| {
        let catalog = Arc::clone(&shared);
        async move { catalog.declare(&wanted_with(URI, b"abc", &[Algorithm::Sha256]), at(0)).await }
    })
    .await;
    let declared: Vec<_> =
        results.into_iter().map(|result| result.expect("every identical declaration is accepted")).collect();
    let id = declared[0].artifact.id;
    assert!(declared.iter().all(|one| one.artifact.id == id), "promise 1: all who declare one name at once get one id");
    assert_eq!(declared.iter().filter(|one| one.is_new).count(), 1, "exactly one of them made the artifact");
    assert_eq!(
        declarations(&catalog, id).await.len(),
        50,
        "promise 2: every declaration that was acknowledged is on record"
    );
    assert_eq!(catalog.totals().await.unwrap().artifacts(), 1, "promise 1: one artifact per name");
}

async fn a_declaration_is_kept_as_it_was_written(catalog: Arc<dyn Catalog>) {
    let first = NewDeclaration {
        who: "zoë@example.org".to_owned(),
        reason: "für den Bau 🦀𝔘 'quoted' \"twice\" \\ % _ ; --\nsecond line\ttab".to_owned(),
        project: Some("编译器".to_owned()),
        license: Some("Apache-2.0 WITH LLVM-exception".to_owned()),
        ticket: Some("https://tickets.test/1?x=%20".to_owned()),
        ..wanted(URI)
    };
    let long = NewDeclaration { reason: "🦀".repeat(2000), ..wanted(URI) };
    let id = catalog.declare(&first, at(0)).await.unwrap().artifact.id;
    assert!(!catalog.declare(&long, at(1)).await.unwrap().is_new, "the second declaration of a name is not new");
    let kept = declarations(&catalog, id).await;
    assert_eq!(kept.len(), 2, "each declaration is kept");
    assert_eq!(
        (&kept[0].who, &kept[0].reason, kept[0].at),
        (&first.who, &first.reason, at(0)),
        "the oldest declaration stands first, as it was written"
    );
    assert_eq!((&kept[0].project, &kept[0].license, &kept[0].ticket), (&first.project, &first.license, &first.ticket));
    assert_eq!(
        (&kept[1].reason, kept[1].at, &kept[1].project),
        (&long.reason, at(1), &None),
        "a long reason is kept whole"
    );
    assert_ne!(kept[0].id, kept[1].id, "each declaration has an id of its own");
    assert_eq!(artifact(&catalog, id).await.declared_at, at(0), "the artifact keeps the time of the first declaration");
}

async fn declarations_of_many_artifacts_come_at_once(catalog: Arc<dyn Catalog>) {
    let mut there = Vec::new();
    for number in 0..3 {
        there.push(declare(&catalog, &format!("https://h.test/{number}"), number).await.id);
    }
    for (who, seconds) in [("zoë", 5), ("adam", 6), ("mia", 7)] {
        let again = NewDeclaration { who: who.to_owned(), ..wanted("https://h.test/1") };
        catalog.declare(&again, at(seconds)).await.unwrap();
    }
    // More ids than a statement takes parameters, those on record far apart, and one of them twice.
    let mut ids: Vec<_> = (0..70_000).map(|_| ArtifactId::new()).collect();
    ids[0] = there[0];
    ids[35_000] = there[1];
    ids[69_998] = there[0];
    ids[69_999] = there[2];
    let found = catalog.declarations(&ids).await.expect("declarations answers, however many ids there are");
    let who = |id| found.get(id).map(|all| all.iter().map(|one| one.who.as_str()).collect::<Vec<_>>());
    assert_eq!(found.len(), 3, "an id without declarations is absent");
    assert_eq!(who(&there[0]), Some(vec!["alice"]), "an id that is given twice is answered once");
    assert_eq!(who(&there[1]), Some(vec!["alice", "zoë", "adam", "mia"]), "the declarations of each are oldest first");
    assert_eq!(who(&there[2]), Some(vec!["alice"]), "each declaration is with its own artifact");
    let some = catalog.declarations(&there[1..2]).await.unwrap();
    assert_eq!(some.into_keys().collect::<Vec<_>>(), there[1..2], "nobody is answered who was not asked for");
}

async fn names_are_told_apart_byte_by_byte(catalog: Arc<dyn Catalog>) {
    let uris = [
        "https://h.test/a",
        "https://h.test/A",
        "https://h.test/a%20",
        "https://h.test/a/",
        "http://h.test/a",
        "https://h.test/a?",
        "https://h.test/%C3%A4",
        "https://h.test/a%CC%88",
    ];
    for uri in uris {
        assert!(catalog.declare(&wanted(uri), at(0)).await.unwrap().is_new, "`{uri}` is a name of its own");
    }
    for uri in uris {
        let found = catalog.named(&wanted(uri).name.key()).await.unwrap().expect("each name is found");
        assert_eq!(found.name.as_str(), uri, "each name finds its own artifact");
    }
}

async fn long_names_are_kept_whole(catalog: Arc<dyn Catalog>) {
    let stem = format!("https://h.test/{}", "a/".repeat(3992));
    let (first, second) = (format!("{stem}x"), format!("{stem}y"));
    let x = declare(&catalog, &first, 0).await;
    let y = declare(&catalog, &second, 0).await;
    assert_eq!(
        (x.name.as_str(), y.name.as_str()),
        (first.as_str(), second.as_str()),
        "a URI of 8000 bytes is kept whole"
    );
    assert_ne!(x.id, y.id, "promise 1: long names that differ in the last byte are two artifacts");
}

async fn a_checksum_is_added_where_there_was_none(catalog: Arc<dyn Catalog>) {
    let before = declare(&catalog, URI, 0).await;
    assert_eq!(before.trust(), Trust::FirstUse, "without a checksum the trust is on first use");
    let after = catalog.declare(&wanted_with(URI, b"abc", &[Algorithm::Sha256]), at(1)).await.unwrap().artifact;
    assert_eq!(
        (after.trust(), after.id),
        (Trust::Verified, before.id),
        "promise 3: a checksum where there was none is added"
    );
    let both = catalog.declare(&wanted_with(URI, b"abc", &[Algorithm::Sha512]), at(2)).await.unwrap().artifact;
    assert_eq!(
        both.expected,
        wanted_with(URI, b"abc", &[Algorithm::Sha256, Algorithm::Sha512]).expected,
        "promise 3: one of another algorithm stands beside it"
    );
    assert_eq!(artifact(&catalog, before.id).await, both, "what declare returns is what is on record");
}

async fn a_checksum_may_be_added_to_what_is_present(catalog: Arc<dyn Catalog>) {
    let before = present(&catalog, URI, b"abc", 0).await;
    let after = catalog.declare(&wanted_with(URI, b"abc", &[Algorithm::Blake2b]), at(1)).await.unwrap().artifact;
    assert_eq!(
        (before.trust(), after.trust()),
        (Trust::FirstUse, Trust::Verified),
        "promise 3: a checksum that the bytes have is added"
    );
    assert_eq!(
        (after.state, &after.content, after.fetched_at),
        (State::Present, &before.content, before.fetched_at),
        "promise 3: what is present is not changed"
    );
}

async fn a_contradicting_checksum_changes_nothing(catalog: Arc<dyn Catalog>) {
    let before = catalog.declare(&wanted_with(URI, b"abc", &[Algorithm::Sha256]), at(0)).await.unwrap().artifact;
    let refused = catalog.declare(&wanted_with(URI, b"other", &[Algorithm::Sha256, Algorithm::Sha512]), at(1)).await;
    let Err(Error::ChecksumConflict { artifact: id, name, declared, recorded }) = refused else {
        panic!("promise 3: a checksum that contradicts one on record is a conflict: {refused:?}")
    };
    assert_eq!((id, name.as_str()), (before.id, URI), "the conflict names the artifact");
    let digest = |bytes| wanted_with(URI, bytes, &[Algorithm::Sha256]).expected.to_string();
    assert_eq!((declared, recorded), (digest(b"other"), digest(b"abc")), "the conflict names both sides");
    nothing_changed(&catalog, &before).await;
}

async fn a_checksum_that_contradicts_the_bytes_changes_nothing(catalog: Arc<dyn Catalog>) {
    let before = present(&catalog, URI, b"abc", 0).await;
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake2b] {
        let refused = catalog.declare(&wanted_with(URI, b"other", &[algorithm]), at(1)).await;
        assert!(
            matches!(refused, Err(Error::ChecksumConflict { .. })),
            "promise 3: a {algorithm} that contradicts the bytes is a conflict: {refused:?}"
        );
    }
    nothing_changed(&catalog, &before).await;
    let hidden = catalog.quarantine(before.id, "r", "alice", at(2)).await.unwrap();
    let refused = catalog.declare(&wanted_with(URI, b"other", &[Algorithm::Sha256]), at(3)).await;
    assert!(
        matches!(refused, Err(Error::ChecksumConflict { .. })),
        "promise 3: the bytes in quarantine count as well: {refused:?}"
    );
    assert_eq!(artifact(&catalog, before.id).await, hidden, "a conflict changes nothing");
}

/// Neither the artifact nor its declarations, of which there is one, nor the audit.
async fn nothing_changed(catalog: &Arc<dyn Catalog>, before: &crate::Artifact) {
    assert_eq!(artifact(catalog, before.id).await, *before, "promise 3: a conflict changes nothing");
    assert_eq!(declarations(catalog, before.id).await.len(), 1, "promise 3: a declaration in conflict is not added");
    let audit = catalog.audit(Some(before.id), &PageRequest::first(100)).await.unwrap();
    assert_eq!(
        audit.items.iter().filter(|entry| entry.action == "declared").count(),
        1,
        "a declaration in conflict is not in the audit"
    );
}

async fn of_contradicting_checksums_at_once_one_wins(catalog: Arc<dyn Catalog>) {
    declare(&catalog, URI, 0).await;
    let shared = Arc::clone(&catalog);
    let results = at_once(20, move |number| {
        let catalog = Arc::clone(&shared);
        let bytes: &[u8] = if number % 2 == 0 { b"even" } else { b"odd" };
        async move { catalog.declare(&wanted_with(URI, bytes, &[Algorithm::Sha256]), at(1)).await }
    })
    .await;
    let accepted: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(
        accepted.len(),
        10,
        "promise 3: the declarations that agree with the first one are accepted, the others refused"
    );
    let winner = &accepted[0].artifact.expected;
    assert!(accepted.iter().all(|one| one.artifact.expected == *winner), "promise 3: one checksum wins");
    assert!(
        results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .all(|error| matches!(error, Error::ChecksumConflict { .. })),
        "the others are in conflict"
    );
}

async fn declaring_again_leaves_what_is_present(catalog: Arc<dyn Catalog>) {
    let before = present(&catalog, URI, b"abc", 0).await;
    let after = catalog.declare(&wanted(URI), at(1)).await.unwrap();
    assert!(!after.is_new, "it is on record");
    assert_eq!(after.artifact, before, "promise 3: declaring again changes nothing of what is present");
    let other = declare(&catalog, "https://example.org/other", 2).await;
    let job = lease_one(&catalog, 2).await;
    assert_eq!(job.artifact.id, other.id, "declaring a present artifact again does not make it due");
    catalog.complete(&job.lease, &fetched(b"x"), at(3)).await.unwrap();
}
