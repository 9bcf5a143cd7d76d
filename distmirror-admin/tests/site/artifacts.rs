//! `/api/v1/artifacts` and `/api/v1/audit`.

use distmirror_core::{Algorithm, Digests, Failure};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::Site;

const ARTIFACTS: &str = "/api/v1/artifacts";

#[tokio::test]
async fn a_declaration_is_new_once_and_added_later() {
    let site = Site::start().await;
    let wanted = json!({"kind": "file", "uri": "HTTP://EXAMPLE.test:80/a", "reason": "build", "project": "p",
        "license": "MIT", "ticket": "B-1"});
    let first = site.post(ARTIFACTS, &wanted).await;
    let artifact = first.json();
    assert_eq!((first.status, artifact["uri"].as_str()), (201, Some("http://example.test/a")));
    assert_eq!(first.header("location"), format!("{ARTIFACTS}/{}", artifact["id"].as_str().unwrap()));
    for (member, value) in [("state", "pending"), ("trust", "first-use"), ("kind", "file")] {
        assert_eq!(artifact[member], value);
    }
    for member in ["sha256", "sha512", "blake2b", "size", "source", "progress", "last_error", "fetched_at"] {
        assert_eq!(artifact[member], Value::Null, "{member}");
    }
    let declaration = &artifact["declarations"][0];
    for (member, value) in [("reason", "build"), ("project", "p"), ("license", "MIT"), ("ticket", "B-1")] {
        assert_eq!(declaration[member], value);
    }

    let again = site.post(ARTIFACTS, &json!({"uri": "http://example.test/a", "reason": "me too"})).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &artifact["id"]));
    assert_eq!(again.json()["declarations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_bad_field_of_a_declaration_is_named_at_once() {
    let site = Site::start().await;
    let long = "x".repeat(70_000);
    for (body, fields) in [
        (json!({"kind": "file", "uri": "ftp://x/y", "sha256": "abc"}), vec!["uri", "sha256", "reason"]),
        (
            json!({"uri": 5, "reason": ["x"], "colour": "red", "sha512": "zz"}),
            vec!["colour", "reason", "uri", "sha512"],
        ),
        (json!({"kind": "gem", "uri": "http://h/x", "reason": "r"}), vec!["kind"]),
        (
            json!({"kind": "image", "reference": "docker.io/a@sha256:1", "platforms": "linux", "uri": "http://h/x"}),
            vec!["reference", "uri", "platforms", "reason"],
        ),
        (json!({"uri": format!("http://h/{long}"), "reason": "r"}), vec!["uri"]),
        (json!({"uri": "http://h/x", "reason": long}), vec!["reason"]),
        (json!({"uri": "http://user:secret@h/x", "reason": "r"}), vec!["uri"]),
        (json!([1]), vec!["body"]),
        (
            json!({"uri": "http://h/x", "reason": "r", "integrity": "sha1-eHh4eHh4eHh4eHh4eHh4eHh4eHg="}),
            vec!["integrity"],
        ),
    ] {
        let answer = site.post(ARTIFACTS, &body).await;
        assert_eq!((answer.status, answer.bad_fields()), (422, fields.into_iter().map(str::to_owned).collect()));
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
    assert_eq!(site.get(ARTIFACTS).await.json()["items"], json!([]));
}

#[tokio::test]
async fn checksums_are_read_in_every_usual_form() {
    let site = Site::start().await;
    let digest = Digests::of(b"x").sha256.hex();
    for (case, field, text) in [
        (1, "sha256", digest.clone()),
        (2, "sha256", digest.to_uppercase()),
        (3, "sha256", format!("sha256:{digest}")),
        (4, "integrity", "sha256-LXEWQvcmsEQBYnyp+6wy9ch7GTYLDz1Lx3yUh8ZgWoE=".to_owned()),
    ] {
        let mut body = json!({"uri": format!("http://h/{case}"), "reason": "r"});
        body[field] = json!(text);
        let answer = site.post(ARTIFACTS, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["trust"], "verified");
        assert_eq!(answer.json()["expected"][0].as_str().unwrap().len(), "sha256:".len() + 64);
    }
    let mut weak = json!({"uri": "http://h/5", "reason": "r", "sha1": Digests::of(b"x").get(Algorithm::Sha1).hex()});
    assert_eq!(site.post(ARTIFACTS, &weak).await.bad_fields(), ["sha1"], "alone it proves nothing");
    weak["blake2b"] = json!(Digests::of(b"x").get(Algorithm::Blake2b).hex());
    assert_eq!(site.post(ARTIFACTS, &weak).await.json()["expected"].as_array().unwrap().len(), 2);
    let short = json!({"uri": "http://h/5", "reason": "r", "sha256": &digest[1..]});
    assert_eq!(site.post(ARTIFACTS, &short).await.bad_fields(), ["sha256"]);
}

#[tokio::test]
async fn another_checksum_is_a_conflict_that_shows_both() {
    let site = Site::start().await;
    let artifact = site.present("http://h/x", b"bytes").await;
    let other = "f".repeat(64);
    let answer = site.post(ARTIFACTS, &json!({"uri": "http://h/x", "reason": "r", "sha256": other})).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("checksum_conflict")));
    assert!(answer.body.contains(&other) && answer.body.contains(artifact["sha256"].as_str().unwrap()), "{answer:?}");
    let path = format!("{ARTIFACTS}/{}", artifact["id"].as_str().unwrap());
    assert_eq!(site.get(&path).await.json(), artifact);
}

#[tokio::test]
async fn a_present_artifact_shows_everything() {
    let site = Site::start().await;
    let artifact = site.present("http://h/x", b"bytes").await;
    let digests = Digests::of(b"bytes");
    assert_eq!(artifact["sha256"], digests.sha256.hex());
    assert_eq!(artifact["blake2b"].as_str().unwrap().len(), 128);
    assert_eq!((artifact["size"].as_u64(), artifact["attempts"].as_u64()), (Some(5), Some(1)));
    assert_eq!((&artifact["state"], &artifact["content_type"]), (&json!("present"), &json!("application/x-test")));
    assert_eq!(artifact["source"]["final_url"], "http://h/x");
    assert!(artifact["fetched_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_running_fetch_shows_its_progress() {
    let site = Site::start().await;
    let artifact = site.declared("http://h/x").await;
    let job = site.lease().await;
    let progress = distmirror_core::Progress { bytes: 10, total: Some(100) };
    site.mirror.catalog().renew(&job.lease, job.lease.expires_at, progress).await.unwrap();
    let shown = site.get(&format!("{ARTIFACTS}/{}", artifact["id"].as_str().unwrap())).await.json();
    assert_eq!((&shown["state"], &shown["progress"]), (&json!("fetching"), &json!({"bytes": 10, "total": 100})));
}

#[tokio::test]
async fn look_up_takes_any_form_of_the_uri() {
    let site = Site::start().await;
    let artifact = site.declared("https://example.test/%7eu/%2f").await;
    let found = site.get("/api/v1/artifacts/lookup?uri=HTTPS%3A%2F%2FExample.test%3A443%2F~u%2F%252F").await;
    assert_eq!((found.status, &found.json()["id"]), (200, &artifact["id"]));
    assert_eq!(site.get("/api/v1/artifacts/lookup?uri=http%3A%2F%2Fh%2Fnone").await.status, 404);
    let bad = site.get("/api/v1/artifacts/lookup?uri=file%3A%2F%2F%2Fetc%2Fpasswd").await;
    assert_eq!((bad.status, bad.bad_fields()), (400, vec!["uri".to_owned()]));
    assert_eq!(site.get("/api/v1/artifacts/lookup").await.bad_fields(), ["uri"]);
}

#[tokio::test]
async fn lists_filter_and_come_in_pages_without_holes() {
    let site = Site::start().await;
    let mut wanted = Vec::new();
    for number in 0..7 {
        wanted.push(site.declared(&format!("http://pages.test/{number}")).await["id"].clone());
    }
    site.declared("http://other.test/pages.test").await;
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("{ARTIFACTS}?host=pages.test&limit=3&cursor={cursor}")).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        found.extend(items.iter().map(|item| item["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = next.to_owned();
    }
    wanted.reverse();
    assert_eq!(found, wanted);

    for (query, count) in [
        ("q=PAGES.test", 8),
        ("q=%25", 0),
        ("q=%27%20OR%201%3D1--", 0),
        ("state=pending&kind=file", 8),
        ("state=present", 0),
        ("state=&kind=&host=", 8),
        ("host=%27;DROP%20TABLE%20artifacts", 0),
        ("limit=1000000000", 8),
    ] {
        let page = site.get(&format!("{ARTIFACTS}?{query}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn bad_queries_name_the_field() {
    let site = Site::start().await;
    for (path, fields) in [
        ("/api/v1/artifacts?limit=-1", vec!["limit"]),
        ("/api/v1/artifacts?limit=0", vec!["limit"]),
        ("/api/v1/artifacts?limit=many", vec!["limit"]),
        ("/api/v1/artifacts?state=gone&kind=gem&cursor=%27--", vec!["kind", "state", "cursor"]),
        ("/api/v1/artifacts/garbage", vec!["id"]),
        ("/api/v1/artifacts/%27%20OR%201=1", vec!["id"]),
        ("/api/v1/misses?cursor=x", vec!["cursor"]),
        ("/api/v1/audit?artifact=x", vec!["artifact"]),
    ] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.bad_fields()), (400, fields.into_iter().map(str::to_owned).collect()));
    }
    assert_eq!(site.get("/artifacts?q=1&q=2").await.status, 400);
    let unknown = site.get("/api/v1/artifacts/00000000-0000-0000-0000-000000000000").await;
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (404, Some("not_found")));
}

#[tokio::test]
async fn retry_quarantine_and_release() {
    let site = Site::start().await;
    let failed = site.declared("http://h/failed").await;
    let job = site.lease().await;
    let failure = Failure::new("status 404");
    site.mirror.catalog().fail(&job.lease, &failure, None, Timestamp::now()).await.unwrap();
    let path = |artifact: &Value, action: &str| format!("{ARTIFACTS}/{}{action}", artifact["id"].as_str().unwrap());
    assert_eq!(site.get(&path(&failed, "")).await.json()["last_error"], "status 404");
    // Without a body and without a content type, as a script sends it.
    let retried = site.send("POST", &path(&failed, "/retry"), &[], b"").await;
    assert_eq!((retried.status, &retried.json()["state"]), (200, &json!("pending")));
    site.lease().await;

    let present = site.present("http://h/x", b"bytes").await;
    let reason = json!({"reason": "withdrawn"});
    assert_eq!(site.post(&path(&present, "/retry"), &json!({})).await.status, 409);
    assert_eq!(site.post(&path(&present, "/quarantine"), &json!({})).await.bad_fields(), ["reason"]);
    let quarantined = site.post(&path(&present, "/quarantine"), &reason).await.json();
    assert_eq!(
        (&quarantined["state"], &quarantined["quarantine_reason"]),
        (&json!("quarantined"), &json!("withdrawn"))
    );
    assert_eq!(site.post(&path(&present, "/quarantine"), &reason).await.json()["code"], "wrong_state");
    assert_eq!(site.post(&path(&present, "/release"), &reason).await.json()["state"], "present");

    let audit = site.get(&format!("/api/v1/audit?artifact={}", present["id"].as_str().unwrap())).await.json();
    let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["released", "quarantined", "fetched", "declared"]);
    let page = site.get("/api/v1/audit?limit=2").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), page["next"].is_string()), (2, true));
}
