//! The proxy alone, mounted in a service of your own over a catalog and a blob store that others fill.
//!
//! ```sh
//! cargo run --example proxy_alone -- sqlite:///srv/distmirror/catalog.db file:///srv/distmirror/blobs /srv/distmirror/ca
//! ```
//!
//! It opens no connection but to those two.

#![expect(clippy::print_stdout, reason = "it tells where it listens")]

use std::{env, error::Error, path::Path, sync::Arc};

use distmirror::{
    backends::{
        blobs::{self, BlobOptions},
        catalog::{CatalogOptions, SqlCatalog},
    },
    core::Mirror,
    proxy::{CertificateAuthority, Options, Proxy},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [catalog, blobs, authority] = arguments.as_slice() else {
        return Err("usage: proxy_alone CATALOG_URL BLOBS_URL CA_FOLDER".into());
    };
    let catalog =
        SqlCatalog::open(&CatalogOptions { url: catalog.clone(), max_connections: 4, migrate: false }).await?;
    let blobs = blobs::open(&BlobOptions { url: blobs.clone(), options: Default::default() }).await?;
    let mirror = Arc::new(Mirror::new(Arc::new(catalog), blobs, Default::default()));

    let authority = CertificateAuthority::load_or_create(Path::new(authority))?;
    let proxy = Proxy::new(mirror, authority, Options::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("proxy on http://{}", listener.local_addr()?);
    proxy.serve(vec![listener], async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
    Ok(())
}
