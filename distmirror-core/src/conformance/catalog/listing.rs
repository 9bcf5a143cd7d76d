//! Promise 6 of [`Artifacts`](crate::Artifacts), its filters, `holding` and `totals`.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    Algorithm, ArtifactId, Catalog, Digests, Filter, Kind, NewDeclaration, PageRequest, State, Totals,
    conformance::catalog::support::{artifact, at, declare, lease_one, miss_all, present, wanted},
};

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    an_empty_catalog_lists_nothing(fresh().await).await;
    a_list_is_newest_first(fresh().await).await;
    pages_have_no_holes_and_no_doubles_while_rows_are_added(fresh().await).await;
    a_page_that_is_just_full_has_no_next(fresh().await).await;
    each_filter_passes_what_it_says(fresh().await).await;
    filters_work_together_and_page_by_page(fresh().await).await;
    text_is_literal_in_either_case(fresh().await).await;
    bytes_are_found_by_every_digest(fresh().await).await;
    the_oldest_of_equal_bytes_is_found(fresh().await).await;
    totals_count_every_state(fresh().await).await;
}

async fn names(catalog: &Arc<dyn Catalog>, filter: &Filter) -> Vec<String> {
    let page = catalog.list(filter, &PageRequest::first(100)).await.expect("list answers");
    page.items.iter().map(|artifact| artifact.name.to_string()).collect()
}

async fn an_empty_catalog_lists_nothing(catalog: Arc<dyn Catalog>) {
    let page = catalog.list(&Filter::default(), &PageRequest::first(10)).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none(), "an empty catalog lists nothing");
    assert_eq!(catalog.totals().await.unwrap(), Totals::default(), "an empty catalog counts nothing");
}

async fn a_list_is_newest_first(catalog: Arc<dyn Catalog>) {
    for number in 0..5 {
        declare(&catalog, &format!("https://h.test/{number}"), number).await;
    }
    let wanted: Vec<_> = (0..5).rev().map(|number| format!("https://h.test/{number}")).collect();
    assert_eq!(names(&catalog, &Filter::default()).await, wanted, "promise 6: a list is newest first");
}

/// Follows `next` to the end with pages of this size; declares one more artifact between any two pages.
async fn follow(catalog: &Arc<dyn Catalog>, filter: &Filter, limit: usize, added: &str) -> Vec<ArtifactId> {
    let (mut seen, mut page) = (Vec::new(), PageRequest::first(limit));
    for round in 0.. {
        let found = catalog.list(filter, &page).await.expect("list answers");
        assert!(found.items.len() <= limit, "a page has at most as many items as were asked for");
        seen.extend(found.items.iter().map(|artifact| artifact.id));
        let Some(next) = found.next else { return seen };
        assert_eq!(found.items.len(), limit, "only the last page may be short");
        page.after = Some(next);
        declare(catalog, &format!("https://{added}/{round}"), round).await;
    }
    seen
}

async fn pages_have_no_holes_and_no_doubles_while_rows_are_added(catalog: Arc<dyn Catalog>) {
    let mut there = BTreeSet::new();
    for number in 0..25 {
        there.insert(declare(&catalog, &format!("https://h.test/{number}"), 0).await.id);
    }
    let seen = follow(&catalog, &Filter::default(), 4, "later.test").await;
    assert_eq!(seen.len(), 25, "promise 6: no artifact is shown twice");
    assert_eq!(
        seen.into_iter().collect::<BTreeSet<_>>(),
        there,
        "promise 6: every artifact that was there at the start is shown"
    );
}

async fn a_page_that_is_just_full_has_no_next(catalog: Arc<dyn Catalog>) {
    for number in 0..4 {
        declare(&catalog, &format!("https://h.test/{number}"), 0).await;
    }
    let first = catalog.list(&Filter::default(), &PageRequest::first(2)).await.unwrap();
    let last = catalog.list(&Filter::default(), &PageRequest { limit: 2, after: first.next }).await.unwrap();
    assert!(
        first.next.is_some() && last.items.len() == 2 && last.next.is_none(),
        "promise 6: the last page has no `next`, also when it is full"
    );
}

async fn each_filter_passes_what_it_says(catalog: Arc<dyn Catalog>) {
    present(&catalog, "https://a.test/here", b"abc", 0).await;
    declare(&catalog, "https://a.test:8443/waits", 1).await;
    let with_project = NewDeclaration { project: Some("Käse".to_owned()), ..wanted("https://b.test/project") };
    catalog.declare(&with_project, at(2)).await.unwrap();
    catalog.declare(&with_project, at(3)).await.unwrap();
    let check = async |filter: Filter, expected: &[&str]| {
        assert_eq!(names(&catalog, &filter).await, expected, "{filter:?}");
    };
    let host = |host: &str| Filter { host: Some(host.to_owned()), ..Filter::default() };
    let project = |project: &str| Filter { project: Some(project.to_owned()), ..Filter::default() };
    check(
        Filter { kind: Some(Kind::File), ..Filter::default() },
        &["https://b.test/project", "https://a.test:8443/waits", "https://a.test/here"],
    )
    .await;
    check(Filter { state: Some(State::Present), ..Filter::default() }, &["https://a.test/here"]).await;
    check(
        Filter { state: Some(State::Pending), ..Filter::default() },
        &["https://b.test/project", "https://a.test:8443/waits"],
    )
    .await;
    check(Filter { state: Some(State::Failed), ..Filter::default() }, &[]).await;
    check(host("a.test"), &["https://a.test/here"]).await;
    check(host("a.test:8443"), &["https://a.test:8443/waits"]).await;
    check(host("A.test"), &[]).await;
    check(project("Käse"), &["https://b.test/project"]).await;
    check(project("käse"), &[]).await;
    check(project("Kase"), &[]).await;
}

async fn filters_work_together_and_page_by_page(catalog: Arc<dyn Catalog>) {
    let mut there = BTreeSet::new();
    for number in 0..30 {
        let host = if number % 2 == 0 { "even.test" } else { "odd.test" };
        let project = (number % 3 == 0).then(|| "p".to_owned());
        let one = NewDeclaration { project, ..wanted(&format!("https://{host}/File-{number}")) };
        let id = catalog.declare(&one, at(0)).await.unwrap().artifact.id;
        if number % 6 == 0 {
            there.insert(id);
        }
    }
    let filter = Filter {
        kind: Some(Kind::File),
        state: Some(State::Pending),
        host: Some("even.test".to_owned()),
        repository: None,
        watch: None,
        project: Some("p".to_owned()),
        text: Some("file-".to_owned()),
    };
    let seen = follow(&catalog, &filter, 2, "even.test/added").await;
    assert_eq!(
        (seen.len(), seen.into_iter().collect::<BTreeSet<_>>()),
        (5, there),
        "promise 6: all filters together, page by page"
    );
}

async fn text_is_literal_in_either_case(catalog: Arc<dyn Catalog>) {
    let uris = ["https://h.test/100%25_a'b!c*d", "https://h.test/Release-V2.TAR", "https://h.test/plain"];
    for uri in uris {
        declare(&catalog, uri, 0).await;
    }
    for (text, expected) in [
        ("100%25_", &uris[..1]),
        ("%", &uris[..1]),
        ("_", &uris[..1]),
        ("'", &uris[..1]),
        ("!", &uris[..1]),
        ("*", &uris[..1]),
        ("' OR 'a'='a", &[]),
        ("h_test", &[]),
        ("h%test", &[]),
        ("\\", &[]),
        ("\\_", &[]),
        ("\"", &[]),
        ("\0", &[]),
        ("ä", &[]),
        ("🦀", &[]),
        ("release-v2.tar", &uris[1..2]),
        ("RELEASE-v2", &uris[1..2]),
        ("HTTPS://H.TEST/P", &uris[2..]),
        ("https://h.test/plain", &uris[2..]),
        ("https://h.test/plainer", &[]),
    ] {
        let filter = Filter { text: Some(text.to_owned()), ..Filter::default() };
        assert_eq!(names(&catalog, &filter).await, expected, "text is literal, in either case: {text:?}");
    }
    let everything = Filter { text: Some(String::new()), ..Filter::default() };
    assert_eq!(names(&catalog, &everything).await.len(), 3, "an empty text is in every name");
}

async fn bytes_are_found_by_every_digest(catalog: Arc<dyn Catalog>) {
    let here = present(&catalog, "https://h.test/a", b"abc", 0).await;
    present(&catalog, "https://h.test/b", b"other", 0).await;
    declare(&catalog, "https://h.test/c", 1).await;
    let holding = async |bytes: &[u8], algorithm| {
        catalog.holding(&Digests::of(bytes).get(algorithm)).await.expect("holding answers")
    };
    for algorithm in Algorithm::ALL {
        assert_eq!(holding(b"abc", algorithm).await.as_ref(), Some(&here), "bytes are found by their {algorithm}");
        assert_eq!(holding(b"unknown", algorithm).await, None, "unknown bytes are not found by {algorithm}");
    }
    catalog.quarantine(here.id, "r", "alice", at(2)).await.unwrap();
    assert_eq!(
        holding(b"abc", Algorithm::Sha256).await,
        Some(artifact(&catalog, here.id).await),
        "bytes in quarantine are found, so that they are not taken for unknown ones"
    );
}

async fn the_oldest_of_equal_bytes_is_found(catalog: Arc<dyn Catalog>) {
    let first = present(&catalog, "https://h.test/1", b"same", 0).await;
    let second = present(&catalog, "https://h.test/2", b"same", 1).await;
    let digest = Digests::of(b"same").get(Algorithm::Sha512);
    assert_eq!(
        catalog.holding(&digest).await.unwrap().map(|found| found.id),
        Some(first.id),
        "holding finds the first artifact"
    );
    catalog.quarantine(first.id, "r", "alice", at(2)).await.unwrap();
    assert_eq!(
        catalog.holding(&digest).await.unwrap().map(|found| found.id),
        Some(second.id),
        "what is present comes before what is in quarantine"
    );
}

async fn totals_count_every_state(catalog: Arc<dyn Catalog>) {
    let hidden = present(&catalog, "https://h.test/quarantined", b"q", 0).await;
    catalog.quarantine(hidden.id, "r", "alice", at(0)).await.unwrap();
    present(&catalog, "https://h.test/present-1", b"1", 0).await;
    present(&catalog, "https://h.test/present-2", b"2", 0).await;
    declare(&catalog, "https://h.test/failed", 0).await;
    let job = lease_one(&catalog, 0).await;
    catalog.fail(&job.lease, &crate::Failure::new("no"), None, at(0)).await.unwrap();
    declare(&catalog, "https://h.test/fetching", 0).await;
    lease_one(&catalog, 0).await;
    declare(&catalog, "https://h.test/pending", 0).await;
    miss_all(&catalog, &["https://h.test/missed-1", "https://h.test/missed-2"], 0).await;
    let wanted = Totals { pending: 1, fetching: 1, present: 2, failed: 1, quarantined: 1, misses: 2 };
    assert_eq!(catalog.totals().await.unwrap(), wanted, "totals count every state, and the misses");
}
