//! `/healthz`, `/readyz`, `/metrics`.

use std::{ops::Range, sync::Arc};

use distmirror_admin::Options;
use distmirror_core::{BlobRead, BlobStat, BlobStore, Error, Payload, Result, Sha256};
use futures::stream::{self, BoxStream, StreamExt};

use crate::support::Site;

#[tokio::test]
async fn a_working_site_is_live_and_ready() {
    let site = Site::start().await;
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ok\n"), ("/metrics", "distmirror_test 1\n")] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    assert_eq!(site.get("/metrics").await.header("content-type"), "text/plain; version=0.0.4");
}

#[tokio::test]
async fn trouble_is_named_and_the_site_stays_live() {
    let (site, _) = Site::start_over(Arc::new(Unreachable), Options::default(), std::future::pending()).await;
    let answer = site.get("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "the blob store is unavailable: no route to host\n"));
    assert_eq!(site.get("/healthz").await.status, 200);
}

/// A blob store that never answers well.
#[derive(Debug)]
struct Unreachable;

impl Unreachable {
    fn error() -> Error {
        Error::storage("no route to host")
    }
}

#[async_trait::async_trait]
impl BlobStore for Unreachable {
    async fn put(&self, _: &Sha256, _: Payload) -> Result<()> {
        Err(Self::error())
    }

    async fn get(&self, _: &Sha256, _: Option<Range<u64>>) -> Result<BlobRead> {
        Err(Self::error())
    }

    async fn stat(&self, _: &Sha256) -> Result<Option<u64>> {
        Err(Self::error())
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        stream::once(async { Err(Self::error()) }).boxed()
    }
}
