//! What a server lives through: kills in the middle, roles apart, stores that lose or damage things, databases that go away.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use reqwest::{Method, StatusCode};
use testkit::{Answer, Upstream};

use crate::support::{Backends, Server, local};

#[tokio::test]
async fn a_fetch_that_was_killed_goes_on_after_the_restart() {
    let upstream = Upstream::start(&[]).await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 249) as u8).collect();
    let slow = body.clone();
    upstream.on("/slow", move |_| Answer::ok(slow.clone()).in_pieces(100_000, Duration::from_millis(100)));
    let mut server = Server::start(Backends::embedded, &upstream).await;
    let declared = server.declare(&upstream.url("/slow"), None).await;
    server.wait_for(&declared, "fetching").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = server.curl(&[&upstream.url("/slow")]).await;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "nothing is served half");
    server.kill_and_restart().await;
    // The lease of the dead process has to run out first: 20 seconds.
    server.wait_for(&declared, "present").await;
    assert!(server.curl(&[&upstream.url("/slow")]).await.body == body);
    let spool = server.folder().join("data/spool");
    assert_eq!(fs::read_dir(spool).unwrap().count(), 0, "debris in the spool");
    server.stop().await;
}

#[tokio::test]
async fn damaged_and_missing_blobs_are_trouble_and_not_absence() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/a", vec![b'a'; 100_000]);
    upstream.file("/b", vec![b'b'; 100_000]);
    upstream.file("/c", vec![b'c'; 100_000]);
    let server = Server::start(Backends::embedded, &upstream).await;
    let mut files = Vec::new();
    for path in ["/a", "/b", "/c"] {
        let declared = server.declare(&upstream.url(path), None).await;
        let artifact = server.wait_for(&declared, "present").await;
        let hex = artifact["sha256"].as_str().unwrap().to_owned();
        files.push(server.folder().join(format!("blobs/sha256/{}/{}/{hex}", &hex[..2], &hex[2..4])));
    }
    assert_eq!(server.curl(&[&upstream.url("/a")]).await.status, 200, "it was good before");
    flip_one_bit(&files[0]);
    fs::remove_file(&files[1]).unwrap();
    fs::write(&files[2], vec![b'c'; 99_999]).unwrap();
    for (path, code) in [("/a", "blob_corrupt"), ("/b", "blob_missing"), ("/c", "blob_corrupt")] {
        for range in [&[][..], &["--range", "5-9"]] {
            let refused = server.curl(&[range, &[&upstream.url(path)]].concat()).await;
            let details = refused.header("proxy-status").unwrap_or_default().to_owned();
            assert_eq!((refused.status, details.contains(code)), (503, true), "{path}: {refused:?}");
        }
    }
    server.stop().await;
}

fn flip_one_bit(file: &PathBuf) {
    let mut bytes = fs::read(file).expect("the blob is there");
    bytes[50_000] ^= 1;
    fs::write(file, bytes).expect("writes it back");
}

#[tokio::test]
async fn known_files_are_served_while_the_database_is_away() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/known", b"known".to_vec());
    let mut postgres = testkit::postgres().await;
    let catalog = postgres.fresh_database().await;
    let server =
        Server::start(|folder| Backends { catalog, blobs: local(folder), options: Vec::new() }, &upstream).await;
    let declared = server.declare(&upstream.url("/known"), None).await;
    server.wait_for(&declared, "present").await;
    assert_eq!(server.curl(&[&upstream.url("/known")]).await.body, b"known");
    postgres.process().kill9();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(server.curl(&[&upstream.url("/known")]).await.body, b"known", "from memory");
    let unknown = server.curl(&[&upstream.url("/unknown")]).await;
    let details = unknown.header("proxy-status").unwrap_or_default().to_owned();
    assert_eq!((unknown.status, details.contains("catalog_unavailable")), (503, true), "{unknown:?}");
    let (status, problem) = server.api(Method::GET, "/artifacts", None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    server.stop().await;
}

#[tokio::test]
async fn roles_in_processes_of_their_own_share_what_they_know() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/shared", b"shared".to_vec());
    let all = Server::start(Backends::embedded, &upstream).await;
    let declared = all.declare(&upstream.url("/shared"), None).await;
    all.wait_for(&declared, "present").await;
    let configuration = all.configuration();
    all.declare(&upstream.url("/absent"), None).await;
    let status = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
        command.args(arguments).arg("--config").arg(&configuration).output().expect("the binary runs").status.code()
    };
    assert_eq!(status(&["migrate"]), Some(0));
    assert_eq!(status(&["check-config"]), Some(0));
    assert_eq!(status(&["ca", "show"]), Some(0));
    assert_eq!(status(&["fetch", "--once"]), Some(0), "nothing is due");
    all.stop().await;
}

#[tokio::test]
async fn cron_fetches_what_is_due_and_tells_failure() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/good", b"good".to_vec());
    let server = Server::start_role(&["admin"], Backends::embedded, &upstream).await;
    let once = |expected: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
        let output = command
            .args(["fetch", "--once", "--config"])
            .arg(server.configuration())
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(expected), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let good = server.declare(&upstream.url("/good"), None).await;
    once(0);
    server.wait_for(&good, "present").await;
    let absent = server.declare(&upstream.url("/absent"), None).await;
    once(1);
    server.wait_for(&absent, "failed").await;
    server.stop().await;
}

#[tokio::test]
async fn a_proxy_that_keeps_nothing_itself_needs_no_data_folder() {
    let upstream = Upstream::start(&[]).await;
    upstream.file("/kept", b"kept".to_vec());
    let all = Server::start(Backends::embedded, &upstream).await;
    let declared = all.declare(&upstream.url("/kept"), None).await;
    all.wait_for(&declared, "present").await;
    let (port, folder) = (testkit::free_port(), all.folder().display());
    let settings = [
        ("DATA_DIR", "/proc/none".to_owned()),
        ("CATALOG__URL", format!("sqlite://{folder}/catalog.db")),
        ("BLOBS__URL", format!("file://{folder}/blobs")),
        ("CA__CERTIFICATE", format!("{folder}/data/ca/certificate.pem")),
        ("CA__KEY", format!("{folder}/data/ca/key.pem")),
        ("PROXY__LISTEN", format!("127.0.0.1:{port}")),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
    command.arg("proxy").envs(settings.map(|(key, value)| (format!("DISTMIRROR__{key}"), value)));
    let mut proxy = testkit::Process::spawn("distmirror", &mut command);
    proxy.wait_for_port(port).await;
    let address = format!("http://127.0.0.1:{port}");
    assert_eq!(testkit::curl(&["--proxy", &address, "--noproxy", "", &upstream.url("/kept")]).await.body, b"kept");
    assert_eq!(proxy.terminate().code(), Some(0));
    all.stop().await;
}
