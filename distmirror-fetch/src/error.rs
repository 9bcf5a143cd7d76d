//! What can go wrong while the upstream client is built and while it connects.

use std::{io, time::Duration};

use crate::Refusal;

/// Why the client cannot be built, or upstream cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An entry of `allow_addresses` is not a network.
    #[error(
        "`{}` in fetch.allow_addresses is not a network: write `10.1.2.0/24:443`, `10.1.2.0/24` for any port, or \
         `[fd00::/8]:443`", text.escape_debug()
    )]
    AllowAddresses {
        /// The entry.
        text: String,
    },
    /// An entry of `trusted_roots` holds no usable certificate.
    #[error("entry {} of fetch.trusted_roots holds no usable certificate in PEM form: {problem}", index + 1)]
    TrustedRoots {
        /// Which one, counted from 0.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS cannot be set up at all.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The URI names no host that can be dialled.
    #[error("`{host}` cannot be dialled: {problem}")]
    Host {
        /// The host as the URI has it.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The name has no address.
    #[error("cannot resolve `{host}`")]
    Unresolvable {
        /// The host.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// An address of the host may not be dialled.
    #[error("address not allowed: {}, {refusal}", resolved(host, address))]
    AddressNotAllowed {
        /// The host.
        host: String,
        /// The address, without the port.
        address: std::net::IpAddr,
        /// Why not.
        refusal: Refusal,
    },
    /// The name may not be asked for through the proxy.
    #[error("address not allowed: {host}, {refusal}")]
    NameNotAllowed {
        /// The host.
        host: String,
        /// Why not.
        refusal: Refusal,
    },
    /// The proxy on the way out does not lead there.
    #[error("the proxy `{proxy}` opens no way to `{host}`")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port of upstream.
        host: String,
        /// What it answered.
        #[source]
        source: io::Error,
    },
    /// No address of the host accepts connections.
    #[error("cannot connect to `{host}` at {address}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The address that was tried last.
        address: std::net::SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed: above all, the certificate is not good for this host.
    #[error("no secure connection to `{host}`")]
    Handshake {
        /// Host and port.
        host: String,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
}

/// An error for a limit in time that ran out.
pub(crate) fn timed_out(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("timed out after {limit:?}"))
}

/// A literal address resolves to itself, which goes without saying.
fn resolved(host: &str, address: &std::net::IpAddr) -> String {
    let text = address.to_string();
    if host.trim_matches(['[', ']']) == text { text } else { format!("{host} resolves to {text}") }
}
