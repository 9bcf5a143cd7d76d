//! From the name that a client asks for to the leaf that it is shown: somebody else's verifier finds the leaf good for
//! exactly that host, or the client is refused.

use std::sync::{Arc, LazyLock};

use distmirror_core::{Authority, Host};
use distmirror_proxy::{Entrance, fuzzing};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, DnsName, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::served::SERVED;

/// The input is a name for SNI, and an authority for CONNECT.
pub fn check(input: &[u8]) {
    if (1..=MOST_BYTES).contains(&input.len()) {
        by_sni(input);
        by_connect(input);
    }
}

/// Redirected TLS: a host name gets its leaf, and everything else an alert.
fn by_sni(name: &[u8]) {
    let sent = client_hello(Some(name));
    let answered = SERVED.answer(&sent, |proxy, stream| fuzzing::enter(proxy, stream, Entrance::TransparentHttps));
    let text = std::str::from_utf8(name).ok().filter(|text| DnsName::try_from(*text).is_ok());
    // No dot belongs at the end (RFC 6066 section 3), and rustls takes off the one that some clients leave there.
    let host = text.and_then(|text| Host::parse(text.strip_suffix('.').unwrap_or(text)).ok());
    match (shown(&answered), host) {
        (Some(leaf), Some(host)) => is_for_exactly(&leaf, &host),
        (None, None) => assert_eq!(answered.first(), Some(&ALERT), "`{}`", name.escape_ascii()),
        (leaf, host) => panic!("{host:?}, as which `{}` reads, has leaf: {}", name.escape_ascii(), leaf.is_some()),
    }
}

/// A tunnel shows the leaf of the host that was connected to.
fn by_connect(authority: &[u8]) {
    let Ok(text) = std::str::from_utf8(authority) else { return };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let request = format!("CONNECT {text} HTTP/1.1\r\nHost: {text}\r\n\r\n");
    let sent = [request.as_bytes(), &client_hello(None)].concat();
    let answered = SERVED.answer(&sent, |proxy, stream| fuzzing::enter(proxy, stream, Entrance::Proxy));
    if !answered.starts_with(b"HTTP/1.1 200 ") {
        return;
    }
    let head = answered.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of the head") + 4;
    let leaf = shown(&answered[head..]).expect("a tunnel shows a leaf");
    is_for_exactly(&leaf, &Authority::parse(text, 443).expect("it was accepted").host);
}

fn is_for_exactly(leaf: &CertificateDer<'_>, host: &Host) {
    let (rest, parsed) = X509Certificate::from_der(leaf).expect("a certificate");
    assert!(rest.is_empty(), "something follows the certificate for {host}");
    let names = parsed.subject_alternative_name().expect("one extension").expect("an alternative name");
    let own = match (&names.value.general_names[..], host) {
        ([GeneralName::DNSName(name)], Host::Name(own)) => name == own,
        ([GeneralName::IPAddress(octets)], Host::V4(own)) => *octets == own.octets(),
        ([GeneralName::IPAddress(octets)], Host::V6(own)) => *octets == own.octets(),
        _ => false,
    };
    assert!(own, "{:?} for {host}", names.value.general_names);
    assert!(!parsed.is_ca());
    let bare = host.bare();
    // Some names of the DNS no verifier takes, such as those with a `-` at the end of a label.
    assert!(ServerName::try_from(bare.as_str()).is_err() || is_good_for(leaf, &bare), "not for {host}");
    let parent = bare.split_once('.').map_or("test", |(_, parent)| parent);
    for other in [format!("x.{bare}"), format!("x{bare}"), parent.to_owned(), "192.0.2.1".to_owned()] {
        assert!(other == bare || !is_good_for(leaf, &other), "the leaf for {host} is good for {other}");
    }
}

fn is_good_for(leaf: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    VERIFIER.verify_server_cert(leaf, &[], &name, &[], UnixTime::now()).is_ok()
}

static VERIFIER: LazyLock<Arc<WebPkiServerVerifier>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(SERVED.ca.as_bytes()).expect("a certificate")).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier")
});

/// A ClientHello of TLS 1.2, after which the server's certificate comes in clear (RFC 5246 section 7.4).
fn client_hello(name: Option<&[u8]>) -> Vec<u8> {
    let mut extensions =
        vec![extension(10, &[0, 2, 0, 23]), extension(11, &[1, 0]), extension(13, &[0, 2, 4, 3]), extension(23, &[])];
    extensions.extend(name.map(|name| extension(0, &with_length(&[&[0], &with_length(name)[..]].concat()))));
    let one_cipher_suite = [0, 2, 0xc0, 0x2b, 1, 0];
    let body = [&[3, 3][..], &[7; 32], &[0], &one_cipher_suite, &with_length(&extensions.concat())].concat();
    let message = [&[CLIENT_HELLO, 0][..], &with_length(&body)].concat();
    [&[HANDSHAKE, 3, 1][..], &with_length(&message)].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(value)].concat()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("the input is short");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The first certificate of the server's first flight, if there is one.
fn shown(mut records: &[u8]) -> Option<CertificateDer<'static>> {
    let mut messages = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = records {
        let (payload, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        if *kind == HANDSHAKE {
            messages.extend_from_slice(payload);
        }
        records = rest;
    }
    let mut messages = &messages[..];
    while let Some((kind, rest)) = messages.split_first() {
        let (message, rest) = counted(rest);
        if *kind == CERTIFICATE {
            let (certificates, _) = counted(message);
            return Some(CertificateDer::from(counted(certificates).0.to_vec()));
        }
        messages = rest;
    }
    None
}

/// What three bytes of length announce, and what follows it.
fn counted(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
    bytes[3..].split_at(length)
}

/// Content types of records, and types of handshake messages.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
/// No name has more than 253.
const MOST_BYTES: usize = 300;
