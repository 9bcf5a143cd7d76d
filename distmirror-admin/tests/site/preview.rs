//! Not a test: serves sample data, for a look at the pages in a browser.

use distmirror_core::{Failure, Progress};
use jiff::Timestamp;
use serde_json::json;

use crate::support::Site;

#[tokio::test]
#[expect(clippy::print_stderr, reason = "whoever runs it must learn the address")]
#[ignore = "serves until it is stopped; prints where"]
async fn preview() {
    let site = Site::start().await;
    let base = "https://github.com/example/project/releases/download/v1.2.3";
    for (name, bytes) in [("project-1.2.3-linux-x86_64.tar.gz", 5_400_000), ("project-1.2.3.zip", 1_200)] {
        site.present(&format!("{base}/{name}"), &vec![b'x'; bytes]).await;
    }
    let declare = json!({"uri": "https://ftp.gnu.org/gnu/bash/bash-5.2.tar.gz", "sha256": "a".repeat(64),
        "reason": "Shell of the build containers.\nKept because the 4.x branch lost its mirror.",
        "project": "toolchain", "license": "GPL-3.0-or-later", "ticket": "BUILD-1234"});
    site.post("/api/v1/artifacts", &declare).await;
    let job = site.lease().await;
    let failure = Failure::new(
        "checksum mismatch: expected `sha256:aaaa`, received `sha256:1f3b` (10979000 bytes) after 3 redirects",
    );
    let later = Timestamp::now() + std::time::Duration::from_secs(540);
    site.mirror.catalog().fail(&job.lease, &failure, Some(later), Timestamp::now()).await.unwrap();
    site.declared("https://dl.example.org/models/large-dataset-2026-10-31.tar.zst").await;
    let job = site.lease().await;
    let progress = Progress { bytes: 734_000_000, total: Some(2_100_000_000) };
    site.mirror.catalog().renew(&job.lease, job.lease.expires_at, progress).await.unwrap();
    let quarantined = site.present("http://h.example/old/tool_0.9_amd64.deb", &[7; 300_000]).await;
    let path = format!("/api/v1/artifacts/{}/quarantine", quarantined["id"].as_str().unwrap());
    site.post(&path, &json!({"reason": "licence was withdrawn"})).await;
    site.declared("https://static.rust-lang.org/dist/rust-1.95.0-x86_64-unknown-linux-gnu.tar.xz").await;
    site.missed("https://registry.example.org/left-pad/-/left-pad-1.3.0.tgz").await;
    site.missed("https://pypi.example.org/packages/aa/bb/a-very-long-package-name-that-goes-on-and-on-1.0-py3-none-any.whl?token=x").await;
    site.missed("https://github.com/example/project.git/info/refs?service=git-upload-pack").await;
    eprintln!("http://{}/", site.address());
    let total = 2_100_000_000;
    for bytes in (734_000_000..total).step_by(7_000_000) {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let progress = Progress { bytes, total: Some(total) };
        site.mirror.catalog().renew(&job.lease, job.lease.expires_at, progress).await.unwrap();
    }
}
