//! Authorities, as in CONNECT and `Host`: printing and reading again changes nothing, and what is accepted is for every
//! other reader the same host, never an address in disguise.

use std::net::IpAddr;

use distmirror_core::{Authority, Host, Scheme, Uri};
use url::Url;

/// The input is the text of an authority.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(authority) = Authority::parse(text, DEFAULT_PORT) else { return };
    assert_ne!(authority.port, 0, "{text:?}");
    reads_itself(&authority);
    is_what_it_looks_like(text, &authority.host);
    is_the_same_for_the_url_crate(text, &authority);
}

fn reads_itself(authority: &Authority) {
    for scheme in [Scheme::Http, Scheme::Https] {
        let printed = authority.for_scheme(scheme);
        assert_eq!(Authority::parse(&printed, scheme.default_port()).as_ref(), Ok(authority), "{printed:?}");
        let uri = Uri::from_parts(scheme, authority.clone(), "").expect("an authority is part of a URI");
        assert_eq!(Uri::parse(uri.as_str()).as_ref(), Ok(&uri));
        assert_eq!(uri.authority(), authority);
    }
    let printed = authority.to_string();
    assert_eq!(Authority::parse(&printed, 1).as_ref(), Ok(authority), "{printed:?} names its port");
    assert_eq!(Host::parse(&authority.host.to_string()).as_ref(), Ok(&authority.host));
}

/// No name reads as an address, and what was written in ASCII is not replaced by another name.
fn is_what_it_looks_like(text: &str, host: &Host) {
    let printed = host.to_string();
    if let Host::Name(name) = host {
        assert!(name.parse::<IpAddr>().is_err() && !is_numbers_and_dots(name), "{text:?} reads as an address");
    }
    if text.is_ascii() && !matches!(host, Host::V6(_)) {
        let written = text.split(':').next().unwrap_or_default().to_ascii_lowercase();
        assert_eq!(printed, written, "{text:?}");
    }
}

/// Whether `inet_aton` takes this for an address: one to four numbers, each decimal, octal or hexadecimal.
fn is_numbers_and_dots(name: &str) -> bool {
    let is_number = |part: &str| match part.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()),
    };
    name.split('.').count() <= 4 && name.split('.').all(is_number)
}

/// The standard of browsers (WHATWG URL) is what many clients dial by.
fn is_the_same_for_the_url_crate(text: &str, authority: &Authority) {
    let url = Url::parse(&format!("https://{text}/"));
    let url = url.unwrap_or_else(|error| panic!("{text:?} is {authority} here, and {error} there"));
    let host = match &authority.host {
        Host::Name(name) => url::Host::Domain(name.as_str()),
        Host::V4(address) => url::Host::Ipv4(*address),
        Host::V6(address) => url::Host::Ipv6(*address),
    };
    assert_eq!(url.host(), Some(host), "{text:?}");
    assert_eq!(url.port_or_known_default(), Some(authority.port), "{text:?}");
    assert_eq!((url.username(), url.password(), url.path()), ("", None, "/"), "{text:?}");
}

/// That of `https`, as the URL's.
const DEFAULT_PORT: u16 = 443;
