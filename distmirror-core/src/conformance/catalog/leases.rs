//! Promises 1 and 2 of [`Fetches`](crate::Fetches): who holds what, and for how long.

use std::{collections::BTreeSet, sync::Arc};

use uuid::Uuid;

use crate::{
    Backlog, Catalog, Error, Failure, Lease, LeaseRequest, Progress, Result, State,
    conformance::catalog::support::{
        LEASE_FOR, artifact, at, at_once, declare, fetched, lease_all, lease_one, request,
    },
};

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    a_lease_is_what_was_asked_for(fresh().await).await;
    those_longest_due_come_first(fresh().await).await;
    one_artifact_goes_to_one_caller(fresh().await).await;
    many_callers_share_the_work(fresh().await).await;
    busy_hosts_are_passed_over(fresh().await).await;
    the_backlog_is_what_would_be_handed_out(fresh().await).await;
    an_expired_lease_is_taken_over(fresh().await).await;
    an_expired_lease_goes_to_one_caller(fresh().await).await;
    renewing_keeps_the_lease_and_tells_the_progress(fresh().await).await;
    an_expired_lease_that_nobody_took_over_still_counts(fresh().await).await;
    whoever_is_not_the_holder_has_lost_the_lease(fresh().await).await;
    a_job_that_has_ended_has_no_lease(fresh().await).await;
    giving_back_undoes_the_taking_up(fresh().await).await;
}

const URI: &str = "https://h.test/a";

async fn a_lease_is_what_was_asked_for(catalog: Arc<dyn Catalog>) {
    assert!(lease_all(&catalog, 0).await.is_empty(), "an empty catalog has no jobs");
    let declared = declare(&catalog, URI, 10).await;
    assert!(lease_all(&catalog, 9).await.is_empty(), "promise 1: nothing is handed out before it is due");
    assert!(catalog.lease(&request(0), at(10)).await.unwrap().is_empty(), "at most as many jobs as were asked for");
    let job = lease_one(&catalog, 10).await;
    assert_eq!(
        (job.lease.artifact, job.artifact.id, job.attempt),
        (declared.id, declared.id, 1),
        "promise 1: what was newly declared is handed out"
    );
    assert_eq!(job.lease.expires_at, at(10) + LEASE_FOR, "the lease holds as long as was asked for");
    let held = artifact(&catalog, declared.id).await;
    assert_eq!(
        (held.state, held.attempts, held.next_attempt_at),
        (State::Fetching, 1, None),
        "what is handed out is being fetched"
    );
    assert!(lease_all(&catalog, 10).await.is_empty(), "promise 1: it is handed out to one caller only");
}

async fn those_longest_due_come_first(catalog: Arc<dyn Catalog>) {
    for (uri, seconds) in [("https://h.test/2", 2), ("https://h.test/1", 1), ("https://h.test/3", 3)] {
        declare(&catalog, uri, seconds).await;
    }
    let first = catalog.lease(&request(2), at(5)).await.unwrap();
    let names: Vec<_> = first.iter().map(|job| job.artifact.name.as_str()).collect();
    assert_eq!(
        names,
        ["https://h.test/1", "https://h.test/2"],
        "those that are longest due come first, and no more than were asked for"
    );
    assert_eq!(lease_one(&catalog, 5).await.artifact.name.as_str(), "https://h.test/3", "the rest is handed out next");
}

/// What so many callers get who ask at the same time.
async fn lease_at_once(catalog: &Arc<dyn Catalog>, callers: usize, limit: usize, seconds: i64) -> Vec<Lease> {
    let shared = Arc::clone(catalog);
    let results = at_once(callers, move |number| {
        let catalog = Arc::clone(&shared);
        let request = LeaseRequest { worker: format!("worker-{number}"), ..request(limit) };
        async move { catalog.lease(&request, at(seconds)).await }
    })
    .await;
    results
        .into_iter()
        .flat_map(|result| result.expect("lease answers also when many ask"))
        .map(|job| job.lease)
        .collect()
}

async fn one_artifact_goes_to_one_caller(catalog: Arc<dyn Catalog>) {
    declare(&catalog, URI, 0).await;
    assert_eq!(
        lease_at_once(&catalog, 16, 5, 0).await.len(),
        1,
        "promise 1: one artifact goes to one caller, however many ask at once"
    );
}

async fn many_callers_share_the_work(catalog: Arc<dyn Catalog>) {
    for number in 0..40 {
        declare(&catalog, &format!("https://h.test/{number}"), 0).await;
    }
    let mut leases = Vec::new();
    for _ in 0..40 {
        let more = lease_at_once(&catalog, 6, 3, 0).await;
        if more.is_empty() {
            break;
        }
        leases.extend(more);
    }
    let artifacts: BTreeSet<_> = leases.iter().map(|lease| lease.artifact).collect();
    let tokens: BTreeSet<_> = leases.iter().map(|lease| lease.token).collect();
    assert_eq!(
        (leases.len(), artifacts.len(), tokens.len()),
        (40, 40, 40),
        "promise 1: everything is handed out, and nothing twice"
    );
}

async fn busy_hosts_are_passed_over(catalog: Arc<dyn Catalog>) {
    for uri in ["https://busy.test/1", "https://busy.test:8443/2", "https://free.test/3", "https://busy.test/4"] {
        declare(&catalog, uri, 0).await;
    }
    let asked = LeaseRequest { busy_hosts: vec!["busy.test".to_owned(), "unknown.test".to_owned()], ..request(10) };
    let jobs = catalog.lease(&asked, at(0)).await.unwrap();
    let names: BTreeSet<_> = jobs.iter().map(|job| job.artifact.name.as_str()).collect();
    assert_eq!(
        names,
        BTreeSet::from(["https://busy.test:8443/2", "https://free.test/3"]),
        "jobs of busy hosts are not handed out"
    );
    assert_eq!(lease_all(&catalog, 0).await.len(), 2, "a host that is busy for one worker is not for another");
}

async fn the_backlog_is_what_would_be_handed_out(catalog: Arc<dyn Catalog>) {
    let backlog = async |seconds: i64| catalog.backlog(at(seconds)).await.unwrap();
    let of = |due: u64, oldest: Option<i64>| Backlog { due, oldest_due_at: oldest.map(at) };
    assert_eq!(backlog(9).await, of(0, None), "promise 6: of an empty catalog nothing is due");
    for (uri, seconds) in [("https://h.test/2", 2), ("https://h.test/1", 1), ("https://h.test/3", 3)] {
        declare(&catalog, uri, seconds).await;
    }
    assert_eq!(backlog(0).await, of(0, None), "promise 6: nothing is due before its time");
    assert_eq!(backlog(2).await, of(2, Some(1)), "promise 6: what is due is counted, since the oldest");
    let job = lease_one(&catalog, 1).await;
    assert_eq!(backlog(5).await, of(2, Some(2)), "promise 6: what is leased is not due");
    assert_eq!(backlog(32).await, of(3, Some(2)), "promise 6: what has an expired lease is due");
    catalog.complete(&job.lease, &fetched(b"abc"), at(33)).await.unwrap();
    assert_eq!(backlog(33).await, of(2, Some(2)), "promise 6: what is present is not due");
}

async fn an_expired_lease_is_taken_over(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let first = lease_one(&catalog, 0).await;
    assert!(lease_all(&catalog, 29).await.is_empty(), "promise 1: a lease that has not expired is not handed out");
    let second = lease_one(&catalog, 31).await;
    assert_eq!(
        (second.attempt, second.artifact.attempts),
        (2, 2),
        "promise 1: an expired lease is handed out, as another attempt"
    );
    assert_ne!(first.lease.token, second.lease.token, "each lease has a token of its own");
    is_lost(&catalog, &first.lease).await;
    let held = artifact(&catalog, declared.id).await;
    assert_eq!(
        (held.state, held.last_error),
        (State::Fetching, None),
        "promise 2: who has lost the lease changes nothing"
    );
    catalog.complete(&second.lease, &fetched(b"abc"), at(40)).await.expect("the holder of the latest lease completes");
}

async fn an_expired_lease_goes_to_one_caller(catalog: Arc<dyn Catalog>) {
    declare(&catalog, URI, 0).await;
    lease_one(&catalog, 0).await;
    assert_eq!(
        lease_at_once(&catalog, 16, 5, 100).await.len(),
        1,
        "promise 1: an expired lease is taken over by one caller"
    );
}

async fn renewing_keeps_the_lease_and_tells_the_progress(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    let progress = Progress { bytes: 5_000_000_000, total: Some(u64::from(u32::MAX) * 1000) };
    catalog.renew(&job.lease, at(60), progress).await.expect("the holder renews");
    assert_eq!(
        artifact(&catalog, declared.id).await.progress,
        Some(progress),
        "the progress is on record, also above 4 GiB"
    );
    assert!(lease_all(&catalog, 59).await.is_empty(), "a renewed lease holds until its new end");
    catalog.renew(&job.lease, at(90), Progress { bytes: 1, total: None }).await.expect("it is renewed again and again");
    assert_eq!(
        artifact(&catalog, declared.id).await.progress,
        Some(Progress { bytes: 1, total: None }),
        "the total may be unknown"
    );
    let taken_over = lease_one(&catalog, 91).await;
    assert_eq!(taken_over.artifact.progress, None, "who takes over starts anew");
}

async fn an_expired_lease_that_nobody_took_over_still_counts(catalog: Arc<dyn Catalog>) {
    declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    catalog
        .renew(&job.lease, at(200), Progress::default())
        .await
        .expect("promise 2: an expired lease that nobody took over can be renewed");
    assert!(lease_all(&catalog, 199).await.is_empty(), "and holds again");
    catalog
        .complete(&job.lease, &fetched(b"abc"), at(300))
        .await
        .expect("promise 2: and completes after it has expired");
}

async fn whoever_is_not_the_holder_has_lost_the_lease(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let made_up = Lease { artifact: declared.id, token: Uuid::new_v4(), expires_at: at(30) };
    is_lost(&catalog, &made_up).await;
    assert_eq!(
        artifact(&catalog, declared.id).await,
        declared,
        "promise 2: a lease that was never given changes nothing"
    );
    let job = lease_one(&catalog, 0).await;
    is_lost(&catalog, &made_up).await;
    is_lost(&catalog, &Lease { artifact: crate::ArtifactId::new(), ..job.lease }).await;
    catalog.renew(&job.lease, at(60), Progress::default()).await.expect("promise 2: the holder is not disturbed");
}

async fn a_job_that_has_ended_has_no_lease(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let given_back = lease_one(&catalog, 0).await;
    catalog.give_back(&given_back.lease, at(0)).await.unwrap();
    is_lost(&catalog, &given_back.lease).await;
    let failed = lease_one(&catalog, 0).await;
    catalog.fail(&failed.lease, &Failure::new("no"), Some(at(1)), at(0)).await.unwrap();
    is_lost(&catalog, &failed.lease).await;
    let completed = lease_one(&catalog, 1).await;
    catalog.complete(&completed.lease, &fetched(b"abc"), at(1)).await.unwrap();
    is_lost(&catalog, &completed.lease).await;
    let present = artifact(&catalog, declared.id).await;
    assert_eq!(
        (present.state, present.fetched_at),
        (State::Present, Some(at(1))),
        "promise 2: what has ended does not change again"
    );
    catalog.quarantine(declared.id, "r", "alice", at(2)).await.unwrap();
    is_lost(&catalog, &completed.lease).await;
}

/// Everything that a worker does with this lease is refused.
async fn is_lost(catalog: &Arc<dyn Catalog>, lease: &Lease) {
    let check = |what: &str, result: Result<()>| match result {
        Err(Error::LeaseLost { artifact }) => {
            assert_eq!(artifact, lease.artifact, "promise 2: {what} names the artifact")
        }
        other => panic!("promise 2: {what} with a lease that is not the latest is lost: {other:?}"),
    };
    check("renew", catalog.renew(lease, at(999), Progress::default()).await);
    check("complete", catalog.complete(lease, &fetched(b"stale"), at(999)).await);
    check("fail", catalog.fail(lease, &Failure::new("stale"), Some(at(999)), at(999)).await);
    check("give_back", catalog.give_back(lease, at(999)).await);
}

async fn giving_back_undoes_the_taking_up(catalog: Arc<dyn Catalog>) {
    let declared = declare(&catalog, URI, 0).await;
    let job = lease_one(&catalog, 0).await;
    catalog.renew(&job.lease, at(60), Progress { bytes: 7, total: None }).await.unwrap();
    catalog.give_back(&job.lease, at(5)).await.expect("the holder gives back");
    let waiting = artifact(&catalog, declared.id).await;
    assert_eq!(
        (waiting.state, waiting.attempts, waiting.progress),
        (State::Pending, 0, None),
        "what is given back is as if it had not been taken up"
    );
    assert_eq!(waiting.next_attempt_at, Some(at(5)), "what is given back is due at once");
    let again = lease_one(&catalog, 5).await;
    assert_eq!(again.attempt, 1, "the attempt that was given back does not count");
    catalog.fail(&again.lease, &Failure::new("no"), Some(at(6)), at(5)).await.unwrap();
    let last = lease_one(&catalog, 6).await;
    catalog.give_back(&last.lease, at(7)).await.unwrap();
    let waiting = artifact(&catalog, declared.id).await;
    assert_eq!(
        (waiting.state, waiting.attempts, waiting.last_error.as_deref()),
        (State::Failed, 1, Some("no")),
        "what had failed is failed again"
    );
}
