//! The pages and the documents beside them.

use serde_json::{Value, json};

use crate::support::{Answer, Site};

pub(crate) const NASTY: &str = "<script>alert(1)</script>\"'{{7*7}}\u{2028}&";

pub(crate) fn id(artifact: &Value) -> &str {
    artifact["id"].as_str().expect("an id")
}

/// A page, after checking what holds for every page.
pub(crate) async fn page(site: &Site, path: &str) -> Answer {
    let answer = site.get(path).await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
    let html = &answer.body;
    assert!(html.starts_with("<!doctype html>") && html.contains("</html>"), "{path}: {html}");
    for outside in
        ["src=\"http", "src=\"//", "rel=\"stylesheet\" href=\"http", "<style", "style=\"", " onclick", "<script>"]
    {
        assert!(!html.contains(outside), "{path} has {outside}");
    }
    assert_eq!(html.matches("<h1").count(), 1, "{path}");
    answer
}

#[tokio::test]
async fn every_page_renders_empty_and_full() {
    let site = Site::start().await;
    let paths = [
        "/",
        "/artifacts",
        "/artifacts?q=x",
        "/images",
        "/declare",
        "/misses",
        "/misses?q=x",
        "/audit",
        "/setup",
        "/api/docs",
    ];
    for path in paths {
        assert_eq!(page(&site, path).await.status, 200, "{path}");
    }
    let present = site.present("http://h/plain.bin?a=1&b=2", b"bytes").await;
    site.declared("http://h/fetching").await;
    let job = site.lease().await;
    site.declared("http://h/pending").await;
    site.missed("http://h/missed").await;
    site.missed("http://h/repo.git/info/refs").await;
    for path in paths {
        assert_eq!(page(&site, path).await.status, 200, "{path}");
    }
    for artifact in [id(&present), &job.artifact.id.to_string()] {
        assert_eq!(page(&site, &format!("/artifacts/{artifact}")).await.status, 200);
    }
    assert!(page(&site, "/artifacts?q=plain.bin").await.body.contains("plain.bin"));
    assert_eq!(page(&site, "/artifacts/00000000-0000-0000-0000-000000000000").await.status, 404);
    assert_eq!(page(&site, "/artifacts/garbage").await.status, 400);
    assert_eq!(page(&site, "/artifacts?state=gone").await.status, 400);
}

#[tokio::test]
async fn an_artifact_shows_what_is_known_of_it() {
    let site = Site::start().await;
    let present = site.present("https://h.test/a/it's?x=1", b"bytes").await;
    let html = page(&site, &format!("/artifacts/{}", id(&present))).await.body;
    for part in [
        "trusted on first use",
        present["sha256"].as_str().unwrap(),
        present["sha512"].as_str().unwrap(),
        present["blake2b"].as_str().unwrap(),
        "curl -f -O --cacert distmirror-ca.pem --proxy http://127.0.0.1:3128 &#39;https://h.test/a/it&#39;\\&#39;&#39;s?x=1&#39;",
        "http://127.0.0.1:3128/https/h.test/a/it",
        "5 B",
        "declared",
        "fetched",
        "local user",
        "/quarantine",
    ] {
        assert!(html.contains(part), "no {part} in {html}");
    }
}

#[tokio::test]
async fn whatever_people_or_clients_write_comes_out_escaped() {
    let site = Site::start().await;
    let declare = json!({"uri": "http://h/x", "reason": NASTY, "project": NASTY, "license": NASTY, "ticket": NASTY});
    let answer = site.post("/api/v1/artifacts", &declare).await;
    let artifact = answer.json();
    assert_eq!((answer.status, artifact["declarations"][0]["reason"].as_str()), (201, Some(NASTY)));
    site.missed("http://h/%3Cscript%3E'%22").await;
    let encoded: String = url::form_urlencoded::byte_serialize(NASTY.as_bytes()).collect();
    for path in [
        "/".to_owned(),
        "/artifacts".to_owned(),
        format!("/artifacts/{}", id(&artifact)),
        format!("/artifacts?q={encoded}&host={encoded}&project={encoded}"),
        format!("/artifacts?state={encoded}"),
        format!("/declare?uri={encoded}&reason={encoded}&ticket={encoded}"),
        format!("/misses?q={encoded}"),
        "/misses".to_owned(),
        "/audit".to_owned(),
        format!("/{encoded}"),
        format!("/artifacts?done={encoded}"),
    ] {
        let html = page(&site, &path).await.body;
        for raw in ["alert(1)</script>", "<b>bold</b>", "\"'{{", "49&amp;"] {
            assert!(!html.contains(raw), "{path} has {raw}: {html}");
        }
    }
    let failed = site.submit("/declare", &[("uri", NASTY), ("reason", NASTY)]).await;
    assert_eq!(failed.status, 422);
    assert!(!failed.body.contains("alert(1)</script>"));
}

#[tokio::test]
async fn the_declare_form_keeps_what_was_typed_and_says_what_is_wrong() {
    let site = Site::start().await;
    let filled = page(&site, "/declare?uri=http%3A%2F%2Fh%2Fx&project=p").await.body;
    assert!(filled.contains(">http://h/x</textarea>") && filled.contains("value=\"p\""), "{filled}");

    let failed = site.submit("/declare", &[("uri", "ftp://x/y"), ("sha256", "abc"), ("ticket", "B-1")]).await;
    assert_eq!(failed.status, 422);
    for part in
        ["id=\"uri-errors\"", "id=\"sha256-errors\"", "id=\"reason-errors\"", ">ftp://x/y</textarea>", "value=\"B-1\""]
    {
        assert!(failed.body.contains(part), "no {part} in {}", failed.body);
    }

    let fields = [("uri", "http://h/x"), ("reason", "first line\r\nsecond line"), ("project", "p"), ("sha256", "")];
    let declared = site.submit("/declare", &fields).await;
    assert_eq!(declared.status, 303, "{declared:?}");
    let (path, _) = declared.header("location").split_once("?done=declared").unwrap();
    let shown = page(&site, declared.header("location")).await.body;
    assert!(shown.contains("Declared. It is fetched") && shown.contains("first line\nsecond line"), "{shown}");
    let again = site.submit("/declare", &fields).await;
    assert_eq!(again.header("location"), format!("{path}?done=added"));

    let digest = "0".repeat(64);
    let first = [("uri", "http://h/y"), ("reason", "r"), ("sha256", digest.as_str())];
    assert_eq!(site.submit("/declare", &first).await.status, 303);
    let other = "f".repeat(64);
    let conflict = site.submit("/declare", &[("uri", "http://h/y"), ("reason", "r"), ("sha256", &other)]).await;
    assert!(conflict.status == 422 && conflict.body.contains(&digest) && conflict.body.contains(&other));
}

#[tokio::test]
async fn several_uris_are_declared_all_or_none() {
    let site = Site::start().await;
    let count = async || site.get("/api/v1/artifacts").await.json()["items"].as_array().unwrap().len();
    let one_bad = site.submit("/declare", &[("uri", "http://h/1\r\nnonsense\r\nhttp://h/2"), ("reason", "r")]).await;
    assert!(one_bad.status == 422 && one_bad.body.contains("<li>nonsense: "), "{one_bad:?}");
    let checksum = "0".repeat(64);
    let shared = [("uri", "http://h/1\r\nhttp://h/2"), ("reason", "r"), ("sha256", checksum.as_str())];
    assert_eq!((site.submit("/declare", &shared).await.status, count().await), (422, 0));
    let good = site.submit("/declare", &[("uri", "http://h/1\r\n\r\nhttp://h/2\r\n"), ("reason", "r")]).await;
    assert_eq!((good.header("location"), count().await), ("/artifacts?done=all-declared", 2));
}

#[tokio::test]
async fn buttons_of_an_artifact() {
    let site = Site::start().await;
    let present = site.present("http://h/x", b"bytes").await;
    let path = format!("/artifacts/{}", id(&present));
    let no_reason = site.submit(&format!("{path}/quarantine"), &[("reason", " ")]).await;
    assert!(no_reason.status == 422 && no_reason.body.contains("role=\"alert\">reason: "), "{no_reason:?}");
    let quarantined = site.submit(&format!("{path}/quarantine"), &[("reason", "withdrawn")]).await;
    assert_eq!(
        (quarantined.status, quarantined.header("location")),
        (303, format!("{path}?done=quarantined").as_str())
    );
    let shown = page(&site, &path).await.body;
    assert!(shown.contains("withdrawn") && shown.contains(&format!("{path}/release")), "{shown}");
    assert_eq!(site.submit(&format!("{path}/retry"), &[]).await.status, 409);
    assert_eq!(site.submit(&format!("{path}/release"), &[("reason", "checked")]).await.status, 303);
    let unknown = "/artifacts/00000000-0000-0000-0000-000000000000/retry";
    assert_eq!(site.submit(unknown, &[]).await.status, 404);
}

#[tokio::test]
async fn ticked_misses_are_declared_with_one_reason() {
    let site = Site::start().await;
    site.missed("http://h/a").await;
    site.missed("http://h/b").await;
    let misses = site.get("/api/v1/misses").await.json();
    let ids: Vec<_> = misses["items"].as_array().unwrap().iter().map(|miss| id(miss).to_owned()).collect();
    let ticked = [("ids", ids[0].as_str()), ("ids", ids[1].as_str())];

    let no_reason = site.submit("/misses/declare", &[ticked[0]]).await;
    assert!(no_reason.status == 422 && no_reason.body.contains("checked"), "{no_reason:?}");
    assert_eq!(site.submit("/misses/declare", &[("reason", "r")]).await.status, 422);
    let declared = site.submit("/misses/declare", &[ticked[0], ticked[1], ("reason", "build")]).await;
    assert_eq!((declared.status, declared.header("location")), (303, "/misses?done=all-declared"));
    assert!(page(&site, "/misses").await.body.contains("Nothing was missed"));

    assert_eq!(site.submit("/misses/ignore", &[("pattern", "*"), ("ignore_reason", "r")]).await.status, 422);
    let ignored = site.submit("/misses/ignore", &[("pattern", "http://h/*"), ("ignore_reason", "r")]).await;
    assert_eq!(ignored.header("location"), "/misses?done=ignored");
}

#[tokio::test]
async fn lists_lead_on_with_their_filters() {
    let site = Site::start().await;
    for number in 0..60 {
        site.declared(&format!("http://h/{number}")).await;
    }
    let first = page(&site, "/artifacts?q=h%2F&state=pending").await.body;
    assert!(!first.contains("First page"));
    let start = first.find("href=\"/artifacts?q=h%2F&amp;state=pending&amp;cursor=").expect("a link to the next page");
    let link = &first[start + 6..];
    let link = link[..link.find('"').unwrap()].replace("&amp;", "&");
    let second = page(&site, &link).await.body;
    assert!(second.contains("First page") && !second.contains("Next page"));
    assert_eq!(second.matches("<tr>").count(), 1 + 10);
}

#[tokio::test]
async fn assets_may_be_kept_for_ever() {
    let site = Site::start().await;
    let html = page(&site, "/").await.body;
    for kind in [".css", ".js", ".svg"] {
        let end = html.find(kind).unwrap() + kind.len();
        let start = html[..end].rfind("/static/").unwrap();
        let answer = site.get(&html[start..end]).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "public, max-age=31536000, immutable"));
    }
}

#[tokio::test]
async fn the_committed_openapi_document_is_the_one_that_is_served() {
    let site = Site::start().await;
    let served = site.get("/api/openapi.json").await;
    assert_eq!(served.header("content-type"), "application/json");
    let committed = include_str!("../../openapi.json");
    if served.body.trim() != committed.trim() {
        let file = std::env::temp_dir().join("distmirror-openapi.json");
        std::fs::write(&file, &served.body).unwrap();
        panic!("distmirror-admin/openapi.json is out of date; the new one is at {}", file.display());
    }
    let document = served.json();
    for path in ["/api/v1/artifacts", "/api/v1/artifacts/lookup", "/api/v1/misses", "/api/v1/audit"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_certificate_can_be_fetched() {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let options = distmirror_admin::Options { ca_pem: pem.to_owned(), ..Default::default() };
    let site = Site::start_with(options).await;
    assert_eq!(site.get("/ca.pem").await.body, pem);
    assert!(page(&site, "/setup").await.body.contains("BEGIN CERTIFICATE"));
}

#[tokio::test]
async fn who_has_no_certificate_sends_people_to_the_proxy() {
    let site = Site::start().await;
    let answer = site.get("/ca.pem").await;
    assert_eq!((answer.status, answer.header("location")), (307, "http://127.0.0.1:3128/ca.pem"));
}
