//! The origin, asked by the real curl.

use std::time::{Duration, Instant};

use testkit::{Answer, CurlOutput, Upstream, curl};

const CONTENT: &str = "0123456789";

async fn upstream_with_file() -> Upstream {
    let upstream = Upstream::start(&["files.test"]).await;
    upstream.file("/file", CONTENT);
    upstream
}

fn summary(output: &CurlOutput) -> (i32, u16, String) {
    (output.exit, output.status, output.text())
}

fn answer(status: u16, body: &str) -> (i32, u16, String) {
    (0, status, body.to_owned())
}

#[tokio::test]
async fn files_have_ranges_and_conditions() {
    let upstream = upstream_with_file().await;
    let url = upstream.url("/file");
    let whole = curl(&[&url]).await;
    let tag = whole.header("etag").expect("a file has a tag");
    assert_eq!(summary(&whole), answer(200, CONTENT));

    let same = format!("If-Range: {tag}");
    let known = format!("If-None-Match: {tag}");
    let cases = [
        (["--range", "2-4", "--header", "X: y"], answer(206, "234")),
        (["--range", "2-4", "--header", &same], answer(206, "234")),
        (["--range", "2-4", "--header", "If-Range: \"other\""], answer(200, CONTENT)),
        (["--range", "99-", "--header", "X: y"], answer(416, "")),
        (["--request", "GET", "--header", &known], answer(304, "")),
        (["--request", "DELETE", "--header", "X: y"], answer(405, "")),
    ];
    for (arguments, expected) in cases {
        let output = curl(&[&arguments[..], &[&url]].concat()).await;
        assert_eq!(summary(&output), expected, "{arguments:?}");
    }
    let head = curl(&["--head", &url]).await;
    assert_eq!(head.header("content-length"), Some("10"));
}

#[tokio::test]
async fn paths_are_told_apart_and_counted() {
    let upstream = upstream_with_file().await;
    upstream.on("/file?page=2", |_| Answer::ok("page two"));
    upstream.file_with("/named", "x", &[("ETag", "\"mine\""), ("Content-Type", "text/x")]);
    assert_eq!(curl(&[&upstream.url("/file?page=2")]).await.text(), "page two");
    assert_eq!(curl(&[&upstream.url("/file?page=3")]).await.text(), CONTENT);
    assert_eq!(curl(&[&upstream.url("/absent")]).await.status, 404);
    assert_eq!(curl(&[&upstream.url("/named")]).await.header("etag"), Some("\"mine\""));
    assert_eq!((upstream.hits("/file"), upstream.hits("/file?page=2"), upstream.hits("/never")), (2, 1, 0));
    curl(&["--data", "form=1", &upstream.url("/file")]).await;
    let last = upstream.requests("/file").pop().expect("there was a request");
    assert_eq!((last.method().as_str(), &last.body()[..]), ("POST", &b"form=1"[..]));
}

#[tokio::test]
async fn tls_is_good_for_its_names_only() {
    let upstream = upstream_with_file().await;
    let authority = upstream.ca_pem_path();
    let authority = authority.to_str().expect("the path is text");
    let port = upstream.https_port();
    for (host, version, exit) in [
        ("127.0.0.1", "--http1.1", 0),
        ("localhost", "--http2", 0),
        ("files.test", "--http2", 0),
        ("other.test", "--http2", 60),
    ] {
        let resolve = format!("{host}:{port}:127.0.0.1");
        let url = upstream.https_url_as(host, "/file");
        let output = curl(&["--cacert", authority, "--resolve", &resolve, version, &url]).await;
        assert_eq!(output.exit, exit, "{host}: {}", output.stderr);
    }
    assert_eq!(curl(&[&upstream.https_url("/file")]).await.exit, 60, "nobody else trusts this CA");
}

#[tokio::test]
async fn answers_can_be_slow_or_broken() {
    let upstream = Upstream::start(&[]).await;
    upstream.on("/slow", |_| Answer::ok("abc").in_pieces(1, Duration::from_millis(100)));
    upstream.on("/late", |_| Answer::ok("abc").after(Duration::from_millis(300)));
    upstream.on("/chunked", |_| Answer::ok("abc").without_length());
    upstream.on("/broken", |_| Answer::ok(CONTENT).break_after(4));
    upstream.on("/stalled", |_| Answer::ok(CONTENT).stall_after(4));
    upstream.on("/moved", |_| Answer::new(302).header("location", "/chunked"));

    for path in ["/slow", "/late"] {
        let started = Instant::now();
        assert_eq!(summary(&curl(&[&upstream.url(path)]).await), answer(200, "abc"));
        assert!(started.elapsed() >= Duration::from_millis(300), "{path}");
    }
    let chunked = curl(&[&upstream.url("/chunked")]).await;
    assert_eq!((chunked.text().as_str(), chunked.header("content-length")), ("abc", None));
    assert_eq!(summary(&curl(&[&upstream.url("/broken")]).await), (18, 200, "0123".to_owned()));
    let stalled = curl(&["--max-time", "1", &upstream.url("/stalled")]).await;
    assert_eq!(summary(&stalled), (28, 200, "0123".to_owned()));
    assert_eq!(curl(&["--location", &upstream.url("/moved")]).await.text(), "abc");
    assert_eq!(summary(&curl(&["--head", &upstream.url("/broken")]).await).0, 0);
}

#[tokio::test]
async fn an_upstream_can_go_and_come_back() {
    let upstream = upstream_with_file().await;
    upstream.on("/stalled", |_| Answer::ok(CONTENT).stall_after(4));
    let stalled = upstream.url("/stalled");
    let download = tokio::spawn(async move { curl(&[&stalled]).await });
    while upstream.hits("/stalled") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    upstream.stop();
    assert_ne!(download.await.expect("curl does not panic").exit, 0, "an open download ends");
    assert_eq!(curl(&[&upstream.url("/file")]).await.exit, 7, "nobody listens");
    upstream.restart();
    assert_eq!(curl(&[&upstream.url("/file")]).await.text(), CONTENT);
}
