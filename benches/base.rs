//! What one look-up, one leaf and one intake cost: the base that later work is compared with.
//!
//! ```sh
//! cargo bench --bench base
//! ```

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use distmirror::{
    backends::{
        blobs::{self, BlobOptions},
        catalog::{CatalogOptions, SqlCatalog},
    },
    core::{
        ArtifactName, Artifacts, Catalog, Checksums, Content, Declare, Digests, Fetched, Fetches, Host, Intake,
        LeaseRequest, Mirror, Source, memory::MemoryBlobStore,
    },
    proxy::CertificateAuthority,
};
use divan::{Bencher, counter::BytesCount};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// How many artifacts the catalogs of the look-ups hold.
const ROWS: usize = 10_000;

fn name(at: usize) -> ArtifactName {
    let uri = format!("https://files.example.org/releases/{at}/package-{at}.tar.gz");
    ArtifactName::File(uri.parse().expect("a URI"))
}

/// A SQLite catalog in which every artifact is present.
async fn filled(folder: &TempDir) -> Arc<dyn Catalog> {
    let url = format!("sqlite://{}/catalog.db", folder.path().display());
    let catalog = SqlCatalog::open(&CatalogOptions { url, max_connections: 4, migrate: true }).await.expect("opens");
    let now = Timestamp::now();
    for at in 0..ROWS {
        let declare = Declare { uri: Some(name(at).to_string()), reason: Some("bench".into()), ..Declare::default() };
        let checked = declare.check("bench").expect("a good declaration");
        catalog.declare(&checked, now).await.expect("declares");
    }
    loop {
        let request = LeaseRequest {
            worker: "bench".into(),
            limit: 100,
            lease_for: Duration::from_secs(600),
            busy_hosts: vec![],
        };
        let jobs = catalog.lease(&request, now).await.expect("leases");
        if jobs.is_empty() {
            return Arc::new(catalog);
        }
        for job in jobs {
            let fetched = Fetched::file(content(job.artifact.name.as_str().as_bytes()));
            catalog.complete(&job.lease, &fetched, now).await.expect("completes");
        }
    }
}

fn content(bytes: &[u8]) -> Content {
    Content {
        digests: Digests::of(bytes),
        size: bytes.len() as u64,
        content_type: Some("application/gzip".into()),
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source::default(),
    }
}

#[divan::bench_group]
mod look_up {
    use super::*;

    /// A present artifact, remembered by the mirror.
    #[divan::bench]
    fn in_memory(bencher: Bencher) {
        let (runtime, folder) = (runtime(), TempDir::new().expect("a folder"));
        let catalog = runtime.block_on(filled(&folder));
        let mirror = Mirror::new(catalog, Arc::new(MemoryBlobStore::new()), Default::default());
        runtime.block_on(mirror.resolve(&name(7))).expect("resolves");
        bencher.bench_local(|| runtime.block_on(mirror.resolve(&name(7))).expect("resolves"));
    }

    /// One point look-up in SQLite.
    #[divan::bench]
    fn in_sqlite(bencher: Bencher) {
        let (runtime, folder) = (runtime(), TempDir::new().expect("a folder"));
        let catalog = runtime.block_on(filled(&folder));
        let mut at = 0;
        bencher.bench_local(|| {
            at = (at + 7919) % ROWS;
            runtime.block_on(catalog.named(&name(at).key())).expect("looks up")
        });
    }
}

/// One leaf, for a name that was never seen.
#[divan::bench]
fn mint(bencher: Bencher) {
    let folder = TempDir::new().expect("a folder");
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("an authority");
    let host = Host::parse("files.example.org").expect("a host");
    bencher.bench_local(|| authority.mint(&host).expect("mints"));
}

/// From the first byte to durable in a local directory, all digests computed.
#[divan::bench(args = [50 << 10, 64 << 20], sample_count = 20)]
fn intake(bencher: Bencher, size: usize) {
    let (runtime, folder) = (runtime(), TempDir::new().expect("a folder"));
    let url = format!("file://{}/blobs", folder.path().display());
    let blobs = runtime.block_on(blobs::open(&BlobOptions { url, options: Default::default() })).expect("opens");
    let intake = Intake::open(folder.path().join("spool"), blobs, u64::MAX).expect("opens");
    let mut round = 0_u8;
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        round = round.wrapping_add(1);
        runtime.block_on(async {
            let mut spool = intake.spool("bench").await.expect("spools");
            for _ in 0..size.div_ceil(PIECE) {
                spool.write(Bytes::from(vec![round; size.min(PIECE)])).await.expect("writes");
            }
            spool.finish(&Checksums::none()).await.expect("arrives")
        })
    });
}

const PIECE: usize = 64 << 10;
