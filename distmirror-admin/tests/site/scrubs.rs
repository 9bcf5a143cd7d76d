//! `/api/v1/scrubs` and its pages.

use std::time::Duration;

use distmirror_admin::Options;
use distmirror_core::{Fetched, Scrub, Sha256, upkeep::Damage};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    pages::{NASTY, id, page},
    support::{Site, content},
};

const SCRUBS: &str = "/api/v1/scrubs";

/// The scrub once it does not run any more.
async fn ended(site: &Site, scrub: &Value) -> Value {
    let wait = async {
        loop {
            let shown = site.get(&format!("{SCRUBS}/{}", id(scrub))).await.json();
            if shown["state"] != "running" {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it comes to its end")
}

#[tokio::test]
async fn a_scrub_finds_what_is_damaged_and_has_it_fetched_again() {
    let site = Site::start().await;
    let whole = site.stored("http://h/whole", b"whole").await;
    let damaged = site.stored("http://h/damaged", b"damaged").await;
    let missing = site.present("http://h/missing", b"missing").await;
    site.put(&Sha256::of(b"damaged"), b"DAMAGED").await;
    site.put(&Sha256::of(b"left over"), b"left over").await;

    let started = site.post(SCRUBS, &json!({})).await;
    let scrub = started.json();
    assert_eq!((started.status, &scrub["repair"], &scrub["who"]), (202, &json!(false), &json!("local user")));
    assert_eq!(started.header("location"), format!("{SCRUBS}/{}", id(&scrub)));
    let done = ended(&site, &scrub).await;
    assert_eq!((&done["state"], &done["checked"], &done["bytes"]), (&json!("done"), &json!(3), &json!(19)));
    assert_eq!((&done["unreferenced"], &done["healed"]), (&json!(1), &json!(0)));
    assert!(done["started_at"].is_string() && done["finished_at"].is_string(), "{done}");
    let found = done["damaged"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{done}");
    for (artifact, bytes) in [(&damaged, &b"damaged"[..]), (&missing, b"missing")] {
        let entry = found.iter().find(|entry| entry["artifact"] == artifact["id"]).expect("it is named");
        assert_eq!(entry["sha256"], Sha256::of(bytes).hex());
        assert!(!entry["problem"].as_str().unwrap().is_empty());
        assert_eq!(site.shown(artifact).await["damage"], Value::Null, "it was only to be told");
    }

    let repairing = site.post(SCRUBS, &json!({"repair": true})).await.json();
    let done = ended(&site, &repairing).await;
    assert_eq!((&done["repair"], &done["healed"]), (&json!(true), &json!(0)));
    for artifact in [&damaged, &missing] {
        let shown = site.shown(artifact).await;
        assert!(shown["damage"].is_string() && shown["next_attempt_at"].is_string(), "{shown}");
    }
    assert_eq!(site.shown(&whole).await["damage"], Value::Null);

    for _ in 0..2 {
        let job = site.lease().await;
        let uri = job.artifact.name.as_str();
        let bytes = if uri == "http://h/damaged" { &b"damaged"[..] } else { b"missing" };
        site.put(&Sha256::of(bytes), bytes).await;
        let fetched = Fetched::file(content(bytes, uri));
        site.mirror.catalog().complete(&job.lease, &fetched, Timestamp::now()).await.unwrap();
    }
    assert_eq!(site.get(&format!("{SCRUBS}/{}", id(&repairing))).await.json()["healed"], 2);
    let list = site.get(SCRUBS).await.json();
    let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|scrub| scrub["id"].clone()).collect();
    assert_eq!((ids, &list["next"]), (vec![repairing["id"].clone(), scrub["id"].clone()], &Value::Null));
}

#[tokio::test]
async fn one_scrub_runs_at_a_time() {
    // One byte a second: it runs as long as this test.
    let site = Site::start_with(Options { scrub_bytes_per_second: Some(1), ..Options::default() }).await;
    site.stored("http://h/a", b"some bytes that take a while").await;
    // Without a body and without a content type, as a script sends it.
    let first = site.send("POST", SCRUBS, &[], b"").await;
    assert_eq!((first.status, &first.json()["state"]), (202, &json!("running")));
    let first = first.json();
    let second = site.post(SCRUBS, &json!({"repair": true})).await;
    assert_eq!((second.status, &second.json()["code"]), (409, &json!("wrong_state")));
    assert!(second.body.contains(id(&first)), "{second:?}");
    let form = site.submit("/scrubs", &[]).await;
    assert!(form.status == 409 && form.body.contains("role=\"alert\">scrub <code>"), "{form:?}");
    for path in ["/scrubs".to_owned(), format!("/scrubs/{}", id(&first))] {
        let html = page(&site, &path).await.body;
        assert!(html.contains("data-fresh=\"2\"") && html.contains("http-equiv=\"refresh\""), "{html}");
    }
    assert_eq!(site.get(SCRUBS).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_starts_at_once_one_succeeds() {
    let site = Site::start_with(Options { scrub_bytes_per_second: Some(1), ..Options::default() }).await;
    site.stored("http://h/a", b"some bytes that take a while").await;
    let body = json!({});
    let starts = (0..8).map(|_| site.post(SCRUBS, &body));
    let mut statuses: Vec<_> = futures::future::join_all(starts).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[202].as_slice(), &[409; 7]].concat());
}

#[tokio::test]
async fn bad_requests_start_nothing() {
    let site = Site::start().await;
    for (body, status, fields) in [
        (json!({"repair": "yes"}), 422, vec!["repair"]),
        (json!({"speed": 1}), 422, vec!["speed"]),
        (json!([]), 422, vec!["body"]),
    ] {
        let answer = site.post(SCRUBS, &body).await;
        assert_eq!((answer.status, answer.bad_fields()), (status, fields.into_iter().map(str::to_owned).collect()));
    }
    assert_eq!(site.send("POST", SCRUBS, &[("Content-Type", "text/plain")], b"{}").await.status, 415);
    assert_eq!(site.send("POST", SCRUBS, &[("Origin", "http://attacker.test")], b"").await.status, 403);
    assert_eq!(site.send("POST", "/scrubs", &[], b"").await.status, 403);
    assert_eq!(site.get(SCRUBS).await.json(), json!({"items": [], "next": null}));
    let unknown = "00000000-0000-0000-0000-000000000000";
    assert_eq!(site.get(&format!("{SCRUBS}/{unknown}")).await.json()["code"], "not_found");
    assert_eq!(site.get(&format!("{SCRUBS}/garbage")).await.bad_fields(), ["id"]);
    assert_eq!(page(&site, &format!("/scrubs/{unknown}")).await.status, 404);
    assert_eq!(page(&site, "/scrubs/garbage").await.status, 400);
}

#[tokio::test]
async fn pages_tell_of_scrubs() {
    let site = Site::start().await;
    let artifact = site.present("http://h/lost.bin", b"lost").await;
    assert!(page(&site, "/scrubs").await.body.contains("Nothing was hashed again yet"));
    assert!(page(&site, "/").await.body.contains("Start a scrub"));
    assert!(page(&site, "/audit").await.body.contains("href=\"/scrubs\""));
    let started = site.submit("/scrubs", &[("repair", "yes")]).await;
    let path = started.header("location").split('?').next().unwrap().to_owned();
    assert_eq!((started.status, started.header("location")), (303, format!("{path}?done=scrubbing").as_str()));
    let scrub = ended(&site, &json!({"id": path.rsplit('/').next().unwrap()})).await;
    assert_eq!(scrub["repair"], true);
    let shown = page(&site, &path).await.body;
    for part in ["1 damaged", "0 whole again", "lost.bin", &format!("/artifacts/{}", id(&artifact)), "it is missing"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    assert!(!shown.contains("data-fresh"));
    assert!(page(&site, "/scrubs").await.body.contains(&format!("href=\"{path}\"")));
    assert!(page(&site, "/").await.body.contains(&format!("href=\"{path}\">Last scrub")));

    // One whose process went away, with more damage than fits on a page, told by somebody nasty.
    let mut silent = Scrub::begin(NASTY, false, Timestamp::UNIX_EPOCH);
    for _ in 0..300 {
        silent.add(Damage::new(id(&artifact).parse().unwrap(), &Sha256::of(b"lost"), NASTY));
    }
    site.mirror.catalog().save_scrub(&silent).await.unwrap();
    assert_eq!(site.get(&format!("{SCRUBS}/{}", silent.id)).await.json()["state"], "stopped");
    for path in ["/scrubs".to_owned(), format!("/scrubs/{}", silent.id), "/".to_owned()] {
        let html = page(&site, &path).await.body;
        assert!(!html.contains("alert(1)</script>") && html.contains("300 damaged"), "{html}");
    }
    let html = page(&site, &format!("/scrubs/{}", silent.id)).await.body;
    assert!(html.contains("and 100 more") && html.contains("did not come to its end"), "{html}");
}
