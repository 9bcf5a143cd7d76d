//! Every end after every step, on the model; and the product started on what is left.

use testkit::{Answer, Upstream};

use super::{
    disk::ENDS,
    house::{House, Recorded, distmirror, run, said},
    order::declare_on_first_start,
    sample,
    trace::Step,
    trying,
};

/// How many different things that were left are tried in each test.
const TRIES: usize = 16;

#[tokio::test]
async fn a_fetch_ends_well_after_every_end_at_every_step() {
    let upstream = Upstream::start(&[]).await;
    let (large, small) = (vec![b'l'; 600_000], vec![b's'; 1000]);
    upstream.file("/large", large.clone());
    upstream.file("/small", small.clone());
    let house = House::declaring(&upstream, &[upstream.url("/large"), upstream.url("/small")]).await;
    let fetched = house.record(&["fetch", "--once"], 0);
    for ((step, end), left) in sample(fetched.ends(&ENDS, 0..fetched.steps.len() + 1), TRIES) {
        trying(format_args!("{end:?} after {step} steps"));
        let house = house.moved(&left);
        house.check();
        house.go_on(&[&large, &small]);
    }
}

/// Upstream breaks off; then the power is lost; then upstream sends the rest to whoever asks for it.
#[tokio::test]
async fn an_interrupted_transfer_goes_on_only_behind_bytes_that_are_still_there() {
    let upstream = Upstream::start(&[]).await;
    let bytes: Vec<u8> = (0..900_000_u32).map(|at| (at % 251) as u8 + 1).collect();
    let body = bytes.clone();
    upstream.on("/file", move |request| {
        let answer = Answer::ok(body.clone()).header("etag", "\"v1\"");
        let range = request.headers().get("range").and_then(|range| range.to_str().ok());
        let Some(from) = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()) else {
            return answer.break_after(700_000);
        };
        let told = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        Answer::new(206).body(body[from..].to_vec()).header("etag", "\"v1\"").header("content-range", &told)
    });
    let house = House::declaring(&upstream, &[upstream.url("/file")]).await;
    let interrupted = house.record(&["fetch", "--once"], 1);
    let resumed = || upstream.requests("/file").iter().any(|request| request.headers().contains_key("range"));
    assert!(!resumed());
    for ((step, end), left) in sample(interrupted.ends(&ENDS, 0..interrupted.steps.len() + 1), TRIES) {
        trying(format_args!("{end:?} after {step} steps"));
        let house = house.moved(&left);
        house.check();
        house.make_due();
        // Fails where nothing was left to go on from; then it leaves something.
        let once = run(&mut distmirror(house.path(), &["fetch", "--once"]));
        assert!(matches!(once.status.code(), Some(0 | 1)), "{}", said(&once));
        house.go_on(&[&bytes]);
    }
    assert!(resumed());
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_every_loss_of_power() {
    let upstream = Upstream::start(&[]).await;
    let house = House::new(&upstream).await;
    let (recorded, answered) = declare_on_first_start(&house, &upstream).await;
    for ((_, end), left) in recorded.ends(&ENDS, answered..answered + 1) {
        let house = house.moved(&left);
        assert_eq!(house.ask("SELECT name FROM artifacts"), upstream.url("/declared"), "{end:?}");
    }
}

#[tokio::test]
async fn the_first_start_is_made_up_for_after_every_end_at_every_step() {
    let upstream = Upstream::start(&[]).await;
    let house = House::new(&upstream).await;
    let authority = house.record(&["ca", "init"], 0);
    let rest = house.record(&["fetch", "--once"], 0);
    let steps = |recorded: &Recorded| recorded.ends(&ENDS, 0..recorded.steps.len() + 1);
    // SQLite makes a file a database in its first steps, and then does much the same for each table.
    let blobs = house.path().join("data/blobs");
    let is_of_blobs = |step: &Step| step.act.path().is_some_and(|path| path.starts_with(&blobs));
    let is_once = |step: usize| step < 20 || is_of_blobs(&rest.steps[step - 1]);
    let (mut once, often): (Vec<_>, _) = steps(&rest).into_iter().partition(|((step, _), _)| is_once(*step));
    once.extend(steps(&authority));
    for ((step, end), left) in once.into_iter().chain(sample(often, TRIES)) {
        trying(format_args!("{end:?} after {step} steps"));
        let house = house.moved(&left);
        house.run(&["ca", "init"]);
        assert!(house.run(&["ca", "show"]).contains("BEGIN CERTIFICATE"));
        house.run(&["fetch", "--once"]);
        assert_eq!(house.ask("PRAGMA integrity_check; SELECT count(*) FROM artifacts"), "ok\n0");
    }
}

/// A mirror that had its authority shown to clients keeps it: whoever trusts one must not meet another.
#[tokio::test]
async fn an_authority_that_is_there_stays() {
    let upstream = Upstream::start(&[]).await;
    let house = House::new(&upstream).await;
    let made = house.record(&["ca", "init"], 0);
    let shown = house.run(&["ca", "show"]);
    for ((_, end), left) in made.ends(&ENDS, made.steps.len()..made.steps.len() + 1) {
        assert_eq!(house.moved(&left).run(&["ca", "show"]), shown, "{end:?}");
    }
}
