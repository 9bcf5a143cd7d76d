//! The bytes of a leaf certificate: RFC 5280, with the identifiers of the issuer copied as they are.

use distmirror_core::{Host, Sha256};
use rustls::{pki_types::CertificateDer, sign::Signer};
use time::OffsetDateTime;
use yasna::{
    DERWriter, Tag,
    models::{GeneralizedTime, ObjectIdentifier, UTCTime},
};

/// What a leaf takes from the authority that signs it.
pub(crate) struct Issuer {
    /// The subject of the CA certificate, as it is encoded there.
    pub(crate) name: Vec<u8>,
    /// The subject key identifier of the CA certificate.
    pub(crate) key_identifier: Vec<u8>,
    /// The inside of the `AlgorithmIdentifier`.
    pub(crate) algorithm: Vec<u8>,
    /// Signs by that algorithm.
    pub(crate) signer: Box<dyn Signer>,
}

/// Signs a leaf for one host and one public key (a `SubjectPublicKeyInfo`).
pub(crate) fn sign(
    issuer: &Issuer,
    host: &Host,
    public_key_info: &[u8],
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<CertificateDer<'static>, String> {
    let algorithm =
        yasna::construct_der(|writer| writer.write_sequence(|inner| inner.next().write_der(&issuer.algorithm)));
    let to_be_signed = yasna::construct_der(|writer| {
        writer.write_sequence(|fields| {
            fields.next().write_tagged(Tag::context(0), |version| version.write_u8(2));
            fields.next().write_bigint_bytes(&serial(), true);
            fields.next().write_der(&algorithm);
            fields.next().write_der(&issuer.name);
            fields.next().write_sequence(|validity| {
                write_time(validity.next(), not_before);
                write_time(validity.next(), not_after);
            });
            write_subject(fields.next(), host);
            fields.next().write_der(public_key_info);
            fields.next().write_tagged(Tag::context(3), |extensions| {
                write_extensions(extensions, issuer, host, public_key_info)
            });
        });
    });
    let signature = issuer.signer.sign(&to_be_signed).map_err(|error| error.to_string())?;
    let certificate = yasna::construct_der(|writer| {
        writer.write_sequence(|parts| {
            parts.next().write_der(&to_be_signed);
            parts.next().write_der(&algorithm);
            parts.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    });
    Ok(CertificateDer::from(certificate))
}

/// A key identifier by method 1 of RFC 7093 section 2: the leftmost 160 bits of the SHA-256 of the public key.
pub(crate) fn key_identifier(public_key: &[u8]) -> Vec<u8> {
    Sha256::of(public_key).as_bytes()[..20].to_vec()
}

/// 127 random bits: unique, positive, within 20 bytes (RFC 5280 section 4.1.2.2).
fn serial() -> [u8; 16] {
    let mut serial = *uuid::Uuid::new_v4().as_bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime after that.
fn write_time(writer: DERWriter<'_>, time: OffsetDateTime) {
    let time = time.replace_nanosecond(0).unwrap_or(time);
    if time.year() < 2050 {
        writer.write_utctime(&UTCTime::from_datetime(time));
    } else {
        writer.write_generalized_time(&GeneralizedTime::from_datetime(time));
    }
}

/// A common name where there may be one; else an empty subject, and the alternative name is critical (RFC 5280 section 4.1.2.6).
fn write_subject(writer: DERWriter<'_>, host: &Host) {
    writer.write_sequence(|names| {
        if let Some(name) = common_name(host) {
            names.next().write_set(|set| {
                set.next().write_sequence(|attribute| {
                    attribute.next().write_oid(&ObjectIdentifier::from_slice(COMMON_NAME));
                    attribute.next().write_utf8_string(&name);
                });
            });
        }
    });
}

/// No address: where the name constraints of an authority permit names, OpenSSL and GnuTLS take an address in this place for a name
/// that is not among them. And nothing longer than the upper bound `ub-common-name` of RFC 5280 appendix A.
fn common_name(host: &Host) -> Option<String> {
    matches!(host, Host::Name(_)).then(|| host.bare()).filter(|name| name.len() <= 64)
}

fn write_extensions(writer: DERWriter<'_>, issuer: &Issuer, host: &Host, public_key_info: &[u8]) {
    let alternative_name_is_critical = common_name(host).is_none();
    writer.write_sequence(|list| {
        // An empty sequence says CA:FALSE.
        write_extension(list.next(), BASIC_CONSTRAINTS, true, |value| value.write_sequence(|_| {}));
        write_extension(list.next(), KEY_USAGE, true, |value| value.write_bitvec_bytes(&[0b1000_0000], 1));
        write_extension(list.next(), EXTENDED_KEY_USAGE, false, |value| {
            value
                .write_sequence(|usages| usages.next().write_oid(&ObjectIdentifier::from_slice(SERVER_AUTHENTICATION)));
        });
        write_extension(list.next(), SUBJECT_KEY_IDENTIFIER, false, |value| {
            value.write_bytes(&key_identifier(public_key_info))
        });
        write_extension(list.next(), AUTHORITY_KEY_IDENTIFIER, false, |value| {
            value.write_sequence(|parts| {
                parts.next().write_tagged_implicit(Tag::context(0), |id| id.write_bytes(&issuer.key_identifier))
            });
        });
        write_extension(list.next(), SUBJECT_ALTERNATIVE_NAME, alternative_name_is_critical, |value| {
            value.write_sequence(|names| write_alternative_name(names.next(), host));
        });
    });
}

fn write_alternative_name(writer: DERWriter<'_>, host: &Host) {
    const DNS_NAME: u64 = 2;
    const IP_ADDRESS: u64 = 7;
    match host {
        Host::Name(name) => writer.write_tagged_implicit(Tag::context(DNS_NAME), |value| value.write_ia5_string(name)),
        Host::V4(address) => {
            writer.write_tagged_implicit(Tag::context(IP_ADDRESS), |value| value.write_bytes(&address.octets()))
        }
        Host::V6(address) => {
            writer.write_tagged_implicit(Tag::context(IP_ADDRESS), |value| value.write_bytes(&address.octets()))
        }
    }
}

fn write_extension(writer: DERWriter<'_>, identifier: &[u64], critical: bool, value: impl FnOnce(DERWriter<'_>)) {
    writer.write_sequence(|extension| {
        extension.next().write_oid(&ObjectIdentifier::from_slice(identifier));
        if critical {
            extension.next().write_bool(true);
        }
        extension.next().write_bytes(&yasna::construct_der(value));
    });
}

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const SUBJECT_ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const SERVER_AUTHENTICATION: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
