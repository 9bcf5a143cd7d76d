//! Each server starts, answers one of its real clients, and is gone afterwards.

use std::{
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use object_store::ObjectStoreExt;
use testkit::{Browser, ObjectServer, Process, Upstream, azurite, curl, fake_gcs, free_port, garage, run_to_end};

#[tokio::test]
async fn postgres_gives_fresh_databases() {
    let server = testkit::postgres().await;
    let (first, second) = (server.fresh_database().await, server.fresh_database().await);
    assert_ne!(first, second);
    psql(&first, "CREATE TABLE mark (number int)").await;
    assert_eq!(psql(&second, "SELECT to_regclass('mark') IS NULL").await.trim(), "t");
    assert_gone(server.port(), || drop(server));
}

async fn psql(url: &str, statement: &str) -> String {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-c", statement, url]);
    run_to_end(command).await
}

#[tokio::test]
async fn mariadb_gives_fresh_databases() {
    let server = testkit::mariadb().await;
    let (first, second) = (server.fresh_database().await, server.fresh_database().await);
    assert_ne!(first, second);
    let database = second.rsplit("/").next().expect("a URL has slashes");
    let port = server.port().to_string();
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "-h", "127.0.0.1", "-P", &port, "-u", "root", "-N", "-e", "SELECT database()"]);
    command.arg(database);
    assert_eq!(run_to_end(command).await.trim(), database);
    assert_gone(server.port(), || drop(server));
}

#[tokio::test]
async fn garage_stores_objects_for_who_has_the_key() {
    let server = garage().await;
    check_round_trip(&server).await;
    let unsigned = curl(&[&format!("{}/test/fresh-0/object", server.endpoint())]).await;
    assert_eq!(unsigned.status, 403);
}

#[tokio::test]
async fn azurite_stores_objects_for_who_has_the_key() {
    let server = azurite().await;
    check_round_trip(&server).await;
    let unsigned = curl(&[&format!("{}/test/fresh-0/object", server.endpoint())]).await;
    assert_eq!(unsigned.status, 403);
}

#[tokio::test]
async fn fake_gcs_stores_objects() {
    check_round_trip(&fake_gcs().await).await;
}

/// The first fresh URL and the options beside it are all that a client needs.
async fn check_round_trip(server: &ObjectServer) {
    let url = server.fresh_url();
    assert_ne!(url, server.fresh_url());
    let url = url.parse().expect("a fresh URL is a URL");
    let (store, prefix) = object_store::parse_url_opts(&url, server.options()).expect("the options are known");
    let object = prefix.join("object");
    store.put(&object, "content".into()).await.expect("objects can be stored");
    let stored = store.get(&object).await.expect("the object is there").bytes().await.expect("the object is whole");
    assert_eq!(stored, "content");
}

#[tokio::test]
async fn browser_reads_and_fills_in_pages() {
    let upstream = Upstream::start(&[]).await;
    upstream.otherwise(|request| {
        let said = request.uri().query().map_or_else(String::new, |query| format!("<p id=said>{query}</p>"));
        let page = format!(
            "<!doctype html><title>Form</title>{said}\
             <form><input name=word value=old><button>Send</button></form>"
        );
        testkit::Answer::ok(page).header("content-type", "text/html")
    });
    let browser = Browser::start().await;
    browser.goto(&upstream.url("/")).await;
    assert_eq!(browser.title().await, "Form");
    browser.type_into("input", "new").await;
    browser.click("button").await;
    browser.wait_for("#said").await;
    assert_eq!(browser.url().await, upstream.url("/?word=new"));
    assert_eq!(browser.text("#said").await, "word=new");
    assert!(!browser.has("#absent").await);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let picture = directory.path().join("page.png");
    browser.screenshot(&picture).await;
    assert!(std::fs::read(picture).expect("there is a picture").starts_with(b"\x89PNG"));
}

#[tokio::test]
async fn a_process_is_terminated_or_killed_with_its_children() {
    let port = free_port().to_string();
    let mut command = Command::new("/usr/bin/python3");
    let mut server = Process::spawn("python", command.args(["-m", "http.server", "--bind", "127.0.0.1", &port]));
    server.wait_for_port(port.parse().expect("a number was printed as one")).await;
    assert!(server.exit_status().is_none());
    assert!(!server.terminate().success());

    let mut parent = Process::spawn("sh", Command::new("sh").args(["-c", "sleep 600 & echo $!; wait"]));
    parent.wait_until("it has printed", async || true).await;
    while parent.log().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let child = format!("/proc/{}/cmdline", parent.log().trim());
    assert!(std::fs::read(&child).is_ok());
    drop(parent);
    let started = Instant::now();
    while std::fs::read(&child).is_ok_and(|command| !command.is_empty()) {
        assert!(started.elapsed() < Duration::from_secs(5), "the child outlived its parent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
#[should_panic(expected = "ended with exit status: 3 before port 1 accepts\n--- end of the log of sh:\nno such thing")]
async fn a_server_that_does_not_start_shows_its_log() {
    let mut command = Command::new("sh");
    let mut process = Process::spawn("sh", command.args(["-c", "echo no such thing; exit 3"]));
    process.wait_for_port(1).await;
}

/// `stop` ends whatever accepts connections on the port.
fn assert_gone(port: u16, stop: impl FnOnce()) {
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    stop();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
