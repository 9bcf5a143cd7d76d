//! The log: a line for each request if it is wanted, as an object that machines read.

use serde_json::{Value, json};
use testkit::Upstream;

use crate::support::{Backends, Reach, Server};

/// The lines of the access log, in the order in which answers ended.
fn answers(log: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
    events.map(|event| event["fields"].clone()).filter(|fields| fields["message"] == "answered").collect()
}

#[tokio::test]
async fn each_request_is_told_of_if_that_is_wanted() {
    let upstream = Upstream::start(&["files.test"]).await;
    upstream.file("/file", "the file");
    let level = "info,distmirror_proxy::access_log=debug";
    let reach = Reach::from(&upstream).with_proxy(&format!("[log]\nformat = \"json\"\nlevel = \"{level}\"\n"));
    let server = Server::start(Backends::embedded, reach).await;
    let uri = upstream.url("/file");
    let declared = server.declare(&uri, None).await;
    server.wait_for(&declared, "present").await;
    let before = answers(&server.log()).len();
    let undeclared = upstream.https_url("/none?token=abc&a=b");
    for arguments in [vec![uri.as_str(), "--range", "1-3"], vec![&uri, "--head"], vec![&undeclared]] {
        server.curl(&arguments).await;
    }
    let log = server.log();
    let told: Vec<_> = answers(&log).split_off(before);
    let shown = told.iter().filter(|fields| fields["face"] != "site").map(|fields| {
        assert_eq!(fields["client"], "127.0.0.1", "{fields}");
        assert!(fields["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 60.0), "{fields}");
        let of = |name: &str| fields[name].clone();
        ["method", "face", "name", "status", "code", "bytes", "artifact"].map(of)
    });
    let host = undeclared.trim_start_matches("https://").split('/').next().expect("a host");
    let size = told.last().map(|fields| fields["bytes"].clone()).expect("something was told");
    assert!(size.as_u64().is_some_and(|size| size > 50), "{size}");
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            [json!("GET"), json!("artifact"), json!(uri), json!(206), json!("hit"), json!(3), declared["id"].clone()],
            [json!("HEAD"), json!("artifact"), json!(uri), json!(200), json!("hit"), json!(0), Value::Null],
            [json!("CONNECT"), json!("tunnel"), json!(host), json!(200), json!("tunnel"), json!(0), Value::Null],
            [
                json!("GET"),
                json!("artifact"),
                json!(format!("https://{host}/none?token=****&a=b")),
                json!(404),
                json!("undeclared"),
                size,
                Value::Null
            ],
        ]
    );
}

#[tokio::test]
async fn single_requests_are_not_in_the_log_by_default() {
    let upstream = Upstream::start(&["files.test"]).await;
    let server = Server::start(Backends::embedded, &upstream).await;
    server.curl(&[&upstream.https_url("/none")]).await;
    let log = server.log();
    assert!(log.contains("started") && !log.contains("answered"), "{log}");
}
