//! The examples, run as an embedder would run them.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use testkit::{Process, curl};

/// An example as the build left it, beside the tests.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().expect("a test knows its own file");
    let build = tests.ancestors().nth(2).map(PathBuf::from).expect("tests are two folders deep");
    Command::new(build.join("examples").join(name))
}

/// The address that stands behind these words in what a process says.
async fn address_after(process: &Process, words: &str) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let log = process.log();
        if let Some((_, rest)) = log.split_once(words) {
            return rest.split(['/', ',', '\n']).next().unwrap_or_default().to_owned();
        }
        assert!(Instant::now() < until, "it does not say `{words}`: {log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_service_embeds_the_mirror_and_another_mounts_the_proxy_over_the_same_data() {
    let folder = TempDir::new().unwrap();
    let whole = Process::spawn("own_blob_store", example("own_blob_store").arg(folder.path()));
    let pages = address_after(&whole, "pages on http://").await;
    let proxy = address_after(&whole, "proxy on http://").await;
    assert_eq!(curl(&[&format!("http://{pages}/")]).await.status, 200);
    let refused = curl(&["--proxy", &format!("http://{proxy}"), "http://files.test/x"]).await;
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains(&format!("http://{pages}/declare?uri=")), "{refused:?}");

    let place = |name: &str| format!("{}/{name}", folder.path().display());
    let (catalog, blobs) = (format!("sqlite://{}", place("catalog.db")), format!("file://{}", place("blobs")));
    let alone = Process::spawn("proxy_alone", example("proxy_alone").args([catalog, blobs, place("ca")]));
    let proxy = address_after(&alone, "proxy on http://").await;
    assert_eq!(curl(&[&format!("http://{proxy}/readyz")]).await.status, 200);
}
