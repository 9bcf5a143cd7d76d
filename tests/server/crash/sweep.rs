//! Real kills of a real fetch, at the calls that the model is made of: strace kills the process on entering one.

use std::os::unix::process::ExitStatusExt;

use testkit::{Upstream, strace};

use super::{
    disk::Content,
    house::{House, digest, distmirror, run, said},
    sample, trying,
};

/// How many kills are tried.
const TRIES: usize = 16;

#[tokio::test]
async fn a_fetch_that_is_killed_at_any_call_is_made_up_for() {
    let upstream = Upstream::start(&[]).await;
    let (large, small) = (vec![b'l'; 600_000], vec![b's'; 1000]);
    upstream.file("/large", large.clone());
    upstream.file("/small", small.clone());
    let house = House::declaring(&upstream, &[upstream.url("/large"), upstream.url("/small")]).await;
    let before = Content::of(house.path());
    let fetched = house.record(&["fetch", "--once"], 0);
    // strace counts the calls of each thread: these are all that it can be told. The first thread that gets so far is hit, and
    // what another one does at the same count is left to the model.
    let mut points: Vec<_> = fetched.steps.iter().map(|step| (step.call.clone(), step.nth)).collect();
    points.retain(|(call, _)| call != "sendto" && call != "writev");
    points.sort();
    points.dedup();
    let mut killed = 0;
    for (call, nth) in sample(points, TRIES) {
        let house = house.moved(&before);
        let inject = format!("--inject={call}:signal=SIGKILL:when={nth}");
        let output =
            run(&mut strace(&[&inject, "--output=/dev/null"], &distmirror(house.path(), &["fetch", "--once"])));
        killed += usize::from(output.status.signal() == Some(9));
        assert!(output.status.signal() == Some(9) || output.status.success(), "{call} {nth}: {}", said(&output));
        trying(format_args!("{call} {nth}: {}", output.status));
        house.check();
        house.go_on(&[&large, &small]);
    }
    assert!(killed > 0, "nothing was killed");
}

/// The moment between the file's name and the catalog's word, by name.
#[tokio::test]
async fn a_blob_that_is_in_place_and_not_yet_present_becomes_so_once() {
    let upstream = Upstream::start(&[]).await;
    let bytes = vec![b'b'; 600_000];
    upstream.file("/file", bytes.clone());
    let house = House::declaring(&upstream, &[upstream.url("/file")]).await;
    let hex = digest(&bytes);
    let folder = house.path().join(format!("data/blobs/sha256/{}/{}", &hex[..2], &hex[2..4]));
    let only = format!("--trace-path={}", folder.display());
    let arguments = ["--inject=fsync:signal=SIGKILL", "--output=/dev/null", &only];
    let output = run(&mut strace(&arguments, &distmirror(house.path(), &["fetch", "--once"])));
    assert_eq!(output.status.signal(), Some(9), "{}", said(&output));
    assert!(folder.join(&hex).exists(), "the blob has its name");
    assert_eq!(house.check(), 0, "and the catalog does not say so");
    house.go_on(&[&bytes]);
    assert_eq!(upstream.hits("/file"), 2);
}
