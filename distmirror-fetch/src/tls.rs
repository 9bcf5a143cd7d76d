//! What the upstream client trusts: the roots of the system and those of the configuration, nothing less.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::Error;

/// A client configuration that trusts the system's roots and these, and offers HTTP/2 and HTTP/1.1.
pub(crate) fn client_config(trusted_roots: &[String]) -> Result<ClientConfig, Error> {
    let mut roots = system_roots();
    for (index, text) in trusted_roots.iter().enumerate() {
        add_pem(&mut roots, text).map_err(|problem| Error::TrustedRoots { index, problem })?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("the system has no root certificates: https works only with fetch.trusted_roots");
    }
    roots
}

fn add_pem(roots: &mut RootCertStore, text: &str) -> Result<(), String> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 { Err("there is no `BEGIN CERTIFICATE` in it".to_owned()) } else { Ok(()) }
}
