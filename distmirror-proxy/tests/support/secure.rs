//! A client inside TLS that speaks HTTP/2 alone.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Trusts this CA.
pub(crate) fn connector(ca: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the versions are there");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Shakes hands for this host.
pub(crate) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    host: &'static str,
    stream: S,
) -> TlsStream<S> {
    let name = ServerName::try_from(host).expect("a host");
    connector.connect(name, stream).await.expect("the leaf is for this host")
}
