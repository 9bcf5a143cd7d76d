//! The promises of [`Ledger`](crate::Ledger) about usage.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    ArtifactId, Catalog, DailyUsage, PageRequest, Usage, UsageBatch, UsageReport, UsedBy,
    conformance::catalog::support::{at, at_once, declare},
    usage::day_of,
};

const DAY: i64 = 24 * 60 * 60;

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    usage_adds_up_by_day_and_who(fresh().await).await;
    a_batch_is_applied_once(fresh().await).await;
    usage_at_once_adds_up(fresh().await).await;
    a_project_is_no_client(fresh().await).await;
    many_artifacts_are_asked_at_once(fresh().await).await;
    a_large_batch_is_taken(fresh().await).await;
    usage_is_latest_day_first_page_by_page(fresh().await).await;
}

fn client(address: &str) -> UsedBy {
    UsedBy::Client(address.parse().unwrap())
}

fn project(name: &str) -> UsedBy {
    UsedBy::Project(name.into())
}

/// So many requests and bytes, the last one at this time and the first one a second before.
fn used(artifact: ArtifactId, by: UsedBy, requests: u64, bytes: u64, seconds: i64) -> UsageReport {
    let usage = Usage { requests, bytes, first_used_at: at(seconds - 1), last_used_at: at(seconds) };
    UsageReport { artifact, day: day_of(at(seconds)), by, usage }
}

async fn record(catalog: &Arc<dyn Catalog>, reports: Vec<UsageReport>) {
    catalog.record_usage(&UsageBatch::new(reports)).await.expect("record_usage answers");
}

async fn total(catalog: &Arc<dyn Catalog>, id: ArtifactId) -> Option<Usage> {
    catalog.usage(&[id]).await.expect("usage answers").remove(&id)
}

async fn by_day(catalog: &Arc<dyn Catalog>, id: ArtifactId) -> Vec<DailyUsage> {
    catalog.daily_usage(id, &PageRequest::first(1000)).await.expect("daily_usage answers").items
}

async fn usage_adds_up_by_day_and_who(catalog: Arc<dyn Catalog>) {
    let (id, other) = (declare(&catalog, "https://h.test/a", 0).await.id, ArtifactId::new());
    assert_eq!(total(&catalog, id).await, None, "what was never used has no usage");
    assert_eq!(by_day(&catalog, id).await, [], "and none on any day");
    record(&catalog, Vec::new()).await;
    let one = client("192.0.2.1");
    record(&catalog, vec![used(id, one.clone(), 2, 5_000_000_000, 100), used(id, project("编译器"), 1, 7, 50)]).await;
    record(&catalog, vec![used(id, one.clone(), 1, 1, 40), used(id, one.clone(), 1, 0, DAY + 7)]).await;
    record(&catalog, vec![used(other, one.clone(), 9, 9, 9)]).await;
    let sum = Usage { requests: 5, bytes: 5_000_000_008, first_used_at: at(39), last_used_at: at(DAY + 7) };
    assert_eq!(total(&catalog, id).await, Some(sum), "promise 6: the totals are the sum, with the first and last time");
    let days = by_day(&catalog, id).await;
    assert_eq!(days.len(), 3, "promise 6: one of each day and user");
    assert_eq!((days[0].day, &days[0].by), (day_of(at(DAY)), &one), "promise 7: the latest day comes first");
    let same_day = days[1..].iter().find(|daily| daily.by == one).expect("the first day of the client");
    let sum = Usage { requests: 3, bytes: 5_000_000_001, first_used_at: at(39), last_used_at: at(100) };
    assert_eq!((same_day.day, same_day.usage), (day_of(at(0)), sum), "promise 6: what is reported later adds up");
    assert!(days.iter().any(|daily| daily.by == project("编译器") && daily.usage.bytes == 7), "{days:?}");
}

async fn a_batch_is_applied_once(catalog: Arc<dyn Catalog>) {
    let id = declare(&catalog, "https://h.test/a", 0).await.id;
    let batch = UsageBatch::new(vec![used(id, client("192.0.2.1"), 1, 10, 5)]);
    for _ in 0..3 {
        catalog.record_usage(&batch).await.expect("a batch that is known is no trouble");
    }
    record(&catalog, batch.reports.clone()).await;
    catalog.record_usage(&batch).await.unwrap();
    let total = total(&catalog, id).await.expect("it was used");
    assert_eq!(
        (total.requests, total.bytes),
        (2, 20),
        "promise 5: a batch is applied once, and another one is another"
    );
    assert_eq!(by_day(&catalog, id).await[0].usage, total, "promise 5: and so are its parts");
    // An hour later, by its id.
    let (seconds, _) = batch.id.get_timestamp().expect("version 7").to_unix();
    let later = uuid::Builder::from_unix_timestamp_millis((seconds + 3600) * 1000, &[7; 10]).into_uuid();
    catalog.record_usage(&UsageBatch { id: later, reports: batch.reports.clone() }).await.unwrap();
    catalog.record_usage(&batch).await.unwrap();
    assert_eq!(by_day(&catalog, id).await[0].usage.requests, 3, "promise 5: it is known again an hour later");
}

async fn usage_at_once_adds_up(catalog: Arc<dyn Catalog>) {
    let ids = [declare(&catalog, "https://h.test/a", 0).await.id, declare(&catalog, "https://h.test/b", 0).await.id];
    let shared = Arc::clone(&catalog);
    let results = at_once(20, move |number| {
        let catalog = Arc::clone(&shared);
        let reports = ids.map(|id| used(id, client("192.0.2.1"), 1, 10, number as i64));
        async move { catalog.record_usage(&UsageBatch::new(reports.to_vec())).await }
    })
    .await;
    assert!(results.iter().all(Result::is_ok), "every batch is taken: {results:?}");
    for id in ids {
        let sum = Usage { requests: 20, bytes: 200, first_used_at: at(-1), last_used_at: at(19) };
        assert_eq!(total(&catalog, id).await, Some(sum), "promise 6: batches that come at once add up as well");
    }
}

async fn a_project_is_no_client(catalog: Arc<dyn Catalog>) {
    let id = declare(&catalog, "https://h.test/a", 0).await.id;
    let long = "p".repeat(3000);
    let all =
        [client("192.0.2.1"), project("192.0.2.1"), client("2001:db8::1"), project("P"), project("p"), project(&long)];
    record(&catalog, all.iter().map(|by| used(id, by.clone(), 1, 1, 1)).collect()).await;
    let kept: HashSet<_> = by_day(&catalog, id).await.into_iter().map(|daily| daily.by).collect();
    assert_eq!(kept, HashSet::from(all), "promise 6: users are told apart by every letter, and by what they are");
}

async fn many_artifacts_are_asked_at_once(catalog: Arc<dyn Catalog>) {
    let ids: Vec<_> = (0..1500).map(|_| ArtifactId::new()).collect();
    for some in ids[..300].chunks(100) {
        record(&catalog, some.iter().map(|id| used(*id, client("192.0.2.1"), 1, 1, 1)).collect()).await;
    }
    let found = catalog.usage(&ids).await.expect("usage answers, however many are asked");
    assert_eq!(found.len(), 300, "what was never used is absent");
    assert!(ids[..300].iter().all(|id| found.contains_key(id)), "and what was is there");
    assert!(catalog.usage(&[]).await.unwrap().is_empty(), "nothing is asked");
}

async fn a_large_batch_is_taken(catalog: Arc<dyn Catalog>) {
    let id = declare(&catalog, "https://h.test/a", 0).await.id;
    let address = |number: u32| UsedBy::Client(std::net::Ipv4Addr::from(number).into());
    record(&catalog, (0..500).map(|number| used(id, address(number), 1, 1, 1)).collect()).await;
    assert_eq!(total(&catalog, id).await.expect("it was used").requests, 500, "every report of a large batch counts");
}

async fn usage_is_latest_day_first_page_by_page(catalog: Arc<dyn Catalog>) {
    let id = declare(&catalog, "https://h.test/a", 0).await.id;
    let reports = (0..10).map(|number| used(id, client(&format!("192.0.2.{number}")), 1, 1, number / 3 * DAY + 5));
    record(&catalog, reports.collect()).await;
    let all = by_day(&catalog, id).await;
    assert!(all.is_sorted_by(|one, next| one.day >= next.day), "promise 7: the latest day comes first: {all:?}");
    let ids: HashSet<Uuid> = all.iter().map(|daily| daily.id).collect();
    assert_eq!(ids.len(), 10, "each has an id of its own");
    let (mut seen, mut page) = (Vec::new(), PageRequest::first(4));
    loop {
        let found = catalog.daily_usage(id, &page).await.unwrap();
        seen.extend(found.items);
        let later: Timestamp = at(1000 * DAY) + Duration::from_secs(seen.len() as u64);
        let new = UsageReport { day: day_of(later), ..used(id, client("2001:db8::1"), 1, 1, 1000 * DAY) };
        record(&catalog, vec![new]).await;
        let Some(next) = found.next else { break };
        page.after = Some(next);
    }
    assert_eq!(seen, all, "promise 7: pages have no holes and no doubles, also where days are equal and others come");
}
