//! Traces: what a collector gets, and that nothing depends on there being one.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::{Collector, Upstream, collector, collector_at, free_port};

use crate::support::{Backends, Reach, Server};

fn reach(upstream: &Upstream, endpoint: &str, more: &str) -> Reach {
    Reach::from(upstream).with_proxy(&format!("[telemetry]\notlp_endpoint = {endpoint:?}\n{more}\n"))
}

/// Waits until the collector has a span like this one.
async fn span(collector: &Collector, is_meant: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let spans = collector.spans();
        if let Some(span) = spans.iter().find(|span| is_meant(span)) {
            return span.clone();
        }
        assert!(Instant::now() < until, "there is no such span: {spans:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn requests_and_fetches_are_traced_with_what_is_done_for_them() {
    let (upstream, collector) = (Upstream::start(&["files.test"]).await, collector().await);
    upstream.on("/moved", |_| testkit::Answer::new(302).header("location", "/file?token=planted-token"));
    upstream.file("/file", "the file");
    let server = Server::start(Backends::embedded, reach(&upstream, &collector.url(), "")).await;
    let uri = upstream.url("/moved");
    let declared = server.declare(&uri, None).await;
    server.wait_for(&declared, "present").await;
    let lost = server.declare(&upstream.url("/lost"), None).await;
    server.wait_for(&lost, "failed").await;
    let answer =
        server.curl(&[&uri, "-H", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]).await;
    assert_eq!(answer.status, 200);
    server.curl(&[&upstream.https_url("/none?token=planted-token")]).await;
    let named = |name: &'static str, about: &'static str| {
        move |span: &Value| {
            span["name"] == name
                && span["attributes"]["distmirror.name"].as_str().is_some_and(|name| name.contains(about))
        }
    };

    let hit = span(&collector, named("GET artifact", "/moved")).await;
    assert_eq!((&hit["kind"], &hit["parent"]), (&"SPAN_KIND_SERVER".into(), &"".into()), "{hit}");
    let attributes = &hit["attributes"];
    assert_eq!(attributes["http.response.status_code"], 200, "{hit}");
    assert_eq!((&attributes["distmirror.code"], &attributes["distmirror.artifact"]), (&"hit".into(), &declared["id"]));
    assert_eq!(attributes["http.response.body.size"], 8, "{hit}");
    assert_eq!(hit["resource"]["service.name"], "distmirror");
    let opened = span(&collector, |span| span["parent"] == hit["id"] && span["name"] == "blob store get").await;
    assert_eq!((&opened["trace"], &opened["attributes"]["distmirror.outcome"]), (&hit["trace"], &"ok".into()));
    span(&collector, |span| span["parent"] == hit["id"] && span["name"] == "catalog named").await;
    let miss = span(&collector, named("GET artifact", "/none")).await;
    assert_eq!(miss["attributes"]["distmirror.code"], "undeclared", "{miss}");

    let fetch = span(&collector, named("fetch", "/moved")).await;
    assert_eq!(
        (&fetch["attributes"]["distmirror.outcome"], &fetch["status"]),
        (&"done".into(), &"STATUS_CODE_UNSET".into())
    );
    let failed = span(&collector, named("fetch", "/lost")).await;
    assert_eq!(
        (&failed["attributes"]["distmirror.outcome"], &failed["status"]),
        (&"failed".into(), &"STATUS_CODE_ERROR".into())
    );
    for url in [uri, upstream.url("/file?token=****")] {
        let asked = span(&collector, |span| span["attributes"]["url.full"] == url.as_str()).await;
        assert_eq!((&asked["parent"], &asked["kind"]), (&fetch["id"], &"SPAN_KIND_CLIENT".into()), "{asked}");
    }
    span(&collector, |span| span["parent"] == fetch["id"] && span["name"] == "catalog complete").await;

    let spans = collector.spans();
    let names: BTreeSet<&str> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
    assert!(names.iter().all(|name| !name.contains('/')), "names are few: {names:?}");
    assert!(!format!("{spans:?}").contains("planted-token"), "{spans:?}");
    let seen = upstream.all_requests();
    assert!(!seen.is_empty() && seen.iter().all(|seen| !seen.headers().contains_key("traceparent")));
    assert!(!server.log().contains("request{"), "spans are not in the log");
}

#[tokio::test]
async fn nothing_depends_on_a_collector() {
    let upstream = Upstream::start(&["files.test"]).await;
    upstream.file("/file", "the file");
    let port = free_port();
    let server = Server::start(Backends::embedded, reach(&upstream, &format!("http://127.0.0.1:{port}"), "")).await;
    let uri = upstream.url("/file");
    let declared = server.declare(&uri, None).await;
    server.wait_for(&declared, "present").await;
    let complaint = "traces cannot be sent";
    let until = Instant::now() + Duration::from_secs(60);
    let dropped = async || {
        let text = reqwest::get(format!("{}/metrics", server.admin_url())).await.expect("metrics").text().await;
        let text = text.expect("text");
        let line =
            text.lines().find_map(|line| line.strip_prefix(r#"distmirror_trace_spans_total{outcome="dropped"} "#));
        line.and_then(|value| value.parse::<u64>().ok()).expect("it is counted")
    };
    // Two batches at least.
    let first = loop {
        match dropped().await {
            0 => assert_eq!(server.curl(&[&uri]).await.status, 200),
            first => break first,
        }
        assert!(Instant::now() < until, "nothing is dropped: {}", server.log());
    };
    while dropped().await == first {
        assert_eq!(server.curl(&[&uri]).await.status, 200);
        assert!(Instant::now() < until, "nothing more is dropped: {}", server.log());
    }
    assert_eq!(server.log().matches(complaint).count(), 1, "{}", server.log());
    let collector = collector_at(port).await;
    let until = Instant::now() + Duration::from_secs(60);
    while !server.log().contains("traces are sent again") {
        assert_eq!(server.curl(&[&uri]).await.status, 200);
        assert!(Instant::now() < until, "{}", server.log());
    }
    assert!(!collector.spans().is_empty());
    drop(collector);
    server.stop().await;
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let (upstream, collector) = (Upstream::start(&["files.test"]).await, collector().await);
    let server = Server::start(Backends::embedded, reach(&upstream, &collector.url(), "")).await;
    server.curl(&[&upstream.url("/the-last-one")]).await;
    server.stop().await;
    let spans = collector.spans();
    assert!(format!("{spans:?}").contains("the-last-one"), "{spans:?}");
}
