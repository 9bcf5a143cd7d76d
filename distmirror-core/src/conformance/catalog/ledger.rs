//! The promises of [`Ledger`](crate::Ledger).

use std::{collections::BTreeSet, sync::Arc};

use uuid::Uuid;

use crate::{
    Algorithm, ArtifactId, AuditEntry, Catalog, Failure, MissReport, PageRequest,
    conformance::catalog::support::{
        at, at_once, declare, fetched, lease_one, miss_all, missed, misses, present, report, wanted_with,
    },
};

const URI: &str = "https://h.test/a";

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    reports_of_one_name_make_one_miss(fresh().await).await;
    reports_at_once_add_up(fresh().await).await;
    a_miss_is_kept_as_it_was_reported(fresh().await).await;
    a_declared_name_has_no_miss(fresh().await).await;
    misses_are_latest_first_page_by_page(fresh().await).await;
    misses_are_found_by_literal_text(fresh().await).await;
    many_reports_are_recorded_at_once(fresh().await).await;
    ignored_names_have_no_miss(fresh().await).await;
    patterns_are_literal_but_for_the_star(fresh().await).await;
    everything_that_is_done_is_in_the_audit(fresh().await).await;
    what_was_refused_is_not_in_the_audit(fresh().await).await;
    the_audit_is_latest_first_page_by_page(fresh().await).await;
}

async fn reports_of_one_name_make_one_miss(catalog: Arc<dyn Catalog>) {
    let batch = |count, first, last| MissReport { count, first_seen: at(first), last_seen: at(last), ..report(URI, 0) };
    catalog.record_misses(&[batch(2, 10, 20), batch(3, 15, 25)]).await.unwrap();
    catalog.record_misses(&[batch(5_000_000_000, 5, 12)]).await.unwrap();
    catalog.record_misses(&[]).await.expect("no reports are nothing to do");
    let found = misses(&catalog, None).await;
    assert_eq!(found.len(), 1, "promise 1: reports of one name make one miss");
    assert_eq!(found[0].count, 5_000_000_005, "promise 1: counts add up");
    assert_eq!(
        (found[0].first_seen, found[0].last_seen),
        (at(5), at(25)),
        "promise 1: the first and the last time are kept"
    );
}

async fn reports_at_once_add_up(catalog: Arc<dyn Catalog>) {
    let shared = Arc::clone(&catalog);
    let results = at_once(20, move |number| {
        let catalog = Arc::clone(&shared);
        let reports = [report(URI, number as i64), report("https://h.test/b", 0)];
        async move { catalog.record_misses(&reports).await }
    })
    .await;
    assert!(results.iter().all(Result::is_ok), "every report is taken: {results:?}");
    let counts: Vec<_> = misses(&catalog, None).await.iter().map(|miss| miss.count).collect();
    assert_eq!(counts, [20, 20], "promise 1: reports that come at once add up as well");
}

async fn a_miss_is_kept_as_it_was_reported(catalog: Arc<dyn Catalog>) {
    let full = MissReport {
        method: "HEAD".to_owned(),
        client: "2001:db8::1".to_owned(),
        user_agent: Some(format!("Wget/1.21 'x' ä🦀 {}", "u".repeat(3000))),
        project: Some("编译器".to_owned()),
        ..report(URI, 50)
    };
    catalog.record_misses(std::slice::from_ref(&full)).await.unwrap();
    catalog.record_misses(&[report(URI, 10)]).await.unwrap();
    let found = misses(&catalog, None).await.remove(0);
    assert_eq!(
        (&found.method, &found.client, &found.user_agent, &found.project),
        (&full.method, &full.client, &full.user_agent, &full.project),
        "the last request is kept, also when an older one is reported later"
    );
    assert_eq!(catalog.miss(found.id).await.unwrap().as_ref(), Some(&found), "a miss is found by its id");
    assert_eq!(catalog.miss(Uuid::new_v4()).await.unwrap(), None, "an unknown miss is none");
    catalog.record_misses(&[report(URI, 60)]).await.unwrap();
    let later = catalog.miss(found.id).await.unwrap().expect("a miss keeps its id");
    assert_eq!(
        (later.method.as_str(), later.client.as_str(), later.user_agent, later.project),
        ("GET", "192.0.2.1", None, None),
        "a later request takes its place"
    );
}

async fn a_declared_name_has_no_miss(catalog: Arc<dyn Catalog>) {
    miss_all(&catalog, &[URI, "https://h.test/other"], 0).await;
    declare(&catalog, URI, 1).await;
    assert_eq!(
        missed(&catalog, None).await,
        ["https://h.test/other"],
        "declaring removes the miss of that name, and no other"
    );
    miss_all(&catalog, &[URI, "https://h.test/third"], 2).await;
    let left: BTreeSet<_> = missed(&catalog, None).await.into_iter().collect();
    assert_eq!(
        left,
        BTreeSet::from(["https://h.test/other".to_owned(), "https://h.test/third".to_owned()]),
        "promise 2: a name that is declared has no miss"
    );
    assert_eq!(catalog.totals().await.unwrap().misses, 2, "totals count the misses that are left");
    assert_eq!(catalog.miss_count().await.unwrap(), 2, "and so does the count of misses alone");
}

async fn misses_are_latest_first_page_by_page(catalog: Arc<dyn Catalog>) {
    for number in 0..10 {
        // Two at a time have the same last request.
        miss_all(&catalog, &[&format!("https://h.test/{number}")], number / 2).await;
    }
    let all = misses(&catalog, None).await;
    assert!(all.is_sorted_by(|one, next| one.last_seen >= next.last_seen), "promise 3: the latest request comes first");
    let (mut seen, mut page) = (Vec::new(), PageRequest::first(3));
    loop {
        let found = catalog.misses(None, &page).await.unwrap();
        seen.extend(found.items);
        miss_all(&catalog, &[&format!("https://later.test/{}", seen.len())], 1000).await;
        let Some(next) = found.next else { break };
        page.after = Some(next);
    }
    assert_eq!(seen, all, "promise 3: pages have no holes and no doubles, also where times are equal and others come");
}

async fn misses_are_found_by_literal_text(catalog: Arc<dyn Catalog>) {
    miss_all(&catalog, &["https://h.test/100%25_a'b", "https://h.test/Release"], 0).await;
    for (text, expected) in
        [("%", 1), ("_", 1), ("'", 1), ("\\", 0), ("h_test", 0), ("\0", 0), ("RELEASE", 1), ("release", 1), ("", 2)]
    {
        assert_eq!(missed(&catalog, Some(text)).await.len(), expected, "text is literal, in either case: {text:?}");
    }
}

async fn many_reports_are_recorded_at_once(catalog: Arc<dyn Catalog>) {
    let reports: Vec<_> = (0..1200).map(|number| report(&format!("https://h.test/{number}"), number)).collect();
    declare(&catalog, "https://h.test/700", 0).await;
    catalog.record_misses(&reports).await.expect("a large batch is taken");
    assert_eq!(
        catalog.totals().await.unwrap().misses,
        1199,
        "every name of a large batch is recorded, but for the declared one"
    );
}

async fn ignored_names_have_no_miss(catalog: Arc<dyn Catalog>) {
    miss_all(&catalog, &["https://telemetry.test/x", "https://h.test/index.json", URI], 0).await;
    catalog.ignore_misses("https://telemetry.test/*", "noise 🦀", "bob", at(1)).await.unwrap();
    catalog.ignore_misses("*.json", "an index", "bob", at(2)).await.unwrap();
    catalog.ignore_misses("*.json", "an index", "bob", at(3)).await.expect("a pattern may be ignored twice");
    assert_eq!(missed(&catalog, None).await, [URI], "those on record go");
    miss_all(&catalog, &["https://telemetry.test/y", "https://h.test/b.json", "https://h.test/b.jsonx"], 4).await;
    assert_eq!(
        missed(&catalog, None).await,
        ["https://h.test/b.jsonx", URI],
        "no miss is recorded for what is ignored"
    );
    let patterns: BTreeSet<_> = catalog.ignored_patterns().await.unwrap().into_iter().collect();
    assert_eq!(
        patterns,
        BTreeSet::from(["*.json".to_owned(), "https://telemetry.test/*".to_owned()]),
        "every pattern is known"
    );
    assert_eq!(catalog.ignored_patterns().await.unwrap().len(), 2, "each pattern once");
    let audit = catalog.audit(None, &PageRequest::first(10)).await.unwrap().items;
    let ignored =
        audit.iter().find(|entry| entry.detail.contains("telemetry")).expect("what is ignored is in the audit");
    assert_eq!(
        (ignored.action.as_str(), ignored.who.as_str(), ignored.artifact, ignored.at),
        ("ignored", "bob", None, at(1))
    );
    assert!(ignored.detail.contains("noise 🦀"), "with the reason");
}

async fn patterns_are_literal_but_for_the_star(catalog: Arc<dyn Catalog>) {
    let uris = [
        "https://h.test/a_b",
        "https://h.test/aXb",
        "https://h.test/A_B",
        "https://h.test/50%25",
        "https://h.test/50x25",
    ];
    miss_all(&catalog, &uris, 0).await;
    for pattern in ["https://h.test/a_b", "*/50%25", "https://h.test/%", "\\", ""] {
        catalog.ignore_misses(pattern, "r", "bob", at(1)).await.unwrap();
    }
    let left: BTreeSet<_> = missed(&catalog, None).await.into_iter().collect();
    let wanted = ["https://h.test/aXb", "https://h.test/A_B", "https://h.test/50x25"].map(str::to_owned);
    assert_eq!(left, BTreeSet::from(wanted), "only the star of a pattern stands for other characters");
}

async fn audit_of(catalog: &Arc<dyn Catalog>, artifact: Option<ArtifactId>) -> Vec<AuditEntry> {
    catalog.audit(artifact, &PageRequest::first(100)).await.expect("audit answers").items
}

async fn everything_that_is_done_is_in_the_audit(catalog: Arc<dyn Catalog>) {
    let id = declare(&catalog, URI, 0).await.id;
    let failed = lease_one(&catalog, 1).await;
    catalog.fail(&failed.lease, &Failure::new("502 bad gateway ä"), None, at(2)).await.unwrap();
    catalog.retry(id, "bob", at(3)).await.unwrap();
    let given_back = lease_one(&catalog, 4).await;
    catalog.give_back(&given_back.lease, at(5)).await.unwrap();
    let completed = lease_one(&catalog, 6).await;
    catalog.complete(&completed.lease, &fetched(b"abc"), at(7)).await.unwrap();
    catalog.quarantine(id, "suspicious", "carol", at(8)).await.unwrap();
    catalog.release(id, "harmless", "dave", at(9)).await.unwrap();
    catalog.declare(&wanted_with(URI, b"abc", &[Algorithm::Sha256]), at(10)).await.unwrap();
    present(&catalog, "https://h.test/other", b"other", 11).await;

    let entries = audit_of(&catalog, Some(id)).await;
    let told: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.who.as_str(), entry.at)).collect();
    let expected = [
        ("declared", "alice", at(10)),
        ("released", "dave", at(9)),
        ("quarantined", "carol", at(8)),
        ("fetched", "worker-1", at(7)),
        ("retried", "bob", at(3)),
        ("failed", "worker-1", at(2)),
        ("declared", "alice", at(0)),
    ];
    assert_eq!(told, expected, "promise 4: what was done to an artifact, by whom and when, latest first");
    assert!(entries.iter().all(|entry| entry.artifact == Some(id)), "only what was done to this artifact");
    let details: Vec<_> = entries.iter().map(|entry| entry.detail.as_str()).collect();
    assert_eq!(
        (details[1], details[2], details[5], details[6]),
        ("harmless", "suspicious", "502 bad gateway ä", "the build needs it"),
        "with the reason or the outcome"
    );
    assert_eq!(
        audit_of(&catalog, None).await.len(),
        expected.len() + 2,
        "the whole audit has what was done to all artifacts"
    );
    assert!(audit_of(&catalog, Some(ArtifactId::new())).await.is_empty(), "nothing was done to an unknown artifact");
}

async fn what_was_refused_is_not_in_the_audit(catalog: Arc<dyn Catalog>) {
    let id = declare(&catalog, URI, 0).await.id;
    let lost = lease_one(&catalog, 0).await;
    lease_one(&catalog, 100).await;
    assert!(catalog.complete(&lost.lease, &fetched(b"abc"), at(101)).await.is_err());
    assert!(catalog.fail(&lost.lease, &Failure::new("no"), None, at(101)).await.is_err());
    assert!(catalog.quarantine(id, "r", "bob", at(101)).await.is_err());
    assert!(catalog.retry(id, "bob", at(101)).await.is_err());
    let actions: Vec<_> = audit_of(&catalog, None).await.into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["declared"], "promise 4: what was refused was not done");
}

async fn the_audit_is_latest_first_page_by_page(catalog: Arc<dyn Catalog>) {
    for number in 0..10 {
        declare(&catalog, &format!("https://h.test/{number}"), number / 3).await;
    }
    let all = audit_of(&catalog, None).await;
    assert!(all.is_sorted_by(|one, next| one.at >= next.at), "the audit is latest first");
    let (mut seen, mut page) = (Vec::new(), PageRequest::first(4));
    loop {
        let found = catalog.audit(None, &page).await.unwrap();
        seen.extend(found.items);
        declare(&catalog, &format!("https://later.test/{}", seen.len()), 1000).await;
        let Some(next) = found.next else { break };
        page.after = Some(next);
    }
    assert_eq!(seen, all, "its pages have no holes and no doubles");
}
