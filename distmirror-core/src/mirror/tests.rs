//! The mirror over backends in memory, some of which go away or bring other bytes.

mod observed;
mod support;
mod usage;

use std::{fs::File, io::Write, path::Path, sync::Arc, time::Duration};

use self::support::{Backends, content, report, test_mirror, uri};
use super::*;
use crate::{
    Artifacts, Failure, Fetches, Ledger, MissReport, PageRequest, Payload, faulty::How, memory::MemoryCatalog,
};

/// Looks everything up again on every request, and waits for it only a moment.
fn revalidating() -> Options {
    Options { revalidate_after: Duration::ZERO, revalidate_within: Duration::from_millis(20), ..Options::default() }
}

fn is_present(resolution: &Result<Resolution>) -> bool {
    matches!(resolution, Ok(Resolution::Present(_)))
}

fn is_unavailable<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::CatalogUnavailable(_)))
}

fn is_corrupt<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::BlobCorrupt { .. }))
}

#[tokio::test]
async fn memory_answers_while_the_catalog_is_away() {
    let (mirror, backends) = test_mirror(revalidating());
    let here = backends.present("https://h.test/here", b"abc").await;
    assert!(is_present(&mirror.resolve(&here.name).await));
    for how in [How::Before, How::Silent, How::Before] {
        backends.fail(how);
        assert!(is_present(&mirror.resolve(&here.name).await), "{how:?}");
    }
    assert!(is_unavailable(&mirror.resolve(&uri("https://h.test/unknown")).await), "of others nobody knows");
    assert!(is_unavailable(&mirror.resolve_digest(&content(b"abc").blob().into()).await));
}

#[tokio::test]
async fn what_is_remembered_is_not_looked_up_until_it_is_due() {
    let (mirror, backends) = test_mirror(Options::default());
    let here = backends.present("https://h.test/here", b"abc").await;
    for _ in 0..3 {
        assert!(is_present(&mirror.resolve(&here.name).await));
        assert!(matches!(mirror.resolve(&uri("https://h.test/unknown")).await, Ok(Resolution::Undeclared)));
    }
    assert_eq!(backends.faults.calls("named"), 1 + 3, "one look-up for what is present, one each time for what is not");
}

fn withheld(resolution: Result<Resolution>) -> Artifact {
    match resolution {
        Ok(Resolution::Withheld(artifact)) => *artifact,
        other => panic!("it is declared and not in service: {other:?}"),
    }
}

#[tokio::test]
async fn every_state_has_its_answer() {
    let (mirror, backends) = test_mirror(Options::default());
    let artifact = backends.declared("https://h.test/a").await;
    assert_eq!(withheld(mirror.resolve(&artifact.name).await).state, State::Pending);
    let lease = backends.lease().await;
    assert_eq!(withheld(mirror.resolve(&artifact.name).await).state, State::Fetching);
    let again = Timestamp::now() + Duration::from_secs(60);
    backends.catalog.fail(&lease, &Failure::new("404"), Some(again), Timestamp::now()).await.unwrap();
    let failed = withheld(mirror.resolve(&artifact.name).await);
    assert_eq!((failed.state, failed.last_error.as_deref()), (State::Failed, Some("404")));
    assert_eq!(failed.next_attempt_at.map(Timestamp::as_microsecond), Some(again.as_microsecond()));
}

#[tokio::test]
async fn quarantine_by_another_process_takes_effect() {
    let (mirror, backends) = test_mirror(revalidating());
    let here = backends.present("https://h.test/here", b"abc").await;
    assert!(is_present(&mirror.resolve(&here.name).await));
    backends.catalog.quarantine(here.id, "backdoor", "bob", Timestamp::now()).await.unwrap();
    assert_eq!(withheld(mirror.resolve(&here.name).await).quarantine_reason.as_deref(), Some("backdoor"));
    backends.fail(How::Before);
    assert!(is_unavailable(&mirror.resolve(&here.name).await), "and memory must not bring it back");
    backends.faults.disarm();
    backends.catalog.release(here.id, "false alarm", "bob", Timestamp::now()).await.unwrap();
    assert!(is_present(&mirror.resolve(&here.name).await));
}

#[tokio::test]
async fn quarantine_by_this_process_takes_effect_at_once() {
    let (mirror, backends) = test_mirror(Options::default());
    let here = backends.present("https://h.test/here", b"abc").await;
    assert!(is_present(&mirror.resolve(&here.name).await));
    assert!(matches!(mirror.quarantine(here.id, " ", "bob").await, Err(Error::Invalid(_))), "it needs a reason");
    assert!(is_present(&mirror.resolve(&here.name).await));
    mirror.quarantine(here.id, "backdoor", "bob").await.unwrap();
    assert_eq!(withheld(mirror.resolve(&here.name).await).state, State::Quarantined);
    let by_digest = mirror.resolve_digest(&content(b"abc").blob().into()).await;
    assert_eq!(withheld(by_digest).state, State::Quarantined, "what is in quarantine is not unknown");
}

#[tokio::test]
async fn memory_does_not_serve_what_may_be_in_quarantine() {
    let (mirror, backends) = test_mirror(Options::default());
    let other = backends.present("https://h.test/other", b"def").await;
    let here = backends.present("https://h.test/here", b"abc").await;
    for name in [&here.name, &other.name] {
        assert!(is_present(&mirror.resolve(name).await));
    }
    backends.fail(How::After);
    assert!(is_unavailable(&mirror.quarantine(here.id, "backdoor", "bob").await), "the answer is lost");
    assert!(is_unavailable(&mirror.resolve(&here.name).await));
    assert!(is_present(&mirror.resolve(&other.name).await), "memory answers for everything else");
    backends.faults.disarm();
    assert_eq!(withheld(mirror.resolve(&here.name).await).state, State::Quarantined);
}

fn wanted(uri: &str) -> Declare {
    Declare { uri: Some(uri.to_owned()), reason: Some("wanted again".to_owned()), ..Declare::default() }
}

#[tokio::test]
async fn declaring_what_failed_tries_it_again_at_once() {
    let (mirror, backends) = test_mirror(Options::default());
    let artifact = backends.failed("https://h.test/a").await;
    let due = mirror.something_due();
    let declared = mirror.declare(&wanted("https://h.test/a"), "bob").await.unwrap();
    assert_eq!((declared.artifact.id, declared.is_new), (artifact.id, false));
    assert_eq!((declared.artifact.state, declared.artifact.last_error.as_deref()), (State::Pending, None));
    assert_eq!(backends.catalog.artifact(artifact.id).await.unwrap().as_ref(), Some(&declared.artifact));
    tokio::time::timeout(Duration::from_secs(5), due).await.expect("the workers are told");
    let declarations = backends.catalog.declarations(&[artifact.id]).await.unwrap();
    assert_eq!(declarations[&artifact.id].len(), 2, "and the declaration was added");
    let audit = backends.catalog.audit(Some(artifact.id), &PageRequest::first(2)).await.unwrap();
    let audit: Vec<_> = audit.items.iter().map(|entry| (entry.action.as_str(), entry.who.as_str())).collect();
    assert_eq!(audit, [("retried", "bob"), ("declared", "bob")]);
}

#[tokio::test]
async fn declaring_what_did_not_fail_retries_nothing() {
    let (mirror, backends) = test_mirror(Options::default());
    let here = backends.present("https://h.test/a", b"abc").await;
    assert_eq!(mirror.declare(&wanted("https://h.test/a"), "bob").await.unwrap().artifact, here);
    mirror.declare(&wanted("https://h.test/b"), "bob").await.unwrap();
    mirror.declare(&wanted("https://h.test/b"), "bob").await.unwrap();
    assert_eq!(backends.faults.calls("retry"), 0);
}

#[tokio::test]
async fn who_declares_what_somebody_else_retries_meanwhile_gets_what_became_of_it() {
    let (mirror, backends) = test_mirror(Options::default());
    let failed = backends.failed("https://h.test/a").await;
    backends.catalog.retry(failed.id, "carol", Timestamp::now()).await.unwrap();
    backends.lease().await;
    let found = mirror.try_again(failed.clone(), "bob").await.unwrap();
    assert_eq!((found.id, found.state), (failed.id, State::Fetching));
}

/// What a mirror knows of bytes in service.
fn held(bytes: &[u8]) -> Held {
    Held::content(ArtifactId::new(), uri("https://h.test/a"), content(bytes))
}

/// What a client would receive.
async fn received(mirror: &Mirror, held: &Held, range: Option<Range<u64>>) -> Result<Vec<u8>> {
    mirror.open(held, range).await?.body.collect().await.map(Vec::from)
}

#[tokio::test]
async fn bytes_come_out_as_they_went_in() {
    let (mirror, backends) = test_mirror(Options::default());
    let held = held(b"the right bytes");
    backends.blobs.put(&held.blob, Payload::Bytes("the right bytes".into())).await.unwrap();
    for (range, bytes) in [(None, "the right bytes"), (Some(0..15), "the right bytes"), (Some(4..9), "right")] {
        assert_eq!(received(&mirror, &held, range).await.unwrap(), bytes.as_bytes());
    }
}

#[tokio::test]
async fn a_blob_of_another_size_is_damaged() {
    let (mirror, backends) = test_mirror(Options::default());
    let held = held(b"the right bytes");
    for wrong in ["the right byte", "the right bytes!", ""] {
        backends.blobs.put(&held.blob, Payload::Bytes(wrong.into())).await.unwrap();
        let opened = mirror.open(&held, None).await;
        let sizes = format!("{} bytes in place of 15", wrong.len());
        assert!(matches!(&opened, Err(Error::BlobCorrupt { problem, .. }) if problem.contains(&sizes)), "{opened:?}");
    }
}

#[tokio::test]
async fn other_bytes_never_come_whole() {
    let (mirror, backends) = test_mirror(Options::default());
    let held = held(b"the right bytes");
    backends.blobs.put(&held.blob, Payload::Bytes("the wrong bytes".into())).await.unwrap();
    for whole in [None, Some(0..15)] {
        let received = received(&mirror, &held, whole).await;
        assert!(is_corrupt(&received), "{received:?}");
    }
}

#[tokio::test]
async fn a_file_with_other_bytes_is_not_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    let held = held(b"the right bytes");
    let store = support::FileStore { path: path.clone(), original: None };
    let mirror = Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(store), Options::default());
    for (bytes, is_right) in [("the wrong bytes", false), ("the right bytes", true)] {
        File::create(&path).unwrap().write_all(bytes.as_bytes()).unwrap();
        for range in [None, Some(4..9)] {
            let opened = mirror.open(&held, range.clone()).await;
            assert_eq!(is_corrupt(&opened), !is_right, "{bytes} {range:?}: {opened:?}");
            if let Ok(BlobRead { body: BlobBody::File { range: opened, .. }, .. }) = opened {
                assert_eq!(opened, range.unwrap_or(0..15), "the part that was asked for is handed out");
            }
        }
        // The times in a file system move in steps.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A mirror that serves a copy of what it has.
fn serving_copies(copy: &Path) -> (Mirror, Backends) {
    let (mirror, backends) = test_mirror(Options::default());
    let copies = support::FileStore { path: copy.to_owned(), original: Some(Arc::clone(&backends.blobs) as _) };
    (mirror.serving_from(Arc::new(copies)), backends)
}

#[tokio::test]
async fn the_original_is_read_where_its_copy_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, held) = (folder.path().join("copy"), held(b"the right bytes"));
    let (mirror, backends) = serving_copies(&path);
    backends.blobs.put(&held.blob, Payload::Bytes("the right bytes".into())).await.unwrap();
    for copied in ["the wrong bytes", "the right"] {
        std::fs::write(&path, copied).unwrap();
        for (range, bytes) in [(None, "the right bytes"), (Some(0..15), "the right bytes"), (Some(4..9), "right")] {
            assert_eq!(received(&mirror, &held, range).await.unwrap(), bytes.as_bytes(), "{copied}");
        }
    }
    backends.blobs.put(&held.blob, Payload::Bytes("other bad bytes".into())).await.unwrap();
    assert!(is_corrupt(&received(&mirror, &held, None).await), "the original is verified, too");
}

#[tokio::test]
async fn the_original_goes_on_where_its_copy_ends_and_is_verified_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let (path, held) = (folder.path().join("copy"), held(b"the right bytes"));
    let (mirror, backends) = serving_copies(&path);
    std::fs::write(&path, "the right bytes").unwrap();
    let rest = async |stored: &'static str, asked: Option<Range<u64>>, rest: Range<u64>| {
        backends.blobs.put(&held.blob, Payload::Bytes(stored.into())).await.unwrap();
        let BlobBody::File { original, .. } = mirror.open(&held, asked).await.unwrap().body else { panic!("a file") };
        original.unwrap().open(rest).await?.body.collect().await
    };
    assert_eq!(rest("the right bytes", None, 4..15).await.unwrap(), "right bytes");
    assert_eq!(rest("the right bytes", Some(0..9), 4..9).await.unwrap(), "right");
    assert!(is_corrupt(&rest("THE right bytes", None, 4..15).await), "what was sent is compared, too");
    assert!(is_corrupt(&rest("the right byte", None, 4..15).await));
}

#[tokio::test]
async fn only_what_is_served_comes_from_copies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    let (mirror, backends) = test_mirror(Options::default());
    let here = backends.present("https://h.test/a", b"the right bytes").await;
    std::fs::write(&path, "the right bytes").unwrap();
    let copies = support::FileStore { path, original: Some(Arc::clone(&backends.blobs) as _) };
    let mirror = mirror.serving_from(Arc::new(copies));
    backends.blobs.put(&held(b"the right bytes").blob, Payload::Bytes("the wrong bytes".into())).await.unwrap();
    let opened = mirror.open(&held(b"the right bytes"), None).await.unwrap();
    assert!(matches!(opened.body, BlobBody::File { .. }), "{opened:?}");
    let scrub = mirror.scrub(mirror.begin_scrub("bob", false).await.unwrap(), None).await.unwrap();
    assert_eq!(scrub.damaged.iter().map(|damage| damage.artifact).collect::<Vec<_>>(), [here.id]);
}

#[tokio::test]
async fn readiness_names_what_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = support::FileStore { path: folder.path().join("missing"), original: None };
    let (_, backends) = test_mirror(Options::default());
    let mirror = Mirror::new(backends.faulty_catalog(), Arc::new(store), Options::default());
    let problems = mirror.readiness().await;
    assert!(matches!(problems.as_slice(), [Error::StorageUnavailable(_)]), "{problems:?}");
    backends.fail(How::Before);
    let problems = mirror.readiness().await;
    let both = matches!(problems.as_slice(), [Error::CatalogUnavailable(_), Error::StorageUnavailable(_)]);
    assert!(both, "{problems:?}");

    let (mirror, backends) = test_mirror(Options::default());
    assert!(mirror.readiness().await.is_empty());
    backends.fail(How::Before);
    assert_eq!(mirror.readiness().await[0].chain(), "the catalog is unavailable: it is away, on purpose");
}

#[tokio::test]
async fn readiness_does_not_wait_for_ever() {
    let (mirror, backends) = test_mirror(Options::default());
    backends.fail(How::Silent);
    assert_eq!(mirror.readiness().await[0].chain(), "the catalog is unavailable: no answer within 3s");
}

/// URI and count of every miss on record.
async fn recorded(backends: &Backends) -> Vec<(String, u64)> {
    let misses = backends.catalog.misses(None, &PageRequest::first(100)).await.unwrap().items;
    let mut misses: Vec<_> = misses.into_iter().map(|miss| (miss.name.to_string(), miss.count)).collect();
    misses.sort();
    misses
}

fn misses(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(uri, count)| ((*uri).to_owned(), *count)).collect()
}

const A: &str = "https://h.test/a";
const B: &str = "https://h.test/b";
const C: &str = "https://h.test/c";

#[tokio::test]
async fn misses_add_up_and_are_reported_in_one_batch() {
    let (mirror, backends) = test_mirror(Options::default());
    for (uri, seconds) in [(A, 1), (B, 2), (A, 3), (A, 4)] {
        mirror.missed(report(uri, seconds));
    }
    assert_eq!(backends.faults.calls("record_misses"), 0, "nothing is written per request");
    mirror.flush_misses().await.unwrap();
    assert_eq!(recorded(&backends).await, misses(&[(A, 3), (B, 1)]));
    assert_eq!(backends.faults.calls("record_misses"), 1, "all in one batch");
    mirror.flush_misses().await.unwrap();
    assert_eq!(backends.faults.calls("record_misses"), 1, "what was reported is not reported again");
    assert_eq!(backends.faults.calls("miss_count"), 1, "and where nothing was missed nothing is asked");
}

#[tokio::test]
async fn misses_stay_gathered_while_the_catalog_is_away() {
    let (mirror, backends) = test_mirror(Options::default());
    mirror.missed(report(A, 1));
    backends.fail(How::Before);
    assert!(is_unavailable(&mirror.flush_misses().await));
    mirror.missed(report(A, 2));
    mirror.missed(report(B, 2));
    assert!(is_unavailable(&mirror.flush_misses().await));
    backends.faults.disarm();
    mirror.flush_misses().await.unwrap();
    assert_eq!(recorded(&backends).await, misses(&[(A, 2), (B, 1)]));
}

/// What could not be reported comes back when later requests have been gathered already.
#[tokio::test]
async fn a_report_that_comes_back_does_not_hide_later_ones() {
    let (mirror, backends) = test_mirror(Options::default());
    mirror.missed(MissReport { client: "192.0.2.2".to_owned(), ..report(A, 20) });
    mirror.missed(MissReport { client: "192.0.2.1".to_owned(), ..report(A, 10) });
    mirror.flush_misses().await.unwrap();
    let miss = backends.catalog.misses(None, &PageRequest::first(1)).await.unwrap().items.remove(0);
    let (first, last) = (report(A, 10).first_seen, report(A, 20).last_seen);
    assert_eq!((miss.count, miss.first_seen, miss.last_seen, miss.client.as_str()), (2, first, last, "192.0.2.2"));
}

#[tokio::test]
async fn gathered_misses_are_bounded() {
    let counters = observed::Counters::install();
    let (mirror, backends) = test_mirror(Options { gathered_misses: 2, ..Options::default() });
    for uri in [A, B, C, A, C] {
        mirror.missed(report(uri, 1));
    }
    assert_eq!(counters.count("distmirror_misses_dropped_total"), 2, "each one that is dropped is counted");
    mirror.flush_misses().await.unwrap();
    assert_eq!(recorded(&backends).await, misses(&[(A, 2), (B, 1)]), "those that are known go on counting");
    mirror.missed(report(C, 2));
    mirror.flush_misses().await.unwrap();
    assert_eq!(recorded(&backends).await.len(), 3, "after a report there is room again");
}

#[tokio::test]
async fn recorded_misses_are_bounded() {
    let (counters, warnings) = (observed::Counters::install(), observed::Warnings::install());
    let (mirror, backends) = test_mirror(Options { recorded_misses: 2, ..Options::default() });
    for uri in [A, B] {
        mirror.missed(report(uri, 1));
        mirror.flush_misses().await.unwrap();
    }
    assert_eq!((counters.count("distmirror_misses_dropped_total"), warnings.count()), (0, 0));
    for round in 1..=3 {
        mirror.missed(report(C, 2));
        mirror.missed(report(A, 2));
        mirror.flush_misses().await.expect("a full catalog is no trouble");
        assert_eq!(counters.count("distmirror_misses_dropped_total"), 2 * round, "each one that is dropped is counted");
    }
    assert_eq!(recorded(&backends).await, misses(&[(A, 1), (B, 1)]), "nothing is recorded");
    assert_eq!(warnings.count(), 1, "the log says it once");

    mirror.declare(&wanted(A), "bob").await.unwrap();
    mirror.flush_misses().await.unwrap();
    assert_eq!(recorded(&backends).await, misses(&[(B, 1)]), "what was dropped does not come back");
    mirror.missed(report(C, 3));
    mirror.flush_misses().await.unwrap();
    assert_eq!(recorded(&backends).await, misses(&[(B, 1), (C, 1)]), "once there is room it is used");
    mirror.missed(report(A, 4));
    mirror.flush_misses().await.unwrap();
    assert_eq!(warnings.count(), 2, "when it is full again the log says so");
}

#[tokio::test]
async fn ignored_misses_are_not_reported() {
    let counters = observed::Counters::install();
    let (mirror, backends) = test_mirror(Options { recorded_misses: 1, ..Options::default() });
    mirror.ignore_misses("https://h.test/*", "telemetry", "bob").await.unwrap();
    mirror.missed(report(A, 1));
    mirror.flush_misses().await.unwrap();
    assert_eq!(backends.faults.calls("record_misses"), 0, "a batch of what is ignored is not sent");
    mirror.missed(report(B, 1));
    mirror.missed(report("https://other.test/a", 1));
    mirror.flush_misses().await.unwrap();
    assert_eq!(recorded(&backends).await, misses(&[("https://other.test/a", 1)]));
    assert_eq!(counters.count("distmirror_misses_dropped_total"), 0, "what is ignored is not counted as dropped");
}

#[tokio::test]
async fn ignoring_needs_a_reason_and_a_pattern_that_leaves_something() {
    let (mirror, backends) = test_mirror(Options::default());
    for (pattern, reason, fields) in
        [("", "", vec!["pattern", "reason"]), ("**", "r", vec!["pattern"]), ("https://h.test/*", " ", vec!["reason"])]
    {
        let Err(Error::Invalid(problems)) = mirror.ignore_misses(pattern, reason, "bob").await else {
            panic!("`{pattern}` for `{reason}` must be refused")
        };
        assert_eq!(problems.iter().map(|problem| problem.field).collect::<Vec<_>>(), fields);
    }
    assert_eq!(backends.faults.calls("ignore_misses"), 0);
}

#[tokio::test]
async fn misses_are_declared_all_or_none() {
    let (mirror, backends) = test_mirror(Options::default());
    let with_project = MissReport { project: Some("own".to_owned()), ..report(B, 2) };
    backends.catalog.record_misses(&[report(A, 1), with_project]).await.unwrap();
    let found = backends.catalog.misses(None, &PageRequest::first(10)).await.unwrap().items;
    let ids: Vec<_> = found.iter().rev().map(|miss| miss.id).collect();

    let unknown = [ids[0], Uuid::now_v7(), ids[1]];
    let refused = mirror.declare_misses(&unknown, "builds", None, "bob").await;
    assert!(matches!(refused, Err(Error::NotFound { what: "miss", .. })), "{refused:?}");
    for reason in ["", " \n", &"x".repeat(2001), "\u{7}"] {
        let refused = mirror.declare_misses(&ids, reason, None, "bob").await;
        assert!(matches!(&refused, Err(Error::Invalid(problems)) if problems[0].field == "reason"), "{refused:?}");
    }
    assert_eq!(backends.faults.calls("declare"), 0, "nothing is declared unless all can be");
    assert_eq!(recorded(&backends).await.len(), 2, "and no miss has gone");

    let declared = mirror.declare_misses(&ids, "builds", None, "bob").await.unwrap();
    assert_eq!(declared.iter().map(|one| one.artifact.name.as_str()).collect::<Vec<_>>(), [A, B]);
    assert_eq!(recorded(&backends).await, []);
    let ids: Vec<_> = declared.iter().map(|one| one.artifact.id).collect();
    let declarations = backends.catalog.declarations(&ids).await.unwrap();
    let projects: Vec<_> = ids.iter().map(|id| declarations[id][0].project.as_deref()).collect();
    assert_eq!(projects, [None, Some("own")], "each keeps the project that it was attributed to");
}

#[tokio::test]
async fn artifacts_are_found_as_people_name_them() {
    let (mirror, backends) = test_mirror(Options::default());
    let artifact = backends.declared(A).await;
    for text in [A, "HTTPS://H.TEST:443/a", &artifact.id.to_string()] {
        assert_eq!(mirror.find(text).await.unwrap().id, artifact.id, "{text}");
    }
    assert!(mirror.find(B).await.is_err_and(|error| error.is_not_found()));
    assert!(mirror.find(&ArtifactId::new().to_string()).await.is_err_and(|error| error.is_not_found()));
    assert!(matches!(mirror.find("a").await, Err(Error::Invalid(_))));
}
