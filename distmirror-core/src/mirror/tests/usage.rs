//! Usage: gathered in memory, bounded, reported in batches that count once.

use jiff::Timestamp;

use super::{
    is_unavailable, observed,
    support::{Backends, test_mirror},
};
use crate::{ArtifactId, Ledger, Mirror, Options, PageRequest, UsedBy, faulty::How};

const START: i64 = 1_767_225_600;

fn client(last: u8) -> UsedBy {
    UsedBy::Client([192, 0, 2, last].into())
}

/// One request for so many bytes, so many seconds after the start of the test's time.
fn used(mirror: &Mirror, artifact: ArtifactId, by: UsedBy, bytes: u64, seconds: i64) {
    mirror.used(artifact, by, bytes, Timestamp::from_second(START + seconds).unwrap());
}

/// Requests and bytes on record.
async fn recorded(backends: &Backends, artifact: ArtifactId) -> (u64, u64) {
    let usage = backends.catalog.usage(&[artifact]).await.unwrap().remove(&artifact);
    usage.map_or((0, 0), |usage| (usage.requests, usage.bytes))
}

#[tokio::test]
async fn usage_adds_up_and_is_reported_in_one_batch() {
    let (mirror, backends) = test_mirror(Options::default());
    let (one, other) = (ArtifactId::new(), ArtifactId::new());
    mirror.flush_usage().await.unwrap();
    for (artifact, by, bytes, seconds) in [
        (one, client(1), 10, 5),
        (one, client(1), 20, 3),
        (one, client(2), 0, 4),
        (one, UsedBy::Project("p".into()), 1, 4),
        (one, client(1), 1, 24 * 60 * 60),
        (other, client(1), 7, 1),
    ] {
        used(&mirror, artifact, by, bytes, seconds);
    }
    assert_eq!(backends.faults.calls("record_usage"), 0, "nothing is written per request, or where nothing was used");
    mirror.flush_usage().await.unwrap();
    mirror.flush_usage().await.unwrap();
    assert_eq!(backends.faults.calls("record_usage"), 1, "all in one batch, and once");
    assert_eq!((recorded(&backends, one).await, recorded(&backends, other).await), ((5, 32), (1, 7)));
    let days = backends.catalog.daily_usage(one, &PageRequest::first(10)).await.unwrap().items;
    let first = days.iter().find(|daily| daily.by == client(1) && daily.usage.requests == 2).unwrap();
    let times = (first.usage.first_used_at.as_second() - START, first.usage.last_used_at.as_second() - START);
    assert_eq!((first.day.to_string().as_str(), times), ("2026-01-01", (3, 5)));
    assert_eq!(days.len(), 4, "by day and user");
}

#[tokio::test]
async fn usage_stays_gathered_while_the_catalog_is_away() {
    let (mirror, backends) = test_mirror(Options::default());
    let artifact = ArtifactId::new();
    for round in 0..3 {
        used(&mirror, artifact, client(round), 10, 1);
        backends.fail(How::Before);
        assert!(is_unavailable(&mirror.flush_usage().await));
    }
    backends.faults.disarm();
    used(&mirror, artifact, client(1), 10, 2);
    mirror.flush_usage().await.unwrap();
    assert_eq!(recorded(&backends, artifact).await, (4, 40), "one report brings all of it");
}

#[tokio::test]
async fn what_was_recorded_without_an_answer_counts_once() {
    let (mirror, backends) = test_mirror(Options::default());
    let artifact = ArtifactId::new();
    used(&mirror, artifact, client(1), 10, 1);
    backends.fail(How::After);
    for _ in 0..3 {
        assert!(is_unavailable(&mirror.flush_usage().await));
        used(&mirror, artifact, client(1), 10, 2);
    }
    backends.faults.disarm();
    mirror.flush_usage().await.unwrap();
    assert_eq!(recorded(&backends, artifact).await, (4, 40));
}

#[tokio::test]
async fn gathered_usage_is_bounded() {
    let counters = observed::Counters::install();
    let (mirror, backends) = test_mirror(Options { gathered_usage: 2, ..Options::default() });
    let artifact = ArtifactId::new();
    for last in [1, 2, 3, 1, 3] {
        used(&mirror, artifact, client(last), 1, 1);
    }
    assert_eq!(counters.count("distmirror_usage_dropped_total"), 2, "each request that is dropped is counted");
    mirror.flush_usage().await.unwrap();
    assert_eq!(recorded(&backends, artifact).await, (3, 3), "those that are known go on counting");
    used(&mirror, artifact, client(3), 1, 1);
    mirror.flush_usage().await.unwrap();
    assert_eq!(recorded(&backends, artifact).await, (4, 4), "after a report there is room again");
}

#[tokio::test]
async fn much_usage_is_reported_in_many_batches() {
    let (mirror, backends) = test_mirror(Options::default());
    let artifacts: Vec<_> = (0..1001).map(|_| ArtifactId::new()).collect();
    for artifact in &artifacts {
        used(&mirror, *artifact, client(1), 1, 1);
    }
    backends.faults.fail_next("record_usage", 1);
    assert!(is_unavailable(&mirror.flush_usage().await));
    mirror.flush_usage().await.unwrap();
    assert_eq!(backends.faults.calls("record_usage"), 7, "200 in each, and the first one twice");
    assert_eq!(backends.catalog.usage(&artifacts).await.unwrap().len(), 1001);
}
