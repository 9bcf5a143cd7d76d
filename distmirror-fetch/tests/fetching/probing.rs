//! What upstream says of a file without being made to send it.

use distmirror_core::Prober;
use distmirror_fetch::{FileFetcher, FileOptions, UpstreamClient};
use testkit::{Answer, Upstream};

use crate::support::options;

#[tokio::test]
async fn head_is_asked_and_where_that_is_no_use_the_first_byte() {
    let upstream = Upstream::start(&[]).await;
    upstream.file_with("/plain", vec![7; 9], &[("content-type", "application/gzip")]);
    let by_method = |path: &str, to_head: Answer, to_get: Answer| {
        upstream.on(path, move |seen| if seen.method() == "HEAD" { to_head.clone() } else { to_get.clone() });
    };
    let first_byte = Answer::new(206).header("content-range", "bytes 0-0/12").body("x");
    by_method("/no-head", Answer::new(405), first_byte);
    by_method("/lying-head", Answer::new(404), Answer::ok("whole"));
    by_method("/private", Answer::new(403), Answer::new(403).body("who are you?"));
    upstream.on("/moved", |_| Answer::new(302).header("location", "/plain"));
    let client = UpstreamClient::new(&options(&["127.0.0.0/8"])).unwrap();
    let prober = FileFetcher::new(client, FileOptions::default());
    for (path, status, size, redirects, requests) in [
        ("/plain", 200, Some(9), 0, 1),
        ("/no-head", 206, Some(12), 0, 2),
        ("/lying-head", 200, Some(5), 0, 2),
        ("/moved", 200, Some(9), 1, 1),
        ("/private", 403, Some(12), 0, 2),
    ] {
        let probe = prober.probe(&upstream.url(path).parse().unwrap()).await.unwrap();
        assert_eq!((probe.status, probe.size, probe.redirects.len()), (status, size, redirects), "{path}");
        assert_eq!(upstream.requests(path).len(), requests, "{path}");
    }
    let guarded = UpstreamClient::new(&options(&[])).unwrap();
    let refused =
        FileFetcher::new(guarded, FileOptions::default()).probe(&upstream.url("/plain").parse().unwrap()).await;
    assert!(refused.unwrap_err().message.contains("address not allowed"));
}
