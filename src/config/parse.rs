//! From the text of a value to what it means. Pure functions; an error says what to write instead.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use distmirror_backends::{blobs, catalog};
use distmirror_core::{Authority, Sha256};
use distmirror_fetch::AddressPolicy;
use ipnet::IpNet;
use jiff::SignedDuration;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{AuthMode, BackendUrl, LogFormat, OutboundProxyConfig, Secret, SecretSource};

/// A time span with units: `30s`, `5m`, `500ms`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let shape = || format!("`{}` is not a time span: write it with its unit, as in `30s` or `5m`", shown(text));
    let parsed: SignedDuration = text.trim().parse().map_err(|_| shape())?;
    let duration = Duration::try_from(parsed).map_err(|_| shape())?;
    if duration.is_zero() || duration > LONGEST {
        return Err("must be longer than nothing and not longer than 30 days".to_owned());
    }
    Ok(duration)
}

/// A size in bytes: `1024`, `100 MB`, `4 GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let shape = || {
        format!(
            "`{}` is not a size: write a whole number, alone or with a unit, as in `100 MB` or `4 GiB`",
            shown(text)
        )
    };
    let text = text.trim();
    let end_of_digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end_of_digits);
    let factor = unit_of_size(unit.trim()).ok_or_else(shape)?;
    let number: u64 = digits.parse().map_err(|_| shape())?;
    let bytes = number.checked_mul(factor).filter(|bytes| i64::try_from(*bytes).is_ok());
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "must be at least 1 byte and less than 8 EiB".to_owned())
}

fn unit_of_size(unit: &str) -> Option<u64> {
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    Some(factor)
}

/// A URL under which a file may be found by its digest.
pub(super) fn rescue_url(text: &str) -> Result<String, String> {
    let shape = || {
        format!(
            "`{}` is not where a file may be found: write it as in `https://mirror.example.org/{{algorithm}}/{{hex}}`",
            shown(text)
        )
    };
    let filled = ["{algorithm}", "{hex}", "{host}", "{path}", "{name}"]
        .iter()
        .fold(text.to_owned(), |url, field| url.replace(field, "x"));
    let is_good = filled != text && !filled.contains(['{', '}']) && filled.parse::<distmirror_core::Uri>().is_ok();
    if is_good { Ok(text.to_owned()) } else { Err(shape()) }
}

/// An address to listen on, with its port.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| {
        format!("`{}` is not an address with a port: write it as in `127.0.0.1:3128` or `[::1]:3128`", shown(text))
    })
}

/// The URL of a site, returned without a slash at its end.
pub(super) fn web_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let bad = |why| Err(format!("`{}` {why}: write it as in `https://mirror.example.com`", shown(text)));
    if text.contains('@') {
        return Err("must not hold a user name or a password".to_owned());
    }
    let Ok(url) = Url::parse(text) else { return bad("is not a URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return bad("is not an http or https URL");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return bad("has a query or a fragment");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The URL of a catalog.
pub(super) fn catalog_url(text: &str) -> Result<BackendUrl, String> {
    catalog::check_url(text).map(|()| BackendUrl::new(text))
}

/// The URL of a blob store.
pub(super) fn blobs_url(text: &str) -> Result<BackendUrl, String> {
    blobs::check_url(text).map(|()| BackendUrl::new(text))
}

/// A proxy on the way out, perhaps with a user name and a password.
pub(super) fn outbound_proxy(text: &str) -> Result<OutboundProxyConfig, String> {
    // The text may hold a password, and is not shown.
    let bad = |why: &str| format!("{why}: write it as in `http://proxy.example.com:3128`");
    let url = Url::parse(text.trim()).map_err(|_| bad("is not a URL"))?;
    if url.scheme() != "http" || !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("is not the `http` URL of a proxy"));
    }
    let host = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let authority = Authority::parse(&host, 80).map_err(|error| bad(&error.to_string()))?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(Cow::into_owned);
    let decoded = |text: &str| decoded(text).map_err(|_| bad("has a user name or password that is not UTF-8"));
    let username = Some(url.username()).filter(|name| !name.is_empty()).map(decoded).transpose()?;
    let password = url.password().map(decoded).transpose()?.map(|password| SecretSource::Here(Secret::new(password)));
    Ok(OutboundProxyConfig { authority, username, password, except: Vec::new() })
}

/// A range of addresses, as [`AddressPolicy`] takes it.
pub(super) fn address_range(text: &str) -> Result<String, String> {
    match AddressPolicy::new(&[text.to_owned()], Vec::new()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "`{}` is not a range of addresses with a port: write it as in `10.1.2.0/24:443` or `[fd00::/8]:443`",
            shown(text)
        )),
    }
}

/// A range of addresses without a port, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.trim().parse().or_else(|_| text.trim().parse::<IpAddr>().map(IpNet::from));
    parsed.map_err(|_| {
        format!("`{}` is not a range of addresses: write it as in `10.1.2.0/24`, `fd00::/8` or `10.1.2.3`", shown(text))
    })
}

/// The name of somebody who signs in by `Basic` (RFC 7617 section 2).
pub(super) fn user_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c == ':' || c.is_control()) {
        return Err(format!(
            "`{}` is not a user's name: it must have characters, and no colon among them",
            shown(text)
        ));
    }
    Ok(text.to_owned())
}

/// The SHA-256 of something. The message does not repeat it: it may be the secret itself.
pub(super) fn sha256(text: &str) -> Result<Sha256, String> {
    text.trim()
        .parse()
        .map_err(|_| "must be 64 hexadecimal digits, as `printf %s PASSWORD | sha256sum` prints".to_owned())
}

/// A host name or an address, perhaps with a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    match Authority::parse(text, 80) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}: write a name as in `mirror.example.com`")),
    }
}

/// The way of signing in.
pub(super) fn auth_mode(text: &str) -> Result<AuthMode, String> {
    match text {
        "none" => Ok(AuthMode::None),
        "tokens" | "oidc" | "header" => Err(format!("`{text}` is not supported in this version: use `none`")),
        other => Err(format!("`{}` is not a way of signing in: use `none`", shown(other))),
    }
}

/// For people or for machines.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("`{}` is not a format of the log: use `text` or `json`", shown(other))),
    }
}

/// A level, and levels for parts, separated by commas. The library behind it would take a misspelt level for a part.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(format!("`{}` is not a level: use {}", shown(level), LEVELS.join(", ")));
        }
    }
    Ok(text.to_owned())
}

/// A value for a message: short, and without characters that would upset a terminal.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LONGEST_SHOWN: usize = 60;
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans() {
        for (text, milliseconds) in
            [("30s", 30_000), ("5m", 300_000), ("500ms", 500), ("1h 30m", 5_400_000), (" 2 s ", 2000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "0s", "1 year", "31d", "40000h", "30 s econds", "1e3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1024", 1024),
            ("1 B", 1),
            ("100 MB", 100_000_000),
            ("4 GiB", 4 << 30),
            ("4gib", 4 << 30),
            (" 2  kB ", 2000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "MB", "1.5 GiB", "-1", "4 G", "4 gigs", "9999999999 TiB", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_of_addresses() {
        for text in ["10.1.2.0/24:443", "127.0.0.0/8:65535", "10.1.2.3:80", "[fd00::/8]:443", "[::1]:80"] {
            assert_eq!(address_range(text).as_deref(), Ok(text));
        }
        for text in ["", "10.1.2.0/33:1", "10.1.2.0/24:0", "[fd00::/129]:1", "host:80"] {
            assert!(address_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        for (given, expected) in
            [("10.1.2.0/24", "10.1.2.0/24"), (" fd00::/8", "fd00::/8"), ("10.1.2.3", "10.1.2.3/32"), ("::1", "::1/128")]
        {
            assert_eq!(network(given).map(|network| network.to_string()).as_deref(), Ok(expected));
        }
        for text in ["", "10.1.2.0/33", "10.1.2.0/24:443", "[::1]", "host"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn levels_of_the_log() {
        for text in ["info", "WARN", "info,distmirror_proxy=debug", "distmirror=trace,off"] {
            assert_eq!(log_level(text).as_deref(), Ok(text));
        }
        for text in ["", "verbose", "info,", "a=b"] {
            assert!(log_level(text).is_err(), "{text}");
        }
    }
}
