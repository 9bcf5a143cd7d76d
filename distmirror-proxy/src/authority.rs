//! The organisation's own certificate authority: loading it, making one on first start, and signing leaves.
//!
//! The key signs leaves and nothing else; leaves have a key of their own. Issuer name and authority key identifier of a
//! leaf are copied from the CA certificate's own bytes, because verifiers compare bytes and an encoder would write some
//! names differently from how the organisation's tools wrote them.

use std::{
    fmt, fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use distmirror_core::{
    Host, Sha256,
    durable::{folder_of, make_folders, sync_folder},
};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    SignatureScheme,
    pki_types::{AlgorithmIdentifier, CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, alg_id, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};
use time::OffsetDateTime;
use uuid::Uuid;
use x509_parser::{extensions::ParsedExtension, prelude::FromDer};

use crate::{Error, Result, leaf};

/// A certificate authority that can sign leaves.
pub struct CertificateAuthority {
    pem: String,
    chain: Vec<CertificateDer<'static>>,
    issuer: leaf::Issuer,
    not_after: OffsetDateTime,
    leaf_key: Arc<dyn SigningKey>,
    leaf_key_info: Vec<u8>,
}

impl CertificateAuthority {
    /// Loads a certificate, or a chain that starts with the one that signs, and its key from PEM files.
    ///
    /// # Errors
    /// [`Error::Authority`] with the file and the remedy: a file is missing or not PEM, the key is encrypted or belongs to
    /// another certificate, the certificate is not one of an authority, or has expired.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self> {
        let pem = read(certificate)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| Error::authority(certificate, format!("is not PEM: {error}")))?;
        if chain.is_empty() {
            return Err(Error::authority(certificate, "has no certificate in it"));
        }
        warn_if_readable(key);
        let signer = load_key(key)?;
        Self::new(pem, chain, signer.as_ref()).map_err(|problem| match problem {
            Flaw::Certificate(message) => Error::authority(certificate, message),
            Flaw::Key(message) => Error::authority(key, message),
        })
    }

    /// Loads `certificate.pem` and `key.pem` from a folder, and makes both when the folder is not there. Processes that start at
    /// once agree on one authority.
    ///
    /// # Errors
    /// [`Error::Authority`] as for [`load`](Self::load), or when the folder cannot be made.
    pub fn load_or_create(folder: &Path) -> Result<Self> {
        if !folder.exists() {
            Self::create(folder)?;
        }
        Self::load(&folder.join(CERTIFICATE_FILE), &folder.join(KEY_FILE))
    }

    /// Makes an authority in a folder that is not there: certificate `certificate.pem`, key `key.pem` with mode 0600.
    ///
    /// # Errors
    /// [`Error::Authority`] when the folder cannot be made.
    pub fn create(folder: &Path) -> Result<()> {
        let fail = |error: io::Error| Error::authority(folder, format!("cannot be made: {error}"));
        let (certificate, key) = generate().map_err(|error| Error::authority(folder, error.to_string()))?;
        let staging = staging_folder(folder);
        make_folders(&staging, 0o700).map_err(fail)?;
        write_durably(&staging.join(KEY_FILE), 0o600, &key).map_err(fail)?;
        write_durably(&staging.join(CERTIFICATE_FILE), 0o644, &certificate).map_err(fail)?;
        fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).map_err(fail)?;
        // Before the rename: a folder that is there without its key would be in the way of every later start.
        sync_folder(&staging).map_err(fail)?;
        // The folder appears whole or not at all; whoever renames second finds the first one's and uses that.
        let renamed = fs::rename(&staging, folder);
        if renamed.is_err() {
            fs::remove_dir_all(&staging).map_err(fail)?;
        }
        match renamed {
            Err(error) if !folder.join(CERTIFICATE_FILE).exists() => Err(fail(error)),
            _ => sync_folder(folder_of(folder)).map_err(fail),
        }
    }

    /// The certificate or chain as PEM, for clients to trust. Never holds a key.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a leaf for exactly this host, with the chain that a client needs.
    ///
    /// # Errors
    /// [`Error::Mint`] when the key refuses to sign, or the authority has expired meanwhile.
    pub fn mint(&self, host: &Host) -> Result<CertifiedKey> {
        let now = OffsetDateTime::now_utc();
        let not_after = (now + LEAF_LIFE).min(self.not_after);
        if not_after <= now {
            return Err(Error::Mint { host: host.to_string(), problem: "the CA certificate has expired".to_owned() });
        }
        let leaf = leaf::sign(&self.issuer, host, &self.leaf_key_info, now - CLOCK_SKEW, not_after);
        let leaf = leaf.map_err(|problem| Error::Mint { host: host.to_string(), problem })?;
        let mut chain = vec![leaf];
        chain.extend(self.chain.iter().cloned());
        Ok(CertifiedKey::new(chain, Arc::clone(&self.leaf_key)))
    }

    fn new(pem: String, chain: Vec<CertificateDer<'static>>, signer: &dyn SigningKey) -> Result<Self, Flaw> {
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&chain[0])
            .map_err(|error| Flaw::Certificate(format!("is not a certificate: {error}")))?;
        let not_after = parsed.validity().not_after.to_datetime();
        check_authority(&parsed, not_after)?;
        let own_key = signer.public_key().ok_or_else(|| Flaw::Key("is of a kind that cannot sign".to_owned()))?;
        if own_key.as_ref() != parsed.public_key().raw {
            return Err(Flaw::Key(
                "belongs to another certificate: give the key of the first certificate in the file".to_owned(),
            ));
        }
        let (scheme, algorithm) = signature_algorithm(signer).ok_or_else(|| {
            Flaw::Key("is of a kind that cannot sign certificates: use EC, RSA or Ed25519".to_owned())
        })?;
        let issuer = leaf::Issuer {
            name: parsed.subject().as_raw().to_vec(),
            key_identifier: key_identifier(&parsed),
            algorithm: algorithm.as_ref().to_vec(),
            signer: signer.choose_scheme(&[scheme]).ok_or_else(|| Flaw::Key("refuses its own algorithm".to_owned()))?,
        };
        let (leaf_key, leaf_key_info) = generate_leaf_key().map_err(Flaw::Key)?;
        // A root is what clients have; only what stands between it and the leaf needs to be sent.
        let is_root = parsed.subject() == parsed.issuer();
        let sent = if is_root { Vec::new() } else { chain.clone() };
        Ok(Self { pem, chain: sent, issuer, not_after, leaf_key, leaf_key_info })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// What is wrong, and with which of the two files.
enum Flaw {
    Certificate(String),
    Key(String),
}

fn check_authority(
    certificate: &x509_parser::certificate::X509Certificate<'_>,
    not_after: OffsetDateTime,
) -> Result<(), Flaw> {
    let is_ca = certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
    if !is_ca {
        return Err(Flaw::Certificate(
            "is not the certificate of an authority (basicConstraints CA:TRUE is missing)".to_owned(),
        ));
    }
    if certificate.key_usage().ok().flatten().is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(Flaw::Certificate("may not sign certificates (keyUsage has no keyCertSign)".to_owned()));
    }
    let now = OffsetDateTime::now_utc();
    if not_after <= now {
        return Err(Flaw::Certificate(format!("has expired on {}", not_after.date())));
    }
    if certificate.validity().not_before.to_datetime() > now {
        return Err(Flaw::Certificate("is not valid yet: check the clock".to_owned()));
    }
    Ok(())
}

/// The subject key identifier of the CA, byte for byte; where it has none, the method of RFC 7093 section 2.
fn key_identifier(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<u8> {
    let own = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    });
    own.unwrap_or_else(|| leaf::key_identifier(&certificate.public_key().subject_public_key.data))
}

/// The algorithm to sign with, which the key decides.
fn signature_algorithm(key: &dyn SigningKey) -> Option<(SignatureScheme, AlgorithmIdentifier)> {
    let known = [
        (SignatureScheme::ECDSA_NISTP256_SHA256, alg_id::ECDSA_SHA256),
        (SignatureScheme::ECDSA_NISTP384_SHA384, alg_id::ECDSA_SHA384),
        (SignatureScheme::ECDSA_NISTP521_SHA512, alg_id::ECDSA_SHA512),
        (SignatureScheme::ED25519, alg_id::ED25519),
        (SignatureScheme::RSA_PKCS1_SHA256, alg_id::RSA_PKCS1_SHA256),
    ];
    known.into_iter().find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some())
}

fn generate_leaf_key() -> Result<(Arc<dyn SigningKey>, Vec<u8>), String> {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|error| error.to_string())?;
    let info = key.public_key().ok_or("a new key has no public half")?.as_ref().to_vec();
    Ok((key, info))
}

fn generate() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let now = OffsetDateTime::now_utc();
    let fingerprint = Sha256::of(key.public_key_raw()).hex();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "distmirror");
    name.push(DnType::CommonName, format!("distmirror CA {}", &fingerprint[..8]));
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + CA_LIFE;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn load_key(path: &Path) -> Result<Arc<dyn SigningKey>> {
    let text = read(path)?;
    if text.contains("ENCRYPTED") {
        return Err(Error::authority(
            path,
            "is encrypted: give a key without a passphrase, readable by this user only",
        ));
    }
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| Error::authority(path, format!("has no private key in PEM: {error}")))?;
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)
        .map_err(|error| Error::authority(path, format!("cannot be used: {error}")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::authority(path, format!("cannot be read: {error}")))
}

fn warn_if_readable(key: &Path) {
    let mode = fs::metadata(key).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(file = %key.display(), mode = format!("{:o}", mode & 0o777), "others can read the CA key: whoever has it can pose as any site; set its mode to 0600");
    }
}

fn staging_folder(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{}", Uuid::new_v4().simple()))
}

fn write_durably(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The certificate in the folder of an authority made here.
pub const CERTIFICATE_FILE: &str = "certificate.pem";
/// The key beside it.
pub const KEY_FILE: &str = "key.pem";

/// How far a client's clock may be behind.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);
/// How long a leaf is valid; never longer than the CA.
const LEAF_LIFE: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long an authority made here is valid.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
