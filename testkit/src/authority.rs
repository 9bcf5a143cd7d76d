//! The identity of a TLS server: a new CA and a certificate that it signed.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    certificate: Certificate,
    key: KeyPair,
}

impl Identity {
    /// A certificate for these names, `localhost` and 127.0.0.1, from a CA that nobody has seen before.
    pub(crate) fn new(host_names: &[&str]) -> Self {
        let authority = authority();
        let key = KeyPair::generate().expect("a key can be generated");
        let certificate = server_parameters(host_names).signed_by(&key, &authority).expect("our own CA can sign");
        Self { ca_pem: authority.pem(), certificate, key }
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn server_config(&self) -> ServerConfig {
        let private_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut server_config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], private_key)
            .expect("the key belongs to the certificate");
        server_config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server_config
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = lasting(CertificateParams::default());
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.distinguished_name.push(DnType::CommonName, "testkit upstream CA");
    let key = KeyPair::generate().expect("a key can be generated");
    CertifiedIssuer::self_signed(parameters, key).expect("a CA can sign itself")
}

fn server_parameters(host_names: &[&str]) -> CertificateParams {
    let names = host_names.iter().copied().chain(["localhost", "127.0.0.1"]);
    let parameters = CertificateParams::new(names.map(str::to_owned).collect::<Vec<_>>());
    let mut parameters = lasting(parameters.expect("host names that fit into a certificate"));
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// Valid whenever a test runs: nothing here is about dates.
fn lasting(mut parameters: CertificateParams) -> CertificateParams {
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2049, 1, 1);
    parameters
}
