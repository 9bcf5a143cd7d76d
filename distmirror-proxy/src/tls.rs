//! TLS configurations by host: minted once under concurrency, remembered with a bound, never shared between names.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use distmirror_core::Host;
use moka::sync::Cache;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::{CertificateAuthority, Error, metrics::METRICS};

/// Hands out the TLS configuration for a host.
#[derive(Debug)]
pub(crate) struct Leaves {
    authority: CertificateAuthority,
    provider: Arc<CryptoProvider>,
    known: Cache<Host, Arc<ServerConfig>>,
}

impl Leaves {
    pub(crate) fn new(authority: CertificateAuthority, capacity: u64) -> Self {
        let known = Cache::builder().max_capacity(capacity).time_to_live(REMEMBER_FOR).build();
        Self { authority, provider: Arc::new(aws_lc_rs::default_provider()), known }
    }

    pub(crate) fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// The configuration that shows a leaf for exactly this host. Many callers at once mint it once.
    pub(crate) fn config(&self, host: &Host) -> Result<Arc<ServerConfig>, Arc<Error>> {
        let entry = self.known.entry_by_ref(host).or_try_insert_with(|| self.build(host))?;
        let lookups = if entry.is_fresh() { &METRICS.leaf_misses } else { &METRICS.leaf_hits };
        lookups.increment(1);
        Ok(entry.into_value())
    }

    /// Shows how many leaves are remembered.
    pub(crate) fn measure(&self) {
        // The count is brought up to date by this, or by many look-ups.
        self.known.run_pending_tasks();
        METRICS.leaves_cached.set(self.known.entry_count() as f64);
    }

    fn build(&self, host: &Host) -> Result<Arc<ServerConfig>, Error> {
        let started = Instant::now();
        let leaf = Arc::new(self.authority.mint(host)?);
        METRICS.minted.increment(1);
        METRICS.mint_seconds.record(started.elapsed());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.map_err(|error| Error::Mint { host: host.to_string(), problem: error.to_string() })?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(OneLeaf(leaf)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // No resumption: it would save one P-256 signature, and could never be allowed to cross names.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// Shows one leaf whatever name the client asks for: which host this is was decided by the CONNECT authority.
struct OneLeaf(Arc<CertifiedKey>);

impl ResolvesServerCert for OneLeaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl fmt::Debug for OneLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneLeaf")
    }
}

/// Shorter than a leaf lives, so that none is shown close to its end.
const REMEMBER_FOR: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(capacity: u64) -> Leaves {
        let folder = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).unwrap();
        Leaves::new(authority, capacity)
    }

    #[test]
    fn many_at_once_get_the_one_leaf_that_was_minted() {
        let leaves = leaves(100);
        let host = Host::parse("example.test").unwrap();
        let configs: Vec<_> = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..32).map(|_| scope.spawn(|| leaves.config(&host).unwrap())).collect();
            tasks.into_iter().map(|task| task.join().unwrap()).collect()
        });
        assert!(configs.iter().all(|config| Arc::ptr_eq(config, &configs[0])));
        let other = leaves.config(&Host::parse("other.test").unwrap()).unwrap();
        assert!(!Arc::ptr_eq(&other, &configs[0]), "names share nothing");
    }

    #[test]
    fn no_more_leaves_are_remembered_than_allowed() {
        let leaves = leaves(10);
        for number in 0..50 {
            leaves.config(&Host::parse(&format!("host{number}.test")).unwrap()).unwrap();
        }
        leaves.known.run_pending_tasks();
        assert!(leaves.known.entry_count() <= 10, "{}", leaves.known.entry_count());
    }
}
