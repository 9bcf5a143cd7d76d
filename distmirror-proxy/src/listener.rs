//! Where connections come in, and what each listener takes them for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use distmirror_core::{Authority, Host, Scheme};
use rustls::AlertDescription;
use tokio::net::{TcpListener, TcpStream};

use crate::{Options, face::Via};

/// What the connections of a listener are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// Clients that were pointed to this proxy.
    Proxy,
    /// The same inside TLS.
    ProxyTls,
    /// Plain HTTP for other hosts, redirected to here. What is meant stands in `Host`, the port as well.
    TransparentHttp,
    /// TLS for other hosts, redirected to here. What is meant stands in SNI, which has no port: 443 is meant.
    TransparentHttps,
}

impl Entrance {
    /// Every entrance.
    pub const ALL: [Self; 4] = [Self::Proxy, Self::ProxyTls, Self::TransparentHttp, Self::TransparentHttps];

    /// The word for it in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::ProxyTls => "proxy_tls",
            Self::TransparentHttp => "transparent_http",
            Self::TransparentHttps => "transparent_https",
        }
    }
}

/// A bound socket, and what its connections are.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) entrance: Entrance,
}

impl Listener {
    /// Takes the connections of this socket for what `entrance` says.
    pub fn new(socket: TcpListener, entrance: Entrance) -> Self {
        Self { socket, entrance }
    }
}

impl From<TcpListener> for Listener {
    /// A listener for clients that were pointed to this proxy.
    fn from(socket: TcpListener) -> Self {
        Self::new(socket, Entrance::Proxy)
    }
}

/// Binds every address, so that all failures are known before anything is served.
///
/// # Errors
/// The first address that cannot be bound, by name.
pub async fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let bound = TcpListener::bind(address).await;
        listeners
            .push(bound.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?);
    }
    Ok(listeners)
}

/// Lets the kernel end a connection whose client takes nothing for so long, or is gone, while there is something to send
/// (`TCP_USER_TIMEOUT`). Only the kernel knows what was taken: its own queue holds megabytes, which a slow client may take
/// minutes for.
pub(crate) fn limit_stalls(stream: &TcpStream, limit: Duration) {
    let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    // A connection that has ended meanwhile has no options any more.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds);
}

/// What TLS is for: the host of the leaf that is shown, and what the requests inside mean.
pub(crate) type Meant = (Host, Via);

/// The hosts by which clients reach this proxy itself. Only for them it shows a leaf as itself.
#[derive(Debug, Default)]
pub(crate) struct OwnHosts {
    hosts: Vec<Host>,
    /// The address that clients are told to use, if they are told an address.
    public_address: Option<Host>,
}

impl OwnHosts {
    pub(crate) fn new(options: &Options) -> Self {
        let parse = |text: &String| Authority::parse(text, Scheme::Https.default_port()).ok();
        let hosts = options.own_authorities.iter().filter_map(parse).map(|authority| authority.host).collect();
        let public = options.public_url.as_deref().and_then(|url| url.parse::<distmirror_core::Uri>().ok());
        let public = public.map(|url| url.authority().host.clone());
        Self { hosts, public_address: public.filter(|host| !matches!(host, Host::Name(_))) }
    }

    /// Whose leaf a client gets that opened TLS to the proxy itself: the name that it asked for if that is one of ours. Whoever
    /// dials an address asks for no name (RFC 6066 section 3), and gets the one that it must have dialled: that of this end
    /// of the connection, or the public one where packets are redirected on their way.
    pub(crate) fn meant(&self, asked: Option<&str>, local: IpAddr) -> Result<Meant, AlertDescription> {
        let host = match asked {
            Some(name) => Host::parse(name).ok().filter(|host| self.hosts.contains(host)),
            None if local.is_loopback() => Some(of_address(local)),
            None => Some(self.public_address.clone().unwrap_or_else(|| of_address(local))),
        };
        let host = host.ok_or(AlertDescription::UnrecognisedName)?;
        Ok((host.clone(), Via::Secure(host)))
    }
}

/// Whom a client meant whose TLS was redirected to here.
///
/// # Errors
/// Without a name nobody knows: RFC 8446 section 9.2 has an alert for that.
pub(crate) fn meant_by_name(asked: Option<&str>) -> Result<Meant, AlertDescription> {
    let name = asked.ok_or(AlertDescription::MissingExtension)?;
    let host = Host::parse(name).map_err(|_| AlertDescription::UnrecognisedName)?;
    let authority = Authority { host: host.clone(), port: Scheme::Https.default_port() };
    Ok((host, Via::Tunnel(authority, None)))
}

fn of_address(address: IpAddr) -> Host {
    match address.to_canonical() {
        IpAddr::V4(address) => Host::V4(address),
        IpAddr::V6(address) => Host::V6(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host of the leaf that is shown, or the alert.
    fn shown(meant: Result<Meant, AlertDescription>) -> String {
        meant.map_or_else(|alert| format!("{alert:?}"), |(host, _)| host.to_string())
    }

    #[test]
    fn the_proxy_shows_leaves_for_its_own_names_only() {
        let own = |public_url: &str| {
            let own_authorities = vec!["mirror.test:3128".to_owned(), "localhost:3129".to_owned()];
            OwnHosts::new(&Options { own_authorities, public_url: Some(public_url.to_owned()), ..Options::default() })
        };
        let (named, numbered) = (own("https://mirror.test:3128"), own("https://192.0.2.1:3129"));
        for (hosts, asked, local, expected) in [
            (&named, Some("MIRROR.test"), "10.0.0.1", "mirror.test"),
            (&named, Some("localhost"), "127.0.0.1", "localhost"),
            (&named, Some("a.test"), "127.0.0.1", "UnrecognisedName"),
            (&named, Some("*.test"), "127.0.0.1", "UnrecognisedName"),
            (&named, None, "10.0.0.1", "10.0.0.1"),
            (&named, None, "::ffff:10.0.0.1", "10.0.0.1"),
            (&numbered, None, "10.0.0.1", "192.0.2.1"),
            (&numbered, None, "::1", "[::1]"),
        ] {
            let meant = hosts.meant(asked, local.parse().unwrap());
            assert_eq!(shown(meant), expected, "{asked:?} {local}");
        }
    }

    #[test]
    fn redirected_tls_is_for_port_443_of_the_name() {
        for (asked, expected) in [
            (Some("A.test"), "a.test"),
            (Some("a_b.test"), "a_b.test"),
            (Some("*.a.test"), "UnrecognisedName"),
            (Some("a.test."), "UnrecognisedName"),
            (None, "MissingExtension"),
        ] {
            assert_eq!(shown(meant_by_name(asked)), expected, "{asked:?}");
        }
        let (_, via) = meant_by_name(Some("a.test")).unwrap();
        assert_eq!(via, Via::Tunnel(Authority::parse("a.test:443", 1).unwrap(), None));
    }
}
