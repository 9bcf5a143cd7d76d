//! What is refused, and the header fields that protect.

use distmirror_admin::Options;
use serde_json::json;

use crate::support::Site;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn unreadable_bodies_are_answered_not_crashed_on() {
    let site = Site::start().await;
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"uri\":{deep}");
    let large = vec![b' '; 10 << 20];
    for (body, status) in [
        (b"{".as_slice(), 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"{\"uri\":\"\xff\"}", 400),
        (b"{\"uri\":\"\\ud800\"}", 400),
        (deep.as_bytes(), 400),
        (nested.as_bytes(), 400),
        (b"null", 422),
        (&large, 413),
    ] {
        let answer = site.send("POST", "/api/v1/artifacts", &[JSON], body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    for headers in [&[][..], &[FORM], &[("Content-Type", "text/plain")], &[("Content-Type", "\u{7f}")]] {
        let answer =
            site.send("POST", "/api/v1/artifacts", headers, b"{\"uri\":\"http://h/x\",\"reason\":\"r\"}").await;
        assert!(matches!(answer.status, 415 | 400), "{answer:?}");
    }
    let with_charset = [("Content-Type", "Application/JSON; charset=utf-8")];
    let answer =
        site.send("POST", "/api/v1/artifacts", &with_charset, b"{\"uri\":\"http://h/x\",\"reason\":\"r\"}").await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn an_answer_is_not_much_larger_than_its_request() {
    let site = Site::start().await;
    let fields: serde_json::Map<_, _> = (0..50_000).map(|number| (format!("f{number}"), json!(1))).collect();
    let answer = site.post("/api/v1/artifacts", &fields.into()).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.len() < 100_000, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn unknown_addresses_and_methods() {
    let site = Site::start().await;
    let id = site.declared("http://h/x").await["id"].as_str().unwrap().to_owned();
    let artifact = format!("/api/v1/artifacts/{id}");
    for (method, path, allow) in [
        ("DELETE", artifact.as_str(), "GET, HEAD"),
        ("PUT", "/api/v1/artifacts", "GET, POST, HEAD"),
        ("GET", "/api/v1/misses/declare", "POST"),
        ("POST", "/api/openapi.json", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
    ] {
        let answer = site.send(method, path, &[("Sec-Fetch-Site", "same-origin")], b"").await;
        let mut allowed: Vec<_> = answer.header("allow").split(", ").collect();
        let mut wanted: Vec<_> = allow.split(", ").collect();
        allowed.sort_unstable();
        wanted.sort_unstable();
        assert_eq!((answer.status, allowed), (405, wanted), "{method} {path}");
    }
    for path in ["/api", "/api/v1", "/api/v1/nothing", "/api/v2/artifacts"] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{path}");
    }
    for path in [
        "/nothing",
        "/static/..%2f..%2fetc/passwd",
        "/static/..%2f..%2fetc%2fpasswd",
        "/%2F%2F..%2F..%2Fetc%2Fpasswd",
        "/..;/",
        "/static/%00",
        "/artifacts/%00",
    ] {
        let answer = site.get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(answer.header("content-type").starts_with("text/html"), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn only_known_hosts_are_answered() {
    let options = Options {
        public_url: Some("https://mirror.example.org/".to_owned()),
        allowed_hosts: vec!["builder.lan".to_owned()],
        ..Options::default()
    };
    let site = Site::start_with(options).await;
    for (host, status) in [
        ("localhost:8080", 200),
        ("admin.localhost", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("192.0.2.1", 200),
        ("Mirror.Example.org", 200),
        ("builder.lan:8080", 200),
        ("attacker.test", 421),
        ("mirror.example.org.attacker.test", 421),
        ("mirror.example.org@attacker.test", 421),
        ("", 421),
    ] {
        assert_eq!(site.send("GET", "/api/v1/artifacts", &[("Host", host)], b"").await.status, status, "{host}");
    }
    assert_eq!(site.send("GET", "/healthz", &[("Host", "attacker.test")], b"").await.status, 200);
    let absolute = b"GET http://attacker.test/api/v1/audit HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(site.raw(absolute).await.status, 421);
    assert_eq!(site.raw(b"GET / HTTP/1.0\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn other_sites_cannot_act() {
    let options = Options { public_url: Some("https://mirror.example.org".to_owned()), ..Options::default() };
    let site = Site::start_with(options).await;
    let host = ("Host", "localhost:8080");
    let body = json!({"uri": "http://h/x", "reason": "r"}).to_string();
    for (headers, status) in [
        (vec![], 200),
        (vec![("Origin", "http://localhost:8080")], 200),
        (vec![("Origin", "https://mirror.example.org")], 200),
        (vec![("Sec-Fetch-Site", "same-origin")], 200),
        (vec![("Origin", "http://localhost:8081")], 403),
        (vec![("Origin", "http://attacker.test")], 403),
        (vec![("Origin", "null")], 403),
        (vec![("Sec-Fetch-Site", "cross-site")], 403),
        (vec![("Sec-Fetch-Site", "same-site")], 403),
        (vec![("Sec-Fetch-Site", "same-origin"), ("Origin", "null")], 403),
    ] {
        let api = [&[host, JSON], headers.as_slice()].concat();
        let answer = site.send("POST", "/api/v1/artifacts", &api, body.as_bytes()).await;
        assert_eq!(if answer.status == 201 { 200 } else { answer.status }, status, "{headers:?}");

        let form = [&[host, FORM], headers.as_slice()].concat();
        let answer = site.send("POST", "/declare", &form, b"uri=http://h/x&reason=r").await;
        let wanted = if headers.is_empty() { 403 } else { status };
        assert_eq!(if answer.status == 303 { 200 } else { answer.status }, wanted, "{headers:?}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_protecting_fields() {
    let site = Site::start().await;
    for path in ["/", "/api/v1/artifacts", "/nothing", "/healthz", "/api/docs"] {
        let answer = site.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(
            (answer.header("x-content-type-options"), answer.header("referrer-policy")),
            ("nosniff", "same-origin")
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_bad_public_url_is_refused_at_once() {
    for url in ["mirror.example.org", "ftp://mirror.example.org", "http://", ""] {
        let mirror = distmirror_core::Mirror::new(
            std::sync::Arc::new(distmirror_core::memory::MemoryCatalog::new()),
            std::sync::Arc::new(distmirror_core::memory::MemoryBlobStore::new()),
            distmirror_core::Options::default(),
        );
        let options = Options { public_url: Some(url.to_owned()), ..Options::default() };
        let metrics = std::sync::Arc::new(String::new);
        assert!(distmirror_admin::Admin::new(std::sync::Arc::new(mirror), options, metrics).is_err(), "{url}");
    }
}
