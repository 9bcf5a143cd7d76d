//! TLS configurations by host: minted once under concurrency, remembered with a bound, never shared between names.

use std::{fmt, sync::Arc, time::Duration};

use distmirror_core::Host;
use moka::sync::Cache;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::{CertificateAuthority, Error};

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
        self.known.try_get_with_by_ref(host, || self.build(host))
    }

    fn build(&self, host: &Host) -> Result<Arc<ServerConfig>, Error> {
        let leaf = Arc::new(self.authority.mint(host)?);
        metrics::counter!("distmirror_leaves_minted_total").increment(1);
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
