//! `/metrics` of both ports: what they show after something of each kind has happened, and whether the documentation knows it.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use testkit::{Upstream, promtool};

use crate::support::{Backends, Server};

/// What a port showed, by series: the name with its labels.
struct Shown(HashMap<String, f64>);

impl Shown {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        });
        Self(series.collect())
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("`{series}` is not shown"))
    }
}

async fn scrape(url: &str) -> String {
    let answer = reqwest::Client::builder().no_proxy().build().expect("a client").get(format!("{url}/metrics")).send();
    let answer = answer.await.expect("the port answers");
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4");
    answer.text().await.expect("text")
}

/// The names in the text of a port; each has its type and its meaning.
fn names(text: &str) -> BTreeSet<String> {
    let words = |kind: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
        lines.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    let typed = words("# TYPE ");
    assert_eq!(words("# HELP "), typed, "every metric says what it means");
    typed
}

/// The names in the tables of the documentation.
pub(crate) fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/observability.md");
    let (page, _) = page.split_once("\n## Logs").expect("logs come after metrics");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}

/// A server that did something of each kind: it fetched a file and failed to fetch another one, sent the file four times, once in
/// part, and refused a third one.
async fn busy_server() -> (Server, Upstream) {
    let upstream = Upstream::start(&["files.test"]).await;
    upstream.file("/file", vec![b'x'; SIZE]);
    let server = Server::start(Backends::embedded, &upstream).await;
    let declared = server.declare(&upstream.https_url("/file"), None).await;
    server.wait_for(&declared, "present").await;
    let lost = server.declare(&upstream.url("/lost"), None).await;
    server.wait_for(&lost, "failed").await;
    let uri = upstream.https_url("/file");
    for arguments in [vec![uri.as_str()], vec![&uri], vec![&uri, "--range", "0-9"], vec![&uri, "--head"]] {
        assert!(matches!(server.curl(&arguments).await.status, 200 | 206));
    }
    assert_eq!(server.curl(&[&upstream.url("/undeclared")]).await.status, 404);
    (server, upstream)
}

/// Asks again until it shows what is only counted now and then.
async fn shown_at_last(url: &str, shows: impl Fn(&Shown) -> bool) -> (String, Shown) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let text = scrape(url).await;
        let shown = Shown::parse(&text);
        if shows(&shown) {
            return (text, shown);
        }
        assert!(Instant::now() < until, "it is never shown: {text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn what_happened_is_counted_and_every_metric_is_documented() {
    let (server, _upstream) = busy_server().await;
    for url in [server.proxy_url(), server.admin_url()] {
        let (text, shown) = shown_at_last(&url, |shown| {
            shown.0.get(r#"distmirror_artifacts{state="present"}"#) == Some(&1.0)
                && shown.value("distmirror_usage_recorded_total") == 4.0
                && shown.value("distmirror_misses_recorded_total") == 1.0
                && shown.value("distmirror_leaves_cached") == 1.0
                && shown.value("distmirror_artifacts_cached") == 1.0
        })
        .await;
        assert_eq!(promtool(&["check", "metrics"], &text).await.as_deref(), Ok(""), "{text}");
        assert_eq!(names(&text), documented(), "docs/observability.md lists exactly what is shown");
        check(&shown);
    }
}

/// What must have moved, by exactly how much where that is known.
fn check(shown: &Shown) {
    for (series, expected) in [
        (r#"distmirror_proxy_responses_total{code="hit",status="200"}"#, 3.0),
        (r#"distmirror_proxy_responses_total{code="hit",status="206"}"#, 1.0),
        (r#"distmirror_proxy_responses_total{code="hit",status="304"}"#, 0.0),
        (r#"distmirror_proxy_responses_total{code="undeclared",status="404"}"#, 1.0),
        (r#"distmirror_proxy_responses_total{code="tunnel",status="200"}"#, 4.0),
        ("distmirror_proxy_sent_bytes_total", (2 * SIZE + 10) as f64),
        ("distmirror_proxy_first_byte_seconds_count", 3.0),
        (r#"distmirror_proxy_connections_refused_total{because="all"}"#, 0.0),
        (r#"distmirror_proxy_connections_refused_total{because="address"}"#, 0.0),
        (r#"distmirror_handshakes_total{outcome="ok"}"#, 4.0),
        (r#"distmirror_handshakes_total{outcome="failed"}"#, 0.0),
        (r#"distmirror_handshake_seconds_count{outcome="ok"}"#, 4.0),
        ("distmirror_leaves_minted_total", 1.0),
        ("distmirror_leaf_mint_seconds_count", 1.0),
        (r#"distmirror_leaf_lookups_total{outcome="miss"}"#, 1.0),
        (r#"distmirror_leaf_lookups_total{outcome="hit"}"#, 3.0),
        (r#"distmirror_fetches_total{outcome="done"}"#, 1.0),
        (r#"distmirror_fetches_total{outcome="failed"}"#, 1.0),
        (r#"distmirror_fetch_seconds_count{outcome="done"}"#, 1.0),
        ("distmirror_leases_taken_total", 2.0),
        ("distmirror_fetches_running", 0.0),
        ("distmirror_fetches_due", 0.0),
        ("distmirror_misses", 1.0),
        (r#"distmirror_artifacts{state="failed"}"#, 1.0),
        (r#"distmirror_catalog_operation_seconds_count{operation="complete",outcome="ok"}"#, 1.0),
        (r#"distmirror_blob_operation_seconds_count{operation="put",outcome="ok"}"#, 1.0),
        (r#"distmirror_blob_operation_seconds_count{operation="get",outcome="ok"}"#, 3.0),
        ("distmirror_catalog_connections_max", 10.0),
    ] {
        assert_eq!(shown.value(series), expected, "{series}");
    }
    let most = shown.value("distmirror_proxy_connections_max");
    assert!(most > 0.0 && most <= 16384.0, "as many as is configured, or as descriptors allow: {most}");
    for series in [
        r#"distmirror_proxy_connections_total{entrance="proxy"}"#,
        "distmirror_proxy_first_byte_seconds_sum",
        r#"distmirror_artifact_lookups_total{source="memory"}"#,
        r#"distmirror_artifact_lookups_total{source="catalog"}"#,
        "distmirror_fetch_bytes_total",
        "process_cpu_seconds_total",
    ] {
        assert!(shown.value(series) > 0.0, "{series}");
    }
    assert!(shown.value(r#"distmirror_proxy_first_byte_seconds_bucket{le="0.0001"}"#) <= 3.0);
    assert_eq!(shown.value(r#"distmirror_fetch_seconds_bucket{outcome="done",le="14400"}"#), 1.0);
}

#[tokio::test]
async fn a_role_shows_nothing_of_what_it_does_not_do() {
    for (role, shown, absent) in [
        (&["proxy"], "distmirror_proxy_connections", "distmirror_fetches_running"),
        (&["admin"], "distmirror_spool_bytes", "distmirror_proxy_connections"),
    ] {
        let upstream = Upstream::start(&["files.test"]).await;
        let server = Server::start_role(role, Backends::embedded, &upstream).await;
        let url = if role == &["proxy"] { server.proxy_url() } else { server.admin_url() };
        let names = names(&scrape(&url).await);
        assert!(names.contains(shown) && !names.contains(absent), "{role:?}: {names:?}");
        assert!(names.is_subset(&documented()), "{role:?}: {names:?}");
    }
}

/// The size of the file, in bytes.
const SIZE: usize = 300_000;
