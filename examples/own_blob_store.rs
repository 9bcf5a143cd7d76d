//! A service of your own that embeds the whole mirror, with a blob store of your own.
//!
//! ```sh
//! cargo run --example own_blob_store -- [DATA_FOLDER]
//! ```
//!
//! It needs no configuration file: it hands a [`Catalog`] and a [`BlobStore`] to the front ends it wants. The store here
//! keeps small blobs in memory, in front of another store that keeps everything.

#![expect(clippy::print_stdout, reason = "it tells where it listens")]

use std::{env, error::Error, ops::Range, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use distmirror::{
    admin::{self, Admin},
    backends::{
        blobs::{self, BlobOptions},
        catalog::{CatalogOptions, SqlCatalog},
    },
    core::{BlobRead, BlobStat, BlobStore, Catalog, Intake, Mirror, Payload, Result, Sha256, memory::MemoryBlobStore},
    fetch::{FetchOptions, FileFetcher, FileOptions, UpstreamClient, WorkerOptions, Workers},
    proxy::{self, CertificateAuthority, Proxy},
};
use futures::stream::BoxStream;
use tokio::net::TcpListener;

/// Small blobs in memory, all blobs in another store.
#[derive(Debug)]
struct Tiered {
    memory: MemoryBlobStore,
    durable: Arc<dyn BlobStore>,
}

/// The largest blob that is kept in memory.
const SMALL_BYTES: u64 = 64 * 1024;

#[async_trait]
impl BlobStore for Tiered {
    async fn put(&self, blob: &Sha256, payload: Payload) -> Result<()> {
        if payload.size() <= SMALL_BYTES {
            self.memory.put(blob, payload.clone()).await?;
        }
        // Ok means durable: memory alone would not do.
        self.durable.put(blob, payload).await
    }

    async fn get(&self, blob: &Sha256, range: Option<Range<u64>>) -> Result<BlobRead> {
        match self.memory.get(blob, range.clone()).await {
            Ok(read) => Ok(read),
            Err(_) => self.durable.get(blob, range).await,
        }
    }

    async fn stat(&self, blob: &Sha256) -> Result<Option<u64>> {
        self.durable.stat(blob).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobStat>> {
        self.durable.list()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).map_or_else(|| PathBuf::from("embedded-data"), PathBuf::from);
    let folder = std::path::absolute(folder)?;

    let url = format!("sqlite://{}/catalog.db", folder.display());
    let catalog: Arc<dyn Catalog> =
        Arc::new(SqlCatalog::open(&CatalogOptions { url, max_connections: 4, migrate: true }).await?);
    let url = format!("file://{}/blobs", folder.display());
    let durable = blobs::open(&BlobOptions { url, options: Default::default() }).await?;
    let store: Arc<dyn BlobStore> = Arc::new(Tiered { memory: MemoryBlobStore::new(), durable });
    let mirror = Arc::new(Mirror::new(catalog, Arc::clone(&store), Default::default()));

    let intake = Intake::open(folder.join("spool"), store, 1 << 30)?;
    let fetcher = FileFetcher::new(UpstreamClient::new(&FetchOptions::default())?, FileOptions::default());
    let workers = Workers::new(Arc::clone(&mirror), intake, vec![Arc::new(fetcher)], WorkerOptions::default());

    let (pages, downloads) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let (pages_at, downloads_at) = (pages.local_addr()?, downloads.local_addr()?);
    let authority = CertificateAuthority::load_or_create(&folder.join("ca"))?;
    let options = admin::Options {
        public_url: Some(format!("http://{pages_at}")),
        proxy_address: downloads_at.to_string(),
        ca_pem: authority.pem().to_owned(),
        allowed_hosts: Vec::new(),
        ..Default::default()
    };
    let admin = Admin::new(Arc::clone(&mirror), options, Arc::new(String::new))?;
    let options = proxy::Options { admin_url: format!("http://{pages_at}"), ..Default::default() };
    let proxy = Proxy::new(mirror, authority, options);

    println!("pages on http://{pages_at}/, proxy on http://{downloads_at}");
    let stop = || async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    let (served, (), ()) =
        tokio::join!(admin.serve(pages, stop()), proxy.serve(vec![downloads], stop()), workers.run(stop()));
    Ok(served?)
}

#[cfg(test)]
mod tests {
    use distmirror::core::conformance;

    use super::*;

    /// One line shows that the store keeps every promise of the trait.
    #[tokio::test]
    async fn the_store_keeps_every_promise() {
        conformance::blob_store(async || {
            Arc::new(Tiered { memory: MemoryBlobStore::new(), durable: Arc::new(MemoryBlobStore::new()) })
        })
        .await;
    }
}
