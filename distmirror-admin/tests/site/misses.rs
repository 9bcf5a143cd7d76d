//! `/api/v1/misses`.

use serde_json::{Value, json};

use crate::support::Site;

async fn misses(site: &Site) -> Vec<Value> {
    site.get("/api/v1/misses").await.json()["items"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_miss_is_shown_and_declared_with_a_reason() {
    let site = Site::start().await;
    site.missed("http://h/a.tar.gz").await;
    site.missed("http://h/a.tar.gz").await;
    site.missed("https://h/repo.git/info/refs").await;
    let shown = misses(&site).await;
    let (git, file) = (&shown[0], &shown[1]);
    assert_eq!((&git["declarable"], git["why_not"].is_string()), (&json!(false), true));
    assert_eq!(
        (&file["uri"], &file["count"], &file["declarable"]),
        (&json!("http://h/a.tar.gz"), &json!(2), &json!(true))
    );
    assert_eq!(
        (&file["method"], &file["client"], &file["why_not"]),
        (&json!("GET"), &json!("192.0.2.7"), &Value::Null)
    );

    let body = json!({"ids": [file["id"]], "reason": "was missed", "project": "p"});
    let declared = site.post("/api/v1/misses/declare", &body).await;
    let artifact = &declared.json()["items"][0];
    assert_eq!((declared.status, &artifact["uri"]), (200, &json!("http://h/a.tar.gz")));
    let declaration = &artifact["declarations"][0];
    assert_eq!((&declaration["reason"], &declaration["project"]), (&json!("was missed"), &json!("p")));
    assert_eq!(misses(&site).await.len(), 1);
}

#[tokio::test]
async fn bad_requests_declare_nothing() {
    let site = Site::start().await;
    site.missed("http://h/a").await;
    let id = misses(&site).await[0]["id"].clone();
    for (body, status, fields) in [
        (json!({}), 422, vec!["ids", "reason"]),
        (json!({"ids": "all", "reason": "r"}), 422, vec!["ids"]),
        (json!({"ids": [id, "x"], "reason": " "}), 422, vec!["ids", "reason"]),
        (json!({"ids": [id, "00000000-0000-0000-0000-000000000000"], "reason": "r"}), 404, vec![]),
    ] {
        let answer = site.post("/api/v1/misses/declare", &body).await;
        let fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
        assert_eq!((answer.status, answer.bad_fields()), (status, fields), "{answer:?}");
    }
    assert_eq!(misses(&site).await.len(), 1);
}

#[tokio::test]
async fn what_matches_a_pattern_is_ignored() {
    let site = Site::start().await;
    site.missed("http://telemetry.test/x").await;
    site.missed("http://h/a").await;
    for (body, fields) in [
        (json!({"pattern": " "}), vec!["pattern", "reason"]),
        (json!({"pattern": "*", "reason": "r"}), vec!["pattern"]),
    ] {
        assert_eq!(site.post("/api/v1/misses/ignore", &body).await.bad_fields(), fields);
    }
    let body = json!({"pattern": "http://telemetry.test/*", "reason": "telemetry"});
    assert_eq!(site.post("/api/v1/misses/ignore", &body).await.status, 204);
    assert_eq!(misses(&site).await.len(), 1);
    assert_eq!(site.get("/api/v1/misses?q=telemetry").await.json()["items"], json!([]));
}
