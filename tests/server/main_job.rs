//! The main job, end to end, over each pair of backends: declared over REST, fetched from a loopback upstream over `http` and
//! `https`, downloaded with real curl through the proxy; killed without a word, started again, and downloaded again with
//! upstream gone.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::{Answer, Upstream};

use crate::support::{Backends, Server, local};

#[tokio::test]
async fn sqlite_and_local_directory() {
    main_job(Backends::embedded).await;
}

#[tokio::test]
async fn postgres_and_s3() {
    let (mut postgres, garage) = (testkit::postgres().await, testkit::garage().await);
    let backends =
        Backends { catalog: postgres.fresh_database().await, blobs: garage.fresh_url(), options: garage.options() };
    main_job(|_| backends).await;
    assert!(postgres.process().exit_status().is_none(), "PostgreSQL is still there");
}

#[tokio::test]
async fn mariadb_and_local_directory() {
    let mariadb = testkit::mariadb().await;
    let catalog = mariadb.fresh_database().await;
    main_job(|folder| Backends { catalog, blobs: local(folder), options: Vec::new() }).await;
}

async fn main_job(backends: impl FnOnce(&Path) -> Backends) {
    let upstream = Upstream::start(&["files.test"]).await;
    let large: Vec<u8> = (0..20_000_003_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let small = b"a small file".to_vec();
    upstream.file("/large.bin", large.clone());
    upstream.file_with(
        "/small.txt",
        small.clone(),
        &[("Content-Type", "text/x-small"), ("Last-Modified", "Tue, 03 Mar 2020 10:00:00 GMT")],
    );
    upstream.on("/gone", |_| Answer::new(404).body("<html>not here"));
    let mut server = Server::start(backends, &upstream).await;

    let files = [
        (upstream.url("/large.bin"), &large),
        (upstream.https_url("/large.bin"), &large),
        (upstream.https_url("/small.txt"), &small),
    ];
    for (uri, bytes) in &files {
        let undeclared = server.curl(&[uri.as_str()]).await;
        assert_eq!(undeclared.status, 404, "{undeclared:?}");
        let digest = hex(&Sha256::digest(bytes));
        let declared = server.declare(uri, Some(&digest)).await;
        let artifact = server.wait_for(&declared, "present").await;
        assert_eq!((&artifact["sha256"], &artifact["trust"]), (&json!(digest), &json!("verified")));
        download(&server, uri, bytes).await;
    }
    assert_eq!(upstream.hits("/small.txt"), 1, "fetched once, however often it is served");
    failures(&server, &upstream).await;

    upstream.stop();
    server.kill_and_restart().await;
    for (uri, bytes) in &files {
        download(&server, uri, bytes).await;
        let part = server.curl(&["--range", "3-9", uri.as_str()]).await;
        assert_eq!((part.status, part.body.as_slice()), (206, &bytes[3..10]));
    }
    let (_, misses) = server.api(Method::GET, "/misses", None).await;
    assert_eq!(misses["items"], json!([]), "what is declared is no miss");
    server.stop().await;
}

async fn download(server: &Server, uri: &str, bytes: &[u8]) {
    let output = server.curl(&[uri]).await;
    assert_eq!((output.exit, output.status), (0, 200), "{}", output.stderr);
    assert!(output.body == bytes, "{uri}: {} bytes in place of {}", output.body.len(), bytes.len());
    let etag = format!("\"sha256:{}\"", hex(&Sha256::digest(bytes)));
    assert_eq!(output.header("etag"), Some(etag.as_str()));
    let unchanged = server.curl(&["--header", &format!("If-None-Match: {etag}"), uri]).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
}

/// What goes wrong is said, and nothing of it is served.
async fn failures(server: &Server, upstream: &Upstream) {
    let wrong = server.declare(&upstream.url("/small.txt"), Some(&"0".repeat(64))).await;
    let wrong = server.wait_for(&wrong, "failed").await;
    let error = wrong["last_error"].as_str().expect("it says why");
    assert!(error.contains(&"0".repeat(64)) && error.contains(&hex(&Sha256::digest(b"a small file"))), "{error}");
    let gone = server.declare(&upstream.url("/gone"), None).await;
    let gone = server.wait_for(&gone, "failed").await;
    assert!(gone["last_error"].as_str().is_some_and(|error| error.contains("404")), "{gone}");
    for uri in [upstream.url("/small.txt"), upstream.url("/gone")] {
        let refused = server.curl(&[&uri]).await;
        assert_eq!(refused.status, 502, "{refused:?}");
        assert!(refused.header("proxy-status").is_some_and(|field| field.contains("fetch_failed")));
    }
    let (status, problem) =
        server.api(Method::POST, "/artifacts", Some(json!({"kind": "file", "uri": "ftp://x", "sha256": "y"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for field in ["uri", "sha256", "reason"] {
        assert!(problem.to_string().contains(field), "{field}: {problem}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
