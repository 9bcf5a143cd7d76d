//! The one canonicaliser of URIs, used by declaring, fetching and serving alike.
//!
//! RFC 3986 section 6.2.2 and, for `http` and `https`, section 6.2.3: scheme and host in lower case, international host
//! names as A-labels (UTS 46), the default port dropped, dot segments removed, `%xx` in upper case, and only unreserved
//! characters decoded. The fragment is dropped. Everything else distinguishes: the order of the query, `//`, a trailing
//! `/`, `%2F`, `+`, an empty `?`. User information is refused, because secrets do not belong into names.
//!
//! This module never guesses: a host such as `127.1` or `0x7f.1`, which some resolvers read as an address, is refused.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The longest URI that is accepted, in bytes.
pub const MAX_LENGTH_BYTES: usize = 8192;

/// Why a text is not a URI that the mirror can name an artifact by. The message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UriError(String);

impl UriError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The scheme of an artifact's URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A registered name: ASCII, lower case, A-labels.
    Name(String),
    /// An IPv4 address in four decimal parts.
    V4(Ipv4Addr),
    /// An IPv6 address; written in brackets.
    V6(Ipv6Addr),
}

impl Host {
    /// Reads a host as it stands in a URI: a name, a dotted IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// When it is empty, too long, has characters that no host has, or is an abbreviated or octal address.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| UriError::new("the `[` of the host is not closed"))?;
            return inner
                .parse()
                .map(Self::V6)
                .map_err(|_| UriError::new(format!("`[{}]` is not an IPv6 address", inner.escape_debug())));
        }
        let name = to_ascii(text)?;
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
        if numeric {
            let message = || format!("host `{name}` looks like an abbreviated address: write all four decimal parts");
            return name.parse().map(Self::V4).map_err(|_| UriError::new(message()));
        }
        Ok(Self::Name(name))
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// The host without brackets: a name, or an address as `std` prints it.
    pub fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::V4(address) => address.to_string(),
            Self::V6(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port, as in `CONNECT` and `Host` fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
}

impl Authority {
    /// Reads `HOST` or `HOST:PORT`.
    ///
    /// # Errors
    /// When the host or the port is malformed, or user information stands before them.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, UriError> {
        if text.contains('@') {
            return Err(UriError::new(
                "user information (`user:password@`) is refused: configure credentials for the host instead",
            ));
        }
        let after_host = if text.starts_with('[') {
            text.find(']').map_or(text.len(), |end| end + 1)
        } else {
            text.find(':').unwrap_or(text.len())
        };
        let (host, rest) = text.split_at(after_host);
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => default_port,
            None => {
                return Err(UriError::new(format!("`{}` follows the host where only a port can", rest.escape_debug())));
            }
            Some("") => default_port,
            Some(digits) => parse_port(digits)?,
        };
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// `HOST`, or `HOST:PORT` where the port is not the scheme's default.
    pub fn for_scheme(&self, scheme: Scheme) -> String {
        if self.port == scheme.default_port() { self.host.to_string() } else { self.to_string() }
    }
}

impl fmt::Display for Authority {
    /// Always `HOST:PORT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A canonical absolute `http` or `https` URI without user information and fragment.
///
/// # Examples
/// ```
/// use distmirror_core::Uri;
///
/// let uri: Uri = "HTTP://Example.org:80/a/../%7eb?x=1#part".parse()?;
/// assert_eq!(uri.as_str(), "http://example.org/~b?x=1");
/// assert_eq!(uri, uri.as_str().parse()?);
/// # Ok::<(), distmirror_core::UriError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    text: String,
    scheme: Scheme,
    authority: Authority,
    path_start: usize,
}

impl Uri {
    /// Canonicalises a URI as a person or a program wrote it.
    ///
    /// # Errors
    /// When it is not absolute, not `http` or `https`, has user information, a malformed host, port or `%xx`, or a
    /// character that no URI has.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        check_length(text)?;
        let (scheme, rest) = split_scheme(text)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        Self::from_parts(scheme, Authority::parse(authority, scheme.default_port())?, rest)
    }

    /// From an authority and what follows it in a request (`/path?query`; empty means `/`).
    ///
    /// # Errors
    /// When the path or query is malformed.
    pub fn from_parts(scheme: Scheme, authority: Authority, path_and_query: &str) -> Result<Self, UriError> {
        let before_fragment = path_and_query.split('#').next().unwrap_or_default();
        let (path, query) = match before_fragment.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (before_fragment, None),
        };
        let mut text = format!("{}://{}", scheme.as_str(), authority.for_scheme(scheme));
        let path_start = text.len();
        text.push_str(&remove_dot_segments(&normalise_escapes(path)?));
        if let Some(query) = query {
            text.push('?');
            text.push_str(&normalise_escapes(query)?);
        }
        check_length(&text)?;
        Ok(Self { text, scheme, authority, path_start })
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port, the default one included.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path, which starts with `/`, and the query with its `?` if there is one.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path_start..]
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query().split('?').next().unwrap_or_default()
    }

    /// The query without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query().split_once('?').map(|(_, query)| query)
    }

    /// The last segment of the path, empty if the path ends in `/`.
    pub fn file_name(&self) -> &str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// Resolves a reference against this URI (RFC 3986 section 5.2), as a redirect's `Location` needs it.
    ///
    /// # Errors
    /// When the result is not a URI that the mirror accepts.
    pub fn join(&self, reference: &str) -> Result<Self, UriError> {
        let reference = reference.split('#').next().unwrap_or_default();
        let has_scheme = reference.find(':').is_some_and(|colon| !reference[..colon].contains(['/', '?']));
        if has_scheme {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme.as_str()));
        }
        let path = match reference.chars().next() {
            None => self.path_and_query().to_owned(),
            Some('/') => reference.to_owned(),
            Some('?') => format!("{}{reference}", self.path()),
            Some(_) => {
                let folder = &self.path()[..self.path().rfind('/').map_or(0, |slash| slash + 1)];
                format!("{folder}{reference}")
            }
        };
        Self::from_parts(self.scheme, self.authority.clone(), &path)
    }

    /// For logs: the values of query fields that are known to carry secrets become `****`.
    pub fn redacted(&self) -> String {
        let Some(query) = self.query() else { return self.text.clone() };
        let fields: Vec<_> = query.split('&').map(redact_field).collect();
        format!("{}{}?{}", &self.text[..self.path_start], self.path(), fields.join("&"))
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

fn check_length(text: &str) -> Result<(), UriError> {
    let length = text.len();
    let too_long = || UriError::new(format!("the URI has {length} bytes; at most {MAX_LENGTH_BYTES} are accepted"));
    if length > MAX_LENGTH_BYTES { Err(too_long()) } else { Ok(()) }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), UriError> {
    let shape = || UriError::new("write the whole URI, as in `https://host/path`");
    let (scheme, rest) = text.split_once(':').ok_or_else(shape)?;
    let known = [Scheme::Http, Scheme::Https].into_iter().find(|s| s.as_str().eq_ignore_ascii_case(scheme));
    let Some(known) = known else {
        let well_formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        return Err(if well_formed {
            UriError::new(format!("scheme `{scheme}` cannot be mirrored: only http and https can"))
        } else {
            shape()
        });
    };
    Ok((known, rest.strip_prefix("//").ok_or_else(shape)?))
}

fn parse_port(digits: &str) -> Result<u16, UriError> {
    let bad = || UriError::new(format!("port `{}` is not a number from 1 to 65535", digits.escape_debug()));
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    digits.parse().ok().filter(|port| *port != 0).ok_or_else(bad)
}

fn to_ascii(text: &str) -> Result<String, UriError> {
    let bad = |why: &str| UriError::new(format!("host `{}` {why}", text.escape_debug()));
    if text.is_empty() {
        return Err(UriError::new("the host is empty"));
    }
    let name = idna::domain_to_ascii(text).map_err(|_| bad("is not a valid international host name"))?;
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    if name.ends_with('.') {
        return Err(bad("ends in a dot: leave it out"));
    }
    if name.len() > 253 || !name.split('.').all(label_ok) {
        return Err(bad(
            "is not a host name: labels of 1 to 63 letters, digits, `-` or `_`, at most 253 characters in all",
        ));
    }
    Ok(name)
}

/// Upper-cases `%xx`, decodes unreserved characters, and escapes what RFC 3986 does not allow raw but clients send.
fn normalise_escapes(text: &str) -> Result<String, UriError> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let value = text
                    .get(at + 1..at + 3)
                    .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
                    .and_then(|d| u8::from_str_radix(d, 16).ok());
                let value = value.ok_or_else(|| {
                    UriError::new("a `%` is not followed by two hexadecimal digits: write it as `%25`")
                })?;
                if is_unreserved(value) {
                    out.push(char::from(value))
                } else {
                    push_escape(&mut out, value)
                }
                at += 3;
                continue;
            }
            byte @ (b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}') => push_escape(&mut out, byte),
            byte @ 0x21..=0x7e if byte != b'\\' => out.push(char::from(byte)),
            _ => {
                let found = text[at..].chars().next().unwrap_or_default();
                return Err(UriError::new(format!(
                    "`{}` cannot stand in a URI: write it as %xx",
                    found.escape_unicode()
                )));
            }
        }
        at += 1;
    }
    Ok(out)
}

fn push_escape(out: &mut String, byte: u8) {
    use fmt::Write;
    write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 section 5.2.4 for an absolute path; empty segments stay.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

/// By the names that signed URLs of object stores and content networks have, and those that people give to secrets.
fn redact_field(field: &str) -> String {
    const EXACT: [&str; 7] = ["sig", "key", "auth", "hmac", "jwt", "pass", "pwd"];
    const ANYWHERE: [&str; 8] =
        ["token", "secret", "passw", "signature", "credential", "apikey", "api_key", "accesskey"];
    const BEFORE: [&str; 4] = ["x-amz-", "x-goog-", "x-ms-", "x-oss-"];
    let Some((name, _)) = field.split_once('=') else { return field.to_owned() };
    let lower = name.to_ascii_lowercase();
    let is_secret = EXACT.contains(&lower.as_str())
        || ANYWHERE.iter().any(|part| lower.contains(part))
        || BEFORE.iter().any(|start| lower.starts_with(start));
    if is_secret { format!("{name}=****") } else { field.to_owned() }
}

#[cfg(test)]
mod tests;
